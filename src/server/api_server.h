#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "server/access.h"
#include "server/http_server.h"
#include "server/service.h"

namespace lacuna {

struct ApiServerOptions {
  HttpServerOptions http;
  AccessRules access;
  double drain_seconds = 30;  // for requests that are there when the server is to stop
};

/// The server: routes, access, and the model once it is loaded. Until then it answers, but that it
/// is not ready.
class ApiServer {
 public:
  /// Listens. Errors as HttpServer.
  explicit ApiServer(const ApiServerOptions& options);
  ~ApiServer();

  int port() const { return http_->port(); }
  /// From now on requests are served. Borrows the model.
  void serve(const LoadedModel& model, const ServiceOptions& options);
  /// SIGINT and SIGTERM call stop().
  void stop_on_signals();
  /// Asks for the end. Any thread.
  void stop();
  /// Until stop(); then no connections and requests are taken, those there are go on for
  /// drain_seconds, and what is left fails.
  void wait();

 private:
  void handle(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange);
  void route(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange);
  bool route_open(const HttpRequest& request, HttpExchange& exchange);

  const ApiServerOptions options_;
  ServerMetrics metrics_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::unique_ptr<Service> service_;  // after what it uses
  std::atomic<Service*> ready_{nullptr};
  std::unique_ptr<HttpServer> http_;
};

}  // namespace lacuna
