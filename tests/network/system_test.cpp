#include "network/system.hpp"
#include "support/sim.hpp"

#include <gtest/gtest.h>
#include <chrono>
#include <ctime>
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

// That it doesn't look for work all the time.
TEST(System, SleepsWhileItWaits) {
  const auto processor_time = [] { return std::chrono::duration<double>(static_cast<double>(std::clock()) / CLOCKS_PER_SEC); };
  System system;
  const auto before = processor_time();
  system.run([&]() -> Awaitable<void> {
    const Environment& environment = system.environment();
    co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + std::chrono::milliseconds(500));
  }());
  EXPECT_LT(processor_time() - before, std::chrono::milliseconds(100));
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
