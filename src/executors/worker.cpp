#include "executors/worker.hpp"

#include "executors/process.hpp"
#include "executors/worker_line.hpp"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <deque>
#include <exception>
#include <utility>

namespace p2p {
namespace {

namespace json = boost::json;

TaskError executor_failed(std::string message) { return {"executor_failed", std::move(message), {}}; }

}  // namespace

// A task from its run() until the worker has answered it.
struct WorkerExecutor::Job {
  Job(TaskRun& task_run, std::uint64_t number, const Loop& loop) : run(task_run), id(number), ended(loop) {}

  TaskRun& run;
  const std::uint64_t id;
  Event ended;
  bool cancelled = false;
  Outcome outcome;
  std::exception_ptr broken;  // what run.write() threw
};

// One process, started again whenever it ends.
class WorkerExecutor::Worker {
 public:
  explicit Worker(const WorkerExecutor& executor)
      : executor_(executor), environment_(executor.environment_), next_(environment_.clock, environment_.loop) {}

  Awaitable<void> live();
  bool is_free() const { return job_ == nullptr; }
  /// Whether its process is there and has no task.
  bool is_ready() const { return !restart_ && !sent_; }
  /// When it is started again, if it is waiting for that.
  std::optional<Time> restart() const { return restart_; }
  void take(Job& job);
  void cancel(Job& job);
  void stop();

 private:
  struct Process;

  Awaitable<void> live_once();
  Awaitable<std::string> converse(Process& process);
  Awaitable<std::string> hear(std::string line);
  void send(const Job& job);
  void expect_end(Time until);
  bool starts_at_once() const { return impatient_ && succeeded_; }
  void end_job();
  void fail_job(const std::string& message);

  const WorkerExecutor& executor_;
  const Environment& environment_;
  Job* job_ = nullptr;
  Process* process_ = nullptr;
  std::optional<std::uint64_t> sent_;  // the task that the process has: the job's, or one that nobody waits for any more
  bool stopping_ = false;
  bool impatient_ = false;  // the process was ended because it did not end a cancelled task
  bool succeeded_ = false;  // a task of the process
  Duration pause_ = limits::worker_pause;
  std::optional<Time> restart_;
  Timer patience_;  // with a worker that is to end a task
  Alarm next_;
};

struct WorkerExecutor::Worker::Process {
  Process(const Environment& environment, const ChildStart& start)
      : started(environment.clock.now()), child(environment, start), to_write(environment.loop) {}

  void send(std::string line) {
    unwritten.push_back(std::move(line));
    to_write.notify();
  }
  void finish() {
    ended = true;
    to_write.notify();
  }
  Awaitable<void> write_lines() {
    while (!ended) {
      if (unwritten.empty()) {
        co_await to_write.wait();
      } else {
        const bool read = co_await child.write(unwritten.front());
        if (!read) {
          child.stop();  // it can be given nothing any more
          co_return;
        }
        unwritten.pop_front();
      }
    }
  }

  const Time started;
  bool was_heard = false;  // until its first line it may be loading what it answers with
  ChildProcess child;
  std::deque<std::string> unwritten;  // a task and its cancel, at most
  Event to_write;
  bool ended = false;
};

Awaitable<void> WorkerExecutor::Worker::live() {
  while (!stopping_) {
    impatient_ = succeeded_ = false;
    co_await live_once();
    if (stopping_ || starts_at_once()) continue;
    restart_ = environment_.clock.now() + pause_;
    pause_ = std::min<Duration>(pause_ * 2, limits::worker_pause_max);
    while (!stopping_ && environment_.clock.now() < *restart_) {
      next_.set(*restart_);
      co_await next_.wait();
    }
    next_.clear();
    restart_.reset();
  }
  if (job_ != nullptr) fail_job(executor_.name_ + " was stopped");
}

Awaitable<void> WorkerExecutor::Worker::live_once() {
  std::string message;
  std::optional<std::uint64_t> lost;  // the task that ends with the process; another one waits for the next process
  try {
    Workplace workplace(executor_.program_.temporary);
    const ChildStart start{executor_.program_.path, executor_.program_.arguments, executor_.program_.environment, workplace.directory()};
    Process process(environment_, start);
    ErrorLines errors(environment_.log, executor_.name_);
    TaskGroup pipes(environment_.loop);
    pipes.spawn(process.write_lines());
    pipes.spawn(errors.collect(process.child));
    process_ = &process;
    if (job_ != nullptr) send(*job_);
    std::string problem = co_await converse(process);
    process_ = nullptr;
    patience_.reset();
    lost = std::exchange(sent_, std::nullopt).value_or(0);
    if (impatient_) problem = "did not end a task that was cancelled";
    // At the end of its output it is most likely ending by itself, in a way that is worth knowing.
    if (!problem.empty() || stopping_) process.child.stop();
    const Timer force = environment_.clock.schedule(environment_.clock.now() + limits::stop_patience, [&process] { process.child.kill(); });
    const ChildEnd end = co_await process.child.join();
    process.finish();
    co_await pipes.join();
    co_await workplace.remove(environment_);
    message = errors.explain(executor_.name_ + " " + (problem.empty() ? end.text() : problem));
  } catch (const boost::system::system_error& error) {
    message = message_of(error);
  }
  if (!stopping_) {
    const std::string pause = starts_at_once() ? "" : " in " + std::to_string(pause_ / std::chrono::milliseconds(1)) + " ms";
    environment_.log.write(Logger::Level::warn, message + "; it is started again" + pause);
  }
  if (job_ != nullptr && job_->id == lost.value_or(job_->id)) fail_job(message);
}

/// Returns at the end of the output, or with what is wrong with it.
Awaitable<std::string> WorkerExecutor::Worker::converse(Process& process) {
  WorkerLines lines;
  Bytes buffer(limits::update_text);
  while (true) {
    const std::size_t count = co_await process.child.read_output(buffer);
    if (count == 0) co_return std::string();
    lines.push(as_text(ByteView(buffer).first(count)));
    while (true) {
      Result<std::optional<std::string>> line = lines.next();
      if (!line) co_return std::string("wrote ") + line.error().reason;
      if (!*line) break;
      std::string problem = co_await hear(**std::move(line));
      if (!problem.empty()) co_return problem;
    }
  }
}

/// Returns what is wrong with the line.
Awaitable<std::string> WorkerExecutor::Worker::hear(std::string line) {
  Result<WorkerLine> said = parse_worker_line(line);
  if (!said) co_return std::string("wrote a line that is not as it should be: ") + said.error().reason;
  if (!sent_ || said->id != *sent_) co_return "wrote a line about a task that it does not have";
  Job* const job = job_ != nullptr && job_->id == *sent_ ? job_ : nullptr;
  if (process_->unwritten.size() > (job == nullptr || job->cancelled ? 1 : 0)) co_return "answered a task that it had not read";
  if (!std::exchange(process_->was_heard, true) && job == nullptr) expect_end(environment_.clock.now() + limits::stop_patience);

  if (said->text && !said->text->empty() && job != nullptr && !job->cancelled) {
    try {
      co_await job->run.write(*said->text);
    } catch (...) {
      job->broken = std::current_exception();
    }
    if (job->broken) cancel(*job);
  }
  if (!said->end) co_return std::string();

  sent_.reset();
  patience_.reset();
  if (job == nullptr) {
    if (job_ != nullptr) send(*job_);
    co_return std::string();
  }
  if (job->cancelled) {
    job->outcome.status = Status::cancelled;
  } else {
    if (said->end->status == Status::completed) {
      succeeded_ = true;
      pause_ = limits::worker_pause;
    }
    if (!said->end->model) said->end->model = executor_.name_;
    job->outcome = *std::move(said->end);
  }
  end_job();
  co_return std::string();
}

void WorkerExecutor::Worker::take(Job& job) {
  job_ = &job;
  if (process_ != nullptr && !sent_) send(job);
}

void WorkerExecutor::Worker::send(const Job& job) {
  const Task& task = job.run.task();
  const json::object line{{"id", job.id},
                          {"input", task.input},
                          {"task_id", task.task_id},
                          {"task_type", task.task_type},
                          {"requester", job.run.requester().text()}};
  sent_ = job.id;
  process_->send(json::serialize(line) + "\n");
}

/// Of the task that the process has.
void WorkerExecutor::Worker::expect_end(Time until) {
  patience_ = environment_.clock.schedule(until, [this] {
    impatient_ = true;
    process_->child.kill();
  });
}

void WorkerExecutor::Worker::cancel(Job& job) {
  if (job_ != &job || std::exchange(job.cancelled, true)) return;
  const bool has_it = sent_ == job.id;
  if (has_it) {
    process_->send(json::serialize(json::object{{"cancel", job.id}}) + "\n");
    const Time soon = environment_.clock.now() + limits::stop_patience;
    expect_end(process_->was_heard ? soon : std::max(soon, process_->started + limits::worker_load));
  }
  // One that is loading is let go on: else whoever cancels soon enough keeps it from ever being there.
  if (has_it && process_->was_heard) return;
  job.outcome.status = Status::cancelled;
  end_job();
}

void WorkerExecutor::Worker::stop() {
  stopping_ = true;
  next_.notify();
  if (process_ == nullptr) return;
  process_->child.close_input();
  process_->child.stop();
}

void WorkerExecutor::Worker::end_job() { std::exchange(job_, nullptr)->ended.notify(); }

void WorkerExecutor::Worker::fail_job(const std::string& message) {
  job_->outcome.status = job_->cancelled ? Status::cancelled : Status::failed;
  if (!job_->cancelled) job_->outcome.error = executor_failed(message);
  end_job();
}

WorkerExecutor::WorkerExecutor(const Environment& environment, std::string name, Program program, std::size_t output_limit)
    : environment_(environment),
      name_(std::move(name)),
      program_(std::move(program)),
      output_limit_(output_limit),
      living_(environment.loop) {
  check_executor_name(name_);
}

WorkerExecutor::~WorkerExecutor() = default;

std::optional<TaskError> WorkerExecutor::unready() const {
  std::optional<Time> first;
  for (const auto& worker : workers_) {
    const std::optional<Time> restart = worker->restart();
    if (!restart) return std::nullopt;
    first = first ? std::min(*first, *restart) : restart;
  }
  if (!first) return std::nullopt;
  const auto pause = std::chrono::ceil<std::chrono::milliseconds>(*first - environment_.clock.now()).count();
  return TaskError{"busy", name_ + " ended and is about to be started again; try again later",
                   static_cast<std::uint64_t>(std::max<std::int64_t>(pause, 1))};
}

void WorkerExecutor::start() { free_worker(); }

Awaitable<void> WorkerExecutor::stop() {
  for (const auto& worker : workers_) worker->stop();
  co_await living_.join();
}

/// One that has no task, rather one that is ready for it; else another one.
WorkerExecutor::Worker& WorkerExecutor::free_worker() {
  Worker* found = nullptr;
  for (const auto& worker : workers_) {
    if (worker->is_free() && (found == nullptr || worker->is_ready())) found = worker.get();
  }
  if (found == nullptr) {
    found = workers_.emplace_back(std::make_unique<Worker>(*this)).get();
    living_.spawn(found->live());
  }
  return *found;
}

Awaitable<Outcome> WorkerExecutor::run(TaskRun& run) {
  Outcome stopped;
  stopped.status = Status::cancelled;
  if (run.stopped()) co_return stopped;
  Worker& worker = free_worker();
  Job job(run, next_id_++, environment_.loop);
  job.outcome.model = name_;
  worker.take(job);
  run.on_stop([&worker, &job] { worker.cancel(job); });
  co_await job.ended.wait();
  run.on_stop(nullptr);
  if (job.broken) std::rethrow_exception(job.broken);
  co_return job.outcome;
}

}  // namespace p2p
