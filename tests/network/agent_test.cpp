#include "base/limits.hpp"
#include "network/admission.hpp"
#include "network/protocol.hpp"
#include "support/sim.hpp"
#include "wire/mdns.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::vector<std::string> yamux{std::string(yamux_protocol)};
const std::vector<std::string> mplex{std::string(mplex_protocol)};
const std::vector<std::string> both{std::string(yamux_protocol), std::string(mplex_protocol)};
const std::vector<std::string> mplex_first{std::string(mplex_protocol), std::string(yamux_protocol)};

TEST(Agent, FindsARunningOneWithinARoundTrip) {
  SimNetwork network;
  SimAgent provider(network, listening());
  SimAgent finder(network, looking());
  const auto course = [&]() -> Awaitable<void> {
    provider.agent.start();
    co_await pause(network, seconds(60));  // its announcements are over
    finder.agent.start();
    const Time start = network.clock().now();
    const PeerId found = co_await finder.agent.next_discovered(start + seconds(5));
    EXPECT_EQ(found, provider.agent.id());
    EXPECT_EQ(network.clock().now() - start, 2 * network.latency);
    const Connection* const connection = co_await finder.agent.connect(found);
    EXPECT_EQ(connection->peer(), provider.agent.id());
    EXPECT_EQ(connection->muxer(), yamux_protocol);
    co_await finder.agent.stop();
    co_await provider.agent.stop();
  };
  network.run(course());
}

TEST(Agent, SaysThatNobodyIsThereWhenTheTimeIsOver) {
  SimNetwork network;
  SimAgent finder(network, looking());
  network.run({&finder}, [&]() -> Awaitable<void> {
    const Time start = network.clock().now();
    EXPECT_EQ(co_await error_of(discard(finder.agent.next_discovered(start + seconds(5)))), Errc::no_peer);
    EXPECT_EQ(network.clock().now() - start, seconds(5));
    EXPECT_EQ(finder.agent.discovery_links(), "eth0");
  });
}

TEST(Agent, SaysWhyThereIsNoDiscovery) {
  SimNetwork network;
  SimAgent alone(network, looking());
  SimAgent deaf(network, looking());
  alone.host.has_interface = false;
  deaf.host.refuses_groups = deaf.host.refuses_datagrams = true;
  const auto start = [](Agent& agent) -> Awaitable<void> {
    agent.start();
    co_return;
  };
  network.run({}, [&]() -> Awaitable<void> {
    std::string message;
    EXPECT_EQ(co_await error_of(start(alone.agent), &message), Errc::unreachable);
    EXPECT_EQ(message, "mDNS discovery is not possible: no network interface is up");
    EXPECT_EQ(co_await error_of(start(deaf.agent), &message), Errc::unreachable);
    EXPECT_EQ(message, "mDNS discovery is not possible: eth0: there is no multicast");
  });
}

TEST(Agent, FindsOthersWithoutThePortOfMdns) {
  SimNetwork network;
  SimAgent finder(network, looking());
  SimAgent provider(network, listening());
  finder.host.refuses_groups = true;
  network.run({&finder}, [&]() -> Awaitable<void> {
    co_await pause(network, seconds(3));  // its questions find nobody
    provider.agent.start();
    EXPECT_EQ(co_await finder.agent.next_discovered(network.clock().now() + seconds(10)), provider.agent.id());
    co_await provider.agent.stop();
  });
}

TEST(Agent, IsFoundOnceThePortOfMdnsIsFree) {
  SimNetwork network;
  SimAgent provider(network, listening());
  SimAgent finder(network, looking());
  provider.host.refuses_groups = true;
  network.run({&provider, &finder}, [&]() -> Awaitable<void> {
    EXPECT_EQ(provider.host.log.back(), "eth0: the port is taken: nobody finds this agent there over IPv4");
    EXPECT_EQ(co_await error_of(discard(finder.agent.next_discovered(network.clock().now() + seconds(30)))), Errc::no_peer);
    provider.host.refuses_groups = false;
    EXPECT_EQ(co_await finder.agent.next_discovered(network.clock().now() + seconds(6)), provider.agent.id());
  });
}

TEST(Agent, ListensEverywhereUnlessToldWhere) {
  SimNetwork network;
  SimHost& host = network.add_host();
  EXPECT_EQ(everywhere(host), std::vector{Multiaddr::tcp("0.0.0.0", 0).value()});
  EXPECT_EQ(everywhere(host, {"eth0"}), std::vector{Multiaddr::tcp(host.ip(), 0).value()});
  EXPECT_EQ(everywhere(host, {"eth1"}), std::vector<Multiaddr>());
}

TEST(Agent, SaysWhenItListensNoLonger) {
  SimNetwork network;
  SimAgent listener(network, listening());
  network.run({&listener}, [&]() -> Awaitable<void> {
    listener.host.close_listeners();
    co_await pause(network, seconds(1));
  });
  EXPECT_TRUE(listener.host.log.back().starts_with("no longer listening on /ip4/")) << listener.host.log.back();
}

TEST(Agent, DoesNotFindOneThatOnlyLooks) {
  SimNetwork network;
  SimAgent one(network, looking());
  SimAgent other(network, looking());
  network.run({&one, &other}, [&]() -> Awaitable<void> {
    EXPECT_EQ(co_await error_of(discard(one.agent.next_discovered(network.clock().now() + seconds(30)))), Errc::no_peer);
  });
}

TEST(Agent, LetsTwentyKnowEachOther) {
  SimNetwork network;
  std::vector<std::unique_ptr<SimAgent>> agents;
  for (int i = 0; i < 20; ++i) agents.push_back(std::make_unique<SimAgent>(network, listening()));
  const auto course = [&]() -> Awaitable<void> {
    for (const auto& one : agents) one->agent.start();
    for (const auto& one : agents) {
      std::set<PeerId> found;
      while (found.size() < agents.size() - 1) found.insert(co_await one->agent.next_discovered(network.clock().now() + seconds(10)));
      EXPECT_FALSE(found.contains(one->agent.id()));
    }
    for (const auto& one : agents) co_await one->agent.stop();
  };
  network.run(course());
}

TEST(Agent, ForgetsAPeerWhoseTimeIsOver) {
  SimNetwork network;
  std::optional<Time> gone;
  AgentEvents events;
  events.gone = [&](const PeerId&) { gone = network.clock().now(); };
  SimAgent finder(network, looking(), events);
  SimAgent provider(network, listening());
  network.run({&finder, &provider}, [&]() -> Awaitable<void> {
    co_await finder.agent.next_discovered(network.clock().now() + seconds(5));
    co_await pause(network, milliseconds(1500));  // the second announcement is heard too
    provider.host.unplug();
    const Time unplugged = network.clock().now();
    co_await pause(network, limits::mdns_ttl + seconds(1));
    EXPECT_TRUE(gone.has_value());
    EXPECT_LE(*gone - unplugged, limits::mdns_ttl);
    EXPECT_GE(*gone - unplugged, limits::mdns_ttl - seconds(2));
    EXPECT_TRUE(finder.agent.discovered_addresses(provider.agent.id()).empty());
    // Back again, it is found again.
    provider.host.plug_in();
    EXPECT_EQ(co_await finder.agent.next_discovered(network.clock().now() + seconds(60)), provider.agent.id());
  });
}

TEST(Agent, ForgetsAPeerThatCannotBeDialledOrWhoseConnectionEnds) {
  SimNetwork network;
  SimAgent finder(network, looking());
  SimAgent provider(network, listening());
  network.run({&finder, &provider}, [&]() -> Awaitable<void> {
    const PeerId id = co_await finder.agent.next_discovered(network.clock().now() + seconds(5));
    co_await finder.agent.connect(id);
    provider.host.kill_connections();
    co_await pause(network, milliseconds(10));
    EXPECT_TRUE(finder.agent.discovered_addresses(id).empty());
    co_await finder.agent.next_discovered(network.clock().now() + seconds(60));
    provider.host.unplug();
    const Time start = network.clock().now();
    EXPECT_EQ(co_await error_of(discard(finder.agent.connect(id))), Errc::unreachable);
    EXPECT_EQ(network.clock().now() - start, limits::dial);
    EXPECT_EQ(co_await error_of(discard(finder.agent.connect(id))), Errc::no_peer);
  });
}

TEST(Agent, HonoursAGoodbye) {
  SimNetwork network;
  SimAgent finder(network, looking());
  SimAgent provider(network, listening());
  network.run({&finder, &provider}, [&]() -> Awaitable<void> {
    const PeerId id = co_await finder.agent.next_discovered(network.clock().now() + seconds(5));
    const auto socket = provider.host.open_group(provider.host.interfaces().front(), Multicast::Family::ip4);
    const mdns::Announcement goodbye{"goodbyegoodbyegoodbyegoodbyegoodb", id, {provider.agent.addresses().front()}, seconds(0)};
    for (const Bytes& packet : mdns::encode_response(goodbye)) socket->send_to_group(packet);
    co_await pause(network, milliseconds(1));
    EXPECT_TRUE(finder.agent.discovered_addresses(id).empty());
  });
}

struct Muxers {
  std::vector<std::string> dialer;
  std::vector<std::string> listener;
  std::optional<std::string> agreed;
};

class Upgrade : public testing::TestWithParam<Muxers> {};

INSTANTIATE_TEST_SUITE_P(Muxers, Upgrade,
                         testing::Values(Muxers{both, both, std::string(yamux_protocol)}, Muxers{yamux, both, std::string(yamux_protocol)},
                                         Muxers{mplex, both, std::string(mplex_protocol)}, Muxers{both, mplex, std::string(mplex_protocol)},
                                         Muxers{mplex_first, both, std::string(mplex_protocol)},
                                         Muxers{both, mplex_first, std::string(yamux_protocol)}, Muxers{yamux, mplex, std::nullopt},
                                         Muxers{mplex_first, yamux, std::string(yamux_protocol)}));

TEST_P(Upgrade, AgreesOnTheDialersFirstMuxerThatTheListenerHas) {
  SimNetwork network;
  SimAgent dialer(network, looking(GetParam().dialer));
  SimAgent listener(network, listening(GetParam().listener));
  network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
    std::optional<std::string> agreed;
    try {
      agreed = (co_await dialer.agent.connect(listener.agent.addresses()))->muxer();
    } catch (const boost::system::system_error& error) {
      EXPECT_TRUE(is(error, Errc::unsupported)) << error.what();
    }
    EXPECT_EQ(agreed, GetParam().agreed);
  });
}

TEST(Agent, RefusesAnotherPeerThanTheOneAskedFor) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent listener(network, listening());
  const PeerId wanted = KeyPair::generate(network.random()).peer_id();
  network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
    std::vector<Multiaddr> addresses(1, listener.agent.addresses().front().with_peer_id(wanted));
    std::string message;
    const Time begun = network.clock().now();
    EXPECT_EQ(co_await error_of(discard(dialer.agent.connect(addresses)), &message), Errc::unverified);
    EXPECT_EQ(message, "another peer answered than the one asked for");
    EXPECT_LT(network.clock().now() - begun, milliseconds(10)) << "there is nothing more to wait for";
  });
}

TEST(Agent, DoesNotConnectToItself) {
  SimNetwork network;
  SimAgent agent(network, listening());
  network.run({&agent}, [&]() -> Awaitable<void> {
    EXPECT_EQ(co_await error_of(discard(agent.agent.connect(agent.agent.addresses()))), Errc::unverified);
  });
}

TEST(Agent, ConnectsToNobodyWithoutAnAddress) {
  SimNetwork network;
  SimAgent agent(network, looking());
  SimAgent other(network, listening());
  network.run({&agent}, [&]() -> Awaitable<void> {
    std::string message;
    EXPECT_EQ(co_await error_of(discard(agent.agent.connect(std::vector<Multiaddr>(), other.agent.id())), &message), Errc::no_peer);
    EXPECT_EQ(message, "no address is known for " + other.agent.id().text());
  });
}

TEST(Agent, KeepsNoConnectionThatIsMadeWhileItCloses) {
  for (auto when = std::chrono::microseconds(0); when < milliseconds(2); when += std::chrono::microseconds(50)) {
    SimNetwork network;
    SimAgent dialer(network, looking());
    SimAgent listener(network, listening());
    network.run({&listener}, [&]() -> Awaitable<void> {
      dialer.agent.start();
      TaskGroup group(network.loop());
      const auto connect = [&]() -> Awaitable<void> { co_await error_of(discard(dialer.agent.connect(listener.agent.addresses()))); };
      group.spawn(connect());
      co_await pause(network, when);
      dialer.agent.close();
      co_await group.join();
      EXPECT_EQ(dialer.agent.connection_to(listener.agent.id()), nullptr);
      co_await dialer.agent.stop();
    });
  }
}

TEST(Admission, CountsWhatAHostHasFewOf) {
  EXPECT_EQ(scarce_part("10.0.0.1"), "10.0.0.1");
  EXPECT_NE(scarce_part("10.0.0.1"), scarce_part("10.0.0.2"));
  EXPECT_EQ(scarce_part("2001:db8:0:1::1"), scarce_part("2001:db8:0:1:ffff::2"));
  EXPECT_NE(scarce_part("2001:db8:0:1::1"), scarce_part("2001:db8:0:2::1"));
  EXPECT_NE(scarce_part("2001:db8::1"), scarce_part("fe80::1"));
}

class NoChannel final : public ByteStream {
 public:
  Awaitable<void> connect(Duration) override { co_return; }
  Awaitable<void> wait_readable() override { co_return; }
  Awaitable<std::size_t> read_some(ByteSpan) override { co_return 0; }
  Awaitable<void> write(ByteView) override { co_return; }
  void close() noexcept override {}
  const Multiaddr& remote_address() const override { return address_; }

 private:
  const Multiaddr address_ = Multiaddr::tcp("10.0.0.1", 1).value();
};

TEST(Admission, CountsADearHandshakeForSeveral) {
  const Time now{std::chrono::hours(1)};
  for (const bool dear : {false, true}) {
    Admission admission;
    NoChannel channel;
    const Admission::Guest other = admission.receive("10.0.0.2", channel, now);
    Time turn{};
    for (int i = 0; i < limits::handshake_burst + 2; ++i) {
      Admission::Guest guest = admission.receive("10.0.0.1", channel, now);
      turn = admission.turn(guest, now);
      if (dear) guest.was_dear(now);
    }
    const int counted = dear ? (limits::handshake_burst + 1) * limits::handshake_dear + 1 : limits::handshake_burst + 2;
    EXPECT_EQ(turn - now, (counted - limits::handshake_burst) * limits::handshake_pace);
  }
}

TEST(Agent, SaysWhyItCouldNotConnect) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimHost& host = network.add_host();
  network.run({&dialer}, [&]() -> Awaitable<void> {
    std::vector<Multiaddr> addresses(1, Multiaddr::tcp(host.ip(), 9).value());
    std::string message;
    EXPECT_EQ(co_await error_of(discard(dialer.agent.connect(addresses)), &message), Errc::unreachable);
    EXPECT_EQ(message, "could not connect to /ip4/10.0.0.2/tcp/9: refused");
  });
}

TEST(Agent, TriesFurtherAddressesWhileTheFirstIsSilent) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent listener(network, listening());
  SimHost& silent = network.add_host();
  silent.unplug();
  network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
    std::vector<Multiaddr> addresses{Multiaddr::tcp(silent.ip(), 9).value(), listener.agent.addresses().front()};
    const Time start = network.clock().now();
    const Connection* const connection = co_await dialer.agent.connect(addresses);
    EXPECT_EQ(connection->peer(), listener.agent.id());
    EXPECT_LT(network.clock().now() - start, milliseconds(300));
  });
}

TEST(Agent, GivesUpAHandshakeThatDoesNotEnd) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimHost& host = network.add_host();
  const auto silent = host.listen(Multiaddr::tcp("0.0.0.0", 7).value());
  network.run({&dialer}, [&]() -> Awaitable<void> {
    std::vector<Multiaddr> addresses(1, Multiaddr::tcp(host.ip(), 7).value());
    const Time start = network.clock().now();
    EXPECT_EQ(co_await error_of(discard(dialer.agent.connect(addresses))), Errc::timed_out);
    EXPECT_EQ(network.clock().now() - start, limits::handshake + 2 * network.latency);
  });
}

TEST(Agent, TurnsAwayFurtherConnectionsFromOneAddress) {
  SimNetwork network;
  AgentOptions options = listening();
  options.max_connections_per_address = 2;
  SimAgent listener(network, options);
  SimAgent honest(network, looking());
  SimAgent greedy(network, looking());
  network.run({&listener, &honest, &greedy}, [&]() -> Awaitable<void> {
    const auto connect = [&](SimAgent& from) -> Awaitable<void> {
      co_await from.agent.connect(listener.agent.addresses());
      co_await pause(network, seconds(1));
    };
    co_await connect(greedy);
    co_await connect(greedy);
    EXPECT_EQ(co_await error_of(connect(greedy)), Errc::closed);
    co_await connect(honest);  // from elsewhere
    greedy.agent.disconnect(listener.agent.id());
    co_await pause(network, seconds(1));
    EXPECT_EQ(co_await error_of(connect(greedy)), Errc{});
  });
}

TEST(Agent, TurnsAwayConnectionsAboveItsLimit) {
  SimNetwork network;
  AgentOptions options = listening();
  options.max_connections = 1;
  SimAgent listener(network, options);
  SimAgent first(network, looking());
  SimAgent second(network, looking());
  network.run({&listener, &first, &second}, [&]() -> Awaitable<void> {
    co_await first.agent.connect(listener.agent.addresses());
    const Stream used = first.agent.open_stream_lazily(listener.agent.id(), "/silence");
    co_await pause(network, seconds(1));
    EXPECT_EQ(co_await error_of(discard(second.agent.connect(listener.agent.addresses()))), Errc::closed);
    first.agent.disconnect(listener.agent.id());
    co_await pause(network, seconds(1));
    co_await second.agent.connect(listener.agent.addresses());
  });
}

TEST(Agent, DropsGarbageAndSilenceAndGoesOnServing) {
  SimNetwork network;
  SimAgent listener(network, listening());
  SimAgent honest(network, looking());
  SimHost& rogue = network.add_host();
  network.run({&listener, &honest}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    const auto garbage = rogue.dial(address);
    co_await garbage->connect(seconds(1));
    co_await garbage->write(as_bytes("GET / HTTP/1.1\r\n\r\n"));
    Bytes answer(1024);
    std::size_t count = 1;
    while (count > 0) count = co_await garbage->read_some(answer);  // it is closed, not left hanging
    const auto silent = rogue.dial(address);
    co_await silent->connect(seconds(1));
    const Time start = network.clock().now();
    count = 1;
    while (count > 0) count = co_await silent->read_some(answer);
    EXPECT_EQ(network.clock().now() - start, limits::handshake + network.latency);
    std::vector<Multiaddr> addresses(1, address);
    co_await honest.agent.connect(addresses);
  });
}

TEST(Agent, LetsTheOldestUnfinishedHandshakeMakeRoom) {
  SimNetwork network;
  SimAgent listener(network, listening());
  SimAgent honest(network, looking());
  SimHost& rogue = network.add_host();
  network.run({&listener, &honest}, [&]() -> Awaitable<void> {
    const Multiaddr address = listener.agent.addresses().front();
    std::vector<std::unique_ptr<ByteStream>> silent;
    for (std::size_t i = 0; i < limits::pending_handshakes + 1; ++i) {
      silent.push_back(rogue.dial(address));
      co_await silent.back()->connect(seconds(1));
    }
    co_await pause(network, milliseconds(1));
    Bytes answer(1024);
    std::size_t count = co_await silent.front()->read_some(answer);
    EXPECT_EQ(count, 0U);  // the first one was closed; the last one waits for its time-out
    std::vector<Multiaddr> addresses(1, address);
    co_await honest.agent.connect(addresses);
  });
}

TEST(Agent, TellsEachOtherWhoTheyAre) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent listener(network, listening());
  listener.agent.handle("/test/own/1.0.0", [](Stream) -> Awaitable<void> { co_return; });
  network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
    co_await dialer.agent.connect(listener.agent.addresses());
    const Identify identify = co_await dialer.agent.identify(listener.agent.id());
    EXPECT_EQ(identify.agent_version, agent_version);
    EXPECT_EQ(identify.protocol_version, "ipfs/0.1.0");
    EXPECT_EQ(*identify.public_key, listener.agent.identity().public_key());
    EXPECT_EQ(identify.listen_addrs.at(0).text(), "/ip4/10.0.0.2/tcp/" + std::to_string(tcp_address(identify.listen_addrs.at(0))->port));
    EXPECT_NE(std::find(identify.protocols.begin(), identify.protocols.end(), "/test/own/1.0.0"), identify.protocols.end());
    EXPECT_EQ(tcp_address(*identify.observed_addr)->host, "10.0.0.1");
    EXPECT_FALSE(identify.signed_peer_record.empty());
    // The listener asks as well.
    EXPECT_EQ((co_await listener.agent.identify(dialer.agent.id())).agent_version, agent_version);
    // What is pushed later replaces it.
    Identify pushed;
    pushed.agent_version = "changed/1.0";
    Stream push = co_await dialer.agent.open_stream(listener.agent.id(), std::string(identify_push_protocol));
    const Bytes message = pushed.encode();
    co_await push.write(message);
    co_await push.finish(seconds(1));
    EXPECT_EQ((co_await listener.agent.identify(dialer.agent.id())).agent_version, "changed/1.0");
  });
}

TEST(Agent, LearnsNoAddressFromAStrangersIdentify) {
  SimNetwork network;
  SimAgent agent(network, listening());
  SimAgent liar(network, listening());
  SimHost& victim = network.add_host();
  const std::unique_ptr<Listener> listener = victim.listen(Multiaddr::tcp("0.0.0.0", 4001).value());
  liar.agent.handle(std::string(identify_protocol), [&](Stream stream) -> Awaitable<void> {
    Identify lie;
    lie.public_key = liar.agent.identity().public_key();
    lie.observed_addr = Multiaddr::tcp("8.8.8.8", 53).value();  // "that is where you are"
    for (std::size_t i = 0; i < limits::identify_addresses; ++i) {
      lie.listen_addrs.push_back(Multiaddr::tcp(victim.ip(), static_cast<std::uint16_t>(4001 + i)).value());
    }
    co_await answer_identify(std::move(stream), lie);
  });
  network.run({&agent, &liar}, [&]() -> Awaitable<void> {
    const std::vector<Multiaddr> own = agent.agent.addresses();
    co_await agent.agent.connect(liar.agent.addresses());
    EXPECT_EQ((co_await agent.agent.identify(liar.agent.id())).listen_addrs.size(), limits::identify_addresses);
    EXPECT_EQ(agent.agent.addresses(), own);
    // What it names is nobody's address.
    TaskGroup group(network.loop());
    bool dialled = false;
    const auto accept = [&]() -> Awaitable<void> {
      co_await listener->accept();
      dialled = true;
    };
    const auto accepting = [&]() -> Awaitable<void> { co_await error_of(accept()); };
    group.spawn(accepting());
    agent.agent.disconnect(liar.agent.id());
    co_await agent.agent.connect(liar.agent.id());
    co_await pause(network, seconds(60));
    EXPECT_FALSE(dialled);
    listener->close();
    co_await group.join();
  });
}

TEST(Agent, TriesSoManyAddressesOfAPeer) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent listener(network, listening());
  SimHost& nobody = network.add_host();
  std::vector<Multiaddr> addresses;
  for (std::size_t i = 0; i < limits::dial_addresses; ++i) {
    addresses.push_back(Multiaddr::tcp(nobody.ip(), static_cast<std::uint16_t>(1000 + i)).value());
  }
  network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
    addresses.push_back(listener.agent.addresses().front());
    const auto connect = [&]() -> Awaitable<void> { co_await dialer.agent.connect(addresses); };
    EXPECT_EQ(co_await error_of(connect()), Errc::unreachable);
    addresses.erase(addresses.begin());
    EXPECT_EQ(co_await error_of(connect()), Errc());
  });
}

TEST(Agent, HearsNoMoreOfAnIdentifyThanItsLimits) {
  SimNetwork network;
  SimAgent agent(network, looking());
  SimAgent liar(network, listening());
  std::size_t in_a_message = 800;
  liar.agent.handle(std::string(identify_protocol), [&](Stream stream) -> Awaitable<void> {
    for (std::size_t message = 0; message <= limits::identify_messages; ++message) {
      Identify lie;
      for (std::size_t i = 0; i < in_a_message; ++i) {
        lie.listen_addrs.push_back(Multiaddr::tcp("10.0.1." + std::to_string(i % 250), static_cast<std::uint16_t>(message + 1)).value());
      }
      lie.protocols.push_back("/test/" + std::to_string(message));
      co_await stream.write(lie.encode());
    }
    co_await stream.finish(seconds(1));
  });
  network.run({&agent, &liar}, [&]() -> Awaitable<void> {
    const PeerId peer = (co_await agent.agent.connect(liar.agent.addresses()))->peer();
    EXPECT_EQ((co_await agent.agent.identify(peer)).listen_addrs.size(), limits::identify_addresses);
    EXPECT_TRUE(agent.agent.speaks(peer, "/test/" + std::to_string(limits::identify_messages - 1)));
    EXPECT_FALSE(agent.agent.speaks(peer, "/test/" + std::to_string(limits::identify_messages)));
    EXPECT_GT(co_await agent.agent.ping(peer), Duration(0));
    agent.agent.disconnect(peer);
    in_a_message = 1000;  // more than 8 KiB
    co_await agent.agent.connect(liar.agent.addresses());
    const auto ask = [&]() -> Awaitable<void> { co_await agent.agent.identify(peer); };
    EXPECT_EQ(co_await error_of(ask()), Errc::closed);
    EXPECT_GT(co_await agent.agent.ping(peer), Duration(0));
  });
}

// In an answer, and in one that it pushes.
TEST(Agent, HearsAnIdentifyMessageUpToItsLimitAndNotOneByteMore) {
  SimNetwork network;
  SimAgent agent(network, looking());
  SimAgent liar(network, listening());
  const auto naming = [](std::size_t addresses) {
    Identify lie;
    for (std::size_t i = 0; i < addresses; ++i) {
      const std::string host = "10." + std::to_string(i / 65536) + "." + std::to_string(i / 256 % 256) + "." + std::to_string(i % 256);
      lie.listen_addrs.push_back(Multiaddr::tcp(host, 1).value());
    }
    return lie;
  };
  Identify largest = naming(700);
  largest.signed_peer_record.resize(1000);
  const auto size = [&] { return largest.encode().size() - 2; };  // without its length
  largest.signed_peer_record.resize(1000 + limits::identify_message - size());
  Identify larger = largest;
  larger.signed_peer_record.push_back(0);
  const Identify many = naming(10'000);
  const std::vector<const Identify*> beyond{&larger, &many};
  Identify said;
  liar.agent.handle(std::string(identify_protocol), [&](Stream stream) { return answer_identify(std::move(stream), said); });
  network.run({&agent, &liar}, [&]() -> Awaitable<void> {
    const PeerId peer = liar.agent.id();
    const auto ask = [&]() -> Awaitable<void> { co_await agent.agent.identify(peer); };
    for (const Identify* const refused : beyond) {
      said = *refused;
      co_await agent.agent.connect(liar.agent.addresses());
      EXPECT_EQ(co_await error_of(ask()), Errc::closed);
      EXPECT_GT(co_await agent.agent.ping(peer), Duration(0));
      agent.agent.disconnect(peer);
    }
    said = largest;
    co_await agent.agent.connect(liar.agent.addresses());
    const Identify heard = co_await agent.agent.identify(peer);
    EXPECT_EQ(heard.signed_peer_record, largest.signed_peer_record);
    EXPECT_EQ(heard.listen_addrs.size(), limits::identify_addresses);
    for (const Identify* const refused : beyond) {
      said = *refused;
      said.agent_version = "pushed";
      Stream push = co_await liar.agent.open_stream(agent.agent.id(), std::string(identify_push_protocol));
      const Bytes message = said.encode();
      const auto write = [&]() -> Awaitable<void> {
        co_await push.write(message);
        co_await push.finish(seconds(1));
      };
      EXPECT_NE(co_await error_of(write()), Errc());
      EXPECT_EQ((co_await agent.agent.identify(peer)).encode(), heard.encode());
      EXPECT_GT(co_await agent.agent.ping(peer), Duration(0));
    }
  });
}

TEST(Agent, KeepsAConnectionWhosePeerLiesAboutItsKey) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent liar(network, listening());
  const KeyPair other = KeyPair::generate(network.random());
  liar.agent.handle(std::string(identify_protocol), [&other](Stream stream) -> Awaitable<void> {
    Identify lie;
    lie.public_key = other.public_key();
    co_await answer_identify(std::move(stream), lie);
  });
  network.run({&dialer, &liar}, [&]() -> Awaitable<void> {
    co_await dialer.agent.connect(liar.agent.addresses());
    const auto ask = [&]() -> Awaitable<void> { co_await dialer.agent.identify(liar.agent.id()); };
    EXPECT_EQ(co_await error_of(ask()), Errc::closed);
    Stream stream = co_await dialer.agent.open_stream(liar.agent.id(), std::string(ping_protocol));
    EXPECT_GT(co_await ping(stream, network.random()), Duration(0));
  });
}

TEST(Agent, KeepsAConnectionWhosePeerClaimsAProtocolThatItDoesNotSpeak) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  SimAgent liar(network, listening());
  const std::string claimed = "/p2p-ai-agents/task/1.0.0";
  liar.agent.handle(std::string(identify_protocol), [&claimed](Stream stream) -> Awaitable<void> {
    Identify lie;
    lie.protocols.push_back(claimed);
    co_await answer_identify(std::move(stream), lie);
  });
  network.run({&dialer, &liar}, [&]() -> Awaitable<void> {
    const PeerId peer = (co_await dialer.agent.connect(liar.agent.addresses()))->peer();
    co_await dialer.agent.identify(peer);
    EXPECT_TRUE(dialer.agent.speaks(peer, claimed));
    const auto open = [&]() -> Awaitable<void> { co_await dialer.agent.open_stream(peer, claimed); };
    EXPECT_EQ(co_await error_of(open()), Errc::unsupported);
    const auto open_lazily = [&]() -> Awaitable<void> {
      Stream stream = dialer.agent.open_stream_lazily(peer, claimed);
      co_await stream.write(as_bytes("what goes with the proposal"));
      co_await stream.read();
    };
    EXPECT_EQ(co_await error_of(open_lazily()), Errc::unsupported);
    EXPECT_NE(dialer.agent.connection_to(peer), nullptr);
    EXPECT_EQ(co_await dialer.agent.ping(peer), 2 * network.latency);
  });
}

/// A course with everything in it, as a text that says what happened when.
std::string journal_of(std::uint64_t seed) {
  SimNetwork network(seed);
  const auto note = [&network](const std::string& what) {
    network.journal += std::to_string((network.clock().now() - Time{}).count()) + " " + what + "\n";
  };
  AgentEvents events;
  events.discovered = [&](const PeerId& peer, const std::vector<Multiaddr>&) { note("discovered " + peer.text()); };
  events.connected = [&](const Connection& connection) { note("connected " + connection.peer().text()); };
  events.disconnected = [&](const Connection& connection) { note("disconnected " + connection.reason()); };
  SimAgent provider(network, listening(), events);
  SimAgent finder(network, looking(), events);
  network.run({&provider, &finder}, [&]() -> Awaitable<void> {
    const PeerId found = co_await finder.agent.next_discovered(network.clock().now() + seconds(5));
    co_await finder.agent.connect(found);
    Stream stream = co_await finder.agent.open_stream(found, std::string(ping_protocol));
    co_await ping(stream, network.random());
    co_await pause(network, seconds(60));
  });
  return network.journal;
}

TEST(SimNetwork, RunsTheSameCourseForTheSameSeed) {
  EXPECT_EQ(journal_of(7), journal_of(7));
  EXPECT_NE(journal_of(7), journal_of(8));
}

}  // namespace
}  // namespace p2p::test
