#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "server/http.h"
#include "server/http_parser.h"

namespace lacuna {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // an address, no name
  int port = 0;                    // 0: any that is free
  HttpLimits limits = {};
  int threads = 2;
  // Seconds: for a header, for a body, between two requests, for the client to take what is sent,
  // and between two signs of life of a stream.
  double header_seconds = 10, body_seconds = 30, idle_seconds = 60, write_seconds = 30,
         ping_seconds = 10;
  std::size_t max_connections = 256;
  std::size_t max_per_address = 32;      // of those that are not this machine
  std::size_t stream_backlog = 1 << 20;  // bytes of a stream that the client has not taken
};

/// Serves HTTP/1.1 with threads of its own: keep-alive, pipelining, chunked bodies, event streams.
/// A read is pending on every connection at all times, so that a client that goes away is noticed
/// while its request is queued, too. Where all connections are taken, a new one closes the one that
/// has been without a request for longest.
class HttpServer {
 public:
  /// Listens. Error, naming the address, when it cannot.
  HttpServer(const HttpServerOptions& options, HttpHandler handler);
  /// Closes all connections. Every HttpExchange must have been released before.
  ~HttpServer();

  int port() const;
  std::size_t connections() const;
  /// Connections that were closed because the client took nothing, or too little.
  std::size_t slow_clients() const;
  /// Calls `stop` at SIGINT and SIGTERM, in a thread of the server; a second one ends the program.
  void on_signal(std::function<void()> stop);
  /// Takes no further connections; those there are go on.
  void stop_accepting();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
