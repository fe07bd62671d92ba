#pragma once
// A server of OpenAI's chat API on 127.0.0.1, on the test's own loop, that answers as a test tells it to, well or badly.

#include "network/transport.hpp"
#include "support/tls.hpp"

#include <boost/json/object.hpp>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace p2p::test {

/// A request as it came, and what it takes to answer it.
class Call {
 public:
  Call(ByteStream& stream, Loop loop) : stream_(stream), gone_(std::move(loop)) {}

  std::string method;
  std::string path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  boost::json::object input() const;
  bool closed() const noexcept { return closed_; }
  /// Nothing of the server needs it any more.
  bool is_over() const noexcept { return over_; }
  /// Returns when the client has closed the connection, or the server was stopped.
  Awaitable<void> gone() { return gone_.wait(); }

  /// As they are; nothing once the client is gone.
  Awaitable<void> send(std::string bytes);
  /// A whole answer.
  Awaitable<void> answer(unsigned status, std::string body, std::string more_headers = {});
  /// The head of an answer whose body is chunks.
  Awaitable<void> begin();
  Awaitable<void> chunk(std::string text);
  Awaitable<void> last_chunk() { return send("0\r\n\r\n"); }

 private:
  friend class OpenAiServer;
  ByteStream& stream_;
  Latch gone_;
  bool closed_ = false;
  bool over_ = false;
};

// Events of a streamed answer.
std::string delta(std::string_view text);
std::string finished(std::string_view reason = "stop");
std::string used(unsigned prompt_tokens, unsigned completion_tokens);
inline const std::string done = "data: [DONE]\n\n";

class OpenAiServer {
 public:
  using Script = std::function<Awaitable<void>(Call&)>;

  /// With a certificate it speaks TLS, of at most `tls_version` (as OpenSSL numbers them).
  explicit OpenAiServer(const Environment& environment, const Certificate* certificate = nullptr, int tls_version = 0);

  /// On that port; with none, on the one that it had before stop(), or a free one.
  void start(std::uint16_t port = 0);
  Awaitable<void> stop();
  std::uint16_t port() const noexcept { return port_; }
  /// "http://127.0.0.1:PORT"
  std::string url() const;

  /// What /v1/models says.
  std::vector<std::string> models{"tiny", "large"};
  /// What answers at a path. Others than /v1/models and /v1/chat/completions are not found until a test says what is there.
  std::map<std::string, Script> at;

  /// Every request that came, in the order of their coming.
  std::deque<Call> calls;
  /// Returns when that many have come to `path`; the last of them.
  Awaitable<Call*> call(std::string path, std::size_t count = 1);

 private:
  Awaitable<void> accept();
  Awaitable<void> serve(std::unique_ptr<ByteStream> stream);
  Awaitable<void> watch(Call& call);

  const Environment& environment_;
  const Certificate* const certificate_;
  const int tls_version_;
  std::uint16_t port_ = 0;
  std::unique_ptr<Listener> listener_;
  std::vector<ByteStream*> open_;
  Event arrived_;
  TaskGroup tasks_;
};

}  // namespace p2p::test
