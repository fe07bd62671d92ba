// A connection that fails at each byte of a whole task's exchange: connect, identify, task, updates, result, goodbye. However it fails,
// both ends know before long, nothing is held, and the same task again is answered.

#include "support/tasks.hpp"

#include <cstdlib>
#include <ostream>
#include <set>

namespace p2p::test {
namespace {

/// Which bytes are tried: each one, or with P2P_FAULTS_STRIDE=N every Nth.
std::uint64_t stride() {
  const char* const text = std::getenv("P2P_FAULTS_STRIDE");
  return text == nullptr ? 16 : std::max(1UL, std::strtoul(text, nullptr, 10));
}

std::string describe(const Fault& fault) {
  const std::array names{"cut", "half-close", "stall", "corrupt"};
  return std::string(names.at(static_cast<std::size_t>(fault.kind))) + " after " + std::to_string(fault.after) + " bytes of the " +
         (fault.from_dialer ? "requester" : "provider");
}

/// The mock, and how often it was called and how often it finished.
class CountingExecutor final : public Executor {
 public:
  explicit CountingExecutor(MockOptions options) : mock_(options) {}

  std::string_view name() const override { return mock_.name(); }
  Awaitable<Outcome> run(TaskRun& run) override {
    ++started;
    Outcome outcome = co_await mock_.run(run);
    if (outcome.status == Status::completed) ++completed;
    co_return outcome;
  }

  unsigned started = 0;
  unsigned completed = 0;

 private:
  MockExecutor mock_;
};

/// What is asked for, and what the requester does when it did not get it.
struct Exchange {
  const char* name;
  bool from_the_first_byte;  // else from where the task is sent
  bool returns;              // with the same task, until it is answered; else it stays away
  milliseconds delay;        // of the execution
  seconds linger{0};
  bool stream = false;
  bool cancels = false;    // as soon as it runs
  unsigned cut_step = 16;  // from one byte at which the connection is cut to the next
  unsigned step = 16;      // the same of the other faults
  Duration latency = std::chrono::microseconds(100);
  SimNetwork::Reads reads = SimNetwork::Reads::parts;
  Duration gathering{0};
  milliseconds tried{1'200};  // from the start, or until the end

  friend std::ostream& operator<<(std::ostream& out, const Exchange& exchange) { return out << exchange.name; }
};

/// Both agents, one task, and what came of it.
class Course {
 public:
  Course(const std::string& muxer, const Exchange& what)
      : exchange(what),
        requester(network, quiet(looking({muxer})), ends_of(requester_ends)),
        host(network, quiet(listening({muxer})), ends_of(provider_ends)),
        manager(requester.agent),
        executor({what.delay, 4}),
        provider(host.agent, executor, {}, [this](const TaskEvent& event) { events.push_back(event); }) {
    network.latency = exchange.latency;
    network.reads = exchange.reads;
    network.gathering = exchange.gathering;
    task = manager.make_task("0123456789");
    task.stream = exchange.stream;
    task.linger_ms = static_cast<std::uint64_t>(milliseconds(exchange.linger).count());
  }

  void run(std::optional<Fault> fault) {
    network.next_fault = fault;
    if (fault) kind = fault->kind;
    network.run({&requester, &host}, [this, fault]() -> Awaitable<void> {
      started = network.clock().now();
      Timer enough = network.clock().schedule(started + exchange.tried, [this] { tried = carried(); });
      hangs = network.clock().schedule(started + hours(1), [] { throw std::logic_error("it hangs"); });
      first = co_await attempt();
      ended = network.clock().now();
      requester.agent.disconnect(host.agent.id());
      if (!fault && ended < started + exchange.tried) {
        co_await pass_until(ended + 10 * exchange.latency + exchange.gathering);
        tried = carried();
        enough.reset();
      }
      if (exchange.returns) co_await come_back();
      co_await expect_nothing_held();
      co_await provider.shut_down(seconds(0));
      hangs.reset();
    });
    expect_ends_named();
  }

  /// Bytes that have arrived from each end.
  struct Carried {
    std::uint64_t from_requester = 0;
    std::uint64_t from_provider = 0;
  };
  /// When the task was on its way first, and at the end of what is tried.
  Carried before_task;
  Carried tried;

 private:
  using hours = std::chrono::hours;
  struct Ends {
    unsigned made = 0;
    std::vector<std::string> reasons;
  };
  struct Attempt {
    std::optional<Errc> error;
    std::string message;
    std::optional<Answer> answer;
  };

  static AgentOptions quiet(AgentOptions options) {
    options.mdns = false;
    return options;
  }
  static AgentEvents ends_of(Ends& ends) {
    return {{},
            {},
            [&ends](const Connection&) { ++ends.made; },
            [&ends](const Connection& connection) { ends.reasons.push_back(connection.reason()); }};
  }
  Carried carried() const { return {network.carried_from_dialers, network.carried_from_listeners}; }
  Awaitable<void> pass_until(Time when) { return sleep_until(network.clock(), network.loop(), when); }

  Awaitable<Attempt> attempt() {
    Attempt made;
    const PeerId peer = host.agent.id();
    const std::function<void(const Update&)> cancel = [this, peer](const Update& update) {
      if (exchange.cancels && update.state == "running") requester.agent.disconnect(peer);
    };
    const std::function<void(const std::string&)> note_sent = [this](const std::string&) {
      if (ended == Time{}) before_task = carried();
    };
    try {
      if (requester.agent.connection_to(peer) == nullptr) co_await requester.agent.connect(host.agent.addresses());
      made.answer = co_await manager.submit(peer, task, cancel, note_sent);
    } catch (const boost::system::system_error& error) {
      made.error = static_cast<Errc>(error.code().value());
      made.message = message_of(error);
    }
    if (made.answer) {
      EXPECT_EQ(made.answer->result.status, Status::completed);
      EXPECT_EQ(made.answer->result.text, "Processed: 0123456789");
    } else {
      EXPECT_FALSE(made.message.empty());
    }
    co_return made;
  }

  // As TaskManager's retries do it, and within the linger time.
  Awaitable<void> come_back() {
    const bool cancelled = std::exchange(exchange.cancels, false);
    Attempt again;
    for (int tries = 0; tries < 3 && !again.answer; ++tries) again = co_await attempt();
    if (!again.answer) {
      ADD_FAILURE() << "the same task again is not answered: " << again.message;
      co_return;
    }
    EXPECT_EQ(executor.completed, 1U);
    EXPECT_LE(executor.started, 2U);
    if (exchange.linger > seconds(0) && !cancelled) {
      EXPECT_EQ(executor.started, 1U) << "it was run again although it lingers";
    }
    if (first.answer) {
      EXPECT_EQ(first.answer->result_envelope, again.answer->result_envelope);
    }
    requester.agent.disconnect(host.agent.id());
  }

  // Until both ends know that something is wrong with their connection.
  Duration patience() const {
    const Duration silence = limits::alive_in_use + limits::alive_answer;
    if (kind == Fault::Kind::stall) return silence;
    if (kind == Fault::Kind::corrupt) return std::max<Duration>(silence, limits::record);  // what was changed may be a length
    return {};
  }

  Awaitable<void> expect_nothing_held() {
    const Duration slack = 20 * (exchange.latency + exchange.gathering);
    co_await pass_until(network.clock().now() + slack);
    const Time noticed = network.faulted.value_or(started) + patience();
    const Time due = first.answer                     ? started + exchange.delay
                     : patience() == Duration::zero() ? noticed
                                                      : std::max(noticed, started + limits::handshake);
    EXPECT_LE(ended, due + slack) << "the requester waits for too long";
    // A result or a cancellation frees the slot at once.
    const Time free_by = network.faulted ? std::max(ended, noticed) + exchange.linger : ended;
    co_await pass_until(free_by + slack);
    EXPECT_EQ(provider.running(), 0U) << "the slot is not free";
    EXPECT_EQ(provider.waiting(), 0U);
    co_await pass_until(network.clock().now() + limits::alive_idle + limits::alive_answer + limits::close_flush);
    EXPECT_EQ(network.connections(), 0U) << "a connection is held";
  }

  void expect_ends_named() {
    EXPECT_EQ(network.connections(), 0U);
    for (const Ends* const ends : {&requester_ends, &provider_ends}) {
      EXPECT_EQ(ends->reasons.size(), ends->made);
      for (const std::string& reason : ends->reasons) EXPECT_FALSE(reason.empty());
    }
    const std::set<std::string> states{"completed", "cancelled", "lost"};
    EXPECT_EQ(events.size(), executor.started);
    for (const TaskEvent& event : events) EXPECT_TRUE(states.contains(event.status)) << event.status;
  }

  Exchange exchange;
  SimNetwork network;
  Ends requester_ends;
  Ends provider_ends;
  SimAgent requester;
  SimAgent host;
  TaskManager manager;
  CountingExecutor executor;
  std::vector<TaskEvent> events;
  Provider provider;
  Task task;
  Time started{};
  Time ended{};
  Timer hangs;
  std::optional<Fault::Kind> kind;
  Attempt first;
};

class EachByte : public testing::TestWithParam<std::tuple<std::string, Exchange>> {};

constexpr milliseconds brief{500};
constexpr milliseconds longer{20'000};  // than it takes to notice that somebody is gone, and to linger

// Four go through each byte over each muxer: who returns and who stays away, with each fault; who returns to a lingering task and who stays
// away from one, cut.
std::vector<Exchange> exchanges() {
  const Exchange returns{.name = "Returns", .from_the_first_byte = true, .returns = true, .delay = brief, .cut_step = 1, .step = 1};
  const Exchange away{.name = "StaysAway", .from_the_first_byte = true, .returns = false, .delay = longer, .cut_step = 1, .step = 1};

  Exchange lingering = returns;
  lingering.name = "ReturnsToALingeringTask";
  lingering.from_the_first_byte = true;
  lingering.linger = seconds(10);
  lingering.stream = true;
  lingering.step = 16;

  Exchange sparse = lingering;
  sparse.from_the_first_byte = false;
  sparse.cut_step = 16;

  Exchange cancelled = sparse;
  cancelled.name = "ReturnsAfterCancelling";
  cancelled.cancels = true;

  Exchange away_lingering = sparse;
  away_lingering.name = "StaysAwayFromALingeringTask";
  away_lingering.returns = false;
  away_lingering.delay = longer;
  away_lingering.cut_step = 1;
  away_lingering.step = 4;

  Exchange away_cancelled = away_lingering;
  away_cancelled.name = "StaysAwayAfterCancelling";
  away_cancelled.cancels = true;

  Exchange slow = sparse;
  slow.name = "OnASlowLink";
  slow.latency = milliseconds(400);
  slow.tried = milliseconds(20'000);

  Exchange bytewise = sparse;
  bytewise.name = "ReadByteByByte";
  bytewise.latency = milliseconds(1);
  bytewise.reads = SimNetwork::Reads::bytes;

  Exchange merged = sparse;
  merged.name = "ReadAllAtOnce";
  merged.linger = seconds(0);
  merged.reads = SimNetwork::Reads::all;
  merged.gathering = milliseconds(50);

  return {returns, lingering, cancelled, away, away_lingering, away_cancelled, slow, bytewise, merged};
}

INSTANTIATE_TEST_SUITE_P(OfAnExchange, EachByte, testing::Combine(each_muxer, testing::ValuesIn(exchanges())),
                         [](const auto& one) { return std::string(muxer_name(std::get<0>(one.param))) + std::get<1>(one.param).name; });

TEST_P(EachByte, MayBeWhereTheConnectionFails) {
  const auto& [muxer, exchange] = GetParam();
  Course whole(muxer, exchange);
  whole.run(std::nullopt);
  unsigned courses = 0;
  for (const bool from_dialer : {true, false}) {
    const auto bytes = from_dialer ? &Course::Carried::from_requester : &Course::Carried::from_provider;
    const std::uint64_t begin = exchange.from_the_first_byte ? 0 : whole.before_task.*bytes;
    for (const Fault::Kind kind : {Fault::Kind::cut, Fault::Kind::half_close, Fault::Kind::stall, Fault::Kind::corrupt}) {
      const std::uint64_t step = stride() * (kind == Fault::Kind::cut ? exchange.cut_step : exchange.step);
      for (std::uint64_t after = begin; after < whole.tried.*bytes; after += step) {
        const Fault fault{kind, from_dialer, after};
        SCOPED_TRACE(describe(fault));
        Course(muxer, exchange).run(fault);
        if (HasFailure()) return;
        ++courses;
      }
    }
  }
  EXPECT_GT(courses, 0U);
  RecordProperty("courses", static_cast<int>(courses));
}

}  // namespace
}  // namespace p2p::test
