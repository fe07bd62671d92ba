#pragma once
// The provider's side of a task: what runs tasks (Executor), and what takes them from the network, queues them, has them run and answers
// with a signed result (Provider).

#include "network/agent.hpp"
#include "task/message.hpp"

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

namespace p2p {

/// How a run ended. The text was handed to TaskRun::write() meanwhile.
struct Outcome {
  Status status = Status::completed;  ///< rejected: the executor did not take the task after all
  std::optional<TaskError> error;     ///< with every other status than completed
  std::optional<std::string> model;
  std::optional<std::string> finish_reason;
  std::optional<Usage> usage;
};

/// What an executor sees of the task that it runs. Lives until run() has returned.
class TaskRun {
 public:
  virtual const Task& task() const = 0;
  virtual const PeerId& requester() const = 0;
  virtual const Environment& environment() const = 0;

  /// The next piece of output, UTF-8, cut between code points. Returns when it is on its way or, without streaming, kept. Throws when the
  /// output grows too large or the requester is gone: let it fly.
  virtual Awaitable<void> write(std::string_view text) = 0;

  /// The task is to end soon: it was cancelled, its time is over, or the provider is going away. An executor that stops early returns
  /// cancelled; one that has finished nevertheless returns completed.
  virtual bool stopped() const = 0;
  /// Called once, on the loop, when stopped() becomes true; at once if it is. Replaces an earlier one; empty takes it back.
  virtual void on_stop(std::function<void()> call) = 0;

 protected:
  ~TaskRun() = default;
};

/// Runs tasks of one type. Several runs may be under way at once.
class Executor {
 public:
  virtual ~Executor() = default;
  /// What it executes, as info tells it. May change while it runs.
  virtual Offer offer() const = 0;
  /// What it throws makes the task failed, with the message.
  virtual Awaitable<Outcome> run(TaskRun& run) = 0;
};

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
