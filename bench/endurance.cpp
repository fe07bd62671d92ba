// Agents for as long as one likes: two providers and four requesters in this process, each on a thread of its own, over loopback, and a
// model server that the providers ask. Requesters are born, have tasks of all kinds done, some of which go wrong on purpose, and go; one of
// the providers is started anew all the time, and keeps receipts in some of its lives, each of which must hold. At the end of each minute
// all requesters rest, and what the process then holds is a line of a table. Nothing of it may grow after the first minute, and nothing may
// fail that was not meant to. Exit code 1 otherwise.
//
// Usage: endurance [MINUTES [SEED]]

#include "executors/openai.hpp"
#include "serving.hpp"
#include "support/heap.hpp"
#include "support/openai_server.hpp"
#include "support/temporary.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <random>

namespace {

using namespace p2p;
using namespace p2p::bench;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::size_t requesters = 4;
constexpr unsigned rounds_of_a_life = 24;
constexpr unsigned failures_shown = 20;
constexpr seconds provider_life{7};
constexpr seconds patience{60};  // of who waits for what must come: longer than anything here may take

// What RSS may be more than after the first minute: the C library cannot give back pages of which a part is in use, and which these are is
// chance. All else is the same or it leaks.
constexpr double resident_growth_mib = 16;
// A sanitizer remembers where everything was allocated: its memory settles in the course of ten minutes.
constexpr double sanitized_growth_mib = 48;
// What is allocated may differ by what happens to be kept at the time, such as results that may be asked for again.
constexpr double allocated_growth_mib = 1;
constexpr std::uint64_t receipts_at_most = std::uint64_t{1} << 30;  // bytes: more than a life leaves
constexpr unsigned lives_to_a_keeper = 4;                           // of a provider; large tasks make receipts that take time to write
constexpr std::size_t calls_kept = 256;
constexpr int looks = 30;  // at what is held, 50 ms apart: what is free goes back to the system a second later

struct Counts {
  std::atomic<std::uint64_t> completed{0};
  std::atomic<std::uint64_t> provoked{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> receipts{0};
};

/// Says why a task failed that should not have, the first few times.
void complain(Counts& counts, const std::string& what) {
  if (++counts.failed <= failures_shown) std::fprintf(stderr, "failed: %s\n", what.c_str());
}

// Executors' names as models.
const std::string upper = "upper";
const std::string count = "count";
const std::string flood = "flood";
const std::string sleeper = "sleeper";
const std::string worker = "worker";
const std::string tiny = "tiny";        // of the model server's
const std::string endless = "endless";  // the same; goes on until nobody listens
const std::string pieces = "pieces";    // task types of their own: mocks have no models
const std::string slow = "slow";

/// A server of OpenAI's API, on a thread of its own.
class ModelServer {
 public:
  ModelServer() : thread_([this] { serve(); }) { url_ = started_.get_future().get(); }
  ~ModelServer() {
    stop_.set_value();
    thread_.join();
  }
  ModelServer(const ModelServer&) = delete;
  ModelServer& operator=(const ModelServer&) = delete;
  const std::string& url() const noexcept { return url_; }

 private:
  void serve() {
    System system;
    const Environment& environment = system.environment();
    test::OpenAiServer server(environment);
    server.models = {tiny, endless};
    const test::OpenAiServer::Script answer = server.at["/v1/chat/completions"];
    server.at["/v1/chat/completions"] = [&](test::Call& call) -> Awaitable<void> {
      while (server.calls.size() > calls_kept && server.calls.front().is_over()) server.calls.pop_front();
      const bool goes_on = call.input().at("model").as_string() == endless;
      if (!goes_on) {
        co_await answer(call);
        co_return;
      }
      co_await call.begin();
      while (!call.closed()) {
        std::string text = test::delta("on and ");
        co_await call.chunk(std::move(text));
        co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + milliseconds(5));
      }
    };
    const auto work = [&]() -> Awaitable<void> {
      server.start();
      started_.set_value(server.url() + "/v1");
      const std::function<void()> wait = [this] { stop_.get_future().wait(); };
      co_await environment.pool.run(wait);
      co_await server.stop();
    };
    system.run(work());
  }

  std::promise<std::string> started_;
  std::promise<void> stop_;
  std::string url_;
  std::thread thread_;
};

/// The executors of a provider.
Offered executors(const Environment& environment, const std::string& model_server) {
  Offered offered;
  const auto add = [&](std::string_view type, std::unique_ptr<Executor> executor) {
    offered.offerings.push_back({std::string(type), *executor});
    offered.executors.push_back(std::move(executor));
  };
  const auto command = [&](const std::string& name, const char* line, bool stays = false) {
    add(inference, make_command_executor(name, {"sh", "-c", line}, stays, environment));
  };
  add(inference, std::make_unique<MockExecutor>());
  add(pieces, std::make_unique<MockExecutor>(MockOptions{milliseconds(10), 10}));
  add(slow, std::make_unique<MockExecutor>(MockOptions{milliseconds(2000), 200}));
  command(upper, "tr a-z A-Z");
  command(count, "wc -c");
  command(flood, "read -r size; head -c \"$size\" /dev/zero | tr '\\0' x");
  command(sleeper, "echo up; exec sleep 60");
  const char* const answering =
      "while read -r line; do case $line in *'\"input\"'*) id=${line#*'\"id\":'}; id=${id%%,*}; "
      "printf '{\"id\":%s,\"text\":\"done\"}\\n{\"id\":%s,\"done\":true}\\n' \"$id\" \"$id\";; esac; done";
  command(worker, answering, true);
  add(inference, std::make_unique<OpenAiExecutor>(model_server, environment, ""));
  return offered;
}

/// A provider, and those that follow it when it is started anew. Any thread may ask where it is.
class Place {
 public:
  Place(TimerCount& timers, Counts& counts, std::string model_server)
      : timers_(timers), counts_(counts), model_server_(std::move(model_server)) {
    start();
  }

  struct Where {
    std::vector<Multiaddr> addresses;
    unsigned life;  // odd while it is there
  };
  Where where() const {
    const std::lock_guard lock(mutex_);
    return {addresses_, life_};
  }
  unsigned life() const { return where().life; }

  void restart() {
    next_life();
    serving_.reset();
    check_receipts();
    start();
  }
  bool keeps_receipts() const noexcept { return keeps_receipts_; }
  bool at_rest() { return serving_->running() == 0 && serving_->connections() == 0; }

 private:
  void start() {
    ProviderOptions options;
    options.slots = 1;  // so that there is one worker at any time
    options.queue = 64;
    options.memory = {256, 1024 * 1024};  // full within the first minute
    keeps_receipts_ = life_ / 2 % lives_to_a_keeper == 1;
    const auto make = [this, keeps = keeps_receipts_](const Environment& environment) {
      Offered offered = executors(environment, model_server_);
      if (keeps) offered.receipts = std::make_unique<ReceiptStore>(environment.pool, receipts_.path(), receipts_at_most);
      return offered;
    };
    serving_ = std::make_unique<Serving>(make, options, timers_);
    const std::lock_guard lock(mutex_);
    addresses_ = serving_->addresses;
    ++life_;
  }
  void next_life() {
    const std::lock_guard lock(mutex_);
    ++life_;
  }
  void check_receipts() {
    for (const std::string& name : test::names_in(receipts_.path())) {
      const Result<Receipt> receipt = check_receipt(as_bytes(test::content_of(receipts_.file(name))));
      ++counts_.receipts;
      if (!receipt) complain(counts_, "receipt " + name + ": " + receipt.error().reason);
      std::filesystem::remove(receipts_.file(name));
    }
  }

  TimerCount& timers_;
  Counts& counts_;
  const std::string model_server_;
  const test::TemporaryDirectory receipts_;
  bool keeps_receipts_ = false;
  std::unique_ptr<Serving> serving_;
  mutable std::mutex mutex_;
  std::vector<Multiaddr> addresses_;
  unsigned life_ = 0;
};

/// Lets requesters go on or rest, all of them together.
class Rest {
 public:
  /// Between two lives of a requester: returns when it may begin another one; false when it is over.
  bool may_go_on() {
    std::unique_lock lock(mutex_);
    ++resting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return going_ || over_; });
    --resting_;
    return !over_;
  }
  bool wanted() const { return !going_; }

  /// Returns when all rest.
  void begin() {
    std::unique_lock lock(mutex_);
    going_ = false;
    changed_.wait(lock, [this] { return resting_ == requesters; });
  }
  void end() {
    const std::lock_guard lock(mutex_);
    going_ = true;
    changed_.notify_all();
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t resting_ = 0;
  std::atomic<bool> going_{false};
  bool over_ = false;
};

struct World {
  TimerCount timers{0};
  Counts counts;
  Rest rest;
  ModelServer models;
  std::array<std::unique_ptr<Place>, 2> places;
};

/// One life of a requester: an agent, its connection to one of the providers, and tasks over it.
class Life {
 public:
  Life(World& world, std::mt19937& dice) : world_(world), dice_(dice), place_(*world.places[dice() % 2]), system_(world.timers) {}

  void live() {
    const Environment environment = system_.environment();
    AgentOptions options = quiet(false);
    if (dice_() % 2 == 0) std::reverse(options.muxers.begin(), options.muxers.end());
    Agent agent(environment, KeyPair::generate(environment.random), options);
    agent_ = &agent;
    const std::function<Awaitable<void>()> work = [this]() -> Awaitable<void> { return have_tasks_done(); };
    system_.run(agent.run(work));
  }

 private:
  using Kind = Awaitable<void> (Life::*)();

  Awaitable<void> have_tasks_done() {
    const Place::Where where = place_.where();
    provider_life_ = where.life;
    try {
      std::vector<Multiaddr> addresses = where.addresses;
      const Connection* const connection = co_await agent_->connect(std::move(addresses));
      peer_ = connection->peer();
    } catch (const boost::system::system_error& error) {
      failed("no connection: " + message_of(error));
      co_return;
    }
    TaskManager manager(*agent_);
    manager.trust(peer_);
    manager_ = &manager;
    addresses_ = where.addresses;
    TaskGroup group(agent_->environment().loop);
    for (unsigned round = 0; round < rounds_of_a_life && !world_.rest.wanted(); ++round) {
      if (agent_->connection_to(peer_) == nullptr) break;
      dropped_ = false;
      const std::size_t at_once = 1 + dice_() % 3;
      for (std::size_t i = 0; i < at_once; ++i) group.spawn(attempt(kinds[dice_() % kinds.size()]));
      co_await group.join();
    }
    if (agent_->connection_to(peer_) != nullptr && dice_() % 2 == 0) {  // goes with a task still running
      group.spawn(attempt(&Life::abandon));
      co_await group.join();
    }
  }

  /// A task of that kind. What it throws is a failure, unless the provider was started anew meanwhile.
  Awaitable<void> attempt(Kind kind) {
    std::string problem;
    try {
      co_await (this->*kind)();
      co_return;
    } catch (const boost::system::system_error& error) {
      problem = message_of(error);
    } catch (const std::exception& error) {
      problem = error.what();
    }
    failed(problem, dropped_ && kind != &Life::broken);
  }

  void failed(const std::string& problem, bool provoked = false) {
    if (provoked || provider_life_ % 2 == 0 || provider_life_ != place_.life()) {
      ++world_.counts.provoked;
    } else {
      complain(world_.counts, problem);
    }
  }

  Task task(std::string prompt, const std::string& model = {}, std::string_view type = inference) {
    Task made = manager_->make_task(std::move(prompt));
    if (!model.empty()) made.input["model"] = model;
    made.task_type = type;
    return made;
  }

  /// One that takes longer than anybody here waits.
  Task lengthy() {
    const auto kind = dice_() % 3;
    if (kind == 0) return task("x", sleeper);
    if (kind == 1) return task("x", endless);
    return task("x", {}, slow);
  }

  Awaitable<Answer> submit(Task made, std::function<void(const Update&)> on_update = {}) {
    made.timeout_ms = made.timeout_ms.value_or(static_cast<std::uint64_t>(milliseconds(patience).count()));
    return manager_->submit(peer_, std::move(made), std::move(on_update));
  }

  /// What a task that should complete came to.
  void expect(const Answer& answer, const std::string& text) {
    const TaskResult& result = answer.result;
    if (result.status != Status::completed || result.text != text) {
      throw std::runtime_error(std::string(name_of(result.status)) + " (" +
                               (result.error ? result.error->code + ": " + result.error->message : "") + ") with " +
                               std::to_string(result.text.value_or("").size()) + " bytes instead of " + std::to_string(text.size()));
    }
    ++world_.counts.completed;
  }
  /// The same for one that should not.
  void expect_error(const Answer& answer, const std::string& code) {
    if (!answer.result.error || answer.result.error->code != code) {
      throw std::runtime_error("it is " + std::string(name_of(answer.result.status)) + " instead of " + code +
                               (answer.result.error ? ": " + answer.result.error->code + ", " + answer.result.error->message : ""));
    }
    ++world_.counts.provoked;
  }

  Awaitable<void> plain() {
    Task made = task("hi");
    const Answer answer = co_await submit(std::move(made));
    expect(answer, "Processed: hi");
  }
  Awaitable<void> streamed() {
    std::string text;
    const std::function<void(const Update&)> note = [&text](const Update& update) { text += update.text.value_or(""); };
    Task made = task("in ten pieces, please", {}, pieces);
    made.stream = true;
    const Answer answer = co_await submit(std::move(made), note);
    expect(answer, "Processed: in ten pieces, please");
    if (text != *answer.result.text) throw std::runtime_error("the pieces are not the whole");
  }
  Awaitable<void> by_command() {
    Task made = task("hello", upper);
    const Answer answer = co_await submit(std::move(made));
    expect(answer, "HELLO");
  }
  Awaitable<void> by_worker() {
    Task made = task("hello", worker);
    const Answer answer = co_await submit(std::move(made));
    expect(answer, "done");
  }
  Awaitable<void> by_model() {
    Task made = task("tell me", tiny);
    made.stream = dice_() % 2 == 0;
    const Answer answer = co_await submit(std::move(made));
    expect(answer, "Once upon a time");
  }
  /// A task as large as one may be, which becomes a number.
  Awaitable<void> large() {
    Task made = task("", count);
    made.timeout_ms = static_cast<std::uint64_t>(milliseconds(patience).count());
    made.recipient = peer_.text();
    const std::size_t around = seal_message(agent_->identity(), MessageKind::task, made.to_json()).size();
    const std::size_t size = limits::task_frame - around - envelope_slack;
    made.input["prompt"] = std::string(size, 'x');
    const Answer answer = co_await submit(std::move(made));
    std::string text = answer.result.text.value_or("");
    text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\n'; }), text.end());
    if (text != std::to_string(size)) throw std::runtime_error("a large task was counted as " + text);
    ++world_.counts.completed;
  }
  /// The largest output, and one that is larger.
  Awaitable<void> large_output() {
    Task largest = task(std::to_string(limits::command_output) + "\n", flood);
    const Answer answer = co_await submit(std::move(largest));
    expect(answer, std::string(limits::command_output, 'x'));
    Task larger = task(std::to_string(limits::command_output + 1) + "\n", flood);
    const Answer beyond = co_await submit(std::move(larger));
    expect_error(beyond, "output_too_large");
  }
  Awaitable<void> twice() {
    Task made = task("once");
    made.timeout_ms = 60'000;
    Task again = made;
    const Answer first = co_await submit(std::move(made));
    expect(first, "Processed: once");
    const Answer second = co_await submit(std::move(again));
    expect(second, "Processed: once");
    if (first.result_envelope != second.result_envelope) throw std::runtime_error("the same task had two results");
  }
  Awaitable<void> twice_at_once() {
    Task made = task("once", {}, pieces);
    made.timeout_ms = 60'000;
    TaskGroup group(agent_->environment().loop);
    std::array<std::optional<Answer>, 2> answers;
    std::exception_ptr failure;
    for (std::optional<Answer>& answer : answers) {
      const std::function<Awaitable<void>()> once = [this, made, &answer, &failure]() -> Awaitable<void> {
        try {
          Task same = made;
          answer = co_await submit(std::move(same));
        } catch (...) {
          failure = std::current_exception();
        }
      };
      group.spawn(run(once));
    }
    co_await group.join();
    if (failure) std::rethrow_exception(failure);
    for (const std::optional<Answer>& answer : answers) expect(*answer, "Processed: once");
    if (answers[0]->result_envelope != answers[1]->result_envelope) throw std::runtime_error("the same task had two results");
  }
  Awaitable<void> out_of_time() {
    Task made = lengthy();
    made.timeout_ms = 30 + dice_() % 100;
    try {
      const Answer answer = co_await submit(std::move(made));
      expect_error(answer, "deadline_exceeded");
    } catch (const boost::system::system_error& error) {
      if (!is(error, Errc::timed_out)) throw;  // a machine that stood still for a second is late, and the requester has a deadline, too
    }
  }
  Awaitable<void> refused() {
    const bool model = dice_() % 2 == 0;
    Task made = task("hi", model ? "no such model" : "");
    if (!model) made.task_type = "no.such.type";
    const Answer answer = co_await submit(std::move(made));
    expect_error(answer, model ? "unsupported_model" : "unsupported_task_type");
  }
  Awaitable<void> cancelled() { return reset_after(milliseconds(dice_() % 40)); }
  /// The connection is closed while the task runs; the task is sent again over another one.
  Awaitable<void> broken() {
    Retries retries;
    retries.times = 3;
    retries.addresses = addresses_;
    Task made = task("through thick and thin", {}, pieces);
    made.timeout_ms = 60'000;
    dropped_ = true;  // what else runs on the connection ends with it
    const std::function<void(const std::string&)> on_sent = [this](const std::string&) { agent_->disconnect(peer_); };
    const std::function<void(const Update&)> no_update;
    const Answer answer = co_await manager_->submit(peer_, std::move(made), no_update, on_sent, std::move(retries));
    expect(answer, "Processed: through thick and thin");
  }
  Awaitable<void> abandon() { return reset_after(milliseconds(0)); }

  /// Sends a task by hand, and takes it back.
  Awaitable<void> reset_after(Duration duration) {
    Task made = lengthy();
    made.recipient = peer_.text();
    made.stream = true;
    const Environment& environment = agent_->environment();
    try {
      const Bytes envelope = seal_message(agent_->identity(), MessageKind::task, made.to_json());
      std::string protocol(task_protocol);
      Stream stream = co_await agent_->open_stream(peer_, std::move(protocol));
      co_await write_frame(stream, envelope);
      co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + duration);
      stream.reset();
    } catch (const boost::system::system_error&) {
      if (!dropped_) throw;
    }
    ++world_.counts.provoked;
  }

  static Awaitable<void> run(std::function<Awaitable<void>()> work) { co_await work(); }

  static constexpr std::size_t envelope_slack = 8;  // longer lengths in the envelope of a longer message
  static constexpr std::array<Kind, 13> kinds{
      &Life::plain, &Life::streamed,      &Life::by_command,  &Life::by_worker, &Life::by_model,  &Life::large, &Life::large_output,
      &Life::twice, &Life::twice_at_once, &Life::out_of_time, &Life::refused,   &Life::cancelled, &Life::broken};

  World& world_;
  std::mt19937& dice_;
  Place& place_;
  CountedSystem system_;
  Agent* agent_ = nullptr;
  TaskManager* manager_ = nullptr;
  PeerId peer_;
  std::vector<Multiaddr> addresses_;
  unsigned provider_life_ = 0;
  bool dropped_ = false;
};

struct Held {
  double resident = resident_mib();
  double allocated = static_cast<double>(test::heap_in_use()) / (1024 * 1024);
  std::size_t descriptors = count_of("fd");
  std::size_t threads = count_of("task");
  std::int64_t timers = 0;
};

void print_header() {
  std::printf(
      "| minute | RSS, MiB | allocated, MiB | descriptors | threads | timers | completed | failed on purpose | failed "
      "|\n|---|---|---|---|---|---|---|---|---|\n");
}

void print(unsigned minute, const Held& held, const Counts& counts) {
  std::printf("| %u | %.1f | %.1f | %zu | %zu | %lld | %llu | %llu | %llu |\n", minute, held.resident, held.allocated, held.descriptors,
              held.threads, static_cast<long long>(held.timers), static_cast<unsigned long long>(counts.completed),
              static_cast<unsigned long long>(counts.provoked), static_cast<unsigned long long>(counts.failed));
  std::fflush(stdout);
}

/// What is held when nothing runs. The providers end what was cancelled last: no event of theirs says that they have.
Held held_at_rest(World& world) {
  const auto start = steady_clock::now();
  const auto at_rest = [&] { return std::all_of(world.places.begin(), world.places.end(), [](auto& place) { return place->at_rest(); }); };
  while (!at_rest()) {
    if (steady_clock::now() - start > patience) throw std::runtime_error("the providers do not come to rest");
    std::this_thread::sleep_for(milliseconds(10));
  }
  Held least;
  least.timers = world.timers;
  for (int i = 0; i < looks; ++i) {  // a provider may be asking which models there are
    std::this_thread::sleep_for(milliseconds(50));
    const Held held;
    least.resident = std::min(least.resident, held.resident);
    least.descriptors = std::min(least.descriptors, held.descriptors);
    least.threads = std::min(least.threads, held.threads);
    least.timers = std::min<std::int64_t>(least.timers, world.timers);
  }
  for (const auto& place : world.places) least.descriptors -= place->keeps_receipts() ? 1 : 0;  // the directory
  return least;
}

bool judge(const char* what, double first, double most, double growth) {
  const bool good = most <= first + growth;
  if (!good) std::printf("%s grew from %g to %g; %g more are allowed\n", what, first, most, growth);
  return good;
}

int endure(unsigned minutes, unsigned seed) {
  World world;
  for (auto& place : world.places) place = std::make_unique<Place>(world.timers, world.counts, world.models.url());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < requesters; ++i) {
    threads.emplace_back([&world, dice = std::mt19937(seed + static_cast<unsigned>(i))]() mutable {
      while (world.rest.may_go_on()) Life(world, dice).live();
    });
  }
  std::vector<Held> minutes_held;
  print_header();
  for (unsigned minute = 1; minute <= minutes; ++minute) {
    const auto end = steady_clock::now() + std::chrono::minutes(1);
    world.rest.end();
    while (steady_clock::now() + provider_life < end) {
      std::this_thread::sleep_for(provider_life);
      world.places[1]->restart();
    }
    std::this_thread::sleep_until(end);
    world.rest.begin();
    minutes_held.push_back(held_at_rest(world));
    print(minute, minutes_held.back(), world.counts);
  }
  world.rest.finish();
  for (std::thread& thread : threads) thread.join();

  const Held& first = minutes_held.front();
  Held most = first;
  for (const Held& held : minutes_held) {
    most.resident = std::max(most.resident, held.resident);
    most.allocated = std::max(most.allocated, held.allocated);
    most.descriptors = std::max(most.descriptors, held.descriptors);
    most.threads = std::max(most.threads, held.threads);
    most.timers = std::max(most.timers, held.timers);
  }
  bool good = judge("RSS", first.resident, most.resident, test::is_sanitized() ? sanitized_growth_mib : resident_growth_mib);
  good &= judge("allocated memory", first.allocated, most.allocated, allocated_growth_mib);
  good &= judge("descriptors", static_cast<double>(first.descriptors), static_cast<double>(most.descriptors), 0);
  good &= judge("threads", static_cast<double>(first.threads), static_cast<double>(most.threads), 0);
  good &= judge("timers", static_cast<double>(first.timers), static_cast<double>(most.timers), 0);
  if (world.counts.failed > 0) std::printf("%llu tasks failed\n", static_cast<unsigned long long>(world.counts.failed));
  std::printf("%llu receipts hold\n", static_cast<unsigned long long>(world.counts.receipts));
  good &= world.counts.failed == 0 && world.counts.completed > 0 && world.counts.receipts > 0;
  std::printf("endurance: %s\n", good ? "flat, and nothing failed that was not meant to" : "MISSED");
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  give_free_memory_back();  // as p2p-agent does
  try {
    const unsigned minutes = argc > 1 ? static_cast<unsigned>(std::stoul(argv[1])) : 30;
    const unsigned seed = argc > 2 ? static_cast<unsigned>(std::stoul(argv[2])) : std::random_device()();
    std::printf("seed %u\n", seed);
    return endure(std::max(minutes, 1U), seed);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "endurance: %s\n", error.what());
    return 1;
  }
}
