#pragma once
// The executor that runs nothing: it answers "Processed: <prompt>", slowly and in pieces if told so.

#include "task/executor.hpp"

namespace p2p {

struct MockOptions {
  std::chrono::milliseconds delay{0};  ///< from start to end of a run, spread over its pieces
  std::size_t pieces = 1;              ///< 1 to 1,000,000; empty ones are left out
};

class MockExecutor final : public Executor {
 public:
  explicit MockExecutor(MockOptions options = {}) : options_(options) {}

  std::string_view name() const override { return "mock"; }
  std::size_t slots() const override;
  Awaitable<Outcome> run(TaskRun& run) override;

 private:
  const MockOptions options_;
};

/// "delay=MS,pieces=N", each or both; empty for the defaults. Throws invalid, saying what is understood.
MockOptions parse_mock_options(std::string_view text);

}  // namespace p2p
