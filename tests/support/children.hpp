#pragma once
// For tests of executors that start programs: the real system with a log and, if wanted, a clock that runs ahead; and a look at what is
// left.

#include "executors/program.hpp"
#include "network/system.hpp"
#include "support/recorded_run.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>
#include <functional>
#include <string>
#include <vector>

namespace p2p::test {

/// Keeps lines.
class LineLog final : public Logger {
 public:
  bool wants(Level) const noexcept override { return true; }
  void write(Level, std::string_view message) override {
    lines.emplace_back(message);
    if (on_line) on_line(lines.back());
  }
  bool has(std::string_view text) const;

  std::vector<std::string> lines;
  std::function<void(const std::string& line)> on_line;
};

/// The real clock, so many times as fast.
class HastyClock final : public Clock {
 public:
  explicit HastyClock(Clock& real) : real_(real), start_(real.now()) {}

  Time now() const override { return start_ + (real_.now() - start_) * factor; }
  WallTime date() const override { return real_.date(); }
  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    return real_.schedule(start_ + (when - start_) / factor, std::move(call));
  }

  int factor = 1;  // set before it is used

 private:
  Clock& real_;
  const Time start_;
};

class ChildrenTest : public testing::Test {
 protected:
  ChildrenTest();

  /// The misbehaving program, with a directory for temporary files that the test looks into.
  Program unruly(std::vector<std::string> actions) const;
  Program program(std::vector<std::string> arguments) const;
  /// Every wait of executors is over sooner.
  void hurry(int factor = 40) { clock_.factor = factor; }
  const Environment& environment() const { return environment_; }
  static Task task(std::string prompt);

  void run(Awaitable<void> work) { system_.run(std::move(work)); }
  Outcome run(Executor& executor, RecordedRun& task_run);
  /// No child, no temporary file, and no more descriptors than when the test began. Where orphans are not ours, only children.
  void expect_nothing_left() const;

  LineLog log;

 private:
  const TemporaryDirectory temporary_;
  System system_;
  HastyClock clock_;
  const Environment environment_;
  std::size_t descriptors_ = 0;
};

/// Waits until the process is gone or at most a corpse; false when it lives on.
bool ends(int pid);
/// Behind each "pid " at the beginning of a line.
std::vector<int> pids_in(const std::string& text);
std::size_t open_descriptors();

}  // namespace p2p::test
