#include "base/limits.hpp"
#include "support/sim.hpp"
#include "wire/mdns.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include <set>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Bytes meta_query{0,   0,   0,   0,   0,   1,   0,   0, 0,   0,   0,   0,   9, '_', 's', 'e', 'r', 'v', 'i', 'c', 'e', 's', 7,
                       '_', 'd', 'n', 's', '-', 's', 'd', 4, '_', 'u', 'd', 'p', 5, 'l', 'o', 'c', 'a', 'l', 0,   0,   12,  0,   1};
constexpr milliseconds latest_answer{121};  // the longest delay and the way

/// Hears what agents say by mDNS, on a host of its own, and says what it is told to.
class Bystander {
 public:
  using Heard = std::vector<std::pair<Time, mdns::Packet>>;

  explicit Bystander(SimNetwork& network, std::string ip = {})
      : network_(network), host_(network.add_host(std::move(ip))), group_(network.loop()) {
    socket_ = host_.open_group(host_.interfaces().front(), Multicast::Family::ip4);
    ephemeral_ = host_.open_ephemeral(host_.interfaces().front(), Multicast::Family::ip4);
    group_.spawn(hear(*socket_, multicast));
    group_.spawn(hear(*ephemeral_, unicast));
  }
  Awaitable<void> stop() {
    socket_->close();
    ephemeral_->close();
    co_await group_.join();
  }
  void ask(ByteView query) { ephemeral_->send_to_group(query); }
  void ask_from_5353(ByteView query) { socket_->send_to_group(query); }
  void ask_alone(const std::string& ip, ByteView query) { socket_->send_to(query, ip, 5353); }
  /// The question and the list in one packet or as many as it takes.
  void ask_knowing(const std::vector<mdns::KnownAnswer>& known) {
    for (const Bytes& packet : mdns::encode_query(known)) ask_from_5353(packet);
  }
  /// Makes everyone believe that a peer is there. Its name.
  std::string announce(const PeerId& peer, const std::vector<Multiaddr>& addresses, seconds ttl = limits::mdns_ttl) {
    return announce(mdns::random_name(network_.random()), peer, addresses, ttl);
  }
  std::string announce(const std::string& name, const PeerId& peer, const std::vector<Multiaddr>& addresses, seconds ttl) {
    for (const Bytes& packet : mdns::encode_response({name, peer, addresses, ttl})) socket_->send_to_group(packet);
    return mdns::instance_name(name);
  }
  std::string announce(seconds ttl = limits::mdns_ttl) { return announce(somebody(), {address(1)}, ttl); }
  PeerId somebody() { return KeyPair::generate(network_.random()).peer_id(); }
  /// One of its host's, where nobody listens.
  Multiaddr address(std::uint16_t port) const { return Multiaddr::tcp(host_.ip(), port).value(); }
  /// Its questions to the group for peers, behind `from`.
  Heard questions(Time from = {}) const {
    Heard found;
    for (const auto& one : queries) {
      if (one.first > from && one.second.asks_for_peers && !one.second.wants_unicast) found.push_back(one);
    }
    return found;
  }
  void clear() {
    multicast.clear();
    unicast.clear();
    queries.clear();
  }

  Heard multicast;  // responses, others'
  Heard unicast;
  Heard queries;  // others'

 private:
  Awaitable<void> hear(DatagramSocket& socket, Heard& heard) {
    try {
      while (true) {
        const Datagram datagram = co_await socket.receive();
        const Result<mdns::Packet> packet = mdns::decode(datagram.bytes);
        if (packet && datagram.source_ip != host_.ip()) (packet->response ? heard : queries).emplace_back(network_.clock().now(), *packet);
      }
    } catch (const boost::system::system_error&) {
    }
  }

  SimNetwork& network_;
  SimHost& host_;
  std::unique_ptr<DatagramSocket> socket_;
  std::unique_ptr<DatagramSocket> ephemeral_;
  TaskGroup group_;
};

/// One bystander and some agents that have all just been started; ended with them.
class Link {
 public:
  explicit Link(std::uint64_t seed = 1, std::string bystanders_ip = {}) : network(seed), bystander(network, std::move(bystanders_ip)) {}

  SimAgent& add(AgentOptions options = listening(), AgentEvents events = {}, std::string ip = {}) {
    agents.push_back(std::make_unique<SimAgent>(network, std::move(options), std::move(events), std::move(ip)));
    return *agents.back();
  }
  void run(std::function<Awaitable<void>()> work) {
    std::vector<SimAgent*> all;
    for (const auto& each : agents) all.push_back(each.get());
    network.run(all, [&]() -> Awaitable<void> {
      co_await work();
      co_await bystander.stop();
    });
  }
  /// When the agents have announced themselves, and nothing of that is remembered.
  void run_at_rest(std::function<Awaitable<void>()> work) {
    run([&]() -> Awaitable<void> {
      co_await pause(network, seconds(10));
      bystander.clear();
      co_await work();
    });
  }
  Time now() { return network.clock().now(); }
  /// The name under which the only agent has announced itself.
  std::string name() const { return bystander.multicast.at(0).second.peers.at(0).name; }

  SimNetwork network;
  Bystander bystander;
  std::vector<std::unique_ptr<SimAgent>> agents;
};

TEST(Discovery, AnnouncesTwiceAtStart) {
  Link link;
  const PeerId id = link.add().agent.id();
  const Time start = link.now();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, milliseconds(2500));
    const Bystander::Heard& heard = link.bystander.multicast;
    EXPECT_GE(heard.size(), 2U);
    EXPECT_EQ(heard.at(0).first - start, link.network.latency);
    EXPECT_EQ(heard.at(0).second.peers.at(0).id, id);
    EXPECT_EQ(heard.at(0).second.peers.at(0).ttl, limits::mdns_ttl);
    EXPECT_EQ(heard.at(1).first - heard.at(0).first, seconds(1));
  });
}

TEST(Discovery, AnswersByUnicastAtOnceAndByMulticastSoon) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    const Time start = link.now();
    link.bystander.ask(mdns::encode_query(0x1234));
    co_await pause(link.network, milliseconds(150));
    EXPECT_EQ(link.bystander.unicast.size(), 1U);
    EXPECT_EQ(link.bystander.unicast.at(0).first - start, 2 * link.network.latency);
    EXPECT_EQ(link.bystander.unicast.at(0).second.id, 0x1234);
    EXPECT_LE(link.bystander.unicast.at(0).second.peers.at(0).ttl, limits::mdns_legacy_ttl);
    EXPECT_EQ(link.bystander.multicast.size(), 1U);
    EXPECT_GE(link.bystander.multicast.at(0).first - start, milliseconds(20));
    EXPECT_LE(link.bystander.multicast.at(0).first - start, latest_answer);
  });
}

TEST(Discovery, AnswersTheMetaQuery) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    link.bystander.ask_from_5353(meta_query);
    co_await pause(link.network, milliseconds(150));
    EXPECT_EQ(link.bystander.multicast.size(), 1U);
    EXPECT_TRUE(link.bystander.multicast.at(0).second.tells_services);
    EXPECT_TRUE(link.bystander.unicast.empty());
  });
}

TEST(Discovery, TakesOnlyAddressesThatMayBeDialled) {
  Link link;
  const Agent& finder = link.add(looking()).agent;
  link.run([&]() -> Awaitable<void> {
    const PeerId peer = link.bystander.somebody();
    const auto announce = [&](const std::string& ip) { link.bystander.announce(peer, {Multiaddr::tcp(ip, 1).value()}); };
    for (const char* const ip : {"127.0.0.1", "::1", "8.8.8.8", "2001:4860:4860::8888", "224.0.0.1", "0.0.0.0"}) announce(ip);
    co_await pause(link.network, milliseconds(1));
    EXPECT_TRUE(finder.discovered_addresses(peer).empty());
    for (const char* const ip : {"192.168.7.7", "10.0.0.77", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"}) announce(ip);
    co_await pause(link.network, milliseconds(1));
    std::vector<std::string> texts;
    for (const Multiaddr& address : finder.discovered_addresses(peer)) texts.push_back(address.text());
    const std::vector<std::string> expected{"/ip4/10.0.0.77/tcp/1",  // the own subnet's come first
                                            "/ip6zone/eth0/ip6/fe80::1/tcp/1",
                                            "/ip4/192.168.7.7/tcp/1",
                                            "/ip4/169.254.1.1/tcp/1",
                                            "/ip4/100.64.0.1/tcp/1",
                                            "/ip6/fd00::1/tcp/1"};
    EXPECT_EQ(texts, expected);
  });
}

TEST(Discovery, TakesAPublicAddressOfItsOwnSubnet) {
  SimNetwork network;
  SimAgent finder(network, looking(), {}, "8.8.0.1");
  SimAgent provider(network, listening(), {}, "8.8.0.2");
  network.run({&finder, &provider}, [&]() -> Awaitable<void> {
    EXPECT_EQ(co_await finder.agent.next_discovered(network.clock().now() + seconds(5)), provider.agent.id());
  });
}

TEST(Discovery, GivesUpAPeerWhoseAddressesDoNotAnswerWhenItIsTold) {
  SimNetwork network;
  SimAgent finder(network, looking());
  SimAgent provider(network, listening());
  network.run({&finder, &provider}, [&]() -> Awaitable<void> {
    const std::optional<PeerId> found = co_await finder.agent.next_discovered(network.clock().now() + seconds(5));
    EXPECT_EQ(found, provider.agent.id());
    provider.host.unplug();
    const Time start = network.clock().now();
    const auto connect = [&]() -> Awaitable<void> { co_await finder.agent.connect(provider.agent.id(), start + seconds(2)); };
    EXPECT_EQ(co_await error_of(connect()), Errc::timed_out);
    EXPECT_EQ(network.clock().now() - start, seconds(2));
    provider.host.plug_in();
  });
}

// Known answers

TEST(Discovery, DoesNotAnswerWhoKnowsItForHalfItsTtlStill) {
  Link link;
  link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(10));
    const std::string name = link.name();
    for (const seconds left : {limits::mdns_ttl / 2, limits::mdns_ttl / 2 - seconds(1)}) {
      link.bystander.clear();
      link.bystander.ask_knowing({{"somebody._p2p._udp.local", limits::mdns_ttl}, {name, left}});
      co_await pause(link.network, seconds(2));
      EXPECT_EQ(link.bystander.multicast.size(), left < limits::mdns_ttl / 2 ? 1U : 0U);
    }
  });
}

TEST(Discovery, AnswersWhoListsANameThatAnotherPeerHasAnnouncedToo) {
  Link link;
  link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(10));
    Bystander& bystander = link.bystander;
    const std::string name = link.name();
    const std::vector<mdns::KnownAnswer> known(1, mdns::KnownAnswer{name, limits::mdns_ttl});
    const auto answers = [&]() -> Awaitable<std::size_t> {
      bystander.clear();
      bystander.ask_knowing(known);
      co_await pause(link.network, seconds(2));
      co_return bystander.multicast.size();
    };
    const std::string instance = name.substr(0, name.find('.'));
    const Agent& agent = link.agents.front()->agent;
    for (const PeerId& claimed : {bystander.somebody(), agent.id()}) {
      EXPECT_EQ(co_await answers(), 0U);
      bystander.announce(instance, claimed, {bystander.address(1)}, limits::mdns_ttl);
      bystander.announce(instance, claimed, {bystander.address(1)}, seconds(1));  // which ends nothing
      co_await pause(link.network, seconds(2));
      EXPECT_EQ(co_await answers(), 1U);
      co_await pause(link.network, limits::mdns_ttl);
    }
    bystander.announce(instance, agent.id(), {agent.addresses().front().without_peer_id()}, limits::mdns_ttl);
    EXPECT_EQ(co_await answers(), 0U);  // it may have said so itself
  });
}

TEST(Discovery, DoesNotTakeItsOwnAnnouncementForAnothersWhereAddressesHaveZones) {
  Link link(1, "fe80::1");
  AgentOptions options = listening();
  options.listen = {Multiaddr::tcp("::", 4001).value()};
  link.add(options, {}, "fe80::2");
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(10));
    const std::vector<mdns::KnownAnswer> known(1, mdns::KnownAnswer{link.name(), limits::mdns_ttl});
    link.bystander.clear();
    link.bystander.ask_knowing(known);
    co_await pause(link.network, seconds(2));
    EXPECT_TRUE(link.bystander.multicast.empty());
  });
}

TEST(Discovery, AwaitsTheRestOfATruncatedList) {
  Link link;
  link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(10));
    const std::string name = link.name();
    std::vector<mdns::KnownAnswer> known;
    for (int i = 0; i < 60; ++i) known.push_back({mdns::instance_name(mdns::random_name(link.network.random())), limits::mdns_ttl});
    known.push_back({name, limits::mdns_ttl});
    const std::vector<Bytes> packets = mdns::encode_query(known);
    EXPECT_EQ(packets.size(), 3U);
    Bystander& bystander = link.bystander;

    bystander.clear();
    for (const Bytes& packet : packets) bystander.ask_from_5353(packet);
    co_await pause(link.network, seconds(2));
    EXPECT_TRUE(bystander.multicast.empty()) << "it is in the last one";

    Time start = link.now();
    bystander.ask_from_5353(packets[0]);
    bystander.ask_from_5353(packets[1]);
    co_await pause(link.network, seconds(2));
    EXPECT_EQ(bystander.multicast.size(), 1U) << "the last one did not come";
    EXPECT_GE(bystander.multicast.at(0).first - start, milliseconds(400));
    EXPECT_LE(bystander.multicast.at(0).first - start, milliseconds(501));

    bystander.clear();
    start = link.now();
    bystander.ask_from_5353(packets[0]);
    co_await pause(link.network, milliseconds(200));
    EXPECT_TRUE(bystander.multicast.empty());
    const Time end = link.now();
    const std::vector<mdns::KnownAnswer> others(known.begin(), known.begin() + 1);
    Bytes last = mdns::encode_query(others).at(0);
    last[5] = 0;  // without the question
    last.erase(last.begin() + 12, last.begin() + 12 + 21);
    last.insert(last.begin() + 12, {4, '_', 'p', '2', 'p', 4, '_', 'u', 'd', 'p', 5, 'l', 'o', 'c', 'a', 'l', 0});
    last.erase(last.begin() + 29, last.begin() + 31);  // the pointer, whose place the name has taken
    EXPECT_EQ(mdns::decode(last).value().known.size(), 1U);
    bystander.ask_from_5353(last);
    co_await pause(link.network, seconds(2));
    EXPECT_EQ(bystander.multicast.size(), 1U) << "the last one came, and it is not in it";
    EXPECT_GE(bystander.multicast.at(0).first - end, milliseconds(20));
    EXPECT_LE(bystander.multicast.at(0).first - end, latest_answer);
  });
}

TEST(Discovery, AwaitsTheListsOfSoManySourcesAndNoMore) {
  Link link;
  link.add();
  link.run([&]() -> Awaitable<void> {
    Bytes truncated = mdns::encode_query();
    truncated[2] |= 2;
    for (const std::size_t sources : {limits::mdns_unfinished, limits::mdns_unfinished + 1}) {
      co_await pause(link.network, seconds(10));
      link.bystander.clear();
      std::vector<std::unique_ptr<DatagramSocket>> sockets;
      for (std::size_t i = 0; i < sources; ++i) {
        SimHost& host = link.network.add_host();
        sockets.push_back(host.open_group(host.interfaces().front(), Multicast::Family::ip4));
        sockets.back()->send_to_group(truncated);
      }
      co_await pause(link.network, milliseconds(300));
      EXPECT_EQ(link.bystander.multicast.size(), sources > limits::mdns_unfinished ? 1U : 0U);
    }
  });
}

TEST(Discovery, ListsWhomItKnowsWhileMoreThanHalfOfTheirTimeIsLeft) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, milliseconds(2500));
    const std::string name = link.bystander.announce();
    const Time announced = link.now();
    co_await pause(link.network, seconds(70));
    std::vector<bool> listed;
    for (const auto& [when, query] : link.bystander.questions(announced)) {
      listed.push_back(!query.known.empty());
      if (!query.known.empty()) {
        EXPECT_EQ(query.known.at(0).name, name);
        EXPECT_EQ(query.known.at(0).ttl, std::chrono::floor<seconds>(announced + limits::mdns_ttl - when));
      }
    }
    const std::vector<bool> expected{true, true, true, true, false};  // asked after 1, 5, 13, 29 and 61 s
    EXPECT_EQ(listed, expected);
  });
}

TEST(Discovery, KnowsManyOnALinkByListsOfSeveralPackets) {
  Link link;
  for (int i = 0; i < 40; ++i) link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, milliseconds(2500));
    link.bystander.clear();
    co_await pause(link.network, seconds(5));
    EXPECT_FALSE(link.bystander.questions().empty());
    EXPECT_GT(link.bystander.queries.size(), link.bystander.questions().size());
    EXPECT_TRUE(link.bystander.multicast.empty()) << "everyone was in a list";
  });
}

// Duplicates

TEST(Discovery, OneAsksForAll) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Link link(seed);
    for (int i = 0; i < 20; ++i) link.add();
    link.run([&]() -> Awaitable<void> {
      co_await pause(link.network, milliseconds(500));
      link.bystander.clear();
      co_await pause(link.network, seconds(40));
      EXPECT_GE(link.bystander.questions().size(), 5U);   // after 1, 3, 7, 15 and 31 s
      EXPECT_LE(link.bystander.questions().size(), 10U);  // two may speak at once
    });
  }
}

TEST(Discovery, ASecondQuestionWaitsAfterSomebodyElses) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, milliseconds(900));  // its second question is due after another 100 to 240
    link.bystander.clear();
    link.bystander.ask_from_5353(mdns::encode_query());
    const Time start = link.now();
    co_await pause(link.network, seconds(10));
    EXPECT_GE(link.bystander.questions().at(0).first - start, seconds(2));
    EXPECT_LE(link.bystander.questions().at(0).first - start, seconds(2) + latest_answer);
  });
}

TEST(Discovery, AQuestionWithoutAnswersToTheGroupIsNobodyElses) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, milliseconds(900));
    link.bystander.clear();
    link.bystander.ask(mdns::encode_one_shot_query(1));
    co_await pause(link.network, milliseconds(400));
    EXPECT_EQ(link.bystander.questions().size(), 1U);
  });
}

TEST(Discovery, AQuestionThatTheGroupDoesNotHearIsNobodyElses) {
  Link link;
  const SimAgent& agent = link.add(looking());
  link.run([&]() -> Awaitable<void> {
    for (int i = 0; i < 60; ++i) {
      link.bystander.ask_alone(agent.host.ip(), mdns::encode_query());
      co_await pause(link.network, milliseconds(500));
    }
    EXPECT_GE(link.bystander.questions().size(), 4U);  // after 1, 3, 7 and 15 s
  });
}

TEST(Discovery, WhatComesFromBeyondTheLinkIsNotBelieved) {
  Link link;
  SimHost& beyond = link.network.add_host("192.0.2.7");
  const SimAgent& agent = link.add(looking());
  link.run([&]() -> Awaitable<void> {
    const PeerId stranger = link.bystander.somebody();
    const std::unique_ptr<DatagramSocket> socket = beyond.open_ephemeral(beyond.interfaces().front(), Multicast::Family::ip4);
    const std::vector<Multiaddr> addresses{link.bystander.address(1)};
    const mdns::Announcement announcement{mdns::random_name(link.network.random()), stranger, addresses, limits::mdns_ttl};
    for (const Bytes& packet : mdns::encode_response(announcement)) socket->send_to(packet, agent.host.ip(), 5353);
    co_await pause(link.network, seconds(1));
    EXPECT_TRUE(agent.agent.discovered_addresses(stranger).empty());
  });
}

TEST(Discovery, AsksSinglyForThoseWhomOnlyOthersKnow) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    std::vector<mdns::KnownAnswer> known;
    std::set<std::string> names;
    while (known.size() < limits::mdns_wanted) {
      known.push_back({mdns::instance_name(mdns::random_name(link.network.random())), limits::mdns_ttl});
      names.insert(known.back().name);
    }
    co_await pause(link.network, seconds(40));
    link.bystander.clear();
    Time start = link.now();
    link.bystander.ask_knowing(known);
    co_await pause(link.network, seconds(10));
    EXPECT_EQ(link.bystander.queries.size(), 1U);
    const std::vector<std::string>& asked = link.bystander.queries.at(0).second.asks_for;
    EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()), names);
    EXPECT_GE(link.bystander.queries.at(0).first - start, milliseconds(20));
    EXPECT_LE(link.bystander.queries.at(0).first - start, latest_answer);

    // Somebody else asked for all but one.
    link.bystander.clear();
    link.bystander.ask_knowing(known);
    const std::vector<std::string> others(std::next(names.begin()), names.end());
    link.bystander.ask_from_5353(mdns::encode_instance_query(others));
    co_await pause(link.network, seconds(1));
    EXPECT_EQ(link.bystander.queries.size(), 1U);
    EXPECT_EQ(link.bystander.queries.at(0).second.asks_for, std::vector<std::string>{*names.begin()});
  });
}

TEST(Discovery, AsksAllWhenTooManyAreNewToIt) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    std::vector<mdns::KnownAnswer> known;
    while (known.size() < limits::mdns_wanted + 1) {
      known.push_back({mdns::instance_name(mdns::random_name(link.network.random())), limits::mdns_ttl});
    }
    // It asks after 1, 3, 7, 15 and 31 s; the bystander a little before the last time.
    co_await pause(link.network, seconds(30));
    link.bystander.clear();
    link.bystander.ask_knowing(known);
    co_await pause(link.network, seconds(3));
    EXPECT_EQ(link.bystander.questions().size(), 1U);
  });
}

TEST(Discovery, AnswersForItselfWhenAskedByName) {
  Link link;
  link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(10));
    const std::vector<std::string> names{"somebody._p2p._udp.local", link.name()};
    for (const std::size_t count : {1U, 2U}) {
      link.bystander.clear();
      link.bystander.ask_from_5353(mdns::encode_instance_query(std::span(names).first(count)));
      co_await pause(link.network, latest_answer);
      EXPECT_EQ(link.bystander.multicast.size(), count - 1);
    }
  });
}

TEST(Discovery, OneAnswersTheMetaQueryForAll) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Link link(seed);
    for (int i = 0; i < 20; ++i) link.add();
    link.run_at_rest([&]() -> Awaitable<void> {
      link.bystander.ask_from_5353(meta_query);
      co_await pause(link.network, milliseconds(500));
      EXPECT_GE(link.bystander.multicast.size(), 1U);
      EXPECT_LE(link.bystander.multicast.size(), 2U);  // two may speak at once
    });
  }
}

// Unicast

TEST(Discovery, AnOneShotQueryBringsNothingToTheGroup) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    const Time start = link.now();
    link.bystander.ask(mdns::encode_one_shot_query(0x1234));
    co_await pause(link.network, seconds(2));
    EXPECT_EQ(link.bystander.unicast.size(), 1U);
    EXPECT_EQ(link.bystander.unicast.at(0).first - start, 2 * link.network.latency);
    EXPECT_EQ(link.bystander.unicast.at(0).second.id, 0x1234);
    EXPECT_EQ(link.bystander.unicast.at(0).second.peers.at(0).ttl, limits::mdns_ttl);
    EXPECT_TRUE(link.bystander.multicast.empty());
  });
}

TEST(Discovery, AnswersSoManySourcesASecondByUnicastAndTheOthersByMulticast) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    std::vector<std::unique_ptr<DatagramSocket>> sockets;
    for (std::size_t i = 0; i < limits::mdns_unicast_sources; ++i) {
      SimHost& host = link.network.add_host();
      sockets.push_back(host.open_ephemeral(host.interfaces().front(), Multicast::Family::ip4));
      sockets.back()->send_to_group(mdns::encode_one_shot_query(1));
    }
    const std::uint64_t sent = link.network.datagrams;
    co_await pause(link.network, milliseconds(500));
    EXPECT_EQ(link.network.datagrams - sent, limits::mdns_unicast_sources);
    EXPECT_TRUE(link.bystander.multicast.empty());

    link.bystander.ask(mdns::encode_one_shot_query(1));
    co_await pause(link.network, latest_answer);
    EXPECT_TRUE(link.bystander.unicast.empty());
    EXPECT_EQ(link.bystander.multicast.size(), 1U);

    co_await pause(link.network, seconds(1));
    link.bystander.ask(mdns::encode_one_shot_query(1));
    co_await pause(link.network, milliseconds(1));
    EXPECT_EQ(link.bystander.unicast.size(), 1U);
  });
}

// Time

TEST(Discovery, AsksLessAndLessOftenDownToOnceAnHour) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    const Time start = link.now();
    co_await pause(link.network, std::chrono::hours(4));
    EXPECT_EQ(link.bystander.queries.at(0).first - start, link.network.latency);
    EXPECT_TRUE(link.bystander.queries.at(0).second.wants_unicast);
    const Bystander::Heard questions = link.bystander.questions();
    EXPECT_GE(questions.at(0).first - start, milliseconds(20));
    EXPECT_LE(questions.at(0).first - start, latest_answer);
    seconds interval{1};
    for (std::size_t i = 1; i < questions.size(); ++i, interval = std::min(2 * interval, limits::mdns_query_interval)) {
      EXPECT_GE(questions[i].first - questions[i - 1].first, interval + milliseconds(20));
      EXPECT_LE(questions[i].first - questions[i - 1].first, interval + latest_answer);
    }
    EXPECT_EQ(interval, limits::mdns_query_interval);
    EXPECT_EQ(questions.size(), 15U);
  });
}

/// When, in per cent of its time, an agent asks again for a peer that announces itself with this TTL and then is silent.
std::vector<double> refreshes(seconds ttl) {
  std::vector<double> times;
  Link link;
  AgentEvents events;
  std::optional<Time> gone;
  events.gone = [&](const PeerId&) { gone = link.now(); };
  link.add(looking(), events);
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(300));  // the next question of the usual ones is the one after 511 s
    link.bystander.announce(ttl);
    const Time start = link.now();
    co_await pause(link.network, ttl + seconds(1));
    EXPECT_TRUE(gone.has_value());
    EXPECT_EQ(*gone - start, ttl + link.network.latency);
    for (const auto& [when, query] : link.bystander.questions(start)) {
      if (when < *gone) times.push_back(100 * std::chrono::duration<double>(when - start) / ttl);
    }
  });
  return times;
}

TEST(Discovery, AsksAgainForAPeerBeforeItsTimeIsOver) {
  const std::vector<double> times = refreshes(limits::mdns_ttl);
  ASSERT_EQ(times.size(), 4U);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double due = 80 + 5 * static_cast<double>(i);
    EXPECT_GE(times[i], due);
    EXPECT_LE(times[i], due + 2.1);
  }
}

TEST(Discovery, DoesNotAskAgainForWhatHoldsForSecondsOnly) {
  EXPECT_EQ(refreshes(limits::mdns_refresh_ttl).size(), 4U);
  EXPECT_EQ(refreshes(limits::mdns_refresh_ttl - seconds(1)).size(), 0U);
}

TEST(Discovery, AsksAtOnceAgainWhenNobodyIsLeft) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(300));
    link.bystander.announce(seconds(10));
    const Time start = link.now();
    co_await pause(link.network, seconds(12));
    EXPECT_EQ(link.bystander.questions(start).size(), 1U);
    EXPECT_GE(link.bystander.questions(start).at(0).first - start, seconds(11));
  });
}

TEST(Discovery, ThoseWhoStartTogetherKnowEachOtherWithoutAStorm) {
  for (const std::size_t count : {std::size_t(10), std::size_t(100)}) {
    SCOPED_TRACE(std::to_string(count) + " agents, seed 4");
    Link link(4);
    std::size_t known = 0;
    std::optional<Time> all;
    AgentEvents events;
    events.discovered = [&](const PeerId&, const std::vector<Multiaddr>&) {
      if (++known == count * (count - 1)) all = link.now();
    };
    for (std::size_t i = 0; i < count; ++i) link.add(listening(), events);
    const Time start = link.now();
    link.run([&]() -> Awaitable<void> {
      co_await pause(link.network, seconds(10));
      EXPECT_LE(link.network.datagrams, 12 * count);
    });
    ASSERT_TRUE(all.has_value());
    EXPECT_LE(*all - start, milliseconds(1100));
  }
}

TEST(Discovery, AnHourWithLossesLosesNobody) {
  for (const std::uint64_t seed : {5, 6}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Link link(seed);
    link.network.datagrams_lost = 50;  // one in twenty
    constexpr std::size_t count = 20;
    std::size_t known = 0;
    AgentEvents events;
    events.discovered = [&](const PeerId&, const std::vector<Multiaddr>&) { ++known; };
    std::size_t lost = 0;
    events.gone = [&](const PeerId&) { ++lost; };
    for (std::size_t i = 0; i < count; ++i) link.add(listening(), events);
    link.run([&]() -> Awaitable<void> {
      co_await pause(link.network, seconds(60));
      EXPECT_EQ(known, count * (count - 1));
      const std::uint64_t before = link.network.datagrams;
      co_await pause(link.network, seconds(3600));
      EXPECT_EQ(lost, 0U);
      EXPECT_LE(link.network.datagrams - before, 3600U);  // without losses about 900: everyone once in 96 s, and who asks
    });
  }
}

// Floods and lies

TEST(Discovery, AnswersAFloodOfQueriesNoMoreThanItsLimits) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    for (int i = 0; i < 1000; ++i) {
      link.bystander.ask(mdns::encode_query());
      co_await pause(link.network, milliseconds(3));
    }
    EXPECT_LE(link.bystander.multicast.size(), 4U);                            // 3 s, at most one a second
    EXPECT_LE(link.bystander.unicast.size(), 4U * limits::mdns_unicast_rate);  // the first burst, and 20 a second
    EXPECT_GE(link.bystander.unicast.size(), 3U * limits::mdns_unicast_rate);
  });
}

TEST(Discovery, WhoFloodsItsPeersDisplacesNobodyElses) {
  Link link;
  std::set<PeerId> known;
  AgentEvents events;
  events.discovered = [&](const PeerId& peer, const std::vector<Multiaddr>&) { known.insert(peer); };
  events.gone = [&](const PeerId& peer) { known.erase(peer); };
  link.add(looking(), events);
  std::set<PeerId> honest{link.add().agent.id(), link.add().agent.id()};
  SimAgent late(link.network, listening());
  link.run([&]() -> Awaitable<void> {
    const auto flood = [&]() -> Awaitable<void> {
      for (std::size_t i = 0; i < limits::mdns_peers + 50; ++i) {
        link.bystander.announce(limits::mdns_ttl_max);
        co_await pause(link.network, milliseconds(1));
        EXPECT_LE(known.size(), limits::mdns_peers);
      }
    };
    co_await flood();
    EXPECT_EQ(known.size(), limits::mdns_peers);
    EXPECT_TRUE(std::includes(known.begin(), known.end(), honest.begin(), honest.end()));
    late.agent.start();
    honest.insert(late.agent.id());
    co_await flood();
    EXPECT_EQ(known.size(), limits::mdns_peers);
    EXPECT_TRUE(std::includes(known.begin(), known.end(), honest.begin(), honest.end()));
    co_await late.agent.stop();
  });
}

/// Says it to the group from another address.
void say_from(Link& link, const std::string& ip, const std::vector<Bytes>& packets) {
  SimHost& host = link.network.add_host(ip);
  const std::unique_ptr<DatagramSocket> socket = host.open_group(host.interfaces().front(), Multicast::Family::ip6);
  for (const Bytes& packet : packets) socket->send_to_group(packet);
}

TEST(Discovery, WhoHasManyIp6AddressesIsOneSource) {
  Link link;
  Agent& finder = link.add(looking()).agent;
  std::vector<Agent*> honest;
  for (int i = 0; i < 3; ++i) honest.push_back(&link.add().agent);
  link.run_at_rest([&]() -> Awaitable<void> {
    const auto announce = [&](std::size_t i, const PeerId& peer) {
      const std::vector<Multiaddr> addresses{link.bystander.address(static_cast<std::uint16_t>(i))};
      say_from(link, "fe80::" + std::to_string(i),
               mdns::encode_response({mdns::random_name(link.network.random()), peer, addresses, limits::mdns_ttl}));
    };
    // As many as there are places for addresses of a peer, and for peers.
    for (std::size_t i = 1; i <= limits::mdns_addresses + 10; ++i) announce(i, honest[0]->id());
    for (std::size_t i = 100; i < 100 + limits::mdns_peers; ++i) {
      announce(i, link.bystander.somebody());
      co_await pause(link.network, milliseconds(1));
    }
    for (const Agent* const each : honest) {
      const std::vector<Multiaddr> addresses = finder.discovered_addresses(each->id());
      const auto real = std::find(addresses.begin(), addresses.end(), each->addresses().at(0).without_peer_id());
      EXPECT_NE(real, addresses.end());
      EXPECT_LE(real - addresses.begin(), 1);
    }
  });
}

TEST(Discovery, AnswersWhoHasManyIp6AddressesByUnicastNoMoreThanOneSource) {
  Link link;
  link.add();
  link.run_at_rest([&]() -> Awaitable<void> {
    const std::uint64_t sent = link.network.datagrams;
    constexpr std::size_t asked = 100;
    std::vector<std::unique_ptr<DatagramSocket>> sockets;
    for (std::size_t i = 1; i <= limits::mdns_unicast_sources; ++i) {
      SimHost& host = link.network.add_host("fe80::" + std::to_string(i));
      sockets.push_back(host.open_ephemeral(host.interfaces().front(), Multicast::Family::ip6));
    }
    for (std::size_t i = 0; i < asked; ++i) sockets[i % sockets.size()]->send_to_group(mdns::encode_one_shot_query(1));
    co_await pause(link.network, milliseconds(10));
    EXPECT_EQ(link.network.datagrams - sent - asked, limits::mdns_unicast_rate);
    co_await pause(link.network, latest_answer);
    EXPECT_EQ(link.bystander.multicast.size(), 1U) << "which all hear";
  });
}

TEST(Discovery, AHundredOnAnIp6LinkAreFoundAtOnce) {
  Link link(1, "fe80::1");
  AgentOptions options = listening();
  options.listen = {Multiaddr::tcp("::", 0).value()};
  constexpr std::size_t count = 100;
  for (std::size_t i = 0; i < count; ++i) link.add(options, {}, "fe80::a:" + std::to_string(i));
  std::set<PeerId> found;
  AgentEvents events;
  events.discovered = [&](const PeerId& peer, const std::vector<Multiaddr>&) { found.insert(peer); };
  SimAgent finder(link.network, looking(), events, "fe80::2");
  link.run_at_rest([&]() -> Awaitable<void> {
    finder.agent.start();
    co_await pause(link.network, milliseconds(250));
    EXPECT_EQ(found.size(), count);
    for (const PeerId& peer : found) co_await finder.agent.connect(peer);
    co_await finder.agent.stop();
  });
}

TEST(Discovery, AFloodOfListsMakesNoFlood) {
  Link link;
  for (int i = 0; i < 10; ++i) link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(300));
    link.bystander.clear();
    constexpr std::size_t asked = 1000;
    for (std::size_t i = 0; i < asked; ++i) {
      link.bystander.ask_knowing({{mdns::instance_name(mdns::random_name(link.network.random())), limits::mdns_ttl}});
      co_await pause(link.network, milliseconds(10));
    }
    EXPECT_LE(link.bystander.multicast.size(), link.agents.size() * 11);  // 10 s, at most one a second
    EXPECT_LE(link.bystander.queries.size(), link.agents.size() * 11);    // as many
    EXPECT_GE(link.bystander.queries.size(), 10U);
  });
}

TEST(Discovery, AListThatTheGroupDoesNotHearBringsNoQuestions) {
  Link link;
  for (int i = 0; i < 10; ++i) link.add();
  link.run([&]() -> Awaitable<void> {
    co_await pause(link.network, seconds(300));
    link.bystander.clear();
    for (int i = 0; i < 100; ++i) {
      for (const auto& each : link.agents) {
        const std::vector<mdns::KnownAnswer> known(1, {mdns::instance_name(mdns::random_name(link.network.random())), limits::mdns_ttl});
        link.bystander.ask_alone(each->host.ip(), mdns::encode_query(known).at(0));
      }
      co_await pause(link.network, milliseconds(100));
    }
    EXPECT_LE(link.bystander.queries.size(), 1U);  // somebody's own question
  });
}

TEST(Discovery, MadeUpNamesOfAPeerMakeNoEndlessLists) {
  Link link;
  link.add(looking());
  link.run([&]() -> Awaitable<void> {
    for (std::size_t i = 0; i < limits::mdns_peers / limits::mdns_addresses + 10; ++i) {
      const PeerId peer = link.bystander.somebody();
      for (std::size_t name = 0; name < limits::mdns_addresses; ++name) {
        link.bystander.announce(peer, {link.bystander.address(1)}, limits::mdns_ttl_max);
      }
    }
    co_await pause(link.network, seconds(10));
    link.bystander.clear();
    co_await pause(link.network, seconds(10));
    std::size_t listed = 0;
    for (const auto& [when, query] : link.bystander.queries) listed += query.known.size();
    EXPECT_EQ(link.bystander.questions().size(), 1U);
    EXPECT_EQ(listed, limits::mdns_peers);
  });
}

/// Announces so many addresses of a peer where nobody listens.
void forge(Bystander& liar, const PeerId& peer, std::uint16_t first_port, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    liar.announce(peer, {liar.address(static_cast<std::uint16_t>(first_port + i))}, limits::mdns_ttl_max);
}

TEST(Discovery, ForgedAddressesCostOneFailedDial) {
  Link link;
  Agent& finder = link.add(looking()).agent;
  SimAgent provider(link.network, listening());
  link.run([&]() -> Awaitable<void> {
    const PeerId id = provider.agent.id();
    forge(link.bystander, id, 1, 2 * limits::mdns_addresses);
    co_await pause(link.network, seconds(1));
    EXPECT_EQ(finder.discovered_addresses(id).size(), limits::mdns_addresses);
    provider.agent.start();
    co_await pause(link.network, milliseconds(1));
    forge(link.bystander, id, 1000, 2 * limits::mdns_addresses);
    co_await pause(link.network, milliseconds(1));
    const std::vector<Multiaddr> addresses = finder.discovered_addresses(id);
    EXPECT_EQ(addresses.size(), limits::mdns_addresses);
    const auto real = std::find(addresses.begin(), addresses.end(), provider.agent.addresses().at(0).without_peer_id());
    EXPECT_LE(real - addresses.begin(), 1);
    co_await finder.connect(id);
    co_await provider.agent.stop();
  });
}

/// Somebody has named a silent address for a provider, which is dialled when the provider speaks for itself.
void connect_behind_a_forged_address(std::optional<Duration> patience) {
  Link link;
  SimAgent& finder = link.add(looking());
  SimAgent provider(link.network, listening());
  SimHost& silent = link.network.add_host();
  silent.unplug();
  link.run([&]() -> Awaitable<void> {
    link.bystander.announce(provider.agent.id(), {Multiaddr::tcp(silent.ip(), 1).value()});
    co_await pause(link.network, milliseconds(1));
    TaskGroup group(link.network.loop());
    const auto connect = [&]() -> Awaitable<void> {
      const Time deadline = patience ? link.now() + *patience : Time::max();
      const Connection* const connection = co_await finder.agent.connect(provider.agent.id(), deadline);
      EXPECT_EQ(connection->peer(), provider.agent.id());
    };
    group.spawn(connect());
    co_await pause(link.network, seconds(1));
    provider.agent.start();
    co_await group.join();
    co_await provider.agent.stop();
  });
}

TEST(Discovery, AForgedAddressHeardFirstDoesNotHideTheRealOne) { connect_behind_a_forged_address({}); }

TEST(Discovery, AForgedAddressHeardFirstDoesNotHideTheRealOneFromWhoeverIsInAHurry) {
  connect_behind_a_forged_address(seconds(2));  // before the dial of the forged one is over
}

TEST(Discovery, SoManyAddressesOfAPeerAreDialledAtOnceAndInAll) {
  Link link;
  SimAgent& finder = link.add(looking());
  const PeerId peer = link.bystander.somebody();
  SimHost& silent = link.network.add_host();
  silent.unplug();
  link.run([&]() -> Awaitable<void> {
    const auto announce = [&](std::uint16_t first) {
      for (std::uint16_t port = first; port < first + limits::mdns_addresses; ++port) {
        link.bystander.announce(peer, {Multiaddr::tcp(silent.ip(), port).value()});
      }
    };
    announce(1);
    co_await pause(link.network, milliseconds(1));
    TaskGroup group(link.network.loop());
    std::optional<Errc> came_of;
    const auto connect = [&]() -> Awaitable<void> { came_of = co_await error_of(discard(finder.agent.connect(peer))); };
    group.spawn(connect());
    for (int i = 0; i < 400 && !came_of; ++i) {
      co_await pause(link.network, milliseconds(100));
      announce(static_cast<std::uint16_t>(1000 + 100 * i));  // others in their place
    }
    co_await group.join();
    EXPECT_EQ(came_of, Errc::unreachable);
    const std::vector<Time>& dials = finder.host.dials;
    EXPECT_EQ(dials.size(), limits::mdns_addresses);
    for (std::size_t i = limits::dial_addresses; i < dials.size(); ++i)
      EXPECT_GE(dials[i], dials[i - limits::dial_addresses] + limits::dial);
  });
}

TEST(Discovery, NobodyReplacesAVerifiedAddressOrSaysGoodbyeForOthers) {
  Link link;
  const Agent& provider = link.add().agent;
  bool gone = false;
  AgentEvents events;
  events.gone = [&](const PeerId& peer) { gone = gone || peer == provider.id(); };
  Agent& finder = link.add(looking(), events).agent;
  link.run([&]() -> Awaitable<void> {
    const Multiaddr real = provider.addresses().at(0).without_peer_id();
    forge(link.bystander, provider.id(), 1, 1);  // before the provider has said anything
    co_await finder.next_discovered(link.now() + seconds(5));
    co_await pause(link.network, seconds(2));
    co_await finder.connect(provider.id());
    EXPECT_EQ(finder.discovered_addresses(provider.id()).at(0), real);
    forge(link.bystander, provider.id(), 1000, 2 * limits::mdns_addresses);
    link.bystander.announce(provider.id(), {real}, seconds(0));
    for (std::size_t i = 0; i < limits::mdns_peers; ++i) link.bystander.announce(limits::mdns_ttl_max);
    co_await pause(link.network, seconds(1));
    EXPECT_EQ(finder.discovered_addresses(provider.id()).at(0), real);
    EXPECT_FALSE(gone);
  });
}

TEST(Discovery, AnAddressThatIsNamedForManyIsDialledOnceASecond) {
  Link link;
  AgentOptions unannounced = listening();
  unannounced.mdns = false;
  SimAgent provider(link.network, unannounced);
  Agent& finder = link.add(looking()).agent;
  TaskGroup dials(link.network.loop());
  std::map<PeerId, std::optional<Errc>> came_of;
  const auto dial = [&](PeerId peer) -> Awaitable<void> { came_of[peer] = co_await error_of(discard(finder.connect(peer))); };
  const auto look = [&](Time end) -> Awaitable<void> {
    const auto next = [&]() -> Awaitable<void> { dials.spawn(dial(co_await finder.next_discovered(end))); };
    Errc over{};
    while (over == Errc()) over = co_await error_of(next());
  };
  link.run([&]() -> Awaitable<void> {
    provider.agent.start();
    const PeerId id = provider.agent.id();
    const Multiaddr address = provider.agent.addresses().at(0).without_peer_id();
    const Multiaddr dead = link.bystander.address(1);
    std::vector<PeerId> made_up;
    for (int i = 0; i < 100; ++i) made_up.push_back(link.bystander.somebody());
    const Time begun = link.now();
    dials.spawn(look(begun + seconds(4)));
    for (int again = 0; again < 8; ++again) {
      for (const PeerId& peer : made_up) link.bystander.announce(peer, {address, dead});
      link.bystander.announce(id, {address});
      if (again > 0) dials.spawn(dial(id));
      co_await pause(link.network, milliseconds(50));
      EXPECT_EQ(came_of[id], Errc()) << "who is there waits for one dial of another's at most";
      came_of.erase(id);
      finder.disconnect(id);
      co_await pause(link.network, milliseconds(450));
    }
    co_await dials.join();
    for (const PeerId& peer : made_up) EXPECT_TRUE(came_of[peer] == Errc::unverified || came_of[peer] == Errc::unreachable);
    const std::vector<std::string>& log = provider.host.log;
    const auto in_vain =
        std::count_if(log.begin(), log.end(), [](const std::string& line) { return line.find("no connection from") != std::string::npos; });
    EXPECT_GE(in_vain, 1);
    EXPECT_LE(in_vain, 5) << "in " << (link.now() - begun) / seconds(1) << " s";
    co_await provider.agent.stop();
  });
}

/// Names all of these ports of a host for each of these peers, a moment before it returns.
Awaitable<void> name_ports_of(Link& link, const std::string& ip, const std::vector<PeerId>& peers) {
  std::uint16_t port = 1;
  for (const PeerId& peer : peers) {
    for (std::size_t i = 0; i < limits::mdns_addresses; ++i) link.bystander.announce(peer, {Multiaddr::tcp(ip, port++).value()});
  }
  co_await pause(link.network, milliseconds(1));
}

TEST(Discovery, AHostThatOthersNameIsDialledAtAPace) {
  Link link;
  SimAgent& finder = link.add(looking());
  AgentOptions options = listening();
  options.listen = {Multiaddr::tcp("0.0.0.0", 4001).value()};
  SimAgent third(link.network, options);
  std::vector<PeerId> made_up;
  for (std::size_t i = 0; i < limits::search_peers_source; ++i) made_up.push_back(link.bystander.somebody());
  TaskGroup dials(link.network.loop());
  const auto dial = [&](PeerId peer, Time until) -> Awaitable<void> {
    EXPECT_NE(co_await error_of(discard(finder.agent.connect(peer, until))), Errc());
  };
  link.run([&]() -> Awaitable<void> {
    co_await name_ports_of(link, third.host.ip(), made_up);
    const Time begun = link.now();
    for (const PeerId& peer : made_up) dials.spawn(dial(peer, begun + seconds(2)));
    co_await pause(link.network, seconds(1));
    constexpr std::size_t most = limits::hearsay_burst + seconds(1) / limits::hearsay_pace;
    EXPECT_LE(finder.host.dials.size(), most);
    EXPECT_GE(finder.host.dials.size(), most - 1);

    // Whoever is there and says so waits for none of these, though others have named it first.
    const PeerId id = third.agent.id();
    link.bystander.announce(id, {Multiaddr::tcp(third.host.ip(), 4001).value()});
    co_await pause(link.network, milliseconds(1));
    std::optional<Time> connected;
    const auto connect = [&]() -> Awaitable<void> {
      co_await finder.agent.connect(id);
      connected = link.now();
    };
    dials.spawn(connect());
    third.agent.start();
    const Time started = link.now();
    co_await dials.join();
    EXPECT_LE(connected.value() - started, limits::hearsay_pace + milliseconds(10));
    co_await third.agent.stop();
  });
}

TEST(Discovery, WhoeverWaitsForADialOfAnothersIsStillOverInTime) {
  Link link;
  Agent& finder = link.add(looking()).agent;
  SimHost& silent = link.network.add_host();
  silent.unplug();
  TaskGroup dials(link.network.loop());
  std::size_t closed = 0;
  const auto dial_to_the_end = [&](PeerId peer) -> Awaitable<void> {
    if (co_await error_of(discard(finder.connect(peer))) == Errc::closed) ++closed;
  };
  link.run([&]() -> Awaitable<void> {
    const std::vector<PeerId> peers{link.bystander.somebody(), link.bystander.somebody(), link.bystander.somebody()};
    for (const PeerId& peer : peers) link.bystander.announce(peer, {Multiaddr::tcp(silent.ip(), 1).value()});
    co_await pause(link.network, milliseconds(1));
    dials.spawn(dial_to_the_end(peers[0]));
    dials.spawn(dial_to_the_end(peers[1]));
    const Time until = link.now() + milliseconds(100);
    EXPECT_EQ(co_await error_of(discard(finder.connect(peers[2], until))), Errc::timed_out);
    EXPECT_EQ(link.now(), until);
    finder.close();
    co_await dials.join();
    EXPECT_EQ(closed, 2U);
    EXPECT_EQ(link.now(), until);
  });
}

TEST(Discovery, WhatIsAnnouncedAgainAndAgainIsNotDialledTwiceASecond) {
  Link link;
  Agent& finder = link.add(looking()).agent;
  TaskGroup dials(link.network.loop());
  std::map<PeerId, std::vector<Time>> dialled;
  const auto dial = [&](PeerId peer) -> Awaitable<void> {
    dialled[peer].push_back(link.now());
    const Errc error = co_await error_of(discard(finder.connect(peer)));
    EXPECT_EQ(error, Errc::unreachable);
  };
  const auto look = [&]() -> Awaitable<void> {
    const Time end = link.now() + seconds(5);
    while (link.now() < end) {
      try {
        dials.spawn(dial(co_await finder.next_discovered(end)));
      } catch (const boost::system::system_error&) {
        break;
      }
    }
  };
  link.run([&]() -> Awaitable<void> {
    const std::vector<PeerId> peers{link.bystander.somebody(), link.bystander.somebody()};
    dials.spawn(look());
    for (std::uint16_t i = 0; i < 1000; ++i) {
      for (const PeerId& peer : peers) link.bystander.announce(peer, {link.bystander.address(static_cast<std::uint16_t>(1 + i % 2))});
      co_await pause(link.network, milliseconds(5));
    }
    co_await dials.join();
    for (const PeerId& peer : peers) {
      EXPECT_GE(dialled[peer].size(), 4U);
      for (std::size_t i = 1; i < dialled[peer].size(); ++i) EXPECT_GE(dialled[peer][i] - dialled[peer][i - 1], seconds(1));
    }
  });
}

}  // namespace
}  // namespace p2p::test
