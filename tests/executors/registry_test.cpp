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

TEST(Registry, MakesCommandsAndWorkersNamedAfterTheirProgram) {
  SimNetwork network;
  const Environment environment = network.add_host().environment();
  ExecutorSettings settings;
  settings.command_output = 1000;
  for (const char* const kind : {"command", "worker"}) {
    const auto executor = make_executor(std::string(kind) + ":/bin/sh -c 'echo \"a b\"'", environment, settings);
    EXPECT_EQ(executor->name(), kind);
    EXPECT_EQ(executor->models(), std::vector<std::string>{"sh"});
    EXPECT_EQ(executor->output_limit(), 1000U);
    EXPECT_TRUE(needs_permission(std::string(kind) + ":sh"));
    for (const char* const wrong : {"", ":", ":  ", ":no-such-program-anywhere", ":'sh", ":/"}) {
      EXPECT_THROW(make_executor(kind + std::string(wrong), environment), boost::system::system_error) << kind << wrong;
    }
  }
  EXPECT_FALSE(needs_permission("mock"));
}

TEST(Registry, GivesACommandTheNameThatItIsToldTo) {
  SimNetwork network;
  const Environment environment = network.add_host().environment();
  for (const bool worker : {false, true}) {
    const auto executor = make_command_executor("my shell", {"sh", "-c", "true"}, worker, environment);
    EXPECT_EQ(executor->name(), worker ? "worker" : "command");
    EXPECT_EQ(executor->models(), std::vector<std::string>{"my shell"});
    EXPECT_EQ(executor->output_limit(), limits::command_output);
    EXPECT_THROW(make_command_executor("", {"sh"}, worker, environment), boost::system::system_error);
    EXPECT_THROW(make_command_executor("x", {}, worker, environment), boost::system::system_error);
  }
}

}  // namespace
}  // namespace p2p::test
