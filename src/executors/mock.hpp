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

  Offer offer() const override { return {std::string(inference), "mock", {}}; }
  Awaitable<Outcome> run(TaskRun& run) override;

 private:
  const MockOptions options_;
};

/// "mock" or "mock:delay=MS,pieces=N". Throws invalid, saying what is understood.
std::unique_ptr<Executor> make_executor(std::string_view spec);

}  // namespace p2p
