#include "network/system.hpp"
#include "support/sim.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace p2p::test {
namespace {

TEST(System, RunsWorkOnAnotherThreadAndThrowsWhatItThrows) {
  System system;
  const std::thread::id here = std::this_thread::get_id();
  std::thread::id there = here;
  std::string message;
  system.run([&]() -> Awaitable<void> {
    const std::function<void()> note = [&] { there = std::this_thread::get_id(); };
    co_await system.environment().pool.run(note);
    const std::function<void()> refuse = [] { fail(Errc::invalid, "not this"); };
    EXPECT_EQ(co_await error_of(system.environment().pool.run(refuse), &message), Errc::invalid);
    EXPECT_EQ(std::this_thread::get_id(), here);
  }());
  EXPECT_NE(there, here);
  EXPECT_EQ(message, "not this");
}

TEST(System, LogsNothingUnlessToldWhere) {
  System system;
  Logger& log = system.environment().log;
  for (const Logger::Level level : {Logger::Level::debug, Logger::Level::info, Logger::Level::error}) EXPECT_FALSE(log.wants(level));
  testing::internal::CaptureStderr();
  log.write(Logger::Level::error, "lost");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace p2p::test
