#include "executors/registry.hpp"

#include "support/sim.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

TEST(Registry, MakesAMockOfItsSettingsAndOfNothingElse) {
  SimNetwork network;
  const Environment environment = network.add_host().environment();
  EXPECT_EQ(make_executor("mock", environment)->name(), "mock");
  EXPECT_NO_THROW(make_executor("mock:delay=5,pieces=3", environment));
  EXPECT_NO_THROW(make_executor("mock:pieces=1000000", environment));
  for (const char* const wrong : {"", "mocks", "mock:x", "mock:delay=-1", "mock:delay=86400001", "mock:pieces=0", "mock:pieces=1000001",
                                  "mock:speed=1", "mock:delay"}) {
    EXPECT_THROW(make_executor(wrong, environment), boost::system::system_error) << wrong;
  }
}

}  // namespace
}  // namespace p2p::test
