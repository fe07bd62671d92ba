#include "task/places.hpp"

#include <gtest/gtest.h>
#include <deque>
#include <string>

namespace p2p::test {
namespace {

struct Guest {
  Party party;
  std::string name;
  bool has_slot = false;
};

class Seats : public testing::Test {
 protected:
  Guest& come(const std::string& host, const std::string& name) {
    guests_.push_back({{host, id(name.front())}, name});
    places.enter(guests_.back());
    return guests_.back();
  }
  /// Of the requester with that letter.
  PeerId id(char requester) { return KeyPair(crypto::Key{static_cast<std::uint8_t>(requester)}).peer_id(); }
  std::string seat() {
    Guest* const guest = places.seat();
    return guest == nullptr ? "nobody" : guest->name;
  }
  std::string gives_way_to(const std::string& host, char requester) {
    Guest* const guest = places.gives_way_to({host, id(requester)});
    return guest == nullptr ? "nobody" : guest->name;
  }

  Places<Guest> places;

 private:
  std::deque<Guest> guests_;
};

TEST_F(Seats, OfOneRequesterAreGivenInTheOrderOfArrival) {
  for (const char* const name : {"a0", "a1", "a2"}) come("1", name);
  EXPECT_EQ(seat(), "a0");
  EXPECT_EQ(seat(), "a1");
  EXPECT_EQ(gives_way_to("1", 'a'), "nobody");
  EXPECT_EQ(seat(), "a2");
  EXPECT_EQ(seat(), "nobody");
  EXPECT_EQ(places.running(), 3U);
}

TEST_F(Seats, GoInTurnsWhereThereIsOneOnly) {
  Guest* const a0 = &come("1", "a0");
  for (const char* const name : {"a1", "a2"}) come("1", name);
  for (const char* const name : {"b0", "b1"}) come("2", name);
  EXPECT_EQ(seat(), "a0");
  EXPECT_TRUE(places.leave(*a0));
  std::string order;
  while (Guest* const guest = places.seat()) {
    order += guest->name + ' ';
    EXPECT_TRUE(places.leave(*guest));
    EXPECT_FALSE(places.leave(*guest));
  }
  EXPECT_EQ(order, "b0 a1 b1 a2 ");
  EXPECT_EQ(places.running(), 0U);
}

TEST_F(Seats, OfAHostGoToItsRequestersInTurns) {
  for (const char* const name : {"a0", "a1", "a2", "a3"}) come("1", name);
  come("1", "b0");
  come("2", "c0");
  EXPECT_EQ(seat(), "a0");
  EXPECT_EQ(seat(), "c0");  // another host
  EXPECT_EQ(seat(), "b0");  // of the same, with none
  EXPECT_EQ(seat(), "a1");
}

TEST_F(Seats, ComeRoundToWhoHasManyWhileOthersComeBackAgainAndAgain) {
  Guest* running = &come("1", "a0");
  EXPECT_EQ(seat(), "a0");
  come("1", "a1");
  come("1", "a2");
  Guest* b = &come("2", "b0");
  Guest* c = &come("3", "c0");
  std::size_t of_a = 0;
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(places.leave(*running));
    if (running == b) b = &come("2", "b1");
    if (running == c) c = &come("3", "c1");
    running = places.seat();
    of_a += running->party.host == "1";
  }
  EXPECT_EQ(of_a, 2U);
}

TEST_F(Seats, GiveWayWhereSomebodyHasMore) {
  for (const char* const name : {"a0", "a1", "a2", "a3"}) come("1", name);
  EXPECT_EQ(gives_way_to("1", 'a'), "nobody");
  EXPECT_EQ(gives_way_to("2", 'b'), "a3");
  EXPECT_EQ(gives_way_to("1", 'b'), "a3");  // another key of the same host
  come("1", "b0");
  come("1", "b1");
  EXPECT_EQ(gives_way_to("1", 'b'), "a3");
  come("1", "b2");
  EXPECT_EQ(gives_way_to("1", 'b'), "nobody");  // there would be as many then
  EXPECT_EQ(gives_way_to("2", 'a'), "a3");      // hosts come first
}

TEST_F(Seats, GiveWayOfTheHostThatHasMostHoweverManyKeysItHas) {
  for (const char* const name : {"a0", "b0", "c0", "d0"}) come("1", name);
  for (const char* const name : {"x0", "x1", "x2"}) come("2", name);
  EXPECT_EQ(gives_way_to("3", 'z'), "d0");
  EXPECT_EQ(gives_way_to("2", 'x'), "nobody");
  EXPECT_EQ(gives_way_to("2", 'y'), "x2");
}

TEST_F(Seats, AreForgottenWithTheirGuests) {
  Guest& a = come("1", "a0");
  Guest& b = come("2", "b0");
  EXPECT_TRUE(places.leave(a));
  EXPECT_EQ(seat(), "b0");
  EXPECT_TRUE(places.leave(b));
  EXPECT_FALSE(places.leave(a));
  EXPECT_TRUE(places.waiting().empty());
  EXPECT_EQ(gives_way_to("1", 'a'), "nobody");
}

}  // namespace
}  // namespace p2p::test
