#include "http/client.hpp"

#include "support/http_bench.hpp"
#include "support/openai_server.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Told {
  std::optional<Errc> error;
  std::string message;
  http::Head head;
  std::string body;
};

/// One request, to its end.
Awaitable<Told> ask(const http::Client& client, std::string path) {
  Told told;
  http::Exchange exchange(client);
  http::Request request;
  request.path = std::move(path);
  try {
    told.head = co_await exchange.send(std::move(request));
    while (true) {
      const std::string_view piece = co_await exchange.read();
      if (piece.empty()) break;
      told.body += piece;
    }
  } catch (const boost::system::system_error& error) {
    told.error = static_cast<Errc>(error.code().value());
    told.message = message_of(error);
  }
  co_return told;
}

OpenAiServer::Script sends(std::string bytes) {
  return [bytes = std::move(bytes)](Call& call) -> Awaitable<void> { co_await call.send(bytes); };
}

struct HttpClientTest : testing::Test {
  HttpBench bench;
  OpenAiServer server{bench.environment};

  http::Client client(std::string path = {}) { return http::Client(bench.environment, http::parse_base_url(server.url() + path).value()); }
  /// What comes of an answer of these bytes, after which the server closes.
  Told told(std::string bytes) {
    Told told;
    server.at["/x"] = sends(std::move(bytes));
    bench.run([&]() -> Awaitable<void> {
      server.start();
      const http::Client asking = client();
      told = co_await ask(asking, "/x");
      co_await server.stop();
    });
    return told;
  }
};

TEST_F(HttpClientTest, SendsARequestAndReadsTheAnswer) {
  server.at["/base/x"] = [](Call& call) -> Awaitable<void> { co_await call.answer(201, "the answer", "X-One: a\r\nx-two:  b \r\n"); };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client("/base/");
    http::Exchange exchange(asking);
    http::Request request;
    request.method = "POST";
    request.path = "/x";
    request.headers = {{"X-Mine", "yes"}};
    request.body = "the question";
    const http::Head head = co_await exchange.send(std::move(request));
    EXPECT_EQ(head.status, 201U);
    EXPECT_EQ(head.header("x-ONE"), "a");
    EXPECT_EQ(head.header("X-Two"), "b");
    EXPECT_FALSE(head.header("X-Three"));
    EXPECT_EQ(co_await exchange.read_all(), "the answer");
    EXPECT_EQ(co_await exchange.read(), "");
    Call& call = server.calls.at(0);
    EXPECT_EQ(call.method, "POST");
    EXPECT_EQ(call.body, "the question");
    EXPECT_EQ(call.headers["host"], "127.0.0.1:" + std::to_string(server.port()));
    EXPECT_EQ(call.headers["x-mine"], "yes");
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, ReadsABodyAsItComes) {
  Event next(bench.environment.loop);
  server.at["/x"] = [&](Call& call) -> Awaitable<void> {
    co_await call.begin();
    co_await next.wait();
    co_await call.chunk("first");
    co_await next.wait();
    co_await call.chunk("second");
    co_await call.last_chunk();
  };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    http::Exchange exchange(asking);
    http::Request request;
    request.path = "/x";
    co_await exchange.send(std::move(request));
    next.notify();
    EXPECT_EQ(co_await exchange.read(), "first");
    next.notify();
    EXPECT_EQ(co_await exchange.read(), "second");
    EXPECT_EQ(co_await exchange.read(), "");
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, UnderstandsEachWayToEndABody) {
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").body, "hello");
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\n\r\nto the end").body, "to the end");
  EXPECT_EQ(told("HTTP/1.0 200 OK\r\n\r\nto the end").body, "to the end");
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n").body, "hello");
  EXPECT_EQ(told("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").body,
            "ok");
  const Told empty = told("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(empty.head.status, 204U);
  EXPECT_FALSE(empty.error);
}

TEST_F(HttpClientTest, SaysWhenAnAnswerBreaksOff) {
  EXPECT_EQ(told("").error, Errc::closed);
  EXPECT_EQ(told("HTTP/1.1 200 O").error, Errc::closed);
  const Told half = told("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
  EXPECT_EQ(half.error, Errc::closed);
  EXPECT_EQ(half.body, "hello");
  EXPECT_EQ(half.message, server.url() + ": the connection ended in the middle of its answer");
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").error, Errc::closed);
}

TEST_F(HttpClientTest, RefusesWhatIsNotHttpButGivesWhatWasGoodBeforeIt) {
  EXPECT_EQ(told("SSH-2.0-OpenSSH_9.2\r\n\r\n").error, Errc::malformed);
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").error, Errc::malformed);
  const Told chunked = told("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzzz\r\n");
  EXPECT_EQ(chunked.error, Errc::malformed);
  EXPECT_EQ(chunked.body, "hello");
}

TEST_F(HttpClientTest, TakesAHeaderAtTheLimitAndNoneBeyond) {
  const std::string line = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
  const auto of_size = [&](std::size_t size) { return line + std::string(size - line.size() - 4, 'x') + "\r\n\r\n"; };
  EXPECT_EQ(told(of_size(limits::http_head)).error, std::nullopt);
  EXPECT_EQ(told(of_size(limits::http_head + 1)).error, Errc::too_large);
  EXPECT_EQ(told(line + std::string(1'000'000, 'x')).error, Errc::too_large);
  EXPECT_EQ(told("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + std::string(100'000, 'x')).error, Errc::too_large);
}

TEST_F(HttpClientTest, ReadsAllOfABodyUpToABound) {
  const std::string largest(limits::http_body, 'x');
  server.at["/x"] = [&](Call& call) -> Awaitable<void> { co_await call.answer(200, largest); };
  server.at["/y"] = [&](Call& call) -> Awaitable<void> { co_await call.answer(200, largest + "x"); };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    for (const char* const path : {"/x", "/y"}) {
      http::Exchange exchange(asking);
      http::Request request;
      request.path = path;
      co_await exchange.send(std::move(request));
      std::optional<Errc> error;
      try {
        EXPECT_EQ((co_await exchange.read_all()).size(), limits::http_body);
      } catch (const boost::system::system_error& thrown) {
        error = static_cast<Errc>(thrown.code().value());
      }
      EXPECT_EQ(error, path == std::string("/y") ? std::optional(Errc::too_large) : std::nullopt);
    }
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, DoesNotFollowARedirectAndSaysWhereItLeads) {
  const Told redirected = told("HTTP/1.1 308 Permanent Redirect\r\nLocation: https://elsewhere/v1\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(redirected.error, Errc::unsupported);
  EXPECT_EQ(redirected.message,
            server.url() + ": it redirects to https://elsewhere/v1, which is not followed; name the server that answers itself");
  EXPECT_EQ(server.calls.size(), 1U);
}

TEST_F(HttpClientTest, SendsNoHeaderThatWouldBeTwo) {
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    http::Exchange exchange(asking);
    http::Request request;
    request.headers = {{"Authorization", "Bearer secret\r\nX: y"}};
    std::string message;
    try {
      co_await exchange.send(std::move(request));
    } catch (const boost::system::system_error& error) {
      message = error.what();
    }
    EXPECT_NE(message.find("Authorization"), std::string::npos);
    EXPECT_EQ(message.find("secret"), std::string::npos);
    EXPECT_TRUE(server.calls.empty());
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, GivesWhatAServerSaysThatDidNotReadAll) {
  const std::unique_ptr<Listener> listener = bench.environment.transport.listen(Multiaddr::tcp("127.0.0.1", 0).value());
  const std::string port = std::to_string(tcp_address(listener->address()).value().port);
  bench.run([&]() -> Awaitable<void> {
    TaskGroup serving(bench.environment.loop);
    const auto serve = [&]() -> Awaitable<void> {
      const std::unique_ptr<ByteStream> stream = co_await listener->accept();
      const std::string_view answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
      co_await stream->write(as_bytes(answer));
    };
    serving.spawn(serve());
    const http::Client asking(bench.environment, http::parse_base_url("http://127.0.0.1:" + port).value());
    http::Exchange exchange(asking);
    http::Request request;
    request.method = "POST";
    request.path = "/x";
    request.body = std::string(64 * 1024 * 1024, 'x');  // more than sockets hold for one who does not read
    const http::Head head = co_await exchange.send(std::move(request));
    EXPECT_EQ(head.status, 413U);
    EXPECT_EQ(co_await exchange.read_all(), "no!");
    co_await serving.join();
  });
}

TEST_F(HttpClientTest, EndsAtOnceWhenClosed) {
  server.at["/x"] = [](Call& call) -> Awaitable<void> { co_await call.gone(); };
  server.at["/y"] = [](Call& call) -> Awaitable<void> {
    co_await call.begin();
    co_await call.gone();
  };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    for (const char* const path : {"/x", "/y"}) {
      http::Exchange exchange(asking);
      TaskGroup closing(bench.environment.loop);
      const auto close = [&]() -> Awaitable<void> {
        co_await server.call(path);
        exchange.close({Errc::cancelled, "enough"});
      };
      closing.spawn(close());
      http::Request request;
      request.path = path;
      std::string message;
      try {
        co_await exchange.send(std::move(request));
        co_await exchange.read();
      } catch (const boost::system::system_error& error) {
        EXPECT_TRUE(is(error, Errc::cancelled));
        message = message_of(error);
      }
      EXPECT_EQ(message, server.url() + ": enough");
      co_await closing.join();
      Call* const call = co_await server.call(path);
      co_await call->gone();  // the server sees it while the exchange is still there
      EXPECT_TRUE(call->closed());
    }
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, EndsTheConnectionWithTheExchange) {
  server.at["/x"] = [](Call& call) -> Awaitable<void> {
    co_await call.begin();
    co_await call.gone();
  };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    {
      http::Exchange exchange(asking);
      http::Request request;
      request.path = "/x";
      co_await exchange.send(std::move(request));
    }
    Call* const call = co_await server.call("/x");
    co_await call->gone();
    EXPECT_TRUE(call->closed());
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, EndsAtADeadline) {
  server.at["/x"] = [&](Call& call) -> Awaitable<void> {
    bench.clock.advance(seconds(3));
    co_await call.gone();
  };
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking = client();
    http::Exchange exchange(asking);
    http::Request request;
    request.path = "/x";
    const Timer timer = exchange.deadline(seconds(3), {Errc::timed_out, "no answer in time"});
    std::optional<Errc> error;
    try {
      co_await exchange.send(std::move(request));
    } catch (const boost::system::system_error& thrown) {
      error = static_cast<Errc>(thrown.code().value());
    }
    EXPECT_EQ(error, Errc::timed_out);
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, SaysThatNobodyIsThere) {
  bench.run([&]() -> Awaitable<void> {
    server.start();
    co_await server.stop();  // a port on which nobody listens
    const http::Client asking = client();
    const Told refused = co_await ask(asking, "/x");
    EXPECT_EQ(refused.error, Errc::unreachable);
    EXPECT_EQ(refused.message, server.url() + ": could not connect: Connection refused");
    // No name has a part that long, so nobody is asked for it.
    const std::string name(64, 'x');
    const http::Client nowhere(bench.environment, http::parse_base_url("http://" + name + "/").value());
    const Told unknown = co_await ask(nowhere, "/x");
    EXPECT_EQ(unknown.error, Errc::unreachable);
    EXPECT_NE(unknown.message.find("no address is known"), std::string::npos) << unknown.message;
  });
}

TEST_F(HttpClientTest, DoesNotWaitForANameWhenClosed) {
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking(bench.environment, http::parse_base_url("http://localhost:" + std::to_string(server.port())).value());
    http::Exchange exchange(asking);
    TaskGroup sending(bench.environment.loop);
    std::optional<Errc> error;
    const auto send = [&]() -> Awaitable<void> {
      http::Request request;
      try {
        co_await exchange.send(std::move(request));
      } catch (const boost::system::system_error& thrown) {
        error = static_cast<Errc>(thrown.code().value());
      }
    };
    sending.spawn(send());
    exchange.close();
    co_await sending.join();
    EXPECT_EQ(error, Errc::cancelled);
    EXPECT_TRUE(server.calls.empty());
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, FindsAHostByItsName) {
  bench.run([&]() -> Awaitable<void> {
    server.start();
    const http::Client asking(bench.environment, http::parse_base_url("http://localhost:" + std::to_string(server.port())).value());
    const Told told = co_await ask(asking, "/v1/models");
    EXPECT_EQ(told.head.status, 200U) << told.message;
    co_await server.stop();
  });
}

TEST_F(HttpClientTest, WaitsForAConnectionNoLongerThanItsLimit) {
  bench.run([&]() -> Awaitable<void> {
    const Certificate certificate("127.0.0.1");
    server.start();
    // Asked for TLS, this server waits for a line that never comes.
    const http::Client asking(bench.environment, http::parse_base_url("https://127.0.0.1:" + std::to_string(server.port())).value());
    TaskGroup waiting(bench.environment.loop);
    Told told;
    const auto wait = [&]() -> Awaitable<void> { told = co_await ask(asking, "/x"); };
    waiting.spawn(wait());
    while (bench.clock.waiting() == 0) co_await turn(bench.environment.loop);
    bench.clock.advance(limits::http_connect);
    co_await waiting.join();
    EXPECT_EQ(told.error, Errc::unreachable);
    EXPECT_NE(told.message.find("no answer in time"), std::string::npos) << told.message;
    co_await server.stop();
  });
}

/// SSL_CERT_FILE with a certificate in it, for as long as it lives.
class Trusted {
 public:
  explicit Trusted(const Certificate& certificate)
      : file_(std::filesystem::temp_directory_path() / ("p2p-test-" + std::to_string(getpid()))) {
    std::ofstream(file_) << certificate.pem();
    setenv("SSL_CERT_FILE", file_.c_str(), 1);
  }
  ~Trusted() {
    unsetenv("SSL_CERT_FILE");
    std::filesystem::remove(file_);
  }

 private:
  const std::filesystem::path file_;
};

struct HttpsTest : testing::Test {
  /// What comes of asking a server with that certificate under that host.
  Told told(const Certificate& certificate, const std::string& host, int tls_version = 0) {
    Told told;
    HttpBench bench;
    OpenAiServer server(bench.environment, &certificate, tls_version);
    bench.run([&]() -> Awaitable<void> {
      server.start();
      const http::Client asking(bench.environment, http::parse_base_url("https://" + host + ":" + std::to_string(server.port())).value());
      told = co_await ask(asking, "/v1/models");
      co_await server.stop();
    });
    return told;
  }
};

TEST_F(HttpsTest, TrustsACertificateThatTheFileNames) {
  for (const char* const host : {"127.0.0.1", "localhost"}) {
    const Certificate certificate(host);
    const Trusted trusted(certificate);
    const Told answered = told(certificate, host);
    EXPECT_EQ(answered.head.status, 200U) << answered.message;
    EXPECT_EQ(answered.body, R"({"object":"list","data":[{"id":"tiny","object":"model"},{"id":"large","object":"model"}]})");
  }
}

TEST_F(HttpsTest, RefusesACertificateThatNobodyVouchesFor) {
  const Told refused = told(Certificate("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(refused.error, Errc::unreachable);
  EXPECT_NE(refused.message.find("its certificate is not trusted: self-signed certificate"), std::string::npos) << refused.message;
  EXPECT_NE(refused.message.find("SSL_CERT_FILE"), std::string::npos);
}

TEST_F(HttpsTest, RefusesACertificateOfAnotherHost) {
  for (const auto& [of, host] :
       {std::pair("example.org", "localhost"), std::pair("127.0.0.2", "127.0.0.1"), std::pair("localhost", "127.0.0.1")}) {
    const Certificate certificate(of);
    const Trusted trusted(certificate);
    const Told refused = told(certificate, host);
    EXPECT_EQ(refused.error, Errc::unreachable);
    EXPECT_NE(refused.message.find("mismatch"), std::string::npos) << refused.message;
  }
}

TEST_F(HttpsTest, SpeaksNoTlsBefore12) {
  const Certificate certificate("127.0.0.1");
  const Trusted trusted(certificate);
  EXPECT_EQ(told(certificate, "127.0.0.1", TLS1_2_VERSION).head.status, 200U);
  const Told refused = told(certificate, "127.0.0.1", TLS1_1_VERSION);
  EXPECT_EQ(refused.error, Errc::unreachable);
  EXPECT_NE(refused.message.find("no TLS connection"), std::string::npos) << refused.message;
}

}  // namespace
}  // namespace p2p::test
