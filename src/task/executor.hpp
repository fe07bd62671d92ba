#pragma once
// What runs tasks, as an interface. A provider (provider.hpp) takes tasks from the network and gives each to the executor that offers what
// it asks for; docs/executors.md shows how another kind is written.

#include "base/limits.hpp"
#include "network/transport.hpp"
#include "task/message.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

/// How a run ended. The text was handed to TaskRun::write() meanwhile.
struct Outcome {
  Status status = Status::completed;  ///< rejected: the executor did not take the task after all, and nothing was written
  std::optional<TaskError> error;     ///< with every other status than completed; cancelled gets one from the provider
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

  /// The next piece of output, UTF-8, cut between code points. Returns when it is on its way to whoever listens. Throws too_large when the
  /// output exceeds what the provider allows: let it fly, when all that the run has started is ended.
  virtual Awaitable<void> write(std::string_view text) = 0;

  /// The task is to end soon: it was cancelled, its time is over, or the provider is going away. An executor that stops early returns
  /// cancelled; one that has finished nevertheless returns completed.
  virtual bool stopped() const = 0;
  /// Called once, on the loop, when stopped() becomes true; at once if it is. Replaces an earlier one; empty takes it back.
  virtual void on_stop(std::function<void()> call) = 0;

 protected:
  ~TaskRun() = default;
};

/// Runs tasks. Several runs may be under way at once, at most as many as the provider has slots for it.
class Executor {
 public:
  virtual ~Executor() = default;

  /// What it is, as results and info say it; never something that it is not.
  virtual std::string_view name() const = 0;
  /// The models that it answers for; they may change. With none, a task may name only name() itself.
  virtual std::vector<std::string> models() const { return {}; }
  /// Whether a task has to name its model, unless there is no other executor.
  virtual bool named_only() const { return false; }
  /// Why it can take no task at present, as a `busy` error; nothing when it can. Meanwhile models() need not be known.
  virtual std::optional<TaskError> unready() const { return std::nullopt; }
  /// How many tasks should run at once, at least 1, and how many bytes of output one may have, unless the provider is told otherwise.
  virtual std::size_t slots() const { return 1; }
  virtual std::size_t output_limit() const { return limits::task_frame; }

  /// Begins whatever goes on between tasks. Once, on the loop, before the first run.
  virtual void start() {}
  /// Ends it. After start() and the last run; nothing that the executor began is left when it returns.
  virtual Awaitable<void> stop() { co_return; }

  /// What it throws makes the task failed, with the message.
  virtual Awaitable<Outcome> run(TaskRun& run) = 0;
};

}  // namespace p2p
