#include "executors/command.hpp"

#include "executors/process.hpp"
#include "executors/utf8.hpp"

#include <boost/json/serialize.hpp>
#include <exception>

namespace p2p {
namespace {

Awaitable<void> feed(ChildProcess& child, const std::string& prompt) {
  co_await child.write(prompt);
  child.close_input();
}

Awaitable<void> stream_output(ChildProcess& child, TaskRun& run) {
  Utf8Repair repair;
  Bytes buffer(limits::update_text);
  while (true) {
    const std::size_t count = co_await child.read_output(buffer);
    const std::string text = count > 0 ? repair.push(as_text(ByteView(buffer).first(count))) : repair.finish();
    if (!text.empty()) co_await run.write(text);
    if (count == 0) co_return;
  }
}

}  // namespace

CommandExecutor::CommandExecutor(std::string name, Program program, std::size_t output_limit)
    : name_(std::move(name)), program_(std::move(program)), output_limit_(output_limit) {
  check_executor_name(name_);
}

Awaitable<Outcome> CommandExecutor::run(TaskRun& run) {
  Workplace workplace(program_.temporary);
  Outcome outcome;
  std::exception_ptr broken;
  try {
    outcome = co_await run_in(run, workplace);
  } catch (...) {
    broken = std::current_exception();
  }
  co_await workplace.remove(run.environment());
  if (broken) std::rethrow_exception(broken);
  co_return outcome;
}

Awaitable<Outcome> CommandExecutor::run_in(TaskRun& run, Workplace& workplace) {
  const Environment& environment = run.environment();
  Outcome outcome;
  outcome.status = Status::cancelled;
  outcome.model = name_;
  if (run.stopped()) co_return outcome;

  ChildStart start{program_.path, program_.arguments, program_.environment, workplace.directory()};
  start.environment.push_back("P2P_TASK_ID=" + run.task().task_id);
  start.environment.push_back("P2P_TASK_TYPE=" + run.task().task_type);
  start.environment.push_back("P2P_REQUESTER=" + run.requester().text());
  start.environment.push_back("P2P_TASK_FILE=" + workplace.add_file("input.json", boost::json::serialize(run.task().input)));
  const std::string prompt = run.task().prompt();
  ChildProcess child(environment, start);
  run.on_stop([&child] { child.stop(); });

  ErrorLines errors(environment.log, name_);
  TaskGroup pipes(environment.loop);
  pipes.spawn(feed(child, prompt));
  pipes.spawn(errors.collect(child));
  std::exception_ptr broken;
  try {
    co_await stream_output(child, run);
  } catch (...) {
    if (!run.stopped()) broken = std::current_exception();  // else it is what comes of being stopped
    child.stop();
    child.close_output();
  }
  const ChildEnd end = co_await child.join();
  co_await pipes.join();
  run.on_stop(nullptr);
  if (broken) std::rethrow_exception(broken);
  if (end.stopped) co_return outcome;
  if (end.succeeded()) {
    outcome.status = Status::completed;
    outcome.finish_reason = "stop";
  } else {
    outcome.status = Status::failed;
    outcome.error = TaskError{"executor_failed", errors.explain(name_ + " " + end.text()), {}};
  }
  co_return outcome;
}

}  // namespace p2p
