#include "base/limits.hpp"
#include "network/protocol.hpp"
#include "support/connected.hpp"

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string echo_protocol = "/test/echo/1.0.0";
const std::string taking_protocol = "/test/taking/1.0.0";

Awaitable<void> echo(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
    co_await stream.write(bytes);
  }
  stream.close_write();
}

Awaitable<void> take(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
  }
  stream.close_write();
}

class Connections : public Connected {
 protected:
  Connections() {
    b.agent.handle(echo_protocol, echo);
    b.agent.handle(taking_protocol, take);
  }
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Connections, each_muxer, name_of_muxer);

TEST_P(Connections, CarryMegabytesBothWaysIntact) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), echo_protocol);
    const Bytes sent = network.random().bytes(4 * 1024 * 1024);
    TaskGroup writing(network.loop());
    const auto write = [&]() -> Awaitable<void> {
      co_await stream.write(sent);
      stream.close_write();
    };
    writing.spawn(write());
    Bytes received;
    while (true) {
      const ByteView bytes = co_await stream.read();
      if (bytes.empty()) break;
      append(received, bytes);
    }
    co_await writing.join();
    EXPECT_TRUE(received == sent);
  });
}

// With yamux's first window under way for a round trip at a time, it would take 128 of them.
TEST_P(Connections, LetAFastReaderHaveMoreUnderWay) {
  network.latency = milliseconds(10);
  network.pipe_size = 2 * limits::yamux_max_window;
  with_connection([&]() -> Awaitable<void> {
    co_await a.agent.ping(b.agent.id());
    Stream stream = co_await a.agent.open_stream(b.agent.id(), taking_protocol);
    const Time start = network.clock().now();
    co_await stream.write(Bytes(128 * limits::yamux_initial_window));
    co_await stream.finish(seconds(10));  // the other side closes behind the last byte
    const auto round_trips = (network.clock().now() - start) / (2 * network.latency);
    EXPECT_LT(round_trips, 20);
  });
}

TEST_P(Connections, CarryManyStreamsAtOnce) {
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    std::size_t done = 0;
    const auto one = [&](std::size_t size) -> Awaitable<void> {
      Stream stream = co_await a.agent.open_stream(b.agent.id(), echo_protocol);
      const Bytes sent = network.random().bytes(size);
      co_await write_frame(stream, sent);
      const std::optional<Bytes> received = co_await read_frame(stream, size);
      EXPECT_TRUE(received == sent);
      stream.close_write();
      EXPECT_TRUE((co_await stream.read()).empty());
      ++done;
    };
    for (std::size_t i = 0; i < 100; ++i) group.spawn(one(i * 100));
    co_await group.join();
    EXPECT_EQ(done, 100U);
  });
}

TEST_P(Connections, RefuseAProtocolThatNobodyHandles) {
  with_connection([&]() -> Awaitable<void> {
    const auto open = [&]() -> Awaitable<void> { co_await a.agent.open_stream(b.agent.id(), "/nobody/1.0.0"); };
    EXPECT_EQ(co_await error_of(open()), Errc::unsupported);
    Stream still = co_await a.agent.open_stream(b.agent.id(), echo_protocol);
    still.close_write();
    EXPECT_TRUE((co_await still.read()).empty());
  });
}

TEST_P(Connections, GiveTheReaderWhatArrivedBeforeTheEnd) {
  b.agent.handle("/test/short/1.0.0", [](Stream stream) -> Awaitable<void> {
    co_await stream.write(as_bytes("last words"));
    stream.close_write();
    co_await stream.finish(seconds(1));
  });
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/short/1.0.0");
    stream.close_write();
    co_await pause(network, seconds(2));
    EXPECT_EQ(as_text(co_await stream.read()), "last words");
    EXPECT_TRUE((co_await stream.read()).empty());
  });
}

TEST_P(Connections, WakeTheOtherSideWhenAStreamIsReset) {
  b.agent.handle("/test/reset/1.0.0", [](Stream stream) -> Awaitable<void> {
    co_await stream.read();
    stream.reset();
  });
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/reset/1.0.0");
    co_await stream.write(as_bytes("x"));
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
    const auto write = [&]() -> Awaitable<void> { co_await stream.write(as_bytes("y")); };
    EXPECT_EQ(co_await error_of(write()), Errc::closed);
  });
}

TEST_P(Connections, ResetTheStreamOfAHandlerThatThrows) {
  b.agent.handle("/test/throws/1.0.0", [](Stream stream) -> Awaitable<void> {
    co_await stream.read();
    fail(Errc::malformed, "on purpose");
  });
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/throws/1.0.0");
    co_await stream.write(as_bytes("x"));
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
    EXPECT_NE(a.agent.connection_to(b.agent.id()), nullptr);
  });
}

TEST_P(Connections, EndAWaitAtItsDeadline) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    const Time start = network.clock().now();
    const Timer deadline = stream.deadline(seconds(7), "too late");
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::timed_out);
    EXPECT_EQ(network.clock().now() - start, seconds(7));
  });
}

TEST_P(Connections, DoNotFireADeadlineThatWasTakenBack) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), echo_protocol);
    { const Timer deadline = stream.deadline(seconds(1), "too late"); }
    co_await pause(network, seconds(2));
    co_await stream.write(as_bytes("alive"));
    EXPECT_EQ(as_text(co_await stream.read()), "alive");
    stream.close_write();
    co_await stream.read();
  });
}

TEST_P(Connections, LetPayloadTravelWithTheProposal) {
  with_connection([&]() -> Awaitable<void> {
    // Known to be there, so nothing is waited for before the first byte leaves.
    Connection& connection = const_cast<Connection&>(*a.agent.connection_to(b.agent.id()));
    const Time start = network.clock().now();
    Stream stream = connection.open_stream_lazily(echo_protocol);
    co_await stream.write(as_bytes("first flight"));
    std::string echoed;
    while (echoed.size() < 12) echoed += as_text(co_await stream.read());
    EXPECT_EQ(echoed, "first flight");
    EXPECT_EQ(network.clock().now() - start, 2 * network.latency);
    stream.close_write();
    co_await stream.read();
    Stream refused = connection.open_stream_lazily("/nobody/1.0.0");
    const auto read = [&]() -> Awaitable<void> { co_await refused.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::unsupported);
  });
}

TEST_P(Connections, EndWhenTheOtherHostIsKilled) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    b.host.kill_connections();
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
    EXPECT_EQ(a.agent.connection_to(b.agent.id()), nullptr);
    const auto open = [&]() -> Awaitable<void> { co_await a.agent.open_stream(b.agent.id(), echo_protocol); };
    EXPECT_EQ(co_await error_of(open()), Errc::closed);
  });
}

TEST_P(Connections, OutliveNothingButTheirStreams) {
  std::optional<Stream> kept;
  with_connection([&]() -> Awaitable<void> { kept.emplace(co_await a.agent.open_stream(b.agent.id(), silent_protocol)); });
  // The connection is gone; the handle still says so instead of touching it.
  const auto read = [&]() -> Awaitable<void> { co_await kept->read(); };
  const auto check = [&]() -> Awaitable<void> {
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
    kept->close_write();
    kept->reset();
  };
  network.run(check());
}

TEST_P(Connections, DoNotLetOneUnreadStreamStopTheOthersForLong) {
  // The peer does not read the silent stream. yamux stops its sender by the window; mplex has none, and gives the stream up after a while.
  with_connection([&]() -> Awaitable<void> {
    Stream flooded = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    TaskGroup flooding(network.loop());
    const auto flood = [&]() -> Awaitable<void> {
      try {
        co_await flooded.write(Bytes(8 * 1024 * 1024));
      } catch (const boost::system::system_error&) {
      }
    };
    flooding.spawn(flood());
    const Time start = network.clock().now();
    Stream other = co_await a.agent.open_stream(b.agent.id(), echo_protocol);
    co_await other.write(as_bytes("still here"));
    std::string echoed;
    while (echoed.size() < 10) echoed += as_text(co_await other.read());
    EXPECT_EQ(echoed, "still here");
    EXPECT_LE(network.clock().now() - start, limits::mplex_unread + seconds(1));
    other.close_write();
    co_await other.read();
    flooded.reset();
    co_await flooding.join();
  });
}

TEST_P(Connections, OpenNoMoreStreamsThanTheLimit) {
  with_connection([&]() -> Awaitable<void> {
    std::vector<Stream> streams;
    co_await a.agent.identify(b.agent.id());
    const auto open = [&]() -> Awaitable<void> { streams.push_back(co_await a.agent.open_stream(b.agent.id(), silent_protocol)); };
    for (std::size_t i = 1; i < limits::streams_outbound; ++i) co_await open();
    EXPECT_EQ(co_await error_of(open()), Errc::exhausted);
    Stream pinging = co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol));
    co_await ping(pinging, network.random());
    co_await pinging.finish(seconds(1));
    streams.pop_back();
    EXPECT_EQ(co_await error_of(open()), Errc{});
    streams.clear();
  });
}

TEST_P(Connections, GiveUpAStreamWhoseProtocolIsNeverNamed) {
  with_connection([&]() -> Awaitable<void> {
    Connection& connection = const_cast<Connection&>(*a.agent.connection_to(b.agent.id()));
    // Half a proposal, and silence. The lazy dialer's own proposal would be whole, so this one is made by hand on a raw stream.
    const Time start = network.clock().now();
    Stream stream = connection.open_stream_lazily("/nobody/1.0.0");
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::unsupported);
    // b waits for another proposal now, and resets the stream when none comes.
    co_await sleep_until(network.clock(), network.loop(), start + limits::negotiation + seconds(1));
    const auto write = [&]() -> Awaitable<void> { co_await stream.write(as_bytes("x")); };
    EXPECT_EQ(co_await error_of(write()), Errc::closed);
  });
}

TEST_P(Connections, CountTheBuffersThatAStreamKeepsAndFreeThemWhileItWaits) {
  Latch reading(network.loop());
  b.agent.handle("/test/hold/1.0.0", [&](Stream stream) -> Awaitable<void> {
    Stream held = std::move(stream);
    std::size_t taken = 0;
    while (taken < 200'001) taken += (co_await held.read()).size();
    co_await reading.wait();
    co_await held.read();
  });
  with_connection([&]() -> Awaitable<void> {
    co_await a.agent.identify(b.agent.id());
    const Connection& connection = *b.agent.connection_to(a.agent.id());
    const std::size_t before = connection.memory_held();
    Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/hold/1.0.0");
    co_await stream.write(Bytes(200'000));
    co_await pause(network, milliseconds(10));
    co_await stream.write(Bytes(1));
    co_await pause(network, milliseconds(10));
    EXPECT_GT(connection.memory_held(), before + limits::stream_memory + limits::stream_kept);  // for a stream that has one byte
    reading.open();
    co_await pause(network, seconds(30));
    EXPECT_LE(connection.memory_held(), before + limits::stream_memory + limits::stream_kept);
    stream.reset();
  });
}

TEST_P(Connections, KeepNoBuffersWhileNothingHappens) {
  b.agent.handle("/test/echo/1.0.0", [](Stream stream) -> Awaitable<void> {
    for (ByteView some = co_await stream.read(); !some.empty(); some = co_await stream.read()) {
      const Bytes echoed(some.begin(), some.end());
      co_await stream.write(echoed);
    }
    co_await stream.finish(seconds(1));
  });
  with_connection([&]() -> Awaitable<void> {
    co_await a.agent.identify(b.agent.id());
    // The output alternates between two buffers: both have been large, and either is written last.
    for (const std::size_t last : {1U, 100'000U}) {
      {
        Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/echo/1.0.0");
        for (const std::size_t size : {std::size_t{200'000}, std::size_t{200'000}, last}) {
          const Bytes sent(size);
          co_await stream.write(sent);
          for (std::size_t echoed = 0; echoed < size;) echoed += (co_await stream.read()).size();
        }
        co_await stream.finish(seconds(1));
      }
      co_await pause(network, 2 * limits::alive_idle);
      for (const Connection* const connection : {a.agent.connection_to(b.agent.id()), b.agent.connection_to(a.agent.id())}) {
        EXPECT_LE(connection->memory_held(), limits::connection_memory + 1024);  // what a ping takes
      }
    }
  });
}

TEST_P(Connections, EchoPings) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await ping(stream, network.random()), 2 * network.latency);
    stream.close_write();
    EXPECT_TRUE((co_await stream.read()).empty());
  });
}

TEST_P(Connections, RefuseAPingAnsweredWithOtherBytes) {
  b.agent.handle(std::string(ping_protocol), [](Stream stream) -> Awaitable<void> {
    co_await stream.read();
    const Bytes wrong(32);
    co_await stream.write(wrong);
    co_await stream.finish(seconds(1));
  });
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol));
    const auto once = [&]() -> Awaitable<void> { co_await ping(stream, network.random()); };
    EXPECT_EQ(co_await error_of(once()), Errc::unverified);
  });
}

TEST_P(Connections, RefuseFramesAboveTheLimitBeforeTheyArrive) {
  b.agent.handle("/test/frames/1.0.0", [](Stream stream) -> Awaitable<void> {
    const Bytes message(1000);
    co_await write_frame(stream, message);
    co_await write_frame(stream, message);
    co_await stream.finish(seconds(1));
  });
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/frames/1.0.0");
    EXPECT_EQ((co_await read_frame(stream, 1000))->size(), 1000U);
    const auto read = [&]() -> Awaitable<void> { co_await read_frame(stream, 999); };
    EXPECT_EQ(co_await error_of(read()), Errc::too_large);
  });
}

TEST_P(Connections, SayWhenAStreamEndsWithinAFrame) {
  Bytes half;
  b.agent.handle("/test/half/1.0.0", [&half](Stream stream) -> Awaitable<void> {
    co_await stream.write(half);
    co_await stream.finish(seconds(1));
  });
  with_connection([&]() -> Awaitable<void> {
    for (const Bytes& part : {Bytes{10, 1, 2, 3}, Bytes{0x80}}) {
      half = part;
      Stream stream = co_await a.agent.open_stream(b.agent.id(), "/test/half/1.0.0");
      const auto read = [&]() -> Awaitable<void> { co_await read_frame(stream, 999); };
      EXPECT_EQ(co_await error_of(read()), Errc::closed);
    }
  });
}

}  // namespace
}  // namespace p2p::test
