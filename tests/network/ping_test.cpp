#include "network/ping.hpp"

#include "base/limits.hpp"
#include "support/connected.hpp"

#include <algorithm>

namespace p2p::test {
namespace {

using std::chrono::seconds;

class PingsOfAConnection : public Connected {
 protected:
  /// `b` counts the streams that it is pinged on, and answers as `serve` does.
  void count_streams(StreamHandler serve) {
    b.agent.handle(std::string(ping_protocol), [this, serve = std::move(serve)](Stream stream) -> Awaitable<void> {
      ++opened;
      most_open = std::max(most_open, ++open);
      try {
        co_await serve(std::move(stream));
      } catch (const boost::system::system_error&) {
      }
      --open;
    });
  }
  Awaitable<void> ping_each_second(int count) {
    for (int i = 0; i < count; ++i) {
      EXPECT_EQ(co_await a.agent.ping(b.agent.id()), 2 * network.latency);
      co_await pause(network, seconds(1));
    }
  }

  int opened = 0;
  int open = 0;
  int most_open = 0;
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, PingsOfAConnection, each_muxer, name_of_muxer);

// rust answers on the newest stream alone and resets the others. Silence of a second in between makes the connection ask for life as well.
TEST_P(PingsOfAConnection, GoOneAfterAnotherOnOneStream) {
  count_streams(serve_ping);
  with_connection([&]() -> Awaitable<void> {
    Stream in_use = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    co_await ping_each_second(5);
    EXPECT_EQ(opened, 1);
    const auto ping = [&]() -> Awaitable<void> { EXPECT_EQ(co_await a.agent.ping(b.agent.id()), 2 * network.latency); };
    TaskGroup several(network.loop());
    for (int i = 0; i < 10; ++i) several.spawn(ping());
    co_await several.join();
    EXPECT_EQ(opened, 1);
  });
}

// As go does: a stream is ended after 10 s without a ping, and after 30 s whatever comes.
TEST_P(PingsOfAConnection, OutliveTheirStreams) {
  count_streams([&](Stream stream) -> Awaitable<void> {
    const Timer total = stream.deadline(seconds(30), "a stream is old");
    while (true) {
      const Timer idle = stream.deadline(seconds(10), "a stream is idle");
      const ByteView bytes = co_await stream.read();
      if (bytes.empty()) break;
      co_await stream.write(bytes);
    }
    stream.close_write();
  });
  with_connection([&]() -> Awaitable<void> {
    co_await ping_each_second(40);
    EXPECT_GE(opened, 2);
    for (const int idle : {9, 11, 40}) {
      co_await pause(network, seconds(idle));
      co_await ping_each_second(1);
    }
    EXPECT_LE(most_open, 2);
  });
}

TEST_P(PingsOfAConnection, OpenAnotherStreamWhenThePeerHasEndedTheirs) {
  bool reset = false;
  count_streams([&](Stream stream) -> Awaitable<void> {
    co_await stream.write(co_await stream.read());
    if (!reset) co_return co_await stream.finish(limits::close_wait);
    co_await pause(network, std::chrono::milliseconds(100));
    stream.reset();
  });
  with_connection([&]() -> Awaitable<void> {
    co_await ping_each_second(2);
    reset = true;
    co_await ping_each_second(2);
    EXPECT_EQ(opened, 4);
  });
}

// The answer is there before the next ping asks for it.
TEST_P(PingsOfAConnection, RefuseWhatWasSaidBetweenThem) {
  bool good = false;
  count_streams([&](Stream stream) -> Awaitable<void> {
    co_await stream.write(co_await stream.read());
    co_await pause(network, std::chrono::milliseconds(100));
    const Bytes stray(1);
    if (!good) co_await stream.write(stray);
    co_await serve_ping(std::move(stream));
  });
  with_connection([&]() -> Awaitable<void> {
    co_await ping_each_second(1);
    const auto once = [&]() -> Awaitable<void> { co_await a.agent.ping(b.agent.id()); };
    EXPECT_EQ(co_await error_of(once()), Errc::unverified);
    good = true;
    co_await ping_each_second(2);
    EXPECT_EQ(opened, 2);
  });
}

// Those that ask for a sign of life leave no stream behind, also when another one was kept before.
TEST_P(PingsOfAConnection, EndTheirStreamsOnAnIdleConnection) {
  count_streams(serve_ping);
  with_connection([&]() -> Awaitable<void> {
    co_await ping_each_second(1);
    co_await pause(network, std::chrono::minutes(1));
    EXPECT_LE(open, GetParam() == yamux_protocol ? 1 : 0);
  });
}

TEST_P(PingsOfAConnection, AreAnsweredOnTheNewestStreams) {
  with_connection([&]() -> Awaitable<void> {
    std::vector<Stream> streams;
    while (streams.size() < limits::ping_streams + 1) {
      streams.push_back(co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol)));
      co_await ping(streams.back(), network.random());
    }
    for (std::size_t i = 0; i < streams.size(); ++i) {
      const auto once = [&]() -> Awaitable<void> { co_await ping(streams[i], network.random()); };
      EXPECT_EQ(co_await error_of(once()), i == 0 ? Errc::closed : Errc{}) << i;
    }
  });
}

}  // namespace
}  // namespace p2p::test
