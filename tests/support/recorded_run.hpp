#pragma once
// A task's run without a provider, for tests of executors.

#include "identity/identity.hpp"
#include "task/executor.hpp"

namespace p2p::test {

class RecordedRun final : public TaskRun {
 public:
  RecordedRun(const Environment& environment, Task task, std::size_t output_limit = limits::task_frame)
      : environment_(environment), task_(std::move(task)), output_limit_(output_limit) {}

  /// What cancels a task, or its deadline.
  void stop() {
    if (std::exchange(stopped_, true) || !on_stop_) return;
    std::exchange(on_stop_, nullptr)();
  }

  const Task& task() const override { return task_; }
  const PeerId& requester() const override { return requester_; }
  const Environment& environment() const override { return environment_; }
  Awaitable<void> write(std::string_view text) override {
    if (output.size() + text.size() > output_limit_) fail(Errc::too_large, "the output is too large");
    output += text;
    pieces.emplace_back(text);
    if (on_write) on_write(output);
    co_return;
  }
  bool stopped() const override { return stopped_; }
  void on_stop(std::function<void()> call) override {
    on_stop_ = std::move(call);
    if (stopped_ && on_stop_) std::exchange(on_stop_, nullptr)();
  }

  std::string output;
  std::vector<std::string> pieces;
  std::function<void(const std::string& output)> on_write;

 private:
  const Environment& environment_;
  const Task task_;
  const std::size_t output_limit_;
  const PeerId requester_ = PeerId::from_text("12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq").value();
  std::function<void()> on_stop_;
  bool stopped_ = false;
};

}  // namespace p2p::test
