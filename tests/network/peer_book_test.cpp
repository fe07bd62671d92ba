#include "network/peer_book.hpp"

#include "base/limits.hpp"
#include "identity/identity.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <set>

namespace p2p::test {
namespace {

using std::chrono::seconds;

constexpr PeerBook::LinkNumber link = 0;

/// Hears what sources say, each at the next second.
class PeerBookTest : public testing::Test {
 protected:
  PeerId somebody() { return KeyPair::generate(random_).peer_id(); }
  std::string name() { return mdns::instance_name(mdns::random_name(random_)); }
  static Multiaddr address(std::uint16_t port) { return Multiaddr::tcp("192.168.0.1", port).value(); }
  PeerBook::News hear(const PeerId& peer, const std::string& name, std::uint16_t port, const std::string& source) {
    now_ += seconds(1);
    return book_.hear({peer, name, {address(port)}, limits::mdns_ttl}, {{address(port), true, false}}, link, source, now_);
  }
  std::set<std::string> told_by(const PeerId& peer) const {
    std::set<std::string> ips;
    for (const Source& source : book_.sources_of(peer)) ips.insert(source.ip);
    return ips;
  }
  static std::string ip6(std::size_t host) { return "fe80::" + std::to_string(host + 1); }

  SeededRandom random_;
  PeerBook book_{random_};
  Time now_{};
};

TEST_F(PeerBookTest, KeepsANameThatAnotherPeerClaimsSinceWhenTheFirstGoes) {
  const PeerId first = somebody();
  const PeerId second = somebody();
  const std::string shared = name();
  hear(first, shared, 1, "192.168.0.2");
  hear(second, shared, 2, "192.168.0.3");
  ASSERT_TRUE(book_.drop(first));
  EXPECT_TRUE(book_.has_name(shared, link, now_));
  EXPECT_EQ(book_.goodbye(shared, "192.168.0.3"), second);
  EXPECT_FALSE(book_.has_name(shared, link, now_));
}

TEST_F(PeerBookTest, KnowsAPeersOwnHostWhoeverElseNamesIt) {
  const std::string host = "192.168.0.1";  // where address() is
  const std::string flooder = "192.168.0.66";
  const auto say = [&](const PeerId& peer, const std::string& source) {
    now_ += seconds(1);
    const Multiaddr own = Multiaddr::tcp(source, 1).value();
    book_.hear({peer, name(), {own}, limits::mdns_ttl}, {{own, true, true}}, link, source, now_);
  };
  for (const bool flooder_first : {true, false}) {
    const PeerId peer = somebody();
    EXPECT_TRUE(told_by(peer).empty());
    say(peer, flooder_first ? flooder : host);
    say(peer, flooder_first ? host : flooder);
    EXPECT_EQ(told_by(peer), (std::set<std::string>{host, flooder}));
  }
  // What was said by another first counts for the host as soon as that says it too.
  const PeerId peer = somebody();
  EXPECT_TRUE(hear(peer, name(), 1, flooder).addresses);
  EXPECT_FALSE(hear(peer, name(), 1, flooder).addresses);
  EXPECT_EQ(told_by(peer), std::set<std::string>{flooder});
  const auto itself = [&] {
    return book_.hear({peer, name(), {address(1)}, limits::mdns_ttl}, {{address(1), true, true}}, link, host, now_).addresses;
  };
  EXPECT_TRUE(itself());  // so that whoever left it out for others of the flooder's hears of it
  EXPECT_FALSE(itself());
  EXPECT_EQ(told_by(peer), std::set<std::string>{host});
}

TEST_F(PeerBookTest, IsNotToldByAStrangerThatAPeerIsGone) {
  const PeerId peer = somebody();
  hear(peer, name(), 1, "192.168.0.2");
  EXPECT_FALSE(book_.goodbye(peer, "192.168.0.66"));
  EXPECT_EQ(book_.size(), 1U);
  EXPECT_TRUE(book_.goodbye(peer, "192.168.0.2"));
  EXPECT_EQ(book_.size(), 0U);
}

TEST_F(PeerBookTest, GivesAnAddressThatWasVerifiedFirstAndToNobodyElse) {
  const PeerId peer = somebody();
  const std::string peers_name = name();
  hear(peer, peers_name, 1, "192.168.0.2");
  book_.verified(peer, address(1));
  for (std::uint16_t port = 2; port < 2 + 2 * limits::mdns_addresses; ++port) hear(peer, peers_name, port, "192.168.0.66");
  const std::vector<Multiaddr> addresses = book_.addresses_of(peer);
  ASSERT_EQ(addresses.size(), limits::mdns_addresses);
  EXPECT_EQ(addresses.front(), address(1));
}

TEST_F(PeerBookTest, KeepsAnAddressWhileThereIsAConnectionByIt) {
  const PeerId peer = somebody();
  hear(peer, name(), 1, "192.168.0.2");
  hear(peer, name(), 2, "192.168.0.2");
  book_.verified(peer, address(1));
  now_ += limits::mdns_ttl;
  EXPECT_TRUE(book_.expire(now_).empty());
  EXPECT_EQ(book_.addresses_of(peer), std::vector<Multiaddr>(1, address(1)));
  EXPECT_EQ(book_.next_expiry(), Time::max());
  book_.disconnected(peer);
  EXPECT_LE(book_.next_expiry(), now_);
  EXPECT_EQ(book_.expire(now_), std::vector<PeerId>(1, peer));
}

TEST_F(PeerBookTest, TakesThePlaceOfNewcomersFromWhoeverSaysMost) {
  const PeerId honest = somebody();
  hear(honest, name(), 1, "192.168.0.2");
  const PeerId flooders_first = somebody();
  hear(flooders_first, name(), 2, "192.168.0.66");
  while (book_.size() < limits::mdns_peers) hear(somebody(), name(), 3, "192.168.0.66");
  EXPECT_EQ(hear(somebody(), name(), 4, "192.168.0.66").displaced, flooders_first);
  EXPECT_TRUE(hear(somebody(), name(), 5, "192.168.0.3").displaced.has_value());
  const std::vector<PeerId> peers = book_.peers();
  EXPECT_EQ(peers.size(), limits::mdns_peers);
  EXPECT_NE(std::find(peers.begin(), peers.end(), honest), peers.end());
}

TEST_F(PeerBookTest, IsNotToldToForgetAPeerByWhomeverNamedItFirst) {
  const PeerId honest = somebody();
  hear(honest, name(), 1, "192.168.0.66");
  hear(honest, name(), 2, "192.168.0.2");
  while (book_.size() < limits::mdns_peers) hear(somebody(), name(), 3, "192.168.0.66");
  for (int i = 0; i < 3; ++i) EXPECT_NE(hear(somebody(), name(), 4, "192.168.0.66").displaced, honest);
  EXPECT_EQ(book_.addresses_of(honest), std::vector{address(2)});
}

TEST_F(PeerBookTest, TakesThePlaceOfNewcomersFromWhoeverHasManyIp6Addresses) {
  const PeerId honest = somebody();
  hear(honest, name(), 1, "192.168.0.2");
  const PeerId on_both = somebody();
  hear(on_both, name(), 1, ip6(0));  // where its host is heard first
  hear(on_both, name(), 2, "192.168.0.3");
  for (std::size_t i = 1; i < 2 * limits::mdns_peers; ++i) hear(somebody(), name(), 3, ip6(i));
  EXPECT_EQ(book_.size(), limits::mdns_peers);
  EXPECT_EQ(book_.addresses_of(honest), std::vector{address(1)});
  EXPECT_EQ(book_.addresses_of(on_both), std::vector{address(2)});
}

TEST_F(PeerBookTest, LeavesThePlacesOfAnIp6LinkToThoseOnItWhoSayLess) {
  const PeerId honest = somebody();
  hear(honest, name(), 1, ip6(0));
  for (std::size_t i = 0; i < 2 * limits::mdns_peers; ++i) hear(somebody(), name(), 2, ip6(65));
  EXPECT_EQ(book_.addresses_of(honest), std::vector{address(1)});
}

TEST_F(PeerBookTest, GivesThoseWhoShareAnIp6PrefixOneTurn) {
  for (const bool honest_on_ip6 : {false, true}) {
    const PeerId peer = somebody();
    // Of as many addresses as one host likes, or of one if those who are honest share its prefix.
    for (std::uint16_t i = 0; i < limits::mdns_addresses; ++i)
      hear(peer, name(), static_cast<std::uint16_t>(100 + i), ip6(honest_on_ip6 ? 65 : i));
    hear(peer, name(), 1, honest_on_ip6 ? ip6(0) : "192.168.0.2");
    const std::vector<Multiaddr> addresses = book_.addresses_of(peer);
    ASSERT_EQ(addresses.size(), limits::mdns_addresses);
    EXPECT_EQ(addresses[1], address(1));
  }
}

TEST_F(PeerBookTest, GivesNoPlaceOfOthersToASourceWhoseOwnAreAllVerified) {
  std::vector<PeerId> flood;
  const PeerId honest = somebody();
  hear(honest, name(), 1, "192.168.0.2");
  while (book_.size() < limits::mdns_peers) {
    flood.push_back(somebody());
    hear(flood.back(), name(), 2, "192.168.0.66");
    book_.verified(flood.back(), address(2));
  }
  EXPECT_FALSE(hear(somebody(), name(), 3, "192.168.0.66").displaced);
  EXPECT_EQ(book_.size(), limits::mdns_peers);
  book_.disconnected(flood.front());
  EXPECT_EQ(hear(somebody(), name(), 3, "192.168.0.3").displaced, flood.front());
}

TEST_F(PeerBookTest, ForgetsEachWhenItsTimeIsOverAndSaysWhenThatIs) {
  const PeerId peer = somebody();
  const std::string peers_name = name();
  EXPECT_EQ(book_.next_expiry(), Time::max());
  hear(peer, peers_name, 1, "192.168.0.2");
  const Time over = now_ + limits::mdns_ttl;
  EXPECT_EQ(book_.next_expiry(), over);
  EXPECT_TRUE(book_.expire(over - seconds(1)).empty());
  EXPECT_EQ(book_.expire(over), std::vector{peer});
  EXPECT_EQ(book_.size(), 0U);
  EXPECT_FALSE(book_.has_name(peers_name, link, over));
  EXPECT_EQ(book_.next_expiry(), Time::max());
}

TEST_F(PeerBookTest, HasALinkAskedAgainInTheLastFifthOfARecordsTimeUnlessSomebodyAsks) {
  hear(somebody(), name(), 1, "192.168.0.2");
  const Time heard = now_;
  ASSERT_GE(book_.next_refresh(), heard + limits::mdns_ttl * 80 / 100);
  ASSERT_LE(book_.next_refresh(), heard + limits::mdns_ttl * 82 / 100);
  const Time first = book_.next_refresh();
  EXPECT_TRUE(book_.refresh(heard).empty());
  book_.asked(link, first);
  EXPECT_GT(book_.next_refresh(), first);
  EXPECT_EQ(book_.refresh(book_.next_refresh()), std::set{link});
}

}  // namespace
}  // namespace p2p::test
