#include "http/client.hpp"

#include "network/lookup.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <cassert>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace p2p::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::redirect_error;
using asio::use_awaitable;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

/// As a URL would spell it: what is no visible ASCII character is escaped.
std::string visible(std::string_view text) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

/// Takes an answer apart as it comes.
class Parser final : public beast::http::basic_parser<false> {
 public:
  Parser() {
    header_limit(limits::http_head);
    body_limit(boost::none);  // it is handed on as it comes
  }

  Head head;
  std::string body;  ///< what came of it and was not taken yet

 private:
  using Text = beast::string_view;
  static std::string string_of(Text text) { return {text.data(), text.size()}; }

  void on_request_impl(beast::http::verb, Text, Text, int, ErrorCode&) override {}
  void on_response_impl(int code, Text, int, ErrorCode&) override { head.status = static_cast<unsigned>(code); }
  void on_field_impl(beast::http::field, Text name, Text value, ErrorCode&) override {
    if (!is_header_done()) head.headers.push_back({string_of(name), string_of(value)});
  }
  void on_header_impl(ErrorCode&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(Text piece, ErrorCode&) override {
    body.append(piece.data(), piece.size());
    return piece.size();
  }
  void on_chunk_header_impl(std::uint64_t, Text, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, Text piece, ErrorCode& error) override { return on_body_impl(piece, error); }
  void on_finish_impl(ErrorCode&) override {}
};

bool is_redirect(unsigned status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

/// The request as it is sent. Throws invalid for what would break a line.
crypto::SecretText bytes_of(const Request& request, const BaseUrl& url) {
  crypto::SecretText bytes(request.method + " " + url.path + request.path + " HTTP/1.1\r\nHost: " + url.authority() +
                           "\r\nUser-Agent: p2p-ai-agents\r\nConnection: close\r\n");
  const auto add = [&bytes](std::string_view name, std::string_view value) {
    const auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; };
    if (std::any_of(value.begin(), value.end(), control)) {
      fail(Errc::invalid, "the header " + std::string(name) + " has a control character in it");
    }
    for (const std::string_view part : {name, std::string_view(": "), value, std::string_view("\r\n")}) bytes.append(part);
  };
  for (const auto& [name, value] : request.headers) add(name, value);
  if (!request.bearer.empty()) {
    crypto::SecretText value("Bearer ");
    value.append(request.bearer.view());
    add("Authorization", value.view());
  }
  if (!request.body.empty()) add("Content-Length", std::to_string(request.body.size()));
  bytes.append("\r\n");
  bytes.append(request.body);
  return bytes;
}

}  // namespace

std::optional<std::string_view> Head::header(std::string_view name) const {
  const auto found = std::find_if(headers.begin(), headers.end(), [&](const Header& one) {
    return beast::iequals(one.name, beast::string_view(name.data(), name.size()));
  });
  if (found == headers.end()) return std::nullopt;
  return found->value;
}

struct Client::Trust {
  Trust() {
    context.set_options(asio::ssl::context::no_sslv2 | asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                        asio::ssl::context::no_tlsv1_1);
    context.set_verify_mode(asio::ssl::verify_peer);
    ErrorCode ignored;
    context.set_default_verify_paths(ignored);
    if (std::getenv("SSL_CERT_FILE") != nullptr || std::getenv("SSL_CERT_DIR") != nullptr) return;
    // A program that was linked statically elsewhere looks where that system keeps its certificates.
    for (const char* const file : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
      if (!std::filesystem::exists(file, ignored)) continue;
      context.load_verify_file(file, ignored);
      break;
    }
  }
  asio::ssl::context context{asio::ssl::context::tls_client};
};

Client::Client(const Environment& environment, BaseUrl url)
    : environment_(environment), url_(std::move(url)), trust_(url_.tls ? std::make_unique<Trust>() : nullptr) {}
Client::~Client() = default;

struct Exchange::Connection {
  explicit Connection(const Client& of) : client(of), socket(of.environment_.loop) {}

  const Client& client;
  tcp::socket socket;
  std::optional<asio::ssl::stream<tcp::socket&>> tls;
  std::optional<Parser> parser;
  std::optional<Error> closed;
  std::array<char, limits::http_head> buffer;  // what the parser has not used yet
  std::size_t buffered = 0;
  std::size_t head_size = 0;  // so far, of heads that are not the answer's yet too
  ErrorCode broken;           // of the answer, behind what is good of it
  std::string piece;

  std::optional<Lookup> lookup;

  [[noreturn]] void refuse(Errc code, const std::string& why) const { fail(code, client.url_.text() + ": " + why); }
  void check() const {
    if (closed) refuse(closed->code, closed->reason);
  }
  void check(const ErrorCode& error) const {
    check();
    if (error) refuse(Errc::closed, "the connection broke: " + error.message());
  }

  void close(Error reason) noexcept {
    if (closed) return;
    closed = reason;
    ErrorCode ignored;
    socket.close(ignored);
    if (lookup) lookup->cancel();
  }

  Awaitable<std::vector<tcp::endpoint>> resolve() {
    ErrorCode not_an_address;
    const asio::ip::address address = asio::ip::make_address(client.url_.host, not_an_address);
    if (!not_an_address) co_return std::vector<tcp::endpoint>{{address, client.url_.port}};
    lookup.emplace(client.environment_.loop);
    ErrorCode error;
    try {
      co_return co_await lookup->resolve(client.url_.host, client.url_.port);
    } catch (const boost::system::system_error& failure) {
      error = failure.code();
    }
    check();
    refuse(Errc::unreachable, "no address is known for it: " + error.message());
  }

  Awaitable<void> connect() {
    check();
    const std::vector<tcp::endpoint> endpoints = co_await resolve();
    ErrorCode error = asio::error::host_not_found;
    for (const tcp::endpoint& endpoint : endpoints) {
      ErrorCode ignored;
      socket.close(ignored);
      co_await socket.async_connect(endpoint, redirect_error(use_awaitable, error));
      check();
      if (!error) break;
    }
    if (error) refuse(Errc::unreachable, "could not connect: " + error.message());
    ErrorCode ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    if (client.trust_) co_await shake_hands();
  }

  Awaitable<void> shake_hands() {
    tls.emplace(socket, client.trust_->context);
    SSL* const ssl = tls->native_handle();
    const std::string& host = client.url_.host;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) != 1) {  // a name, then
      SSL_set1_host(ssl, host.c_str());
      SSL_set_tlsext_host_name(ssl, host.c_str());
    }
    ErrorCode error;
    co_await tls->async_handshake(asio::ssl::stream_base::client, redirect_error(use_awaitable, error));
    check();
    if (!error) co_return;
    const long verified = SSL_get_verify_result(ssl);
    if (verified != X509_V_OK) {
      refuse(Errc::unreachable, std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(verified) +
                                    " (the environment variable SSL_CERT_FILE can name a file of certificates to trust)");
    }
    refuse(Errc::unreachable, "no TLS connection: " + error.message());
  }

  Awaitable<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      ErrorCode error;
      std::size_t count = 0;
      const asio::const_buffer rest = asio::buffer(bytes.data(), bytes.size());
      if (tls) {
        count = co_await tls->async_write_some(rest, redirect_error(use_awaitable, error));
      } else {
        count = co_await socket.async_write_some(rest, redirect_error(use_awaitable, error));
      }
      check(error);
      bytes.remove_prefix(count);
    }
  }

  /// Reads once and parses what there is.
  Awaitable<void> fill() {
    check();
    if (broken) refuse(Errc::malformed, "its answer is not HTTP: " + broken.message());
    // An answer whose header is too long is refused by the parser; so this is a chunk's.
    if (buffered == buffer.size()) refuse(Errc::too_large, "its answer has a part that is too long");
    const asio::mutable_buffer room = asio::buffer(buffer.data() + buffered, buffer.size() - buffered);
    ErrorCode error;
    std::size_t count = 0;
    if (tls) {
      count = co_await tls->async_read_some(room, redirect_error(use_awaitable, error));
    } else {
      count = co_await socket.async_read_some(room, redirect_error(use_awaitable, error));
    }
    check();
    if (error == asio::error::eof) {
      finish();
      co_return;
    }
    check(error);
    buffered += count;
    parse();
  }

  void finish() {
    if (!parser->got_some()) refuse(Errc::closed, "it closed the connection without an answer");
    ErrorCode error;
    parser->put_eof(error);
    if (error || !parser->is_done()) refuse(Errc::closed, "the connection ended in the middle of its answer");
  }

  void parse() {
    std::size_t used = 0;
    ErrorCode error;
    while (used < buffered && !error && !parser->is_done()) {
      const bool in_head = !parser->is_header_done();
      const std::size_t count = parser->put(asio::const_buffer(buffer.data() + used, buffered - used), error);
      used += count;
      if (!in_head) continue;
      head_size += count;
      if (head_size > limits::http_head) error = beast::http::error::header_limit;
      if (parser->is_header_done()) parser->eager(true);  // no longer one part at a time
    }
    std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(used), buffer.begin() + static_cast<std::ptrdiff_t>(buffered), buffer.begin());
    buffered -= used;
    if (!error || error == beast::http::error::need_more) return;
    if (error == beast::http::error::header_limit) refuse(Errc::too_large, "its answer has a header that is too long");
    broken = error;
  }
};

Exchange::Exchange(const Client& client) : connection_(std::make_unique<Connection>(client)) {}
Exchange::~Exchange() = default;

Awaitable<Head> Exchange::send(Request request) {
  Connection& connection = *connection_;
  crypto::SecretText bytes = bytes_of(request, connection.client.url_);
  request = {};
  {
    const Timer timer = deadline(limits::http_connect, {Errc::unreachable, "could not connect: no answer in time"});
    co_await connection.connect();
  }
  // A server may answer and close without having read all. What it says then is worth more than that it did not read.
  std::exception_ptr unread;
  try {
    co_await connection.write(bytes.view());
  } catch (const boost::system::system_error&) {
    unread = std::current_exception();
  }
  bytes = {};
  connection.parser.emplace();
  try {
    while (true) {
      if (!connection.parser->is_header_done()) {
        co_await connection.fill();
      } else if (connection.parser->head.status / 100 == 1) {  // not the answer yet
        connection.parser.emplace();
        connection.parse();
      } else {
        break;
      }
    }
  } catch (const boost::system::system_error&) {
    if (unread) std::rethrow_exception(unread);
    throw;
  }
  Head head = std::move(connection.parser->head);
  if (is_redirect(head.status)) {
    const std::string_view where = head.header("Location").value_or("nowhere");
    connection.refuse(Errc::unsupported, "it redirects to " + visible(where.substr(0, limits::text_shown)) +
                                             ", which is not followed; name the server that answers itself");
  }
  co_return head;
}

Awaitable<std::string_view> Exchange::read() {
  Connection& connection = *connection_;
  assert(connection.parser && "the answer's head is read first");
  connection.check();
  while (connection.parser->body.empty() && !connection.parser->is_done()) co_await connection.fill();
  connection.piece = std::exchange(connection.parser->body, {});
  co_return connection.piece;
}

Awaitable<std::string> Exchange::read_all(std::size_t most) {
  std::string all;
  while (true) {
    const std::string_view piece = co_await read();
    if (piece.empty()) co_return all;
    if (piece.size() > most - all.size()) connection_->refuse(Errc::too_large, "its answer is too long");
    all += piece;
  }
}

void Exchange::close(Error reason) noexcept { connection_->close(reason); }

Timer Exchange::deadline(Duration patience, Error reason) {
  Clock& clock = connection_->client.environment_.clock;
  return clock.schedule(clock.now() + patience, [this, reason] { close(reason); });
}

}  // namespace p2p::http
