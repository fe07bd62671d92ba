#pragma once
// The executor that keeps programs running, for those that are slow to start: one process for each task that runs at once, which gets tasks
// as lines of JSON on its standard input and answers with lines on its standard output.
//
//   to the worker    {"id":N,"input":{…},"task_id":"…","task_type":"…","requester":"…"}   only when it has no task
//                    {"cancel":N}        it should end task N soon; one that has ended already is not its concern
//   from the worker  {"id":N,"text":"…"} any number
//                    {"id":N,"done":true}, optionally with "model", "finish_reason" and "usage":{"prompt_tokens":…,"completion_tokens":…},
//                    or {"id":N,"error":"…"}, either of them also after a cancel
//
// N is an integer, another one for each task. Lines of a worker are JSON objects of at most limits::worker_line bytes under the rules of
// parse_json(); a worker that writes anything else, or does not end a cancelled task within limits::stop_patience, is ended and started
// again. Before its first line it may be loading, and has limits::worker_load from its start for that; the next task waits for it. It gets
// PATH, HOME, LANG and TMPDIR and an empty directory to work in, as commands do; its standard error goes to the log.

#include "executors/program.hpp"
#include "task/executor.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace p2p {

class WorkerExecutor final : public Executor {
 public:
  /// Offers `program` as the model `name`; see find_program() and check_executor_name(). The environment outlives it.
  WorkerExecutor(const Environment& environment, std::string name, Program program, std::size_t output_limit = limits::command_output);
  ~WorkerExecutor() override;

  std::string_view name() const override { return "worker"; }
  std::vector<std::string> models() const override { return {name_}; }
  bool named_only() const override { return true; }
  std::optional<TaskError> unready() const override;
  std::size_t output_limit() const override { return output_limit_; }
  void start() override;
  Awaitable<void> stop() override;
  Awaitable<Outcome> run(TaskRun& run) override;

 private:
  struct Job;
  class Worker;

  Worker& free_worker();

  const Environment environment_;
  const std::string name_;
  const Program program_;
  const std::size_t output_limit_;
  std::uint64_t next_id_ = 1;
  std::vector<std::unique_ptr<Worker>> workers_;
  TaskGroup living_;
};

}  // namespace p2p
