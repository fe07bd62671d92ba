#include "cli/pace.hpp"

#include <gtest/gtest.h>

namespace p2p::cli {
namespace {

using std::chrono::milliseconds;

TEST(Pace, AdmitsABurstAndThenOneAtATime) {
  Time now{std::chrono::hours(1)};
  Pace pace(milliseconds(100), 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pace.admit(now)) << i;
  EXPECT_EQ(pace.left_out(), 0U);
  EXPECT_FALSE(pace.admit(now));
  EXPECT_FALSE(pace.admit(now + milliseconds(99)));
  now += milliseconds(100);
  EXPECT_TRUE(pace.admit(now));
  EXPECT_FALSE(pace.admit(now));
  EXPECT_EQ(pace.left_out(), 3U);
  EXPECT_EQ(pace.left_out(), 0U);
  now += std::chrono::hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pace.admit(now)) << i;
  EXPECT_FALSE(pace.admit(now));
}

}  // namespace
}  // namespace p2p::cli
