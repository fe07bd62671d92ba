#include "wire/mux_session.hpp"

#include "base/limits.hpp"
#include "support/mux_pair.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::MuxPair;

constexpr MuxPair::Side sides[] = {MuxPair::dialer, MuxPair::listener};

// What both muxers promise. The pair itself compares every byte and event with what the other side did.
class MuxSessions : public testing::TestWithParam<std::string_view> {
 protected:
  MuxPair pair{GetParam()};
  bool yamux() const { return GetParam() == yamux_protocol; }
};

INSTANTIATE_TEST_SUITE_P(, MuxSessions, testing::Values(yamux_protocol, mplex_protocol),
                         [](const auto& instance) { return instance.param == yamux_protocol ? "Yamux" : "Mplex"; });

TEST_P(MuxSessions, CarryManyStreamsBothWaysAtOnce) {
  constexpr std::uint64_t size = 600'000;  // more than two windows
  struct Way {
    MuxPair::Side side;
    StreamId id;
    std::uint64_t sent = 0;
  };
  std::vector<Way> ways;
  for (int i = 0; i < 20; ++i) {
    const MuxPair::Side opener = sides[i % 2];
    const StreamId id = pair.open(opener).value();
    ways.push_back({opener, id});
    ways.push_back({MuxPair::other(opener), pair.there(id)});
  }
  pair.settle();
  test::SeededRandom random;
  const auto some = [&random](std::uint64_t most) { return static_cast<std::size_t>(1 + random.below(most)); };
  for (bool busy = true; busy;) {
    busy = false;
    for (Way& way : ways) {
      if (way.sent < size) {
        busy = true;
        way.sent += pair.send(way.side, way.id, std::min<std::size_t>(some(100'000), size - way.sent));
        if (way.sent == size) pair.close_write(way.side, way.id);
      }
      pair.deliver(way.side, some(100'000));
      pair.consume(way.side, way.id, some(200'000));
    }
  }
  pair.settle();
  for (const Way& way : ways) {
    EXPECT_EQ(pair.received(way.side, way.id), size);
    EXPECT_TRUE(pair.finished(way.side, way.id));
  }
  for (const MuxPair::Side side : sides) EXPECT_EQ(pair.session(side).open_streams(), 0U);
  EXPECT_EQ(pair.writable_events() > 0, yamux());
}

TEST_P(MuxSessions, CarryTheSameByteByByte) {
  const StreamId id = pair.open(MuxPair::dialer).value();
  EXPECT_EQ(pair.send(MuxPair::dialer, id, 40'000), 40'000U);
  pair.close_write(MuxPair::dialer, id);
  for (int i = 0; i < 50'000; ++i) pair.deliver(MuxPair::listener, 1);
  EXPECT_EQ(pair.received(MuxPair::listener, pair.there(id)), 40'000U);
  EXPECT_TRUE(pair.finished(MuxPair::listener, pair.there(id)));
  EXPECT_EQ(pair.send(MuxPair::listener, pair.there(id), 30'000), 30'000U);  // the other direction is still open
  for (int i = 0; i < 40'000; ++i) pair.deliver(MuxPair::dialer, 1);
  EXPECT_EQ(pair.received(MuxPair::dialer, id), 30'000U);
  EXPECT_FALSE(pair.finished(MuxPair::dialer, id));
  pair.settle();
}

TEST_P(MuxSessions, EndAStreamInBothDirectionsByAReset) {
  const StreamId id = pair.open(MuxPair::listener).value();
  const StreamId there = pair.there(id);
  pair.settle();
  pair.send(MuxPair::listener, id, 1000);
  pair.send(MuxPair::dialer, there, 1000);  // under way when the other side has had enough
  pair.close_write(MuxPair::dialer, there);
  pair.reset(MuxPair::listener, id);
  pair.deliver(MuxPair::dialer);
  EXPECT_TRUE(pair.was_reset(MuxPair::dialer, there));
  EXPECT_EQ(pair.received(MuxPair::dialer, there), 1000U);
  EXPECT_EQ(pair.send(MuxPair::dialer, there, 1), 0U);
  pair.settle();
  EXPECT_EQ(pair.received(MuxPair::listener, id), 0U);
  for (const MuxPair::Side side : sides) EXPECT_EQ(pair.session(side).open_streams(), 0U);
}

TEST_P(MuxSessions, NumberTheStreamsOfBothSidesApart) {
  for (std::size_t i = 0; i < limits::streams_outbound; ++i) {
    for (const MuxPair::Side side : sides) EXPECT_TRUE(pair.open(side).has_value());
  }
  for (const MuxPair::Side side : sides) EXPECT_FALSE(pair.open(side).has_value());
  pair.settle();
  for (const MuxPair::Side side : sides) EXPECT_EQ(pair.session(side).open_streams(), limits::streams_outbound + limits::streams_inbound);
}

TEST_P(MuxSessions, KeepTheirPromisesWhateverHappensInWhateverOrder) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    MuxPair fresh(GetParam());
    EXPECT_NO_THROW(fresh.play(test::SeededRandom(seed).bytes(900)));
  }
}

TEST(Yamux, StopsAtTheWindowOfAReaderThatReadsNothing) {
  MuxPair pair(yamux_protocol);
  const StreamId id = pair.open(MuxPair::dialer).value();
  EXPECT_EQ(pair.send(MuxPair::dialer, id, 1'000'000), limits::yamux_initial_window);
  pair.deliver(MuxPair::listener);
  pair.deliver(MuxPair::dialer);
  EXPECT_EQ(pair.send(MuxPair::dialer, id, 1), 0U);
  const StreamId second = pair.open(MuxPair::dialer).value();
  EXPECT_EQ(pair.send(MuxPair::dialer, second, 1000), 1000U) << "other streams go on";
  pair.consume(MuxPair::listener, id, limits::yamux_initial_window / 2);
  pair.deliver(MuxPair::dialer);
  EXPECT_EQ(pair.writable_events(), 1U);
  EXPECT_EQ(pair.send(MuxPair::dialer, id, 1'000'000), limits::yamux_initial_window / 2);
  pair.settle();
}

TEST(Yamux, LetsAFastReaderHaveMoreUnderWay) {
  MuxPair pair(yamux_protocol);
  const auto rtt = std::chrono::milliseconds(10);
  pair.ping(MuxPair::listener);
  pair.deliver(MuxPair::dialer);
  pair.now += rtt;
  pair.deliver(MuxPair::listener);
  const StreamId id = pair.open(MuxPair::dialer).value();
  std::size_t most = 0;
  for (int i = 0; i < 20; ++i) {
    most = std::max(most, pair.send(MuxPair::dialer, id, limits::yamux_max_window + 1));
    pair.now += rtt / 2;
    pair.deliver(MuxPair::listener);
    pair.consume(MuxPair::listener, id, MuxPair::all);
    pair.now += rtt / 2;
    pair.deliver(MuxPair::dialer);
  }
  EXPECT_EQ(most, limits::yamux_max_window);
  pair.settle();
}

}  // namespace
}  // namespace p2p
