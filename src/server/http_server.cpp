#include "server/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <csignal>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/log.h"
#include "server/api_error.h"

namespace lacuna {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Strand = asio::strand<asio::io_context::executor_type>;

constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::size_t kWriteBytes = 64 * 1024;      // at once, so that progress is seen
constexpr std::size_t kReadAheadBytes = 64 * 1024;  // of requests behind one that is answered
constexpr double kLingerSeconds = 2;  // for the client to read why the connection is closed

Clock::duration seconds_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Error" : "Internal Server Error";
  }
}

std::string chunk_of(const std::string& part) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", part.size());
  return size + part + "\r\n";
}

class Connection;

/// What all connections share.
struct SharedByConnections {
  HttpServerOptions options;
  HttpHandler handler;
  std::atomic<std::size_t> slow_clients{0};

  void add(const std::shared_ptr<Connection>& connection) {
    const std::lock_guard lock(mutex);
    connections[connection.get()] = connection;
  }
  void remove(Connection* connection) {
    const std::lock_guard lock(mutex);
    connections.erase(connection);
  }
  /// Not to be released under the lock, which a connection that ends takes.
  std::vector<std::shared_ptr<Connection>> alive() {
    std::vector<std::shared_ptr<Connection>> all;
    const std::lock_guard lock(mutex);
    for (const auto& [key, weak] : connections)
      if (auto connection = weak.lock()) all.push_back(std::move(connection));
    return all;
  }

 private:
  std::mutex mutex;
  std::map<Connection*, std::weak_ptr<Connection>> connections;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<SharedByConnections> shared, std::string peer)
      : shared_(std::move(shared)),
        peer_(std::move(peer)),
        socket_(std::move(socket)),
        strand_(asio::make_strand(
            static_cast<asio::io_context&>(socket_.get_executor().context()).get_executor())),
        read_timer_(strand_),
        write_timer_(strand_),
        ping_timer_(strand_) {}

  ~Connection() { shared_->remove(this); }
  const std::string& peer() const { return peer_; }

  template <class F>
  void post(F f) {
    asio::post(strand_, [self = shared_from_this(), f = std::move(f)]() mutable { f(*self); });
  }

  void start() {
    wait_for_request(shared_->options.header_seconds);
    read();
  }
  void close() {
    if (closed_) return;
    closed_ = true;
    shared_->remove(this);
    waiting_since_ = Clock::time_point::max();
    error_code ignored;
    socket_.close(ignored);
    read_timer_.cancel();
    write_timer_.cancel();
    ping_timer_.cancel();
    tell_gone();
  }
  /// Since when it has been without a request; the far future while there is one.
  Clock::time_point waiting_since() const { return waiting_since_; }

  // Of the exchange with number `exchange`.
  bool is_current(std::int64_t exchange) const {
    return !closed_ && busy_ && exchange == exchange_;
  }
  void add_header(const std::string& line) { headers_ += line; }
  void reply(const HttpReply& reply);
  void begin_stream();
  void write_part(std::string part);
  void end_stream();
  void abandon();
  void set_gone(std::int64_t exchange, std::function<void()> gone) {
    if (is_current(exchange))
      gone_ = std::move(gone);
    else if (closed_)
      gone();
  }

 private:
  void read();
  void on_read(error_code error, std::size_t bytes);
  void parse();
  void dispatch();
  void refuse(const HttpFault& fault);
  void send(std::string bytes);
  void write_some();
  void on_write(error_code error, std::size_t bytes);
  void complete();
  void written();
  void ping();
  void tell_gone() {
    if (auto gone = std::exchange(gone_, nullptr)) gone();
  }
  void wait_for_request(double seconds) {
    waiting_since_ = Clock::now();
    read_deadline(seconds);
  }
  void read_deadline(double seconds) {
    read_timer_.expires_after(seconds_of(seconds));
    read_timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->on_read_deadline();
    });
  }
  void on_read_deadline() {
    if (closed_ || (busy_ && !lingering_) || read_timer_.expiry() > Clock::now()) return;
    // A timeout within a request is answered with 408; an idle connection is closed without a
    // response.
    if (!lingering_ && parser_ && (parser_->has_header() || !in_.empty()))
      return refuse({408, "the request did not arrive in time"});
    close();
  }

  const std::shared_ptr<SharedByConnections> shared_;
  const std::string peer_;
  tcp::socket socket_;
  Strand strand_;
  asio::steady_timer read_timer_, write_timer_, ping_timer_;
  std::atomic<Clock::time_point> waiting_since_{Clock::now()};
  char chunk_[kReadBytes];
  std::string in_, out_, sending_;
  std::string headers_;  // of the answer, further ones
  std::size_t sent_ = 0;
  std::optional<HttpParser> parser_;
  std::int64_t exchange_ = 0;
  std::function<void()> gone_;
  bool continued_ = false;  // "100 Continue" was sent
  bool busy_ = false;       // a request is being answered
  bool complete_ = false;   // its answer is complete, but for sending
  bool streaming_ = false, chunked_ = false, head_ = false, keep_alive_ = false;
  bool wrote_since_ping_ = false;
  bool writing_ = false, closed_ = false, lingering_ = false;
};

/// Answers one request of a connection from any thread.
class Exchange : public HttpExchange {
 public:
  Exchange(std::shared_ptr<Connection> connection, std::int64_t number)
      : connection_(std::move(connection)), number_(number) {}
  ~Exchange() override {
    // A handler that failed to answer leaves no connection waiting.
    on_connection([](Connection& c) { c.abandon(); });
  }
  void add_header(std::string name, std::string value) override {
    on_connection([line = str(name, ": ", value, "\r\n")](Connection& c) { c.add_header(line); });
  }
  void reply(HttpReply reply) override {
    on_connection([reply = std::move(reply)](Connection& c) { c.reply(reply); });
  }
  void begin_stream() override {
    on_connection([](Connection& c) { c.begin_stream(); });
  }
  void write(std::string part) override {
    on_connection([part = std::move(part)](Connection& c) { c.write_part(part); });
  }
  void end() override {
    on_connection([](Connection& c) { c.end_stream(); });
  }
  void on_gone(std::function<void()> gone) override {
    connection_->post([number = number_, gone = std::move(gone)](Connection& c) mutable {
      c.set_gone(number, std::move(gone));
    });
  }

 private:
  template <class F>
  void on_connection(F f) {
    connection_->post([number = number_, f = std::move(f)](Connection& c) {
      if (c.is_current(number)) f(c);
    });
  }
  const std::shared_ptr<Connection> connection_;
  const std::int64_t number_;
};

// --- requests

void Connection::read() {
  if (closed_) return;
  socket_.async_read_some(
      asio::buffer(chunk_),
      asio::bind_executor(strand_, [self = shared_from_this()](error_code error, std::size_t n) {
        self->on_read(error, n);
      }));
}

void Connection::on_read(error_code error, std::size_t bytes) {
  if (closed_) return;
  if (error) return close();
  if (lingering_) return read();
  const bool fresh = in_.empty() && !(parser_ && parser_->has_header());
  in_.append(chunk_, bytes);
  if (busy_) {
    if (in_.size() > kReadAheadBytes) return close();
  } else {
    // However slowly the bytes of a header trickle in, it has one deadline.
    if (fresh && exchange_ > 0) read_deadline(shared_->options.header_seconds);
    parse();
  }
  read();
}

void Connection::parse() {
  if (!parser_) parser_.emplace(shared_->options.limits);
  try {
    const bool had_header = parser_->has_header();
    in_.erase(0, parser_->feed(in_));
    if (parser_->has_header() && !had_header) read_deadline(shared_->options.body_seconds);
    if (parser_->done()) return dispatch();
    if (parser_->has_header() && parser_->expects_continue() && !std::exchange(continued_, true))
      send("HTTP/1.1 100 Continue\r\n\r\n");
  } catch (const HttpFault& fault) {
    refuse(fault);
  }
}

void Connection::dispatch() {
  HttpRequest request = parser_->take();
  request.peer = peer_;
  keep_alive_ = parser_->keep_alive();
  chunked_ = parser_->takes_chunks();
  head_ = request.method == "HEAD";
  busy_ = true;
  complete_ = streaming_ = false;
  headers_.clear();
  waiting_since_ = Clock::time_point::max();
  read_timer_.cancel();
  parser_.reset();
  continued_ = false;
  const auto exchange = std::make_shared<Exchange>(shared_from_this(), ++exchange_);
  try {
    shared_->handler(request, exchange);
  } catch (const std::exception& e) {
    log_warning(std::string("a request failed: ") + e.what());
  }
}

/// The connection ends, as nobody knows where the next request begins.
void Connection::refuse(const HttpFault& fault) {
  busy_ = true;
  ++exchange_;
  keep_alive_ = head_ = false;
  headers_.clear();
  reply({.status = fault.status, .body = error_json({fault.status, fault.message})});
}

// --- answers

void Connection::reply(const HttpReply& reply) {
  if (streaming_ || complete_) return;
  std::string head =
      str("HTTP/1.1 ", reply.status, " ", reason_of(reply.status),
          "\r\nContent-Type: ", reply.content_type, "\r\nContent-Length: ", reply.body.size(),
          "\r\nX-Content-Type-Options: nosniff\r\n");
  for (const auto& [name, value] : reply.headers) head += str(name, ": ", value, "\r\n");
  head += headers_;
  head += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  complete();
  send(head + (head_ ? "" : reply.body));
}

void Connection::begin_stream() {
  if (streaming_ || complete_) return;
  streaming_ = true;
  if (!chunked_) keep_alive_ = false;
  send(
      str("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
          "X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n",
          headers_, chunked_ ? "Transfer-Encoding: chunked\r\n" : "",
          keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n"));
  ping();
}

void Connection::write_part(std::string part) {
  if (!streaming_ || complete_ || part.empty()) return;
  wrote_since_ping_ = true;
  send(chunked_ ? chunk_of(part) : std::move(part));
  if (out_.size() + sending_.size() - sent_ > shared_->options.stream_backlog) {
    ++shared_->slow_clients;
    close();
  }
}

void Connection::end_stream() {
  if (!streaming_ || complete_) return;
  complete();
  send(chunked_ ? "0\r\n\r\n" : "");
}

/// Nobody will answer any more.
void Connection::abandon() {
  if (complete_) return;
  if (streaming_) return close();
  reply({.status = 500, .body = error_json({500, "the request was not answered"})});
}

void Connection::ping() {
  wrote_since_ping_ = false;
  ping_timer_.expires_after(seconds_of(shared_->options.ping_seconds));
  ping_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->closed_ || !self->streaming_ || self->complete_) return;
    if (!self->wrote_since_ping_) self->write_part(": ping\n\n");
    if (!self->closed_) self->ping();
  });
}

void Connection::complete() {
  complete_ = true;
  gone_ = nullptr;
  ping_timer_.cancel();
}

void Connection::send(std::string bytes) {
  if (closed_) return;
  out_ += bytes;
  if (!writing_) write_some();
}

void Connection::write_some() {
  if (sent_ == sending_.size()) {
    sending_.clear();
    sent_ = 0;
    std::swap(sending_, out_);
  }
  if (sending_.empty()) return written();
  writing_ = true;
  write_timer_.expires_after(seconds_of(shared_->options.write_seconds));
  write_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->closed_ || self->write_timer_.expiry() > Clock::now()) return;
    ++self->shared_->slow_clients;
    self->close();
  });
  socket_.async_write_some(
      asio::buffer(sending_.data() + sent_, std::min(kWriteBytes, sending_.size() - sent_)),
      asio::bind_executor(strand_, [self = shared_from_this()](error_code error, std::size_t n) {
        self->on_write(error, n);
      }));
}

void Connection::on_write(error_code error, std::size_t bytes) {
  if (closed_) return;
  write_timer_.cancel();
  writing_ = false;
  if (error) return close();
  sent_ += bytes;
  write_some();
}

/// All there was to send is sent.
void Connection::written() {
  if (!busy_ || !complete_) return;
  if (!keep_alive_) {  // reading on, so that the client is not reset before it has read
    lingering_ = true;
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    return read_deadline(kLingerSeconds);
  }
  busy_ = complete_ = streaming_ = false;
  wait_for_request(in_.empty() ? shared_->options.idle_seconds : shared_->options.header_seconds);
  if (!in_.empty()) parse();
}

}  // namespace

// --- the server

struct HttpServer::State {
  std::shared_ptr<SharedByConnections> shared = std::make_shared<SharedByConnections>();
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  Strand strand{asio::make_strand(io)};
  tcp::acceptor acceptor{strand};
  asio::steady_timer retry{strand};
  asio::signal_set signals{io};
  std::vector<std::thread> threads;
  int port = 0;

  void listen();
  void accept();
  void admit(tcp::socket socket);
  void run();
};

void HttpServer::State::listen() {
  const HttpServerOptions& o = shared->options;
  error_code error;
  const auto address = asio::ip::make_address(o.host == "localhost" ? "127.0.0.1" : o.host, error);
  if (error) fail_usage(str("--host ", o.host, ": is no address; 127.0.0.1 is this machine alone"));
  const tcp::endpoint endpoint(address, static_cast<unsigned short>(o.port));
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  CHECK(!error, "cannot listen on ", o.host, " port ", o.port, ": ", error.message());
  port = acceptor.local_endpoint().port();
}

void HttpServer::State::accept() {
  acceptor.async_accept(io, [this](error_code error, tcp::socket socket) {
    if (!acceptor.is_open()) return;
    if (!error) {
      admit(std::move(socket));
      return accept();
    }
    // No descriptors are left, perhaps: some will be.
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([this](error_code stopped) {
      if (!stopped) accept();
    });
  });
}

/// The connection that has been without a request for longest, among `alive`; null if none is.
std::shared_ptr<Connection> longest_waiting(const std::vector<std::shared_ptr<Connection>>& alive) {
  std::shared_ptr<Connection> oldest;
  Clock::time_point since = Clock::time_point::max();
  for (const std::shared_ptr<Connection>& connection : alive)
    if (connection->waiting_since() < since) {
      since = connection->waiting_since();
      oldest = connection;
    }
  return oldest;
}

void HttpServer::State::admit(tcp::socket socket) {
  error_code error;
  const tcp::endpoint endpoint = socket.remote_endpoint(error);
  if (error) return;
  const std::string peer = endpoint.address().to_string();
  const std::vector<std::shared_ptr<Connection>> alive = shared->alive();
  const auto same =
      std::count_if(alive.begin(), alive.end(), [&](const auto& c) { return c->peer() == peer; });
  if (!endpoint.address().is_loopback() && std::size_t(same) >= shared->options.max_per_address)
    return;
  if (alive.size() >= shared->options.max_connections) {
    const std::shared_ptr<Connection> oldest = longest_waiting(alive);
    if (!oldest) return;  // all are being answered
    oldest->post([](Connection& c) { c.close(); });
  }
  socket.set_option(tcp::no_delay(true), error);
  const auto connection = std::make_shared<Connection>(std::move(socket), shared, peer);
  shared->add(connection);
  connection->post([](Connection& c) { c.start(); });
}

void HttpServer::State::run() {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception& e) {
      log_warning(std::string("a connection failed: ") + e.what());
    }
  }
}

HttpServer::HttpServer(const HttpServerOptions& options, HttpHandler handler)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.shared->options = options;
  s.shared->handler = std::move(handler);
  s.listen();
  s.accept();
  for (int i = 0; i < std::max(1, options.threads); ++i) s.threads.emplace_back([&s] { s.run(); });
}

HttpServer::~HttpServer() {
  State& s = *state_;
  stop_accepting();
  for (const auto& connection : s.shared->alive())
    connection->post([](Connection& c) { c.close(); });
  asio::post(s.io, [&s] { s.signals.cancel(); });
  s.work.reset();
  for (std::thread& thread : s.threads) thread.join();
}

int HttpServer::port() const { return state_->port; }

std::size_t HttpServer::connections() const { return state_->shared->alive().size(); }

std::size_t HttpServer::slow_clients() const { return state_->shared->slow_clients; }

void HttpServer::on_signal(std::function<void()> stop) {
  State& s = *state_;
  s.signals.add(SIGINT);
  s.signals.add(SIGTERM);
  s.signals.async_wait([&s, stop = std::move(stop)](error_code error, int signal) {
    if (error) return;
    s.signals.clear();
    std::signal(signal, SIG_DFL);
    stop();
  });
}

void HttpServer::stop_accepting() {
  asio::post(state_->strand, [&s = *state_] {
    error_code ignored;
    s.acceptor.close(ignored);
    s.retry.cancel();
  });
}

}  // namespace lacuna
