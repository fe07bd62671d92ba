#include "task/provider.hpp"

#include "base/limits.hpp"
#include "network/protocol.hpp"
#include "task/sealing.hpp"

#include <algorithm>

namespace p2p {
namespace {

using std::chrono::milliseconds;

milliseconds whole_ms(Duration duration) { return std::chrono::duration_cast<milliseconds>(duration); }

}  // namespace

// One task on its stream, from its arrival to its result.
class Provider::Job final : public TaskRun {
 public:
  Job(Provider& provider, Stream& stream_of_task, ByteView payload)
      : provider_(provider),
        stream(stream_of_task),
        parsed(parse_task(payload)),
        sha256(task_hash(payload)),
        received(provider.environment_.clock.now()),
        changed(provider.environment_.loop) {
    at_ = provider.jobs_.insert(provider.jobs_.end(), this);
  }
  ~Job() {
    provider_.jobs_.erase(at_);
    provider_.progress_.notify();
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  const Task& task() const override { return *parsed.task; }
  const PeerId& requester() const override { return stream.peer(); }
  const Environment& environment() const override { return provider_.environment_; }
  bool stopped() const override { return stop.has_value(); }
  void on_stop(std::function<void()> call) override {
    on_stop_ = std::move(call);
    if (stop && on_stop_) std::exchange(on_stop_, nullptr)();
  }

  Awaitable<void> write(std::string_view text) override {
    if (output.size() + text.size() > limits::task_frame) {
      fail(Errc::too_large, "the output is larger than a result can be (" + std::to_string(limits::task_frame) + " bytes)");
    }
    output += text;
    while (task().stream && !text.empty()) {
      const std::string_view piece = cut_text(text, limits::update_text);
      text.remove_prefix(piece.size());
      Update update;
      update.text = piece;
      co_await send(std::move(update));
    }
  }

  Awaitable<void> send_state(std::string state, std::optional<std::uint64_t> position = std::nullopt) {
    if (!task().stream) co_return;
    Update update;
    update.state = std::move(state);
    update.position = position;
    co_await send(std::move(update));
  }

  void request_stop(Stop reason) {
    if (stop) return;
    stop = reason;
    changed.notify();
    if (on_stop_) std::exchange(on_stop_, nullptr)();
  }

 private:
  Awaitable<void> send(Update update) {
    update.task_id = task().task_id;
    update.seq = next_seq_++;
    co_await provider_.send(stream, MessageKind::update, update.to_json());
  }

  Provider& provider_;
  std::list<Job*>::iterator at_;
  std::uint64_t next_seq_ = 0;
  std::function<void()> on_stop_;

 public:
  Stream& stream;
  const ParsedTask parsed;
  const std::string sha256;
  const Time received;
  Event changed;  // its turn came, its place in the queue is another, or it is to stop
  std::optional<Stop> stop;
  bool has_slot = false;
  std::string output;
  TaskResult result;
};

Provider::Provider(Agent& agent, Executor& executor, ProviderOptions options, std::function<void(const TaskEvent&)> on_task)
    : agent_(agent),
      environment_(agent.environment()),
      executor_(executor),
      options_(options),
      on_task_(std::move(on_task)),
      progress_(environment_.clock, environment_.loop) {
  agent_.handle(std::string(task_protocol), [this](Stream stream) { return serve(std::move(stream)); });
  agent_.handle(std::string(info_protocol), [this](Stream stream) { return serve_info(std::move(stream)); });
}

Awaitable<void> Provider::serve(Stream stream) {
  if (jobs_.size() >= limits::task_streams) fail(Errc::exhausted, "too many tasks at once");
  Bytes payload;
  try {
    const Timer timer = stream.deadline(limits::task_wait, "no task came on the stream");
    const std::optional<Bytes> envelope = co_await read_frame(stream, limits::task_frame);
    if (!envelope) {
      stream.close_write();
      co_return;
    }
    payload = co_await open_on(environment_, *envelope, stream.peer(), MessageKind::task);
  } catch (const boost::system::system_error& error) {
    ++refused_;
    environment_.log.write(Logger::Level::warn, "no task from " + stream.peer().text() + ": " + message_of(error));
    throw;
  }
  Job job(*this, stream, payload);
  payload = {};
  TaskGroup watching(environment_.loop);
  watching.spawn(watch(job));
  try {
    co_await answer(job);
    stream.close_write();
  } catch (const boost::system::system_error& error) {
    environment_.log.write(Logger::Level::info, "task " + job.parsed.task_id + " of " + stream.peer().text() + ": " + message_of(error));
    stream.reset();
  }
  const Timer timer = stream.deadline(limits::close_wait, "the requester did not close the stream");
  co_await watching.join();
}

// While a task runs its stream is read, to see the reset that cancels it.
Awaitable<void> Provider::watch(Job& job) {
  try {
    const ByteView more = co_await job.stream.read();
    if (more.empty()) co_return;  // the requester has nothing more to say
    environment_.log.write(Logger::Level::warn, "a second message behind the task of " + job.stream.peer().text());
    ++refused_;
    job.stream.reset({Errc::malformed, "a second message behind the task"});
  } catch (const boost::system::system_error&) {
    // reset, or the connection is gone
  }
  job.request_stop(Stop::lost);
}

std::optional<TaskError> Provider::check(const Job& job) const {
  if (!job.parsed.task) return TaskError{"invalid_task", job.parsed.problem, {}};
  const Task& task = job.task();
  if (task.recipient) {
    const Result<PeerId> recipient = PeerId::from_text(*task.recipient);
    if (!recipient || *recipient != agent_.id())
      return TaskError{"wrong_recipient", "the task is meant for another peer than " + agent_.id().text(), {}};
  }
  const Offer offer{std::string(inference), std::string(executor_.name()), executor_.models()};
  if (task.task_type != offer.task_type) {
    return TaskError{"unsupported_task_type", "tasks of this type are not run here; '" + offer.task_type + "' ones are", {}};
  }
  if (const std::optional<std::string> model = task.model()) {
    const bool offered =
        offer.models.empty() ? *model == offer.executor : std::find(offer.models.begin(), offer.models.end(), *model) != offer.models.end();
    if (!offered) return TaskError{"unsupported_model", "the model is not here; ask this peer's info for those that are", {}};
  }
  if (shutting_down_) return TaskError{"shutting_down", "the provider is going away; ask another one", {}};
  if (running_ >= options_.slots && waiting_.size() >= options_.queue) {
    return TaskError{"busy", "every slot and every place in the queue is taken; try again later", retry_after_ms()};
  }
  return std::nullopt;
}

std::uint64_t Provider::retry_after_ms() const {
  // When a place in the queue should be free: one task of those that run has to end.
  return static_cast<std::uint64_t>(std::max(1.0, average_run_ms_ / static_cast<double>(options_.slots)));
}

Awaitable<void> Provider::answer(Job& job) {
  TaskResult& result = job.result;
  result.task_id = job.parsed.task_id;
  result.recipient = job.stream.peer().text();
  result.task_sha256 = job.sha256;
  const auto reject = [&result](TaskError why) {
    result.status = Status::rejected;
    result.error = std::move(why);
  };
  if (std::optional<TaskError> why = check(job)) {
    reject(*std::move(why));
  } else {
    Timer deadline;
    if (job.task().timeout_ms) {
      deadline =
          environment_.clock.schedule(job.received + milliseconds(*job.task().timeout_ms), [&job] { job.request_stop(Stop::deadline); });
    }
    std::exception_ptr broken;
    try {
      if (co_await wait_for_slot(job)) {
        co_await run(job);
      } else if (job.stop == Stop::shutting_down) {
        reject({"shutting_down", "the provider is going away; ask another one", {}});
      } else if (job.stop == Stop::deadline) {
        result.status = Status::cancelled;
        result.executor = std::string(executor_.name());
        result.error = TaskError{"deadline_exceeded", "the task's time was over before its turn came", {}};
      }
    } catch (const boost::system::system_error&) {
      broken = std::current_exception();
    }
    leave(job);
    if (broken) std::rethrow_exception(broken);
  }
  const bool lost = job.stop == Stop::lost;
  if (on_task_) {
    TaskEvent event{job.stream.peer(), result.task_id, std::string(lost ? "lost" : name_of(result.status)), {}, {}, {}};
    if (!lost && result.error) event.code = result.error->code;
    event.queued = milliseconds(result.queued_ms.value_or(0));
    event.run = milliseconds(result.run_ms.value_or(0));
    on_task_(event);
  }
  if (lost) fail(Errc::closed, "the requester is gone");
  result.timestamp = format_timestamp(environment_.clock.date());
  co_await send(job.stream, MessageKind::result, result.to_json());
}

Awaitable<bool> Provider::wait_for_slot(Job& job) {
  if (running_ < options_.slots) {
    ++running_;
    job.has_slot = true;
    co_return true;
  }
  waiting_.push_back(&job);
  std::optional<std::size_t> told;
  while (!job.has_slot && !job.stop) {
    const auto position = static_cast<std::size_t>(std::distance(waiting_.begin(), std::find(waiting_.begin(), waiting_.end(), &job)));
    if (told != position) {
      told = position;
      co_await job.send_state("queued", position);
    } else {
      co_await job.changed.wait();
    }
  }
  co_return job.has_slot && !job.stop;
}

void Provider::leave(Job& job) {
  if (!job.has_slot) {
    waiting_.remove(&job);
  } else if (waiting_.empty()) {
    --running_;
  } else {
    waiting_.front()->has_slot = true;  // the slot goes from hand to hand
    waiting_.front()->changed.notify();
    waiting_.pop_front();
  }
  job.has_slot = false;
  progress_.notify();
  for (Job* const other : waiting_) other->changed.notify();
}

Awaitable<void> Provider::run(Job& job) {
  const Time start = environment_.clock.now();
  TaskResult& result = job.result;
  result.executor = std::string(executor_.name());
  result.queued_ms = static_cast<std::uint64_t>(whole_ms(start - job.received).count());
  co_await job.send_state("running");
  Outcome outcome;
  try {
    outcome = co_await executor_.run(job);
  } catch (const boost::system::system_error& error) {
    outcome.status = Status::failed;
    outcome.error = TaskError{is(error, Errc::too_large) ? "output_too_large" : "executor_failed", message_of(error), {}};
  } catch (const std::exception& error) {
    outcome.status = Status::failed;
    outcome.error = TaskError{"executor_failed", error.what(), {}};
  }
  job.on_stop(nullptr);
  const milliseconds took = whole_ms(environment_.clock.now() - start);
  result.run_ms = static_cast<std::uint64_t>(took.count());
  average_run_ms_ += (static_cast<double>(took.count()) - average_run_ms_) / 8;
  result.status = outcome.status;
  result.error = std::move(outcome.error);
  result.model = std::move(outcome.model);
  result.finish_reason = std::move(outcome.finish_reason);
  result.usage = outcome.usage;
  if (outcome.status == Status::cancelled && job.stop == Stop::deadline) {
    result.error = TaskError{"deadline_exceeded", "the task's time was over", {}};
  } else if (outcome.status == Status::cancelled) {
    result.error = TaskError{"cancelled", "the provider is going away", {}};
  }
  const bool shown = result.status == Status::completed || (result.status != Status::rejected && !job.output.empty());
  if (shown) result.text = std::move(job.output);
  if (result.text && result.to_json().size() + limits::envelope_margin > limits::task_frame) {
    result.text.reset();
    result.status = Status::failed;
    result.error = TaskError{"output_too_large", "the output does not fit into a result", {}};
  }
}

Awaitable<void> Provider::send(Stream& stream, MessageKind kind, std::string payload) {
  const Bytes envelope = co_await seal_on(environment_, agent_.identity(), kind, std::move(payload));
  co_await write_frame(stream, envelope);
}

Awaitable<void> Provider::serve_info(Stream stream) {
  Info info;
  if (!shutting_down_) info.executors.push_back({std::string(inference), std::string(executor_.name()), executor_.models()});
  info.running = running_;
  info.waiting = waiting_.size();
  info.slots = options_.slots;
  info.capacity = options_.queue;
  co_await answer_info(agent_, std::move(stream), std::move(info));
}

Awaitable<void> Provider::shut_down(Duration grace) {
  shutting_down_ = true;
  for (Job* const job : std::list<Job*>(waiting_)) job->request_stop(Stop::shutting_down);
  progress_.set(environment_.clock.now() + grace);
  const Time patience = environment_.clock.now() + grace;
  while (running_ > 0 && environment_.clock.now() < patience && !hurried_) co_await progress_.wait();
  for (Job* const job : std::list<Job*>(jobs_)) job->request_stop(Stop::shutting_down);
  // The results leave now; a peer that does not take its own is not waited for longer than that.
  const Time last = environment_.clock.now() + limits::close_flush;
  progress_.set(last);
  while (!jobs_.empty() && environment_.clock.now() < last) co_await progress_.wait();
  progress_.clear();
}

void Provider::hurry() {
  hurried_ = true;
  progress_.notify();
}

}  // namespace p2p
