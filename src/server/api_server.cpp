#include "server/api_server.h"

#include <chrono>
#include <map>
#include <string_view>
#include <thread>

#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "server/api_error.h"
#include "server/cors.h"
#include "server/page.h"

namespace lacuna {
namespace {

constexpr std::string_view kModelsPath = "/v1/models";

using Endpoint = void (Service::*)(const HttpRequest&, std::shared_ptr<HttpExchange>);
const std::map<std::string, Endpoint, std::less<>> kEndpoints = {
    {"/v1/completions", &Service::completion},
    {"/v1/chat/completions", &Service::chat},
    {"/v1/infill", &Service::infill},
    {"/v1/canvas", &Service::canvas},
    {"/v1/score", &Service::score},
    {"/tokenize", &Service::tokenize},
    {"/detokenize", &Service::detokenize},
};

bool reads(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

ApiError wrong_method(const HttpRequest& request) {
  return {405, request.path + " is not for " + shown(request.method)};
}

}  // namespace

ApiServer::ApiServer(const ApiServerOptions& options) : options_(options) {
  http_ = std::make_unique<HttpServer>(
      options.http, [this](const HttpRequest& request, const std::shared_ptr<HttpExchange>& e) {
        handle(request, e);
      });
}

ApiServer::~ApiServer() {
  // The engine first: it has exchanges of the HTTP server, whose threads may call it meanwhile.
  if (service_) service_->engine().stop();
  http_.reset();
}

void ApiServer::serve(const LoadedModel& model, const ServiceOptions& options) {
  service_ = std::make_unique<Service>(model, options, metrics_);
  ready_ = service_.get();
}

void ApiServer::stop_on_signals() {
  http_->on_signal([this] {
    log_info("stopping: requests in progress are finished; a second signal ends at once");
    stop();
  });
}

void ApiServer::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

void ApiServer::wait() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_; });
  }
  http_->stop_accepting();
  if (!service_) return;
  Engine& engine = service_->engine();
  engine.drain();
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(options_.drain_seconds);
  while (!engine.idle() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  engine.stop();
  // What the last answers hold is being sent.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

void ApiServer::handle(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  for (const auto& [name, value] : cors_headers(request, options_.access.origins))
    exchange->add_header(name, value);
  try {
    route(request, exchange);
  } catch (const ApiError& e) {
    if (e.status == 400) ++metrics_.refused;
    exchange->reply(error_reply(e));
  } catch (const std::exception& e) {
    log_warning(str("a request to ", shown(request.path), " failed: ", e.what()));
    exchange->reply(error_reply(ApiError(500, e.what())));
  }
}

/// What everyone may see. Whether the request was that.
bool ApiServer::route_open(const HttpRequest& request, HttpExchange& exchange) {
  const PageFile* file = page_file(request.path);
  if (!file && request.path != "/health" && request.path != "/ready") return false;
  check_access(request, options_.access, true);
  if (!reads(request)) throw wrong_method(request);
  if (file) {
    exchange.reply(page_reply(*file));
    return true;
  }
  Service* service = ready_;
  if (request.path == "/ready" && (!service || service->engine().draining()))
    throw ApiError(503, service ? "the server is stopping" : "the model is being loaded");
  exchange.reply({.body = R"({"status":"ok"})"});
  return true;
}

void ApiServer::route(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  if (is_preflight(request) && !options_.access.origins.empty()) {
    check_access(request, options_.access, true);
    return exchange->reply(preflight_reply(request, options_.access.origins));
  }
  if (route_open(request, *exchange)) return;
  check_access(request, options_.access, false);
  if (request.path == "/metrics") {
    if (!reads(request)) throw wrong_method(request);
    return exchange->reply({.content_type = "text/plain; version=0.0.4",
                            .body = metrics_.text(http_->connections(), http_->slow_clients())});
  }
  const bool models = request.path.starts_with(kModelsPath);
  const auto endpoint = kEndpoints.find(request.path);
  if (!models && endpoint == kEndpoints.end())
    throw ApiError(404, "there is no " + shown(request.path), "", "unknown_url");
  if (models ? !reads(request) : request.method != "POST") throw wrong_method(request);
  Service* service = ready_;
  if (!service) {
    ApiError loading(503, "the model is being loaded", "", "loading");
    loading.retry_after = 1;
    throw loading;
  }
  if (!models) return (service->*endpoint->second)(request, exchange);
  const std::string name = request.path.substr(kModelsPath.size());
  if (name.empty()) return exchange->reply({.body = service->models()});
  if (name.size() < 2 || name[0] != '/')
    throw ApiError(404, "there is no " + shown(request.path), "", "unknown_url");
  exchange->reply({.body = service->model(name.substr(1))});
}

}  // namespace lacuna
