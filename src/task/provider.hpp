#pragma once
// The provider's side of a task: takes tasks from the network, queues them, has them run and answers with a signed result.

#include "network/agent.hpp"
#include "task/executor.hpp"

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

namespace p2p {

struct ProviderOptions {
  std::size_t slots = 1;   ///< tasks that run at once, at least 1
  std::size_t queue = 16;  ///< tasks that may wait
};

/// The end of a task, for whoever watches the provider.
struct TaskEvent {
  PeerId requester;
  std::string task_id;
  std::string status;  ///< as in its result; "lost" when the requester was gone
  std::string code;    ///< of the error, or empty
  std::chrono::milliseconds queued{};
  std::chrono::milliseconds run{};
};

class Provider {
 public:
  /// Serves the task and info protocols on `agent`. Agent and executor outlive it.
  Provider(Agent& agent, Executor& executor, ProviderOptions options = {}, std::function<void(const TaskEvent&)> on_task = {});
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  /// Rejects what is queued or comes now, lets what runs finish for `grace`, then cancels it; returns when every task has its result. Once.
  Awaitable<void> shut_down(Duration grace);
  /// Ends the grace that shut_down() gives.
  void hurry();

  std::size_t running() const noexcept { return running_; }
  std::size_t waiting() const noexcept { return waiting_.size(); }
  /// Streams that were reset because what came on them was no valid signed task.
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  enum class Stop : std::uint8_t { lost, deadline, shutting_down };
  class Job;

  Awaitable<void> serve(Stream stream);
  Awaitable<void> serve_info(Stream stream);
  Awaitable<void> watch(Job& job);
  Awaitable<void> answer(Job& job);
  Awaitable<bool> wait_for_slot(Job& job);
  Awaitable<void> run(Job& job);
  Awaitable<void> send(Stream& stream, MessageKind kind, std::string payload);
  std::optional<TaskError> check(const Job& job) const;
  void leave(Job& job);
  std::uint64_t retry_after_ms() const;

  Agent& agent_;
  const Environment environment_;
  Executor& executor_;
  const ProviderOptions options_;
  const std::function<void(const TaskEvent&)> on_task_;
  std::list<Job*> jobs_;     // all that are not answered yet
  std::list<Job*> waiting_;  // of these, in the order of their turn
  std::size_t running_ = 0;
  double average_run_ms_ = 1000;  // an assumption until a task has run
  std::uint64_t refused_ = 0;
  bool shutting_down_ = false;
  bool hurried_ = false;
  Alarm progress_;  // a task ended, or the grace did
};

}  // namespace p2p
