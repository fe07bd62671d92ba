#pragma once
// The executor that runs a program for each task. Its standard input is the prompt, its standard output the result, streamed as it appears;
// its standard error goes to the log, and the last line of it into the error of a failure. It gets the variables PATH, HOME, LANG, TMPDIR,
// P2P_TASK_ID, P2P_TASK_TYPE, P2P_REQUESTER and P2P_TASK_FILE (a file with the whole input as JSON) and nothing else, no descriptor but the
// standard streams, and an empty temporary directory to work in. When a task is stopped, or the program itself has ended, so does its whole
// process group.

#include "executors/program.hpp"
#include "task/executor.hpp"

namespace p2p {

class CommandExecutor final : public Executor {
 public:
  /// Offers `program` as the model `name`; see find_program() and check_executor_name().
  CommandExecutor(std::string name, Program program, std::size_t output_limit = limits::command_output);

  std::string_view name() const override { return "command"; }
  std::vector<std::string> models() const override { return {name_}; }
  bool named_only() const override { return true; }
  std::size_t output_limit() const override { return output_limit_; }
  Awaitable<Outcome> run(TaskRun& run) override;

 private:
  Awaitable<Outcome> run_in(TaskRun& run, Workplace& workplace);

  const std::string name_;
  const Program program_;
  const std::size_t output_limit_;
};

}  // namespace p2p
