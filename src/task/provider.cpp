#include "task/provider.hpp"

#include "network/protocol.hpp"
#include "task/course.hpp"
#include "task/sealing.hpp"

#include <algorithm>
#include <cassert>
#include <set>

namespace p2p {
namespace {

using std::chrono::milliseconds;

milliseconds whole_ms(Duration duration) { return std::chrono::duration_cast<milliseconds>(duration); }

constexpr std::uint64_t again_pause = 1000;  // ms, for whoever finds too many who want what was answered before

TaskError not_allowed(const PeerId& requester) {
  return {"not_allowed", "this provider runs nothing for " + requester.text() + "; ask its owner to allow this PeerId", {}};
}

TaskError no_memory(std::uint64_t retry_after_ms) {
  return {"busy", "the memory that this provider has for tasks is used up; try again later", retry_after_ms};
}

template <class Texts>
std::string joined(const Texts& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + text;
  return list;
}

Party party_of(const Stream& stream) { return {stream.host(), stream.peer()}; }

std::string key_of(const PeerId& requester, std::string_view task_id) {
  const std::string_view id = as_text(requester.bytes());
  std::string key;
  key.reserve(task_id.size() + id.size());
  return key.append(task_id).append(id);
}

/// What an executor answers for at present.
std::vector<std::string> claims(const Executor& executor) {
  std::vector<std::string> models = executor.models();
  if (models.empty() && !executor.unready()) models.emplace_back(executor.name());
  return models;
}

}  // namespace

// An executor, and the tasks that are for it.
struct Provider::Lane {
  std::string task_type;
  Executor& executor;
  Places<Job> places = {};
  double average_run_ms = 1000;  // an assumption until a task has run
};

// What something that is for a task takes of the memory for tasks, of which one host never has more than half.
class Provider::Held {
 public:
  Held(Provider& provider, std::string host) : provider_(provider), host_(std::move(host)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    const auto all = provider_.held_by_.find(host_);
    if (all != provider_.held_by_.end() && (all->second -= bytes_) == 0) provider_.held_by_.erase(all);
    provider_.held_ -= bytes_;
  }

  /// False when there is no room for them.
  [[nodiscard]] bool add(std::size_t bytes) {
    const std::size_t share = limits::memory_share(provider_.agent_.options().memory());
    const auto own = provider_.held_by_.find(host_);
    if (provider_.held_ + bytes > share || (own == provider_.held_by_.end() ? 0 : own->second) + bytes > share / 2) return false;
    bytes_ += bytes;
    provider_.held_ += bytes;
    provider_.held_by_[host_] += bytes;
    return true;
  }

 private:
  Provider& provider_;
  const std::string host_;
  std::size_t bytes_ = 0;
};

// A task from its arrival to its result.
class Provider::Job final : public TaskCourse, public TaskRun {
 public:
  Job(Provider& provider, Lane& lane_of_task, std::string key_of_job, Party whose, Task task, std::string sha256, Bytes envelope)
      : TaskCourse(provider.environment_.loop, task.task_id, task.stream),
        lane(lane_of_task),
        party(std::move(whose)),
        key(std::move(key_of_job)),
        received(provider.environment_.clock.now()),
        task_envelope(std::move(envelope)),
        turn(provider.environment_.clock, provider.environment_.loop),
        held(provider, party.host),
        provider_(provider),
        task_(std::move(task)),
        output_limit_(provider.options_.max_output.value_or(lane_of_task.executor.output_limit())) {
    outcome.task_id = task_id;
    outcome.recipient = party.requester.text();
    outcome.task_sha256 = std::move(sha256);
  }

  /// What it takes before it has run.
  std::size_t memory() const { return sizeof(Job) + task_envelope.size() + memory_of(task_.input); }

  const Task& task() const override { return task_; }
  const PeerId& requester() const override { return party.requester; }
  const Environment& environment() const override { return provider_.environment_; }
  bool stopped() const override { return stop.has_value(); }
  void on_stop(std::function<void()> call) override {
    on_stop_ = std::move(call);
    if (stop && on_stop_) std::exchange(on_stop_, nullptr)();
  }

  Awaitable<void> write(std::string_view text) override {
    if (is_settled) co_return;  // too late for the result
    if (output.size() + text.size() > output_limit_) {
      fail(Errc::too_large, "the output is larger than this provider allows (" + std::to_string(output_limit_) + " bytes)");
    }
    const std::size_t taken = 2 * text.size();  // it stands in the result again
    if (!held.add(taken)) fail(Errc::exhausted, "the memory that this provider has for tasks is used up");
    output += text;
    changed();
    while (!stop && !is_delivered()) co_await delivered.wait();
  }

  void request_stop(Stop reason) {
    if (stop) return;
    stop = reason;
    stopped_at = environment().clock.now();
    turn.notify();
    delivered.notify();
    if (on_stop_) std::exchange(on_stop_, nullptr)();
  }
  void joined() override { linger_.reset(); }
  void deserted(bool connection_lost) override {
    if (result) return;
    if (connection_lost && task_.linger_ms > 0) {
      linger_ = environment().clock.schedule(environment().clock.now() + milliseconds(task_.linger_ms), [this] { abandon(); });
    } else {
      abandon();
    }
  }

  Lane& lane;
  const Party party;
  const std::string key;  // key_of() it
  const Time received;
  const Bytes task_envelope;  // kept for the receipt alone
  const std::uint64_t receipt_size = task_envelope.empty() ? 0 : receipt_size_limit(task_envelope.size());
  Alarm turn;  // its turn came, it is to stop, or it has ended
  std::optional<Stop> stop;
  Time stopped_at{};
  bool has_slot = false;
  std::optional<Time> started;   // when the executor was called
  std::optional<Outcome> ended;  // what the executor made of it
  bool is_settled = false;       // nothing changes the result any more
  Timer deadline;
  TaskResult outcome;
  Held held;

 private:
  // The same task again is run again from now on; unless it has run, and only its result is not out yet.
  void abandon() {
    if (ended) return;
    provider_.forget(*this);
    request_stop(Stop::lost);
  }

  Provider& provider_;
  const Task task_;
  const std::size_t output_limit_;
  std::function<void()> on_stop_;
  Timer linger_;
};

// A result that is remembered, for those who ask for it again at the same time.
struct Provider::Again final : TaskCourse {
  Again(Provider& provider, std::string key_of_task, std::string host, std::string id, bool stream, std::shared_ptr<const Bytes> of)
      : TaskCourse(provider.environment_.loop, std::move(id), stream),
        held(provider, std::move(host)),
        envelope(std::move(of)),
        provider_(provider),
        key_(std::move(key_of_task)) {}
  ~Again() override {
    const auto known = provider_.again_.find(key_);
    if (known != provider_.again_.end() && known->second.expired()) provider_.again_.erase(known);
  }

  Held held;
  const std::shared_ptr<const Bytes> envelope;

 private:
  Provider& provider_;
  const std::string key_;
};

// A stream on which nobody waits for anything: its task has not come yet, or was refused, or has its result.
class Provider::Idle {
 public:
  Idle(Provider& provider, Stream& stream, Party party)
      : provider_(provider), stream_(stream), party_(std::move(party)), list_(&provider.idle_[party_]) {
    place_ = list_->insert(list_->end(), this);
  }
  Idle(const Idle&) = delete;
  Idle& operator=(const Idle&) = delete;
  ~Idle() { leave(); }

  void end() {
    leave();
    stream_.reset({Errc::exhausted, "too many tasks at once"});
  }

 private:
  void leave() {
    if (list_ == nullptr) return;
    list_->erase(place_);
    if (list_->empty()) provider_.idle_.erase(party_);
    list_ = nullptr;
  }

  Provider& provider_;
  Stream& stream_;
  const Party party_;
  std::list<Idle*>* list_;  // null when it has left
  std::list<Idle*>::iterator place_;
};

Provider::Provider(Agent& agent, std::vector<Offering> offerings, ProviderOptions options, std::function<void(const TaskEvent&)> on_task)
    : agent_(agent),
      environment_(agent.environment()),
      options_(std::move(options)),
      on_task_(std::move(on_task)),
      memory_(options_.memory),
      progress_(environment_.clock, environment_.loop),
      group_(environment_.loop) {
  std::set<std::string> claimed;
  for (const Offering& offering : offerings) {
    for (const std::string& model : claims(offering.executor)) {
      if (!claimed.insert(offering.task_type + '=' + model).second) {
        fail(Errc::invalid,
             "two executors would answer for '" + model + "' in tasks of type " + offering.task_type + "; give them other names");
      }
    }
    lanes_.push_back(std::make_unique<Lane>(Lane{offering.task_type, offering.executor}));
  }
  for (const std::unique_ptr<Lane>& lane : lanes_) lane->executor.start();
  agent_.handle(std::string(task_protocol), [this](Stream stream) { return serve(std::move(stream)); });
  agent_.handle(std::string(info_protocol), [this](Stream stream) { return serve_info(std::move(stream)); });
}

Provider::Provider(Agent& agent, Executor& executor, ProviderOptions options, std::function<void(const TaskEvent&)> on_task)
    : Provider(agent, std::vector<Offering>(1, Offering{std::string(inference), executor}), std::move(options), std::move(on_task)) {}

Provider::~Provider() { assert(unfinished_.empty() && "shut_down() comes first"); }

std::size_t Provider::running() const noexcept {
  std::size_t sum = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) sum += lane->places.running();
  return sum;
}

std::size_t Provider::waiting() const noexcept {
  std::size_t sum = 0;
  for (const std::unique_ptr<Lane>& lane : lanes_) sum += lane->places.waiting().size();
  return sum;
}

std::vector<Offer> Provider::offers() const {
  std::vector<Offer> offers;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    offers.push_back({lane->task_type, std::string(lane->executor.name()), lane->executor.models()});
  }
  return offers;
}

std::size_t Provider::slots(const Lane& lane) const { return options_.slots.value_or(lane.executor.slots()); }

std::uint64_t Provider::retry_after_ms(const Lane& lane) const {
  // When a place in the queue should be free: one task of those that run has to end.
  return static_cast<std::uint64_t>(std::max(1.0, lane.average_run_ms / static_cast<double>(slots(lane))));
}

// --- A stream: its task is read, joins a course or begins one, and the course is told on it to its end. ---

Awaitable<void> Provider::serve(Stream stream) {
  if (serving_ >= limits::task_streams && !end_idle_stream()) fail(Errc::exhausted, "too many tasks at once");
  ++serving_;
  std::exception_ptr broken;
  try {
    co_await serve_task(stream);
  } catch (const boost::system::system_error&) {
    broken = std::current_exception();
  }
  --serving_;
  progress_.notify();
  if (broken) std::rethrow_exception(broken);
}

// Whoever keeps most streams open for nothing makes room for others, of the host that keeps most.
bool Provider::end_idle_stream() {
  std::map<std::string_view, std::size_t> of_host;
  for (const auto& [party, streams] : idle_) of_host[party.host] += streams.size();
  const auto size = [&](const auto& entry) { return std::pair(of_host.at(entry.first.host), entry.second.size()); };
  const auto most = std::max_element(idle_.begin(), idle_.end(), [&](const auto& a, const auto& b) { return size(a) < size(b); });
  if (most == idle_.end()) return false;
  most->second.front()->end();
  return true;
}

Awaitable<void> Provider::serve_task(Stream& stream) {
  const Party party = party_of(stream);  // which a connection that ends meanwhile does not say any more
  const PeerId& requester = party.requester;
  const bool admitted = may_ask(requester);
  Bytes envelope;
  Bytes payload;
  MemoryCharge memory = stream.charge(0);
  std::optional<Idle> idle(std::in_place, *this, stream, party);
  try {
    const Timer timer = stream.deadline(limits::task_wait, "no task came on the stream");
    std::optional<Bytes> frame = co_await read_frame(stream, admitted ? limits::task_frame : limits::stranger_task);
    if (!frame) {
      stream.close_write();
      co_return;
    }
    idle.reset();
    envelope = *std::move(frame);
    memory.set(envelope.size());
    payload = co_await open_on(environment_, envelope, stream.peer_key(), MessageKind::task);
  } catch (const boost::system::system_error& error) {
    ++refused_;
    environment_.log.write(Logger::Level::warn, "no task from " + requester.text() + ": " + message_of(error));
    throw;
  }
  ParsedTask parsed = parse_task(payload);
  const std::string sha256 = task_hash(payload);
  const std::size_t size = payload.size();
  payload = Bytes();
  const std::uint64_t receipt = receipt_size_limit(envelope.size());
  if (admitted && parsed.task && options_.receipts != nullptr && options_.receipts->full(promised_ + receipt)) {
    const bool looked = co_await options_.receipts->look_again(environment_.clock.now());
    if (looked && options_.receipts->full(receipt)) {  // not for the time being alone
      environment_.log.write(Logger::Level::warn, "there is no room for more receipts; tasks are refused until old ones are moved away");
    }
  }
  const bool may_run = admitted && may_ask(requester);  // which can have changed meanwhile
  Reception reception = may_run ? receive(party, parsed, sha256, size, envelope) : Reception(not_allowed(requester));
  envelope = Bytes();
  memory.set(0);
  if (auto* const course = std::get_if<std::shared_ptr<TaskCourse>>(&reception)) {
    const std::function<void()> over = [&] { idle.emplace(*this, stream, party); };
    if (!co_await follow(environment_, agent_.identity(), stream, std::move(*course), over)) ++refused_;
  } else {
    idle.emplace(*this, stream, party);  // who does not take its answer makes room for others
    co_await reject(stream, std::move(parsed.task_id), sha256, std::get<TaskError>(std::move(reception)));
    stream.close_write();
    const Timer timer = stream.deadline(limits::close_wait, "the requester did not close the stream");
    if (!co_await ends_behind_task(environment_, stream)) ++refused_;
  }
}

// What it joins or begins, or why nothing.
Provider::Reception Provider::receive(const Party& party, ParsedTask& parsed, const std::string& sha256, std::size_t size,
                                      Bytes& envelope) {
  if (!parsed.task) return TaskError{"invalid_task", parsed.problem, {}};
  std::string key = key_of(party.requester, parsed.task_id);
  const auto job = jobs_.find(key);
  const ResultMemory::Kept* const kept = job == jobs_.end() ? memory_.find(key, environment_.clock.now()) : nullptr;
  std::shared_ptr<TaskCourse> same;
  if (job != jobs_.end() && job->second->outcome.task_sha256 == sha256) same = job->second;
  if (kept != nullptr && kept->task_sha256 == sha256) {
    same = course_again(key, party.host, *parsed.task, kept->envelope);
    if (!same) return no_memory(again_pause);
  }
  if (same && same->followers() >= limits::task_followers)
    return TaskError{"busy", "too many streams follow this task already", again_pause};
  if (same) return same;

  if (!is_for_us(*parsed.task)) return TaskError{"wrong_recipient", "the task is meant for another peer than " + agent_.id_text(), {}};
  Route route = this->route(*parsed.task, size);
  if (route.error) return *std::move(route.error);
  if (job != jobs_.end() || kept != nullptr) {
    return TaskError{"task_id_conflict", "another task has this task_id; give each task a new one", {}};
  }
  auto begun = std::make_shared<Job>(*this, *route.lane, std::move(key), party, *std::move(parsed.task), sha256,
                                     options_.receipts != nullptr ? std::move(envelope) : Bytes());
  if (std::optional<TaskError> why = enter(*begun)) return *std::move(why);
  jobs_.emplace(begun->key, begun);
  group_.spawn(go(begun));
  return begun;
}

bool Provider::is_for_us(const Task& task) const {
  if (!task.recipient || *task.recipient == agent_.id_text()) return true;
  const Result<PeerId> recipient = PeerId::from_text(*task.recipient);  // there are other ways to write it
  return recipient && *recipient == agent_.id();
}

Awaitable<void> Provider::reject(Stream& stream, std::string task_id, std::string sha256, TaskError why) {
  TaskResult result;
  result.status = Status::rejected;
  result.task_id = std::move(task_id);
  result.recipient = stream.peer().text();
  result.task_sha256 = std::move(sha256);
  result.timestamp = format_timestamp(environment_.clock.date());
  result.error = std::move(why);
  report(stream.peer(), result, false);
  const Timer timer = stream.deadline(limits::message_wait, "the requester does not take its result");
  co_await write_frame(stream, co_await seal_on(environment_, agent_.identity(), MessageKind::result, result.to_json()));
}

// Null when there is no memory for it.
std::shared_ptr<TaskCourse> Provider::course_again(const std::string& key, std::string host, const Task& task,
                                                   std::shared_ptr<const Bytes> envelope) {
  if (const auto known = again_.find(key); known != again_.end()) {
    // Another one may have been forgotten meanwhile, and is still told.
    if (auto course = known->second.lock(); course && course->envelope == envelope) return course;
  }
  const auto course = std::make_shared<Again>(*this, key, std::move(host), task.task_id, task.stream, std::move(envelope));
  if (task.stream) {
    if (!course->held.add(2 * course->envelope->size())) return nullptr;  // its text apart, and it when it is forgotten
    group_.spawn(read_again(course));
  } else {
    course->result = course->envelope;
  }
  again_.insert_or_assign(key, course);
  return course;
}

// What was told in pieces is told in pieces again.
Awaitable<void> Provider::read_again(std::shared_ptr<Again> course) {
  const Bytes& envelope = *course->envelope;
  std::string text;
  const std::function<void()> read = [&] { text = parse_result(open_message(envelope).value().payload, {}).value().text.value_or(""); };
  try {
    if (envelope.size() >= limits::pool_threshold && !shutting_down_) {
      co_await environment_.pool.run(read);
    } else {
      read();
    }
  } catch (const boost::system::system_error& error) {  // an executor can have made what no requester believes
    environment_.log.write(Logger::Level::warn, "the result of task " + course->task_id + " cannot be read: " + message_of(error));
  }
  course->output = std::move(text);
  course->result = course->envelope;
  course->changed();
}

Awaitable<void> Provider::serve_info(Stream stream) {
  Info info;
  info.may_ask = may_ask(stream.peer());
  if (*info.may_ask) {
    if (!shutting_down_) info.executors = offers();
    info.running = running();
    info.waiting = waiting();
    for (const std::unique_ptr<Lane>& lane : lanes_) info.slots += slots(*lane);
    info.capacity = options_.queue * lanes_.size();
  }
  // What does not fit is left out, and can be asked for all the same.
  while (info.to_json().size() + limits::envelope_margin > limits::info_frame) {
    const auto longest = std::max_element(info.executors.begin(), info.executors.end(),
                                          [](const Offer& a, const Offer& b) { return a.models.size() < b.models.size(); });
    if (longest == info.executors.end() || longest->models.empty()) break;
    longest->models.resize(longest->models.size() / 2);
  }
  co_await answer_info(agent_, std::move(stream), std::move(info));
}

// --- A task: it finds its executor, waits for its turn, runs, and has a result. ---

Provider::Route Provider::route(const Task& task, std::size_t size) const {
  std::vector<Lane*> lanes;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    if (lane->task_type == task.task_type) lanes.push_back(lane.get());
  }
  if (lanes.empty()) {
    std::set<std::string> types;
    for (const std::unique_ptr<Lane>& lane : lanes_) types.insert(lane->task_type);
    return {nullptr, TaskError{"unsupported_task_type", "tasks of this type are not run here; there are: " + joined(types), {}}};
  }
  const std::optional<std::string> model = task.model();
  const auto fits = [&](const Lane* lane) {
    if (!model) return !lane->executor.named_only() || lanes.size() == 1;
    const std::vector<std::string> claimed = claims(lane->executor);
    return std::find(claimed.begin(), claimed.end(), *model) != claimed.end();
  };
  auto chosen = std::find_if(lanes.begin(), lanes.end(), fits);
  if (chosen == lanes.end()) {  // one that does not know its models yet may have this one
    chosen = std::find_if(lanes.begin(), lanes.end(), [](const Lane* lane) { return lane->executor.unready().has_value(); });
  }
  if (chosen == lanes.end()) {
    std::set<std::string> models;
    for (const Lane* const lane : lanes) {
      for (std::string& name : claims(lane->executor)) models.insert(std::move(name));
    }
    const std::string there_are = joined(models);
    return {nullptr, TaskError{"unsupported_model",
                               (model ? "the model is not here; there are: " : "the task has to name one of these models: ") + there_are,
                               {}}};
  }
  if (size > options_.max_input) {
    return {nullptr, TaskError{"too_large",
                               "the task has " + std::to_string(size) + " bytes, and this provider takes " +
                                   std::to_string(options_.max_input) + "; send less",
                               {}}};
  }
  return {*chosen};
}

// A place in the queue, from which fill() takes it at once if a slot is free; or why there is none.
std::optional<TaskError> Provider::enter(Job& job) {
  Lane& lane = job.lane;
  if (shutting_down_) return TaskError{"shutting_down", "the provider is going away; ask another one", {}};
  if (std::optional<TaskError> why = lane.executor.unready()) return why;
  if (options_.receipts != nullptr && options_.receipts->full(promised_ + job.receipt_size)) {
    return TaskError{"busy", "this provider has no room for another receipt; its owner has to make some",
                     static_cast<std::uint64_t>(limits::receipts_full_retry.count())};
  }
  if (!job.held.add(job.memory())) return no_memory(retry_after_ms(lane));
  if (lane.places.running() >= slots(lane) && lane.places.waiting().size() >= options_.queue) {
    Job* const displaced = lane.places.gives_way_to(job.party);
    if (displaced == nullptr) {
      return TaskError{"busy", "every slot and every place in the queue is taken; try again later", retry_after_ms(lane)};
    }
    displaced->request_stop(Stop::displaced);
    leave(*displaced);
  }
  lane.places.enter(job);
  unfinished_.push_back(&job);
  promised_ += job.receipt_size;
  const milliseconds asked(job.task().timeout_ms.value_or(static_cast<std::uint64_t>(options_.max_time.count())));
  job.deadline =
      environment_.clock.schedule(job.received + std::min(asked, options_.max_time), [&job] { job.request_stop(Stop::deadline); });
  fill(lane);
  return std::nullopt;
}

void Provider::fill(Lane& lane) {
  while (lane.places.running() < slots(lane)) {
    Job* const next = lane.places.seat();
    if (next == nullptr) break;
    next->turn.notify();
  }
  std::uint64_t position = 0;
  for (Job* const job : lane.places.waiting()) job->enter_state("queued", position++);
}

// Gives back the job's slot, or its place in the queue. Does nothing the second time.
void Provider::leave(Job& job) {
  if (!job.lane.places.leave(job)) return;
  fill(job.lane);
  progress_.notify();
}

Awaitable<void> Provider::go(std::shared_ptr<Job> job) {
  while (!job->has_slot && !job->stop) co_await job->turn.wait();
  TaskResult& result = job->outcome;
  if (!job->stop) {
    group_.spawn(run(job));
    // The requester does not wait much longer than the task's time, whatever the executor does with it.
    const auto late = [&] {
      return job->stop == Stop::deadline && environment_.clock.now() >= job->stopped_at + limits::deadline_patience;
    };
    while (!job->ended && !late()) {
      if (job->stop == Stop::deadline) job->turn.set(job->stopped_at + limits::deadline_patience);
      co_await job->turn.wait();
    }
    finish(*job);
  } else if (job->stop == Stop::deadline) {
    result.status = Status::cancelled;
    result.executor = job->lane.executor.name();
    result.error = TaskError{"deadline_exceeded", time_over(*job) + " before its turn came", {}};
  } else {
    result.status = Status::rejected;
    result.error = job->stop == Stop::displaced
                       ? TaskError{"busy", "the place in the queue went to another requester; try again later", retry_after_ms(job->lane)}
                       : TaskError{"shutting_down", "the provider is going away; ask another one", {}};
  }
  job->turn.clear();
  job->deadline.reset();
  if (!job->started) leave(*job);
  co_await conclude(*job);
  unfinished_.remove(job.get());
  promised_ -= job->receipt_size;
  progress_.notify();
}

// Has the slot until the executor has ended, which may be after the result is out.
Awaitable<void> Provider::run(std::shared_ptr<Job> job) {
  Lane& lane = job->lane;
  job->started = environment_.clock.now();
  job->enter_state("running");
  Outcome outcome;
  try {
    outcome = co_await lane.executor.run(*job);
  } catch (const boost::system::system_error& error) {
    outcome.status = Status::failed;
    outcome.error = TaskError{is(error, Errc::too_large) ? "output_too_large" : "executor_failed", message_of(error), {}};
  } catch (const std::exception& error) {
    outcome.status = Status::failed;
    outcome.error = TaskError{"executor_failed", error.what(), {}};
  }
  job->on_stop(nullptr);
  const milliseconds took = whole_ms(environment_.clock.now() - *job->started);
  lane.average_run_ms += (static_cast<double>(took.count()) - lane.average_run_ms) / 8;
  job->ended = std::move(outcome);
  leave(*job);
  job->turn.notify();
}

std::string Provider::time_over(const Job& job) const {
  const std::optional<std::uint64_t> asked = job.task().timeout_ms;
  const auto most = static_cast<std::uint64_t>(options_.max_time.count());
  return asked && *asked <= most ? "the task's time was over"
                                 : "the " + std::to_string(most) + " ms that this provider gives a task were over";
}

void Provider::finish(Job& job) {
  job.is_settled = true;
  Outcome outcome;
  if (job.ended) {
    outcome = *std::move(job.ended);
  } else {
    outcome.status = Status::cancelled;
  }
  TaskResult& result = job.outcome;
  result.executor = job.lane.executor.name();
  result.queued_ms = static_cast<std::uint64_t>(whole_ms(*job.started - job.received).count());
  result.run_ms = static_cast<std::uint64_t>(whole_ms(environment_.clock.now() - *job.started).count());
  result.status = outcome.status;
  result.error = std::move(outcome.error);
  result.model = std::move(outcome.model);
  result.finish_reason = std::move(outcome.finish_reason);
  result.usage = outcome.usage;
  if (outcome.status == Status::cancelled && job.stop == Stop::deadline) {
    result.error = TaskError{"deadline_exceeded", time_over(job), {}};
  } else if (outcome.status == Status::cancelled) {
    result.error = TaskError{"cancelled", "the provider is going away", {}};
  }
  if (result.status == Status::completed || (result.status != Status::rejected && !job.output.empty())) result.text = job.output;
}

// The result is sealed once. From then on it is the same, however often it is asked for.
Awaitable<void> Provider::conclude(Job& job) {
  TaskResult& result = job.outcome;
  const bool lost = job.stop == Stop::lost;
  if (lost) {
    report(job.requester(), result, true);
    co_return;
  }
  std::shared_ptr<const Bytes> envelope = co_await seal(result);
  if (options_.receipts != nullptr && result.status != Status::rejected) {
    std::string problem;
    try {
      const ReceiptName name{environment_.clock.date(), job.requester(), job.task_id};
      co_await options_.receipts->keep(name, make_receipt(job.task_envelope, *envelope));
    } catch (const boost::system::system_error& error) {
      problem = message_of(error);
    }
    if (!problem.empty()) {
      environment_.log.write(Logger::Level::warn, "the receipt of task " + job.task_id + " could not be kept: " + problem);
      result.status = Status::failed;
      result.text.reset();
      result.error =
          TaskError{"executor_failed", "the task ran, and its receipt could not be kept, which this provider promises: " + problem, {}};
      envelope = co_await seal(result);
    }
  }
  report(job.requester(), result, false);
  if (result.status == Status::completed || result.status == Status::failed) {
    memory_.add(job.key, {result.task_sha256, envelope}, environment_.clock.now());
  }
  forget(job);
  job.result = std::move(envelope);
  job.changed();
}

Awaitable<std::shared_ptr<const Bytes>> Provider::seal(TaskResult& result) {
  result.timestamp = format_timestamp(environment_.clock.date());
  std::string payload = result.to_json();
  if (payload.size() + limits::envelope_margin > limits::task_frame) {
    result.text.reset();
    result.status = Status::failed;
    result.error = TaskError{"output_too_large", "the output does not fit into a result", {}};
    payload = result.to_json();
  }
  Bytes envelope = co_await seal_on(environment_, agent_.identity(), MessageKind::result, std::move(payload));
  co_return std::make_shared<const Bytes>(std::move(envelope));
}

void Provider::forget(const Job& job) {
  const auto known = jobs_.find(job.key);
  if (known != jobs_.end() && known->second.get() == &job) jobs_.erase(known);
}

void Provider::report(const PeerId& requester, const TaskResult& result, bool lost) const {
  if (!on_task_) return;
  TaskEvent event{requester, result.task_id, std::string(lost ? "lost" : name_of(result.status)), {}, {}, {}};
  if (!lost && result.error) event.code = result.error->code;
  event.queued = milliseconds(result.queued_ms.value_or(0));
  event.run = milliseconds(result.run_ms.value_or(0));
  on_task_(event);
}

Awaitable<void> Provider::shut_down(Duration grace) {
  shutting_down_ = true;
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    for (Job* const job : lane->places.waiting()) job->request_stop(Stop::shutting_down);
  }
  const Time patience = environment_.clock.now() + grace;
  progress_.set(patience);
  while (running() > 0 && environment_.clock.now() < patience && !hurried_) co_await progress_.wait();
  for (Job* const job : unfinished_) job->request_stop(Stop::shutting_down);
  co_await group_.join();
  // The results leave now; a peer that does not take its own is not waited for longer than that.
  const Time last = environment_.clock.now() + limits::close_flush;
  progress_.set(last);
  while (serving_ > 0 && environment_.clock.now() < last) co_await progress_.wait();
  progress_.clear();
  for (const std::unique_ptr<Lane>& lane : lanes_) group_.spawn(lane->executor.stop());
  co_await group_.join();
}

void Provider::hurry() {
  hurried_ = true;
  progress_.notify();
}

}  // namespace p2p
