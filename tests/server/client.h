#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"

namespace lacuna::testing {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
};

/// A client of HTTP/1.1 over a plain socket on this machine.
class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    CHECK(socket_ >= 0, "socket: ", std::strerror(errno));
    if (receive_buffer > 0)
      setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const timeval patience{60, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
          "connect: ", std::strerror(errno));
  }
  Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)), in_(other.in_) {}
  ~Client() { close(); }

  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void send(const std::string& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has closed; what it said may still be read
      sent += std::size_t(n);
    }
  }
  /// Sends a request with a body of JSON, or without.
  void ask(const std::string& method, const std::string& path, const std::string& body = "",
           const std::string& headers = "") {
    std::string text = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (method == "POST") text += "Content-Type: application/json\r\n";
    send(text + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  /// The next answer; status 0 when the connection ends before it is complete. `without_body`: of a
  /// HEAD request.
  Answer answer(bool without_body = false) {
    Answer a;
    const std::string head = until("\r\n\r\n");
    if (head.size() < 12) return a;
    for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const std::size_t end = head.find("\r\n", at), colon = head.find(": ", at);
      a.headers[head.substr(at, colon - at)] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (a.headers.contains("Transfer-Encoding")) {
      for (;;) {
        const std::string chunk = next_chunk();
        if (ended_) return a;
        if (chunk.empty()) break;
        a.body += chunk;
      }
    } else if (a.headers.contains("Content-Length") && !without_body) {
      const auto length = std::size_t(std::stoul(a.headers["Content-Length"]));
      while (in_.size() < length && receive()) {
      }
      if (in_.size() < length) return a;
      a.body = in_.substr(0, length);
      in_.erase(0, length);
    }
    a.status = std::stoi(head.substr(9, 3));
    return a;
  }
  Answer get(const std::string& path) {
    ask("GET", path);
    return answer();
  }
  Answer post(const std::string& path, const std::string& body, const std::string& headers = "") {
    ask("POST", path, body, headers);
    return answer();
  }
  /// What comes up to and with `end`.
  std::string until(const std::string& end) {
    std::size_t at = 0;
    while ((at = in_.find(end)) == std::string::npos)
      if (!receive()) return "";
    std::string text = in_.substr(0, at + end.size());
    in_.erase(0, text.size());
    return text;
  }
  /// Whether the server ends the connection, within the patience of a test.
  bool ends() {
    while (receive()) {
    }
    return ended_;
  }

 private:
  std::string next_chunk() {
    const std::string size = until("\r\n");
    if (size.empty()) return "";
    const std::size_t length = std::stoul(size, nullptr, 16);
    while (in_.size() < length + 2 && receive()) {
    }
    const std::string chunk = in_.substr(0, length);
    in_.erase(0, length + 2);
    return chunk;
  }
  bool receive() {
    char bytes[4096];
    const ssize_t n = recv(socket_, bytes, sizeof bytes, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) ended_ = true;
    if (n <= 0) return false;
    in_.append(bytes, std::size_t(n));
    return true;
  }

  int socket_;
  std::string in_;
  bool ended_ = false;
};

/// The object of an answer that must have succeeded.
inline nlohmann::json object_of(const Answer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  return nlohmann::json::parse(answer.body, nullptr, false);
}

/// The data of the events of a stream, in order.
inline std::vector<std::string> events_of(const std::string& stream) {
  std::vector<std::string> events;
  for (std::size_t at = 0; (at = stream.find("data: ", at)) != std::string::npos;) {
    const std::size_t end = stream.find("\n\n", at);
    events.push_back(stream.substr(at + 6, end - at - 6));
    at = end;
  }
  return events;
}

}  // namespace lacuna::testing
