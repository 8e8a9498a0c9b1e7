#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>

#include "app/backend_options.h"
#include "app/chat_template_option.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/decoding_arguments.h"
#include "app/standard_io.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "server/api_server.h"
#include "server/cors.h"

namespace lacuna {
namespace {

constexpr std::int64_t kServedLength = 128;

struct ServeArguments {
  std::string checkpoint, adapter, key_file, model_name, chat_template, origins, host = "127.0.0.1";
  std::vector<std::string> allowed_hosts;
  std::int64_t port = 8080, batch_tokens = 0, prefixes = EngineLimits{}.prefixes, sequences = 64,
               queue = 64, connections = 256, per_address = 32;
  double timeout = 600, drain = 30;
  bool guidance = false;
  DecodingArguments decoding;
  BackendOptions backend;
};

std::vector<std::string> keys_of_server(const ServeArguments& a) {
  if (!a.key_file.empty()) return read_keys(a.key_file);
  const char* key = std::getenv("LACUNA_API_KEY");
  return key && *key ? std::vector<std::string>{key} : std::vector<std::string>{};
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// The last part of the checkpoint's path that says something: "kjv" of runs/kjv/.
std::string name_of_model(const std::string& checkpoint) {
  const std::filesystem::path path = std::filesystem::absolute(checkpoint).lexically_normal() / "";
  const std::string name = path.parent_path().stem().string();
  return name.empty() ? "model" : name;
}

ApiServerOptions server_options(const ServeArguments& a) {
  ApiServerOptions o;
  o.http.host = a.host;
  o.http.port = int(a.port);
  o.http.max_connections = std::size_t(a.connections);
  o.http.max_per_address = std::size_t(a.per_address);
  o.access = {.keys = keys_of_server(a), .hosts = a.allowed_hosts, .origins = {}};
  o.access.origins = parse_origins(a.origins, !o.access.keys.empty());
  o.drain_seconds = a.drain;
  return o;
}

ServiceOptions service_options(const ServeArguments& a) {
  ServiceOptions o;
  o.model_name = a.model_name.empty() ? name_of_model(a.checkpoint) : a.model_name;
  o.created = std::time(nullptr);
  o.defaults = a.decoding.options({.gen_length = kServedLength});
  o.chat_template = a.chat_template;
  o.engine = {.batch_tokens = a.batch_tokens,
              .sequences = a.sequences,
              .queue = std::size_t(a.queue),
              .timeout_seconds = a.timeout,
              .guidance = a.guidance || o.defaults.cfg_scale > 0,
              .prefixes = a.prefixes};
  return o;
}

void serve(const ServeArguments& a) {
  ModelSource source(a.checkpoint, adapters_of(a.adapter));
  (void)source.need_tokenizer("lacuna serve needs one");
  const ApiServerOptions options = server_options(a);
  if (!is_loopback(a.host) && options.access.keys.empty())
    log_warning(str("--host ", a.host,
                    " without --api-key-file: everyone who reaches this machine "
                    "may use the model"));
  std::unique_ptr<LoadedModel> model;  // outlives the server
  ApiServer server(options);
  server.stop_on_signals();
  StandardOutput out;
  out.write(str("http://", a.host.find(':') == std::string::npos ? a.host : "[" + a.host + "]", ":",
                server.port(), "\n"));
  out.flush();
  model = std::make_unique<LoadedModel>(std::move(source), a.backend.make(), a.backend.type());
  server.serve(*model, service_options(a));
  log_info("ready");
  server.wait();
}

}  // namespace

void add_serve_command(Command app) {
  auto a = std::make_shared<ServeArguments>();
  const Command command =
      app.add_subcommand("serve", "Serve a model by HTTP: OpenAI's protocol, and a page");
  add_checkpoint_option(command, a->checkpoint);
  add_adapter_option(command, a->adapter);
  command.add_option("--host", a->host, "address to listen on; 0.0.0.0: all of this machine")
      .show_default();
  command.add_option("--port", a->port, "0: any that is free; standard output gets the address")
      .between(0, 65535)
      .show_default();
  command.add_option("--api-key-file", a->key_file,
                     "file of keys, one a line, of which clients must give one; by default the "
                     "environment's LACUNA_API_KEY, or none");
  command
      .add_option("--allow-host", a->allowed_hosts,
                  "name that clients may know the server by, beside addresses and localhost")
      .one_value_per_use();
  command.add_option("--cors-origins", a->origins,
                     "origins whose pages may use the server: "
                     "\"https://app.example.org,http://localhost:3000\"; *: all, without keys");
  command.add_option("--model-name", a->model_name,
                     "id of the model; by default the folder's name");
  command.add_option("--chat-template", a->chat_template, kChatTemplateHelp);
  command
      .add_option("--max-batch-tokens", a->batch_tokens,
                  "tokens of all texts in progress; 0: 4,096, or twice the model's length")
      .between(0, 1 << 24)
      .show_default();
  command
      .add_option("--prompt-cache", a->prefixes,
                  "causal and block-causal models: tokens whose keys and values are kept for "
                  "requests that begin with the same ones; 0: none")
      .between(0, 1 << 24)
      .show_default();
  command.add_option("--max-sequences", a->sequences, "texts in progress")
      .between(1, 1 << 16)
      .show_default();
  command.add_option("--max-queue", a->queue, "requests that wait; others get status 429")
      .between(1, 1 << 16)
      .show_default();
  command.add_option("--max-connections", a->connections, "connections at once")
      .between(1, 1 << 16)
      .show_default();
  command
      .add_option("--max-connections-per-address", a->per_address,
                  "of them, those of one address other than this machine's")
      .between(1, 1 << 16)
      .show_default();
  command.add_option("--request-timeout", a->timeout, "seconds for a request, its wait included")
      .show_default();
  command.add_option("--drain-timeout", a->drain, "seconds for requests in progress at SIGTERM")
      .show_default();
  command.add_flag(
      "--guidance", a->guidance,
      "allow cfg_scale, for twice the memory of activations; --cfg-scale allows it, too");
  a->decoding.add_to(command, "128; requests give max_tokens");
  a->backend.add_to(command);
  command.footer(
      "The options of generation are defaults, which requests override by fields of the "
      "same names.");
  command.callback([a] { serve(*a); });
}

}  // namespace lacuna
