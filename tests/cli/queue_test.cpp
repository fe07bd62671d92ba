#include "cli/queue.hpp"

#include "base/limits.hpp"

#include <gtest/gtest.h>

namespace p2p::cli {
namespace {

/// Peers whose sources the test chooses.
class Queues : public testing::Test {
 protected:
  PeerId named_by(const std::string& source) {
    const PeerId peer =
        KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{static_cast<std::uint8_t>(made_), static_cast<std::uint8_t>(made_ >> 8)})
            .peer_id();
    ++made_;
    sources[peer] = {source};
    queue.add(peer);
    return peer;
  }
  std::size_t ask_all() {
    std::size_t count = 0;
    while (queue.next()) ++count;
    return count;
  }

  std::map<PeerId, std::vector<Source>> sources;
  Queue queue{[this](const PeerId& peer) { return sources[peer]; }};

 private:
  unsigned made_ = 0;
};

TEST_F(Queues, GiveEachPeerAPlaceOnceInTheOrderInWhichTheyCame) {
  const PeerId first = named_by("a");
  const PeerId second = named_by("a");
  queue.add(first);
  EXPECT_EQ(queue.next(), first);
  queue.add(first);
  EXPECT_EQ(queue.next(), second);
  EXPECT_EQ(queue.next(), std::nullopt);
  EXPECT_EQ(queue.asking(), 2U);
  queue.done(first);
  queue.done(second);
  EXPECT_EQ(queue.asking(), 0U);
  queue.add(second);
  EXPECT_EQ(queue.next(), std::nullopt);
}

TEST_F(Queues, GiveAPlaceAgainToWhoeverWasFoundAgainSinceAndMayReturn) {
  const PeerId peer = named_by("a");
  queue.add(peer);  // before it has its place, which is no news behind it
  EXPECT_EQ(queue.next(), peer);
  queue.done(peer);
  queue.again(peer);
  EXPECT_EQ(queue.next(), std::nullopt);

  queue.add(peer);
  EXPECT_EQ(queue.next(), peer);
  queue.add(peer);
  queue.done(peer);
  queue.add(peer);
  EXPECT_EQ(queue.next(), std::nullopt);  // it may not yet
  queue.again(peer);
  EXPECT_EQ(queue.next(), peer);
  EXPECT_EQ(queue.next(), std::nullopt);
}

TEST_F(Queues, HoldUpNobodyForWhoeverNamesMany) {
  std::vector<PeerId> made_up;
  for (int i = 0; i < 200; ++i) made_up.push_back(named_by("flooder"));
  const PeerId honest = named_by("honest");
  for (std::size_t i = 0; i < limits::search_peers_source; ++i) EXPECT_EQ(queue.next(), made_up[i]);
  EXPECT_EQ(queue.next(), honest);
  EXPECT_EQ(queue.next(), std::nullopt);
  queue.done(made_up[3]);
  EXPECT_EQ(queue.next(), made_up[limits::search_peers_source]);
  EXPECT_EQ(queue.next(), std::nullopt);
}

TEST_F(Queues, HoldUpNobodyWhomAFlooderNamedFirst) {
  for (int i = 0; i < 200; ++i) named_by("flooder");
  const PeerId honest = named_by("flooder");
  EXPECT_EQ(ask_all(), limits::search_peers_source);
  sources[honest].push_back(Source("its own host"));
  EXPECT_EQ(queue.next(), honest);
}

TEST_F(Queues, HaveSoManyPlaces) {
  for (int source = 0; source < 5; ++source) {
    for (std::size_t i = 0; i < limits::search_peers_source; ++i) named_by(std::to_string(source));
  }
  EXPECT_EQ(ask_all(), limits::search_peers + 1);  // one for the fifth, who has none
}

TEST_F(Queues, KeepSomeForSourcesThatHaveNone) {
  for (int source = 0; source < 4; ++source) {  // who has four addresses fills all places
    for (std::size_t i = 0; i < limits::search_peers_source + 10; ++i) named_by("a flooder's " + std::to_string(source));
  }
  EXPECT_EQ(ask_all(), limits::search_peers);
  const PeerId honest = named_by("honest");
  named_by("honest");
  EXPECT_EQ(queue.next(), honest);
  EXPECT_EQ(queue.next(), std::nullopt);
  for (std::size_t i = 0; i < 2 * limits::search_peers_first; ++i) named_by(std::to_string(i));
  ask_all();
  EXPECT_EQ(queue.asking(), limits::search_peers + limits::search_peers_first);
}

TEST_F(Queues, LeavePlacesForOthersHoweverManyIp6AddressesAFlooderHas) {
  std::vector<PeerId> stalling;
  for (std::size_t i = 1; i <= 2 * limits::search_peers; ++i) stalling.push_back(named_by("fe80::" + std::to_string(i)));
  EXPECT_EQ(ask_all(), limits::search_peers_prefix);
  const PeerId honest = named_by("10.0.0.2");
  EXPECT_EQ(queue.next(), honest);
  const PeerId honest_too = stalling.back();
  sources[honest_too].push_back(Source("10.0.0.3"));  // it is heard by both
  EXPECT_EQ(queue.next(), honest_too);
  EXPECT_EQ(queue.next(), std::nullopt);
}

TEST_F(Queues, HoldUpNobodyOfAnIp6LinkForWhoeverNamesManyFromOneAddress) {
  for (std::size_t i = 0; i < 2 * limits::search_peers; ++i) named_by("fe80::66");
  EXPECT_EQ(ask_all(), limits::search_peers_source);
  const PeerId honest = named_by("fe80::2");
  EXPECT_EQ(queue.next(), honest);
}

TEST_F(Queues, GiveEachOfAHundredOnAnIp6LinkAPlace) {
  for (int i = 0; i < 100; ++i) named_by("fe80::" + std::to_string(i));
  std::set<PeerId> asked;
  while (const std::optional<PeerId> peer = queue.next()) {
    asked.insert(*peer);
    if (queue.asking() == limits::search_peers_prefix) queue.done(*peer);
  }
  EXPECT_EQ(asked.size(), 100U);
}

TEST_F(Queues, ThatAreFullLoseWhatTheLargestSourceNamedLast) {
  const PeerId honest = named_by("honest");
  PeerId last_kept;
  for (std::size_t i = 0; i + 1 < limits::search_waiting; ++i) last_kept = named_by("flooder");
  const PeerId one_more = named_by("flooder");
  const PeerId late = named_by("also honest");
  std::vector<PeerId> asked;
  while (const std::optional<PeerId> peer = queue.next()) {
    asked.push_back(*peer);
    queue.done(*peer);
  }
  EXPECT_EQ(asked.size(), limits::search_waiting);
  const auto was_asked = [&](const PeerId& peer) { return std::find(asked.begin(), asked.end(), peer) != asked.end(); };
  EXPECT_TRUE(was_asked(honest));
  EXPECT_TRUE(was_asked(late));
  EXPECT_FALSE(was_asked(one_more));
  EXPECT_FALSE(was_asked(last_kept));
  queue.add(one_more);  // which may come again
  EXPECT_EQ(queue.next(), one_more);
}

}  // namespace
}  // namespace p2p::cli
