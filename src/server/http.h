#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

/// A request of HTTP/1.1, as far as the server looks at it. Headers that are absent are empty.
struct HttpRequest {
  std::string method = {}, path = {}, query = {};  // "POST", "/v1/models", what follows the '?'
  std::string host = {}, content_type = {}, authorization = {};
  std::string origin = {}, asked_method = {}, asked_headers = {};  // of CORS (server/cors.h)
  std::string body = {};
  std::string peer = {};  // the client's address, without its port
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones
};

/// The answer to one request. Any thread may call the members; what is written after the client
/// has gone is dropped.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  /// A header of the answer, whatever it will be.
  virtual void add_header(std::string name, std::string value) = 0;
  virtual void reply(HttpReply reply) = 0;
  /// An event stream of status 200, then its parts, then its end. While nothing is written, a
  /// comment is sent now and then so that proxies and clients see a living connection.
  virtual void begin_stream() = 0;
  virtual void write(std::string part) = 0;
  virtual void end() = 0;
  /// Called once when the client goes away before the answer is complete; immediately if it has. A
  /// client that shuts down its sending side is taken to be gone.
  virtual void on_gone(std::function<void()> gone) = 0;
};

/// Answers a request, now or later. Called by the threads of the server.
using HttpHandler = std::function<void(const HttpRequest&, std::shared_ptr<HttpExchange>)>;

/// A part of an event stream (text/event-stream): an unnamed event, or one with a name.
inline std::string server_sent_event(const std::string& data, const std::string& name = "") {
  return (name.empty() ? "" : "event: " + name + "\n") + "data: " + data + "\n\n";
}

}  // namespace lacuna
