// Many from one address: they stand in nobody's way but their own.

#include "base/limits.hpp"
#include "network/ping.hpp"
#include "support/raw_peer.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Lets so many bytes through at once, and says nothing of it that no more follow.
class Cut : public ByteStream {
 public:
  Cut(std::unique_ptr<ByteStream> channel, std::size_t bytes) : channel_(std::move(channel)), left_(bytes) {}

  std::size_t written = 0;

  Awaitable<void> connect(Duration patience) override { return channel_->connect(patience); }
  Awaitable<void> wait_readable() override { return channel_->wait_readable(); }
  Awaitable<std::size_t> read_some(ByteSpan into) override { return channel_->read_some(into); }
  Awaitable<void> write(ByteView bytes) override {
    written += bytes.size();
    const ByteView part = bytes.first(std::min(bytes.size(), left_));
    left_ -= part.size();
    co_await channel_->write(part);
    co_await write_rest(bytes.subspan(part.size()));
  }
  void close() noexcept override { channel_->close(); }
  const Multiaddr& remote_address() const override { return channel_->remote_address(); }

 protected:
  virtual Awaitable<void> write_rest(ByteView) { co_return; }

  const std::unique_ptr<ByteStream> channel_;

 private:
  std::size_t left_;
};

// Lets so many bytes through at once, and one a second of those that follow.
class Drip final : public Cut {
 public:
  Drip(SimNetwork& network, std::unique_ptr<ByteStream> channel, std::size_t bytes) : Cut(std::move(channel), bytes), network_(network) {}

 private:
  Awaitable<void> write_rest(ByteView bytes) override {
    for (const std::uint8_t byte : bytes) {
      co_await channel_->write(ByteView(&byte, 1));
      co_await pause(network_, seconds(1));
    }
  }

  SimNetwork& network_;
};

class Throng : public testing::Test {
 protected:
  /// A channel that says nothing.
  Awaitable<std::unique_ptr<ByteStream>> silent(SimHost& host, Multiaddr address) {
    std::unique_ptr<ByteStream> channel = host.dial(address);
    co_await channel->connect(seconds(1));
    co_return channel;
  }
  Awaitable<bool> is_closed(ByteStream& channel) {
    const Time before = network.clock().now();
    Bytes nothing(1);
    const std::size_t count = co_await channel.read_some(nothing);
    co_return count == 0 && network.clock().now() == before;
  }
  /// A handshake that is valid, and nothing behind it. Throws at the end of the channel, `size` set before that if all of it was written.
  Awaitable<void> shake_hands(SimHost& host, std::unique_ptr<Cut> cut, std::size_t& size) {
    Cut& channel = *cut;
    Upgraded upgraded = co_await upgrade_dialer(host.environment(), over_yamux, std::move(cut), std::nullopt);
    co_await channel.write(upgraded.unsent);
    size = channel.written;
    // The other side's frames show that it has the whole.
    Bytes answer(1024);
    while (co_await channel.read_some(answer) > 0) {
    }
    fail(Errc::closed, "the other side closed");
  }
  /// Of a host's log.
  static std::size_t lines_with(const SimHost& host, std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(host.log.begin(), host.log.end(), [text](const std::string& line) { return line.find(text) != std::string::npos; }));
  }

  /// Half of its time the listener's machine may sleep, which is not the reader's fault.
  void let_go_who_reads_a_byte_a_second(bool sleeps);

  SimNetwork network;
  const NoiseStatic keys{KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{7}), crypto::Key{7}};
  const UpgradeOptions over_yamux{keys, {std::string(yamux_protocol)}};
  const UpgradeOptions over_mplex{keys, {std::string(mplex_protocol)}};
};

TEST_F(Throng, OfUnfinishedHandshakesFromOneAddressLosesItsOwnOldest) {
  SimAgent listener(network, listening());
  SimHost& other = network.add_host();
  SimHost& crowd = network.add_host();
  network.run({&listener}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    const std::unique_ptr<ByteStream> earlier = co_await silent(other, address);
    std::vector<std::unique_ptr<ByteStream>> held;
    for (std::size_t i = 0; i < limits::pending_handshakes_address + 1; ++i) held.push_back(co_await silent(crowd, address));
    co_await pause(network, milliseconds(1));
    EXPECT_TRUE(co_await is_closed(*held.front()));
    held.erase(held.begin());
    // All the others, and the one of the other address, are there until their time is over.
    const Time start = network.clock().now();
    Bytes nothing(1);
    EXPECT_EQ(co_await earlier->read_some(nothing), 0U);
    EXPECT_GE(network.clock().now() - start, limits::handshake - seconds(1));
    for (const auto& one : held) EXPECT_EQ(co_await one->read_some(nothing), 0U);
  });
}

TEST_F(Throng, OfUnfinishedHandshakesFromManyAddressesLosesTheOldestOfWhicheverHasMost) {
  SimAgent listener(network, listening());
  SimAgent honest(network, looking());
  SimHost& first = network.add_host();
  network.run({&listener, &honest}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    std::vector<std::unique_ptr<ByteStream>> held;
    held.push_back(co_await silent(first, address));
    const std::size_t hosts = limits::pending_handshakes / limits::pending_handshakes_address;
    for (std::size_t i = 0; i < hosts; ++i) {
      SimHost& host = network.add_host();
      for (std::size_t k = 0; k < limits::pending_handshakes_address; ++k) held.push_back(co_await silent(host, address));
    }
    co_await pause(network, milliseconds(1));
    EXPECT_TRUE(co_await is_closed(*held[1]));
    co_await honest.agent.connect(listener.agent.addresses());
    EXPECT_FALSE(co_await is_closed(*held[0]));  // until its time is over
  });
}

TEST_F(Throng, ThatStopsAfterAnyByteOfItsHandshakeIsGivenUpWhenItsTimeIsOver) {
  SimAgent listener(network, listening());
  SimAgent honest(network, looking());
  SimHost& crowd = network.add_host();
  network.run({&listener, &honest}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    std::size_t size = 0;
    TaskGroup group(network.loop());
    std::size_t through = 0;
    const auto attempt = [&](std::size_t bytes) -> Awaitable<void> {
      auto cut = std::make_unique<Cut>(co_await silent(crowd, address), bytes);
      EXPECT_NE(co_await error_of(shake_hands(crowd, std::move(cut), size)), Errc{});
      ++through;
    };
    group.spawn(attempt(std::numeric_limits<std::size_t>::max()));
    co_await pause(network, seconds(1));
    EXPECT_GT(size, 200U);
    const auto given_up = [&] { return lines_with(listener.host, "no connection from"); };
    EXPECT_EQ(given_up(), 0U);
    for (std::size_t begin = 0; begin < size; begin += limits::pending_handshakes_address) {
      const std::size_t end = std::min(size, begin + limits::pending_handshakes_address);
      for (std::size_t bytes = begin; bytes < end; ++bytes) group.spawn(attempt(bytes));
      co_await pause(network, limits::handshake / 2);
      EXPECT_EQ(given_up(), begin);
      const Time start = network.clock().now();
      co_await honest.agent.connect(listener.agent.addresses());
      EXPECT_LE(network.clock().now() - start, 8 * network.latency);
      honest.agent.disconnect(listener.agent.id());
      co_await pause(network, limits::handshake / 2 + seconds(1));
      EXPECT_EQ(given_up(), end);
    }
    listener.agent.close();
    co_await group.join();
    EXPECT_EQ(through, size + 1);
  });
}

TEST_F(Throng, ThatSendsAByteASecondOfItsHandshakeIsGivenUpWhenItsTimeIsOver) {
  std::size_t through = 0;
  SimAgent listener(network, listening(), {{}, {}, [&](const Connection&) { ++through; }, {}});
  SimAgent resident(network, looking());  // while whom handshakes of one address have their pace, which is no excuse
  SimHost& crowd = network.add_host();
  network.run({&listener, &resident}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    co_await resident.agent.connect(listener.agent.addresses());
    co_await pause(network, milliseconds(10));
    through = 0;
    std::size_t size = 0;
    TaskGroup group(network.loop());
    const auto drip = [&](std::size_t at_once) -> Awaitable<void> {
      std::unique_ptr<ByteStream> channel = co_await silent(crowd, address);
      std::unique_ptr<Cut> dripping = std::make_unique<Drip>(network, std::move(channel), at_once);
      co_await error_of(shake_hands(crowd, std::move(dripping), size));
    };
    group.spawn(drip(std::numeric_limits<std::size_t>::max()));
    co_await pause(network, milliseconds(10));
    EXPECT_EQ(through, 1U);
    // The last byte of one comes after nine seconds; all the others would take more than ten.
    constexpr std::size_t in_time = 10;
    const std::size_t whole = size;
    group.spawn(drip(whole - in_time));
    std::size_t late = 0;
    for (std::size_t at_once = 0; at_once + in_time < whole; at_once += 4, ++late) group.spawn(drip(at_once));
    EXPECT_GT(late, 50U);
    EXPECT_LT(late, limits::pending_handshakes_address);
    const auto given_up = [&] { return lines_with(listener.host, ": the peer did not finish the handshake in time"); };
    co_await pause(network, 2 * network.latency + limits::handshake - milliseconds(1));  // from accept
    EXPECT_EQ(lines_with(listener.host, "no connection from"), 0U);
    EXPECT_EQ(through, 2U);
    co_await pause(network, milliseconds(1) + network.latency);
    EXPECT_EQ(given_up(), late);
    EXPECT_EQ(through, 2U);
    co_await group.join();
    resident.agent.disconnect(listener.agent.id());
    co_await pause(network, milliseconds(10));
    EXPECT_EQ(network.connections(), 0U);
    // Their places are free: of as many as there may be, the first is there until its own time is over.
    std::vector<std::unique_ptr<ByteStream>> held;
    while (held.size() < limits::pending_handshakes_address) held.push_back(co_await silent(crowd, address));
    const Time start = network.clock().now();
    Bytes nothing(1);
    EXPECT_EQ(co_await held.front()->read_some(nothing), 0U);
    EXPECT_GE(network.clock().now() - start, limits::handshake - seconds(1));
    EXPECT_EQ(given_up(), late + 1);
  });
}

TEST_F(Throng, ThatTakesEveryPlaceMakesRoomForWhoeverComesFromElsewhere) {
  AgentOptions options = listening();
  options.max_connections = 4;
  SimAgent listener(network, options);
  SimAgent crowd(network, looking());
  SimAgent honest(network, looking());
  SimAgent another(network, looking());
  network.run({&listener, &crowd, &honest, &another}, [&]() -> Awaitable<void> {
    for (std::size_t i = 0; i < options.max_connections; ++i) {
      co_await crowd.agent.connect(listener.agent.addresses());
      co_await pause(network, milliseconds(100));
    }
    co_await honest.agent.connect(listener.agent.addresses());
    co_await honest.agent.identify(listener.agent.id());
    co_await another.agent.connect(listener.agent.addresses());
    co_await another.agent.identify(listener.agent.id());
    co_await pause(network, seconds(1));
    EXPECT_NE(honest.agent.connection_to(listener.agent.id()), nullptr);
    EXPECT_NE(another.agent.connection_to(listener.agent.id()), nullptr);
    // Two are left of the crowd. It gets no third place, which would be more than its share.
    const auto further = [&]() -> Awaitable<void> {
      co_await crowd.agent.connect(listener.agent.addresses());
      co_await pause(network, seconds(1));
    };
    co_await error_of(further());
    EXPECT_NE(honest.agent.connection_to(listener.agent.id()), nullptr);
    EXPECT_NE(another.agent.connection_to(listener.agent.id()), nullptr);
  });
}

// One address of each suffices to take every place, and a host has as many as it gives itself.
TEST_F(Throng, ThatTakesEveryPlaceFromAnAddressEachKeepsThoseThatItUses) {
  AgentOptions options = listening();
  options.max_connections = 4;
  SimAgent listener(network, options);
  listener.agent.handle("/silence", [](Stream stream) -> Awaitable<void> { co_await stream.read(); });
  std::vector<std::unique_ptr<SimAgent>> crowd;
  std::vector<SimAgent*> hosts{&listener};
  while (hosts.size() < 8) hosts.push_back(crowd.emplace_back(std::make_unique<SimAgent>(network, looking())).get());
  network.run(hosts, [&]() -> Awaitable<void> {
    const auto is_connected = [&](std::size_t i) { return crowd[i]->agent.connection_to(listener.agent.id()) != nullptr; };
    const auto connect = [&](std::size_t i) -> Awaitable<void> {
      co_await crowd[i]->agent.connect(listener.agent.addresses());
      co_await crowd[i]->agent.identify(listener.agent.id());
      co_await pause(network, seconds(1));
    };
    std::vector<Stream> used;
    const auto use = [&](std::size_t i) { used.push_back(crowd[i]->agent.open_stream_lazily(listener.agent.id(), "/silence")); };
    for (std::size_t i = 0; i < options.max_connections; ++i) co_await connect(i);
    use(0);
    use(1);
    co_await connect(4);
    EXPECT_TRUE(is_connected(4));
    EXPECT_FALSE(is_connected(2));  // the longest silent one of the two
    use(4);
    co_await connect(5);
    EXPECT_FALSE(is_connected(3));
    use(5);
    const Errc refused = co_await error_of(connect(6));
    EXPECT_EQ(refused, Errc::closed);
    for (const std::size_t i : {0U, 1U, 4U, 5U}) EXPECT_TRUE(is_connected(i));
  });
}

// Handshakes cost more than anything else that a stranger can ask for.
class Churn : public Throng {
 protected:
  /// Connects as fast as it can for a while, and counts how often it got through; or how often it met another peer than the one it wants.
  Awaitable<std::size_t> churn(SimAgent& attacker, SimAgent& listener, Duration time, std::optional<PeerId> wanted = std::nullopt) {
    std::size_t through = 0;
    const Time end = network.clock().now() + time;
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> {
      while (network.clock().now() < end) {
        const auto attempt = [&]() -> Awaitable<void> {
          const std::vector<Multiaddr> addresses(1, listener.agent.addresses().front().without_peer_id());
          co_await attacker.agent.connect(addresses, wanted, end);
          attacker.agent.disconnect(listener.agent.id());
          ++through;
        };
        const Errc error = co_await error_of(attempt());
        if (wanted && error == Errc::unverified) ++through;
      }
    };
    for (int i = 0; i < 16; ++i) group.spawn(one());
    co_await group.join();
    co_return through;
  }
  static std::size_t most_in(Duration time) { return limits::handshake_burst + static_cast<std::size_t>(time / limits::handshake_pace); }
};

TEST_F(Churn, FromOneAddressIsPacedWhileOthersAreHere) {
  SimAgent listener(network, listening());
  SimAgent attacker(network, looking());
  SimAgent resident(network, looking());
  SimAgent honest(network, looking());
  network.run({&listener, &attacker, &resident, &honest}, [&]() -> Awaitable<void> {
    co_await resident.agent.connect(listener.agent.addresses());
    const std::size_t most = most_in(seconds(1));
    std::size_t through = 0;
    TaskGroup attacking(network.loop());
    const auto attack = [&]() -> Awaitable<void> { through = co_await churn(attacker, listener, seconds(1)); };
    attacking.spawn(attack());
    // Whoever comes from elsewhere meanwhile does not wait for the attacker's turns.
    for (int i = 0; i < 9; ++i) {
      co_await pause(network, milliseconds(100));
      const Time start = network.clock().now();
      co_await honest.agent.connect(listener.agent.addresses());
      EXPECT_LE(network.clock().now() - start, 8 * network.latency);
      EXPECT_EQ(co_await honest.agent.ping(listener.agent.id()), 2 * network.latency);
      honest.agent.disconnect(listener.agent.id());
    }
    EXPECT_EQ(co_await resident.agent.ping(listener.agent.id()), 2 * network.latency);
    EXPECT_EQ(attacking.size(), 1U) << "the attack was over before";
    co_await attacking.join();
    EXPECT_LE(through, most);
    EXPECT_GE(through, most / 2);
  });
}

TEST_F(Churn, FromAnAddressThatIsAloneIsNotHeldUp) {
  SimAgent listener(network, listening());
  SimAgent busy(network, looking());
  network.run({&listener, &busy},
              [&]() -> Awaitable<void> { EXPECT_GT(co_await churn(busy, listener, milliseconds(100)), 2 * most_in(milliseconds(100))); });
}

TEST_F(Churn, ThatFailsIsPacedMore) {
  SimAgent listener(network, listening());
  SimAgent attacker(network, looking());
  SimAgent resident(network, looking());
  network.run({&listener, &attacker, &resident}, [&]() -> Awaitable<void> {
    co_await resident.agent.connect(listener.agent.addresses());
    const std::size_t through = co_await churn(attacker, listener, seconds(1), resident.agent.id());
    EXPECT_LE(through, most_in(seconds(1)) / limits::handshake_dear + 16);  // attempts at once
    EXPECT_GE(through, most_in(seconds(1)) / limits::handshake_dear / 2);
  });
}

// Those that are dropped before their turn cost nothing, and are not held against those that come behind them.
TEST_F(Churn, OfACrowdLeavesNobodyOutBehindIt) {
  SimAgent listener(network, listening());
  SimAgent crowd(network, looking());
  SimAgent resident(network, looking());
  network.run({&listener, &crowd, &resident}, [&]() -> Awaitable<void> {
    co_await resident.agent.connect(listener.agent.addresses());
    const Multiaddr address = listener.agent.addresses().front();
    std::vector<std::unique_ptr<ByteStream>> channels;
    for (std::size_t i = 0; i < 10 * limits::pending_handshakes_address; ++i) {
      channels.push_back(crowd.host.dial(address));
      co_await channels.back()->connect(seconds(1));
    }
    // Who comes then waits no longer than behind as many as may wait.
    const Time start = network.clock().now();
    co_await crowd.agent.connect(listener.agent.addresses());
    EXPECT_LE(network.clock().now() - start, 2 * static_cast<int>(limits::pending_handshakes_address) * limits::handshake_pace);
  });
}

const std::string endless_protocol = "/test/endless/1.0.0";

Awaitable<void> write_without_end(Stream stream) {
  const Bytes block(64 * 1024);
  while (true) co_await stream.write(block);
}

TEST_F(Throng, ThatDoesNotReadWhatItAsksForIsLetGo) {
  SimAgent listener(network, listening());
  listener.agent.handle(endless_protocol, write_without_end);
  RawPeer peer(network, std::string(mplex_protocol));  // which has no windows
  network.run({&listener}, [&]() -> Awaitable<void> {
    co_await peer.dial(listener.agent.addresses().front());
    const StreamId stream = peer.session().open().value();
    multistream::Dialer negotiation({endless_protocol});
    co_await peer.send_bytewise(stream, negotiation.take_output());
    // It goes on speaking, so that it is not gone.
    const Time start = network.clock().now();
    const auto speak = [&]() -> Awaitable<void> {
      while (true) {
        co_await peer.send_bytewise(stream, Bytes(1));
        co_await pause(network, seconds(1));
      }
    };
    EXPECT_EQ(co_await error_of(speak()), Errc::closed);
    EXPECT_GE(network.clock().now() - start, limits::write_wait);
    EXPECT_LE(network.clock().now() - start, limits::write_wait + limits::alive_idle + seconds(2));
  });
}

void Throng::let_go_who_reads_a_byte_a_second(bool sleeps) {
  std::string reason;
  network.pipe_size = limits::write_buffer / 2;  // so that what is left of a write is much more than what is read here
  SimAgent listener(network, listening(), {{}, {}, {}, [&](const Connection& connection) { reason = connection.reason(); }});
  listener.agent.handle(endless_protocol, write_without_end);
  SimHost& host = network.add_host();
  network.run({&listener}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    std::unique_ptr<ByteStream> dialled = co_await silent(host, address);
    Upgraded peer = co_await upgrade_dialer(host.environment(), over_mplex, std::move(dialled), std::nullopt);
    const std::unique_ptr<MuxSession> session = make_mux_session(peer.muxer, peer.role, peer.secure.writer);
    const StreamId stream = session->open().value();
    multistream::Dialer negotiation({endless_protocol});
    session->send(stream, negotiation.take_output());
    Time start = network.clock().now();
    std::size_t taken = 0;
    const auto speak_and_read = [&]() -> Awaitable<void> {
      Bytes byte(1);
      while (true) {
        Bytes flight = std::exchange(peer.unsent, {});
        append(flight, peer.secure.writer.take({}));
        co_await peer.channel->write(flight);
        co_await pause(network, seconds(1));
        taken += co_await peer.channel->read_some(byte);
        if (sleeps && taken == std::size_t{limits::write_wait.count()} / 2) {
          network.suspend(std::chrono::hours(1));
          start = network.clock().now();
        }
        session->send(stream, byte);  // it goes on speaking, so that it is not gone
      }
    };
    EXPECT_EQ(co_await error_of(speak_and_read()), Errc::closed);
    EXPECT_EQ(reason, "the peer does not take what is written to it");
    EXPECT_GE(network.clock().now() - start, limits::write_wait);
    EXPECT_LE(network.clock().now() - start, limits::write_wait + seconds(3));
    EXPECT_GE(taken, std::size_t{limits::write_wait.count()});
  });
}

TEST_F(Throng, ThatReadsAByteASecondOfWhatItAsksForIsLetGo) { let_go_who_reads_a_byte_a_second(false); }

TEST_F(Throng, ThatReadsSlowlyIsNotBlamedForTheTimeInWhichThisMachineSlept) { let_go_who_reads_a_byte_a_second(true); }

}  // namespace
}  // namespace p2p::test
