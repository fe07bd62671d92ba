#pragma once
// A small HTTP/1.1 client: each request has a connection of its own, over TCP or TLS (1.2 and later; certificate and host name checked),
// and its answer is read piece by piece as it comes. Redirects are never followed.

#include "base/error.hpp"
#include "base/limits.hpp"
#include "crypto/crypto.hpp"
#include "network/transport.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p::http {

/// Where a server is, and how the path of everything there begins.
struct BaseUrl {
  bool tls = false;
  std::string host;  ///< a name, or an IP address without brackets
  std::uint16_t port = 0;
  std::string path;  ///< empty, or with a slash at the beginning and none at the end

  /// Host and port as a Host header has them: the port only where it is not the scheme's own.
  std::string authority() const;
  std::string text() const;
};

/// "http://HOST[:PORT][/PATH]", or https. Errors: invalid, for anything else, a password, a query and a fragment among it.
Result<BaseUrl> parse_base_url(std::string_view text);

struct Header {
  std::string name;
  std::string value;
};

struct Request {
  std::string method = "GET";
  std::string path;             ///< what follows the base URL's, with a slash at the beginning
  std::vector<Header> headers;  ///< beside Authorization, Host, User-Agent, Connection and Content-Length
  crypto::SecretText bearer;    ///< the key that goes into Authorization, and into no message; empty: none
  std::string body;
};

struct Head {
  unsigned status = 0;
  std::vector<Header> headers;

  /// The first one of that name, in any case.
  std::optional<std::string_view> header(std::string_view name) const;
};

/// How long a Retry-After says to wait: its seconds, or the time from `now` to its date. At least 0, at most a day.
std::optional<std::chrono::milliseconds> retry_after(const Head& head, WallTime now);

/// A server and what it takes to reach it. Holds no connection.
class Client {
 public:
  /// With https it reads the certificates that the system trusts, or those in the file that SSL_CERT_FILE names. What environment refers to
  /// outlives it.
  Client(const Environment& environment, BaseUrl url);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const BaseUrl& url() const noexcept { return url_; }

 private:
  friend class Exchange;
  struct Trust;

  const Environment environment_;
  const BaseUrl url_;
  std::unique_ptr<Trust> trust_;  // of https
};

/// One request and its answer. Destroying it ends the connection. What it throws has a message that names the server: unreachable when
/// there was no connection, closed when it broke, malformed and too_large for an answer that is wrong, or what it was closed with.
class Exchange {
 public:
  /// The client outlives it.
  explicit Exchange(const Client& client);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Connects, sends the request and reads the answer up to its body; the last at whatever time the server takes. Once. A redirect is an
  /// error (unsupported) that names where it leads.
  Awaitable<Head> send(Request request);
  /// What came of the body, at least one byte; nothing at its end. The view holds until the next read.
  Awaitable<std::string_view> read();
  /// The rest of the body, at most `most` bytes.
  Awaitable<std::string> read_all(std::size_t most = limits::http_body);

  /// Ends the connection at once: whoever waits in here wakes with `reason`, and whoever comes later gets it too.
  void close(Error reason = {Errc::cancelled, "the request was cancelled"}) noexcept;
  /// While the guard lives, the exchange is closed with `reason` when the time comes.
  [[nodiscard]] Timer deadline(Duration patience, Error reason);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace p2p::http
