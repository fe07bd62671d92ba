#include "network/watch.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Time start{std::chrono::hours(1)};

TEST(Watch, GoesOnForAWhileAfterWork) {
  Watch watch(start);
  EXPECT_TRUE(watch.goes_on(start));
  EXPECT_FALSE(watch.goes_on(start + Watch::patience));
  const Time later = start + milliseconds(10);
  watch.worked(later);
  EXPECT_TRUE(watch.goes_on(later + Watch::patience - microseconds(1)));
  EXPECT_FALSE(watch.goes_on(later + Watch::patience));
}

TEST(Watch, IsForThoseAloneWhoseSleepIsShort) {
  Watch watch(start);
  Time now = start + milliseconds(100);
  watch.slept(start, now);
  EXPECT_FALSE(watch.goes_on(now));
  watch.worked(now);
  EXPECT_FALSE(watch.goes_on(now));  // work that came at once behind it changes nothing

  watch.slept(now, now + Watch::short_sleep);
  now += Watch::short_sleep;
  EXPECT_FALSE(watch.goes_on(now));
  watch.slept(now, now + Watch::short_sleep - microseconds(1));
  now += Watch::short_sleep - microseconds(1);
  EXPECT_TRUE(watch.goes_on(now + Watch::patience - microseconds(1)));
  EXPECT_FALSE(watch.goes_on(now + Watch::patience));
}

TEST(Watch, PausesWhileOthersWantTheProcessor) {
  Watch watch(start);
  watch.yielded(start, start + Watch::others_turn - microseconds(1));
  Time now = start + Watch::others_turn;
  watch.worked(now);
  EXPECT_TRUE(watch.goes_on(now));
  watch.yielded(now, now + Watch::others_turn);
  now += Watch::others_turn;
  watch.worked(now);
  EXPECT_FALSE(watch.goes_on(now));
  const Time over = now + Watch::for_others;
  for (; now < over; now += microseconds(100)) {
    EXPECT_FALSE(watch.goes_on(now));
    watch.slept(now - microseconds(100), now);
  }
  watch.slept(over - microseconds(100), over);
  EXPECT_TRUE(watch.goes_on(over));
}

// How long the watch rests behind a turn that others took at `now`, which is then when it goes on. What it watched for came meanwhile.
Duration rest_behind(Watch& watch, Time& now) {
  watch.yielded(now, now + Watch::others_turn);
  const Time begun = now += Watch::others_turn;
  watch.worked(now);
  do {
    now += microseconds(100);
    watch.slept(now - microseconds(100), now);
  } while (!watch.goes_on(now));
  return now - begun;
}

TEST(Watch, PausesLongerForOthersWhoStay) {
  Watch watch(start);
  Time now = start;
  EXPECT_EQ(rest_behind(watch, now), Watch::for_others);
  EXPECT_EQ(rest_behind(watch, now), 2 * Watch::for_others);
  now += Watch::most_for_others - milliseconds(1);
  EXPECT_EQ(rest_behind(watch, now), 4 * Watch::for_others);
  for (int i = 0; i < 10; ++i) rest_behind(watch, now);
  EXPECT_EQ(rest_behind(watch, now), Watch::most_for_others);

  now += Watch::most_for_others;  // they are gone
  EXPECT_EQ(rest_behind(watch, now), Watch::for_others);
}

// One thing after another comes a little later than it watches for.
TEST(Watch, IsNotForWhoeverMakesItWatchInVain) {
  Watch watch(start);
  Time now = start;
  int in_vain = 0;
  const Time end = start + milliseconds(500);
  while (now < end) {
    watch.worked(now);
    if (watch.goes_on(now)) {
      ++in_vain;
      watch.yielded(now, now + microseconds(1));
      EXPECT_FALSE(watch.goes_on(now + Watch::patience));
      now += Watch::patience;
    }
    watch.slept(now, now + microseconds(100));
    now += microseconds(100);
  }
  EXPECT_GE(in_vain, 40);
  EXPECT_LE(in_vain, 50 + Watch::most_credit / Watch::price);
}

TEST(Watch, ForgivesWhoeverIsSeldomLate) {
  Watch watch(start);
  Time now = start;
  int watched = 0;
  for (int i = 0; i < 1000; ++i) {
    watch.worked(now);
    if (watch.goes_on(now)) ++watched;
    watch.yielded(now, now + microseconds(1));
    if (i % 6 == 5) {
      now += Watch::patience;
      watch.slept(now, now + microseconds(100));
    }
    now += microseconds(100);
  }
  EXPECT_EQ(watched, 1000);
}

}  // namespace
}  // namespace p2p
