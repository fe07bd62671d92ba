// Thousands of random steps of a requester and a provider: tasks, the same again, cancellations, connections that break, close or fall
// silent, restarts. After each, what both sides know is compared with a model that is simple enough to be believed.

#include "support/tasks.hpp"

#include <cstdlib>
#include <iostream>
#include <map>

namespace p2p::test {
namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

constexpr milliseconds run_time{9'000};
constexpr milliseconds short_of_time{7'770};  // what a task may have that is to be stopped before it ends
constexpr seconds memory_age{600};
constexpr std::size_t slots = 2;
constexpr std::size_t places = 1;   // in the queue
constexpr std::size_t results = 4;  // that are remembered

// --- The model ---

/// A stream on which a task was sent.
struct Ask {
  std::optional<std::string> expected;  // how it must have ended by now
  std::optional<std::string> outcome;   // how it ended
  Stream* stream = nullptr;             // while it is open
};

/// A task, and what the provider must know of it.
struct Known {
  enum class Place : std::uint8_t { nowhere, waiting, running };

  Task task;
  Place place = Place::nowhere;
  Time received{};
  Time ends{};  // by itself, once it runs
  std::optional<Time> lingers_until = {};
  std::vector<Ask*> followers = {};
  unsigned starts = 0;
  unsigned completions = 0;
  Bytes result = {};  // of its last run, as it was first seen

  bool in_time() const { return !task.timeout_ms; }
};

class Model {
 public:
  void submit(Known& known, Ask& ask, Time now) {
    const bool fits = running_.size() < slots || waiting_.size() < places;
    if (remembers(known)) {
      ask.expected = "completed";
    } else if (known.place == Known::Place::nowhere && !fits) {
      ask.expected = "rejected busy";
    } else {
      if (known.place == Known::Place::nowhere) {
        known.place = Known::Place::waiting;
        known.received = now;
        waiting_.push_back(&known);
        fill(now);
      }
      known.followers.push_back(&ask);
      known.lingers_until.reset();
    }
  }
  bool knows(const Known& known) const { return known.place != Known::Place::nowhere || remembers(known); }

  void cancel(Ask& ask, Time now) {
    ask.expected = "given up";
    for (Known* const known : active()) {
      if (std::erase(known->followers, &ask) > 0 && known->followers.empty()) drop(*known);
    }
    fill(now);
  }
  /// The requester hears nothing of its tasks any more.
  void lose_answers() {
    for (Known* const known : active()) end_asks(*known, "closed");
  }
  /// The provider notices that the connection is gone; or it was closed on purpose, which cancels.
  void lose_connection(Time now, bool on_purpose) {
    lose_answers();
    for (Known* const known : active()) {
      if (known->followers.empty()) continue;  // lingers already
      known->followers.clear();
      if (known->task.linger_ms == 0 || on_purpose) {
        drop(*known);
      } else {
        known->lingers_until = now + milliseconds(known->task.linger_ms);
      }
    }
    fill(now);
  }
  void shut_down() {
    for (Known* const known : active()) {
      end_asks(*known, known->place == Known::Place::running ? "cancelled cancelled" : "rejected shutting_down");
      drop(*known);
    }
    remembered_.clear();
  }

  /// What happens by itself until `now`.
  void advance(Time now) {
    while (true) {
      Known* next = nullptr;
      for (Known* const known : active()) {
        if (next == nullptr || due(*known) < due(*next)) next = known;
      }
      if (next == nullptr || due(*next) > now) break;
      const Time at = due(*next);
      if (!next->lingers_until || at < *next->lingers_until) {
        end_asks(*next, next->in_time() ? "completed" : "cancelled deadline_exceeded");
        if (next->in_time()) {
          ++next->completions;
          remembered_.emplace_back(next, at + memory_age);
        }
      }
      drop(*next);
      fill(at);
    }
    std::erase_if(remembered_, [now](const auto& one) { return one.second <= now; });
    while (remembered_.size() > results) remembered_.erase(remembered_.begin());
  }
  /// Whether something happens by itself in this time.
  bool changes_between(Time from, Time to) const {
    const std::vector<Known*> all = active();
    return std::any_of(all.begin(), all.end(), [&](const Known* known) { return due(*known) >= from && due(*known) <= to; }) ||
           std::any_of(remembered_.begin(), remembered_.end(), [&](const auto& one) { return one.second >= from && one.second <= to; });
  }

  std::size_t running() const { return running_.size(); }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  static Time due(const Known& known) {
    Time at = known.place == Known::Place::running ? known.ends : Time::max();
    if (!known.in_time()) at = std::min<Time>(at, known.received + short_of_time);
    return std::min(at, known.lingers_until.value_or(Time::max()));
  }
  bool remembers(const Known& known) const {
    return std::any_of(remembered_.begin(), remembered_.end(), [&](const auto& one) { return one.first == &known; });
  }
  std::vector<Known*> active() const {
    std::vector<Known*> all = running_;
    all.insert(all.end(), waiting_.begin(), waiting_.end());
    return all;
  }
  static void end_asks(Known& known, const char* how) {
    for (Ask* const ask : known.followers) {
      if (!ask->expected) ask->expected = how;
    }
  }
  void drop(Known& known) {
    known.place = Known::Place::nowhere;
    known.followers.clear();
    known.lingers_until.reset();
    std::erase(running_, &known);
    std::erase(waiting_, &known);
  }
  void fill(Time now) {
    while (running_.size() < slots && !waiting_.empty()) {
      Known& known = *waiting_.front();
      waiting_.erase(waiting_.begin());
      running_.push_back(&known);
      known.place = Known::Place::running;
      known.ends = now + run_time;
      known.result.clear();
      ++known.starts;
    }
  }

  std::vector<Known*> running_;
  std::vector<Known*> waiting_;
  std::vector<std::pair<Known*, Time>> remembered_;  // and until when
};

// --- The real ones ---

struct Runs {
  unsigned starts = 0;
  unsigned completions = 0;
};

class NotingExecutor final : public Executor {
 public:
  explicit NotingExecutor(std::map<std::string, Runs>& runs) : runs_(runs) {}
  std::string_view name() const override { return mock_.name(); }
  Awaitable<Outcome> run(TaskRun& run) override {
    Runs& runs = runs_[run.task().task_id];
    ++runs.starts;
    Outcome outcome = co_await mock_.run(run);
    if (outcome.status == Status::completed) ++runs.completions;
    co_return outcome;
  }

 private:
  std::map<std::string, Runs>& runs_;
  MockExecutor mock_{{run_time, 9}};
};

class World : public testing::TestWithParam<std::string> {
 protected:
  /// A provider's life from its start to its end.
  struct Life {
    Life(SimHost& host, const std::string& muxer, std::map<std::string, Runs>& runs)
        : executor(runs),
          agent(host.environment(), KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{7}), options(muxer)),
          provider(agent, executor, provider_options()) {
      agent.start();
    }
    static AgentOptions options(const std::string& muxer) {
      AgentOptions options = quiet(muxer);
      options.listen.push_back(Multiaddr::tcp("0.0.0.0", 4001).value());
      return options;
    }
    static ProviderOptions provider_options() {
      ProviderOptions options;
      options.slots = slots;
      options.queue = places;
      options.memory = {results, limits::results_kept_bytes, memory_age};
      return options;
    }
    NotingExecutor executor;
    Agent agent;
    Provider provider;
  };

  static AgentOptions quiet(const std::string& muxer) {
    AgentOptions options = looking({muxer});
    options.mdns = false;
    return options;
  }

  World()
      : seed(setting("P2P_FAULTS_SEED", 1)),
        network(seed),
        requester(network, quiet(GetParam())),
        manager(requester.agent),
        host(network.add_host()),
        asking(network.loop()) {}

  void run(std::uint64_t steps) {
    const auto course = [&]() -> Awaitable<void> {
      requester.agent.start();
      life = std::make_unique<Life>(host, GetParam(), runs);
      for (step = 1; step <= steps && !HasFailure(); ++step) {
        co_await until_clear();
        bool taken = false;
        for (unsigned draws = 0; !taken && draws < most_draws; ++draws) taken = co_await draw_step();
        EXPECT_TRUE(taken) << most_draws << " draws in a row did nothing";
        co_await pass(settled);
        model.advance(now());
        compare();
        co_await pass(milliseconds(network.random().below(2'000)));
      }
      requester.agent.disconnect(life->agent.id());
      co_await end_life();
      co_await asking.join();
      co_await requester.agent.stop();
      co_await pass(settled);
    };
    network.run(course());
    EXPECT_EQ(network.connections(), 0U);
  }

  const std::uint64_t seed;

 private:
  static constexpr milliseconds settled{10};   // all that a step brings about has happened
  static constexpr milliseconds doubtful{20};  // around what happens by itself, which of the two comes first is not known
  static constexpr unsigned most_draws = 64;   // for one step; half of them do something whatever has happened

  Time now() { return network.clock().now(); }
  Awaitable<void> pass(Duration time) { return pause(network, time); }
  Awaitable<void> until_clear() {
    while (model.changes_between(now() - doubtful, now() + doubtful)) co_await pass(doubtful);
    model.advance(now());
  }

  /// Whether it did something: there is not always what the drawn step would be done to.
  Awaitable<bool> draw_step() {
    switch (network.random().below(16)) {
      case 0:
      case 1:
      case 2:
      case 3: return submit(new_task());
      case 4:
      case 5:
      case 6: return submit(recent_task());
      case 7: return submit_other(recent_task());
      case 8:
      case 9: return cancel();
      case 10: return disconnect();
      case 11:
      case 12: return break_connection();
      case 13: return unplug(seconds(3));
      case 14: return unplug(seconds(25));
      default: return restart(network.random().below(2) == 0);
    }
  }

  Known& new_task() {
    Task task = manager.make_task("step " + std::to_string(step));
    task.recipient = life->agent.id().text();
    task.stream = network.random().below(2) == 0;
    task.linger_ms = std::array<std::uint64_t, 3>{0, 2'000, 20'000}.at(network.random().below(3));
    // Two that linger do not end in the same moment: which of them leaves its place to the other would not be known.
    if (task.linger_ms > 0) task.linger_ms += 2 * doubtful.count() * (tasks.size() % 16);
    if (network.random().below(5) == 0) task.timeout_ms = short_of_time.count();
    return *tasks.emplace_back(std::make_unique<Known>(Known{std::move(task)}));
  }
  Known& recent_task() {
    if (tasks.empty()) return new_task();
    return *tasks[tasks.size() - 1 - network.random().below(std::min<std::size_t>(tasks.size(), 8))];
  }

  Awaitable<bool> submit(Known& known) {
    say("task " + known.task.to_json());
    co_await be_connected();
    Ask& ask = new_ask();
    model.submit(known, ask, now());
    asking.spawn(follow(ask, known, known.task));
    co_return true;
  }
  Awaitable<bool> submit_other(Known& known) {
    if (!model.knows(known)) co_return false;
    say("another task as " + known.task.task_id);
    co_await be_connected();
    Ask& ask = new_ask();
    ask.expected = "rejected task_id_conflict";
    Task other = known.task;
    other.input["prompt"] = "another";
    asking.spawn(follow(ask, known, other));
    co_return true;
  }
  Awaitable<bool> cancel() {
    std::vector<Ask*> open;
    for (const std::unique_ptr<Ask>& ask : asks) {
      if (ask->stream != nullptr && !ask->outcome) open.push_back(ask.get());
    }
    if (open.empty()) co_return false;
    say("cancel");
    Ask& ask = *open[network.random().below(open.size())];
    model.cancel(ask, now());
    ask.stream->reset();
    co_return true;
  }
  Awaitable<bool> disconnect() {
    if (!connected) co_return false;
    say("disconnect");
    model.lose_connection(now(), true);
    requester.agent.disconnect(life->agent.id());
    connected = false;
    co_return true;
  }
  Awaitable<bool> break_connection() {
    if (!connected) co_return false;
    say("break");
    model.lose_connection(now(), false);
    requester.host.kill_connections();
    connected = false;
    co_return true;
  }
  /// For a moment, which nobody has to notice; or for so long that both sides do, between 4 and 5 seconds after.
  Awaitable<bool> unplug(seconds time) {
    if (!connected) co_return false;
    const bool noticed = time > limits::alive_idle + limits::alive_answer;
    const Time at = now() + limits::alive_answer;
    if (noticed && (model.waiting() > 0 || model.changes_between(at - doubtful, at + milliseconds(3'800)))) co_return false;
    if (model.changes_between(now() + time - doubtful, now() + time + doubtful)) co_return false;
    say("unplug for " + std::to_string(time.count()) + " s");
    host.unplug();
    if (noticed) {
      model.lose_answers();
      const Duration until_noticed = limits::alive_answer + milliseconds(500);
      co_await pass(until_noticed);
      model.advance(now());
      model.lose_connection(now(), false);
      connected = false;
      co_await pass(time - until_noticed);
    } else {
      co_await pass(time);
    }
    host.plug_in();
    co_return true;
  }
  /// Or a crash: nothing that the provider says from that instant on arrives. What it still does to end in this process, nobody sees.
  Awaitable<bool> restart(bool in_good_order) {
    say(in_good_order ? "restart" : "crash");
    if (!in_good_order) {
      model.lose_answers();
      host.kill_connections();
    }
    model.shut_down();
    const std::uint64_t heard = network.carried_from_listeners;
    co_await end_life();
    if (!in_good_order) {
      EXPECT_EQ(network.carried_from_listeners, heard);
    }
    connected = false;
    life = std::make_unique<Life>(host, GetParam(), runs);
    co_return true;
  }
  Awaitable<void> end_life() {
    co_await life->provider.shut_down(seconds(0));
    co_await life->agent.stop();
    life.reset();
  }

  Awaitable<void> be_connected() {
    if (requester.agent.connection_to(life->agent.id()) == nullptr) co_await requester.agent.connect(life->agent.addresses());
    connected = true;
    model.advance(now());
  }
  Ask& new_ask() {
    std::erase_if(asks, [](const std::unique_ptr<Ask>& ask) { return ask->outcome.has_value(); });
    return *asks.emplace_back(std::make_unique<Ask>());
  }
  Awaitable<void> follow(Ask& ask, Known& known, Task task) {
    std::string outcome;
    try {
      Stream stream = co_await requester.agent.open_stream(life->agent.id(), std::string(task_protocol));
      ask.stream = &stream;
      const PeerId peer = stream.peer();
      const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task.to_json());
      co_await write_frame(stream, envelope);
      std::string text;
      while (outcome.empty()) {
        const std::optional<Bytes> answer = co_await read_frame(stream, limits::task_frame);
        if (!answer) fail(Errc::closed, "no result");
        const OpenedMessage message = open_message(*answer, key_of(peer)).value();
        if (message.kind == MessageKind::update) {
          text += parse_update(message.payload).value().text.value_or("");
          continue;
        }
        const TaskResult result = parse_result(message.payload).value();
        outcome = name_of(result.status);
        if (result.error) outcome += ' ' + result.error->code;
        if (result.status != Status::completed) continue;
        EXPECT_EQ(*result.text, "Processed: " + task.prompt());
        if (task.stream) {
          EXPECT_EQ(text, *result.text);
        }
        if (known.result.empty()) known.result = *answer;
        EXPECT_EQ(known.result, *answer) << "two results of one run";
      }
      stream.close_write();
      co_await stream.read();
    } catch (const boost::system::system_error& error) {
      if (outcome.empty()) outcome = is(error, Errc::closed) ? "closed" : is(error, Errc::cancelled) ? "given up" : message_of(error);
    }
    ask.stream = nullptr;
    ask.outcome = outcome;
  }

  void compare() {
    for (const std::unique_ptr<Ask>& ask : asks) EXPECT_EQ(ask->outcome.value_or("waits"), ask->expected.value_or("waits"));
    EXPECT_EQ(life->provider.running(), model.running());
    EXPECT_EQ(life->provider.waiting(), model.waiting());
    EXPECT_EQ(requester.agent.connection_to(life->agent.id()) != nullptr, connected);
    EXPECT_EQ(life->agent.connection_to(requester.agent.id()) != nullptr, connected);
    for (std::size_t i = tasks.size() - std::min<std::size_t>(tasks.size(), 10); i < tasks.size(); ++i) {
      EXPECT_EQ(runs[tasks[i]->task.task_id].starts, tasks[i]->starts) << tasks[i]->task.to_json();
      EXPECT_EQ(runs[tasks[i]->task.task_id].completions, tasks[i]->completions) << tasks[i]->task.to_json();
    }
    if (HasFailure()) {
      ADD_FAILURE() << "at step " << step << "; the last ones: " << recent() << "replay with P2P_FAULTS_SEED=" << seed;
    }
  }
  void say(const std::string& what) {
    const auto since = std::chrono::duration_cast<milliseconds>(now().time_since_epoch()).count();
    said.push_back(std::to_string(since) + " ms: " + what);
    if (said.size() > 12) said.pop_front();
  }
  std::string recent() const {
    std::string lines;
    for (const std::string& line : said) lines += "\n  " + line;
    return lines + '\n';
  }

  SimNetwork network;
  SimAgent requester;
  TaskManager manager;
  SimHost& host;
  TaskGroup asking;
  std::map<std::string, Runs> runs;  // by task id
  std::unique_ptr<Life> life;
  bool connected = false;
  Model model;
  std::vector<std::unique_ptr<Known>> tasks;
  std::vector<std::unique_ptr<Ask>> asks;
  std::deque<std::string> said;
  std::uint64_t step = 0;
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, World, each_muxer, name_of_muxer);

TEST_P(World, IsWhatTheModelSaysAfterEachRandomStep) {
  std::cout << "P2P_FAULTS_SEED=" << seed << "\n";
  run(setting("P2P_FAULTS_STEPS", 2'000));
}

}  // namespace
}  // namespace p2p::test
