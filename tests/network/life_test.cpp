#include "base/limits.hpp"
#include "network/ping.hpp"
#include "support/connected.hpp"
#include "support/raw_peer.hpp"

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

class Life : public Connected {
 protected:
  Life()
      : Connected(AgentEvents{{}, {}, {}, [this](const Connection& connection) {
                                ended = network.clock().now();
                                reason = connection.reason();
                                gone.open();
                              }}) {}

  void with_connection(std::function<Awaitable<void>()> work) {
    Connected::with_connection([&]() -> Awaitable<void> {
      co_await a.agent.identify(b.agent.id());
      co_await work();
    });
  }
  Awaitable<void> pass(Duration time) { return pause(network, time); }

  Latch gone{network.loop()};
  Time ended{};
  std::string reason;
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Life, each_muxer, name_of_muxer);

TEST_P(Life, OfAPeerThatIsGoneEndsWithinSixSecondsWhileAStreamWaitsForIt) {
  with_connection([&]() -> Awaitable<void> {
    for (const int idle : {0, 14, 40}) {
      co_await pass(seconds(idle));
      Stream stream = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
      b.host.unplug();
      const Time unplugged = network.clock().now();
      std::string message;
      const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
      EXPECT_EQ(co_await error_of(read(), &message), Errc::closed);
      EXPECT_NE(message.find("does not answer"), std::string::npos) << message;
      const Duration noticed = network.clock().now() - unplugged;
      EXPECT_LE(noticed, limits::alive_in_use + limits::alive_answer);
      EXPECT_GE(noticed, limits::alive_answer);
      b.host.plug_in();
      co_await a.agent.connect(b.agent.addresses());
      co_await a.agent.identify(b.agent.id());
    }
  });
}

// What this machine takes into its own buffers says nothing of the peer.
TEST_P(Life, OfAPeerThatIsGoneEndsWithinSixSecondsHoweverMuchIsWrittenToIt) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    b.host.unplug();
    const Time unplugged = network.clock().now();
    TaskGroup writing(network.loop());
    const auto write = [&]() -> Awaitable<void> {
      try {
        while (true) {
          co_await stream.write(Bytes(64 * 1024));
          co_await pass(seconds(2));
        }
      } catch (const boost::system::system_error&) {
      }
    };
    writing.spawn(write());
    co_await gone.wait();
    EXPECT_LE(ended - unplugged, limits::alive_in_use + limits::alive_answer);
    co_await writing.join();
  });
}

TEST_P(Life, OfAPeerThatIsGoneEndsWithoutAnyStreamAsWell) {
  with_connection([&]() -> Awaitable<void> {
    co_await pass(minutes(1));
    b.host.unplug();
    const Time unplugged = network.clock().now();
    co_await gone.wait();
    EXPECT_LE(ended - unplugged, limits::alive_idle + limits::alive_answer);
    EXPECT_NE(reason.find("does not answer"), std::string::npos) << reason;
    EXPECT_EQ(a.agent.connection_to(b.agent.id()), nullptr);
    b.host.plug_in();
  });
}

TEST_P(Life, OfAPeerThatSaysNothingGoesOnAsLongAsItAnswers) {
  with_connection([&]() -> Awaitable<void> {
    Stream waiting = co_await a.agent.open_stream(b.agent.id(), silent_protocol);
    co_await pass(minutes(10));
    const Connection* const connection = a.agent.connection_to(b.agent.id());
    if (connection == nullptr) throw std::logic_error(reason);
    EXPECT_FALSE(gone.is_open());
    Stream stream = co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol));
    co_await ping(stream, network.random());
  });
}

TEST_P(Life, CostsAnIdleConnectionAPingIn15Seconds) {
  with_connection([&]() -> Awaitable<void> {
    co_await pass(minutes(1));
    const auto sent = [&] { return a.agent.connection_to(b.agent.id())->counters().bytes_out; };
    const std::uint64_t before = sent();
    co_await pass(minutes(10));
    EXPECT_LE(sent() - before, 10 * 60 / 15 * 300U);  // bytes of a ping or its answer, with all that is around it
    EXPECT_FALSE(gone.is_open());
  });
}

TEST_P(Life, OfAPeerThatIsGoneEndsWithAllStreamsInUse) {
  with_connection([&]() -> Awaitable<void> {
    std::vector<Stream> streams;
    while (streams.size() + 1 < limits::streams_outbound) streams.push_back(co_await a.agent.open_stream(b.agent.id(), silent_protocol));
    b.host.unplug();
    const Time unplugged = network.clock().now();
    co_await gone.wait();
    EXPECT_LE(ended - unplugged, limits::alive_in_use + limits::alive_answer);
    b.host.plug_in();
  });
}

TEST_P(Life, GoesOnWhenACableIsPulledForThreeSeconds) {
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await a.agent.open_stream(b.agent.id(), std::string(ping_protocol));
    co_await ping(stream, network.random());
    b.host.unplug();
    const Time unplugged = network.clock().now();
    const Timer timer = network.clock().schedule(unplugged + seconds(3), [this] { b.host.plug_in(); });
    co_await ping(stream, network.random());
    EXPECT_GE(network.clock().now() - unplugged, seconds(3));
    co_await pass(minutes(1));
    EXPECT_FALSE(gone.is_open()) << reason;
  });
}

TEST_P(Life, GoesOnAfterAnHourInWhichTheMachinesSlept) {
  with_connection([&]() -> Awaitable<void> {
    for (const bool in_use : {false, true}) {
      std::optional<Stream> stream;
      if (in_use) stream.emplace(co_await a.agent.open_stream(b.agent.id(), silent_protocol));
      co_await pass(seconds(20));
      network.suspend(std::chrono::hours(1));
      co_await pass(minutes(1));
      EXPECT_FALSE(gone.is_open()) << reason;
      if (gone.is_open()) co_return;
    }
  });
}

TEST(LifeOfAConnection, EndsWithAPeerWhoseRecordDoesNot) {
  // A yamux ping, which is answered when its record is whole: 12 bytes, and 18 of the record around it.
  const Bytes frame{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7};
  for (const bool in_time : {true, false}) {
    SimNetwork network;
    std::string reason;
    SimAgent listener(network, listening(), {{}, {}, {}, [&](const Connection& connection) { reason = connection.reason(); }});
    RawPeer raw(network, std::string(yamux_protocol));
    network.run({&listener}, [&]() -> Awaitable<void> {
      co_await raw.dial(listener.agent.addresses().front());
      const Time start = network.clock().now();
      const Duration all = in_time ? limits::record - seconds(1) : limits::record + seconds(1);
      EXPECT_EQ(co_await error_of(raw.send_slowly(frame, 1, all / 29)), in_time ? Errc{} : Errc::closed);
      co_await pause(network, milliseconds(10));
      EXPECT_EQ(reason, in_time ? "" : "the peer does not finish what it sends");
      EXPECT_LE(network.clock().now() - start, limits::record + seconds(1));
    });
  }
}

TEST(LifeOverMplex, GoesOnWithAPeerThatLeavesTheStreamsOfPingsOpen) {
  SimNetwork network;
  std::string reason;
  SimAgent dialer(network, looking(), {{}, {}, {}, [&](const Connection& connection) { reason = connection.reason(); }});
  RawPeer raw(network, std::string(mplex_protocol));
  const std::unique_ptr<Listener> listener = raw.host().listen(Multiaddr::tcp("0.0.0.0", 4001).value());
  network.run({&dialer}, [&]() -> Awaitable<void> {
    TaskGroup answering(network.loop());
    const auto answer = [&]() -> Awaitable<void> {
      co_await raw.accept(*listener);
      co_await error_of(raw.echo_everything());
    };
    answering.spawn(answer());
    std::vector<Multiaddr> addresses(1, Multiaddr::tcp(raw.host().ip(), 4001).value());
    const PeerId peer = (co_await dialer.agent.connect(addresses))->peer();
    std::vector<Stream> waiting;
    const auto open = [&]() -> Awaitable<void> {
      waiting.push_back(dialer.agent.open_stream_lazily(peer, silent_protocol));
      co_return;
    };
    // Identify has been given up, the pings meanwhile too, and an idle connection needs none yet: no place is left but for one at a time.
    co_await pause(network, limits::identify_wait + limits::close_wait + seconds(2));
    while (co_await error_of(open()) == Errc{}) {
    }
    EXPECT_EQ(waiting.size(), limits::streams_outbound - 1);
    co_await pause(network, minutes(10));
    EXPECT_NE(dialer.agent.connection_to(peer), nullptr) << reason;
    waiting.clear();
    co_await open();
    co_await pause(network, minutes(10));
    EXPECT_NE(dialer.agent.connection_to(peer), nullptr) << reason;
    waiting.clear();
    dialer.agent.disconnect(peer);
    co_await answering.join();
  });
}

}  // namespace
}  // namespace p2p::test
