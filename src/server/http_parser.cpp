#include "server/http_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace lacuna {

namespace http = boost::beast::http;

struct HttpParser::State {
  http::request_parser<http::string_body> parser;

  std::string header(http::field name) const {
    const auto value = parser.get()[name];
    return {value.data(), value.size()};
  }
};

HttpParser::HttpParser(const HttpLimits& limits) : state_(std::make_unique<State>()) {
  state_->parser.header_limit(limits.header_bytes);
  state_->parser.body_limit(limits.body_bytes);
  state_->parser.eager(true);
}
HttpParser::~HttpParser() = default;

std::size_t HttpParser::feed(std::string_view bytes) {
  // Beast presumes that there are five bytes when it meets the last chunk for the second time,
  // which need not be so ("0\r\nT"). Whatever is incomplete lacks at least those five: "0\r\n\r\n".
  if (has_header() && state_->parser.chunked() && bytes.size() < 5) return 0;
  boost::beast::error_code error;
  const std::size_t taken =
      state_->parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (!error || error == http::error::need_more) return taken;
  if (error == http::error::header_limit)
    throw HttpFault{431, "the header of the request is too long"};
  if (error == http::error::body_limit) throw HttpFault{413, "the body of the request is too long"};
  throw HttpFault{400, "malformed HTTP request: " + error.message()};
}

bool HttpParser::has_header() const { return state_->parser.is_header_done(); }
bool HttpParser::done() const { return state_->parser.is_done(); }
bool HttpParser::keep_alive() const { return state_->parser.keep_alive(); }
bool HttpParser::takes_chunks() const { return state_->parser.get().version() >= 11; }
bool HttpParser::expects_continue() const {
  return boost::beast::iequals(state_->header(http::field::expect), "100-continue");
}

HttpRequest HttpParser::take() {
  auto& message = state_->parser.get();
  const std::size_t hosts = message.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && takes_chunks()))
    throw HttpFault{400, "a request of HTTP/1.1 has one Host header"};
  HttpRequest request;
  request.method = {message.method_string().data(), message.method_string().size()};
  const std::string target(message.target().data(), message.target().size());
  const std::size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string::npos) request.query = target.substr(mark + 1);
  request.host = state_->header(http::field::host);
  request.content_type = state_->header(http::field::content_type);
  request.authorization = state_->header(http::field::authorization);
  request.origin = state_->header(http::field::origin);
  request.asked_method = state_->header(http::field::access_control_request_method);
  request.asked_headers = state_->header(http::field::access_control_request_headers);
  request.body = std::move(message.body());
  return request;
}

}  // namespace lacuna
