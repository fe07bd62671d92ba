#include "cli/session.hpp"
#include "cli/units.hpp"
#include "network/perf.hpp"
#include "task/manager.hpp"

#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>

namespace p2p::cli {
namespace {

namespace json = boost::json;

constexpr unsigned tasks_warm_up = 200;
constexpr std::uint64_t task_patience = 60'000;  // ms for a single task
constexpr unsigned tasks_over_one = 128;         // at once; more go over further connections, which provider and muxer bear better
constexpr unsigned held_at_once = 16;            // connections that are being opened
constexpr unsigned held_with_tasks = 100;        // connections over which tasks are spread
constexpr std::uint64_t mebibyte = 1024 * 1024;

/// Single measurements, in the order in which they ended.
class Times {
 public:
  void add(Duration time) { times_.push_back(time); }
  void start_over() { times_.clear(); }
  std::size_t size() const noexcept { return times_.size(); }

  /// n, min, p50, p99, max in milliseconds; quantiles by nearest rank.
  json::object summary() {
    std::sort(times_.begin(), times_.end());
    const auto rank = [this](std::size_t percent) {
      const std::size_t place = (percent * times_.size() + 99) / 100;
      return milliseconds_of(times_[std::max<std::size_t>(place, 1) - 1]);
    };
    return {{"n", times_.size()}, {"min", rank(0)}, {"p50", rank(50)}, {"p99", rank(99)}, {"max", rank(100)}};
  }

  /// Each, in milliseconds.
  json::array all() const {
    json::array list;
    for (const Duration time : times_) list.push_back(milliseconds_of(time));
    return list;
  }

 private:
  std::vector<Duration> times_;
};

double per_second(std::size_t count, Duration time) {
  return rounded(static_cast<double>(count) / std::chrono::duration<double>(time).count(), 10);
}

/// Where the measured peer is, once that is known.
struct Target {
  std::vector<Multiaddr> addresses;
  PeerId peer;
};

/// One end of a connection to the target: an agent that does not listen.
class Dialler {
 public:
  Dialler(const Environment& environment, KeyPair identity, const AgentOptions& options)
      : closed_(environment.loop), agent(environment, std::move(identity), options, events()), manager(agent) {}

  /// Returns when the connection is closed, so that nothing of it falls on the next one.
  Awaitable<void> disconnect(PeerId peer) {
    agent.disconnect(peer);
    while (open_ > 0) co_await closed_.wait();
  }

 private:
  AgentEvents events() {
    AgentEvents events;
    events.connected = [this](const Connection&) { ++open_; };
    events.disconnected = [this](const Connection&) {
      --open_;
      closed_.notify();
    };
    return events;
  }

  std::size_t open_ = 0;
  Event closed_;

 public:
  Agent agent;
  TaskManager manager;
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options), session_(options, !parse_peer(options.peer).address) {
    if (options_.total && *options_.total <= 2 * options_.concurrency) {
      throw Failure(Exit::usage, "give a --total of more than twice --concurrency: the first tasks warm up and don't count");
    }
    if (options_.hold) allow_descriptors(*options_.hold + descriptors_besides);
    options_for_diallers_.muxers = parse_muxers(options.muxers);
    options_for_diallers_.mdns = false;
  }

  Exit run() {
    return session_.run([this]() -> Awaitable<Exit> {
      TaskGroup watch(session_.system().loop());
      std::exception_ptr failure;
      watch.spawn(close_when_interrupted());
      try {
        co_await measure();
      } catch (...) {
        failure = std::current_exception();
      }
      if (failure) tell_report();  // what was measured until then
      for (const auto& dialler : diallers_) co_await dialler->agent.stop();
      session_.agent().close();
      co_await watch.join();
      if (failure) std::rethrow_exception(failure);
      co_return Exit::done;
    });
  }

 private:
  Awaitable<void> measure() {
    target_.peer = co_await session_.reach(parse_peer(options_.peer), session_.now() + options_.wait);
    const Connection* const connection = session_.agent().connection_to(target_.peer);
    target_.addresses.push_back(connection->remote_address());
    report_["muxer"] = muxer_name(connection->muxer());
    session_.console().line(target_.peer.text() + " over " + std::string(muxer_name(connection->muxer())));
    const bool all = !options_.pings && !options_.tasks && !options_.total && !options_.connections && !options_.hold && !options_.bulk;
    if (all) co_await identified(session_.agent());
    const bool serves_perf = session_.agent().speaks(target_.peer, perf_protocol);
    session_.agent().disconnect(target_.peer);

    if (options_.pings || all) co_await measure_pings(options_.pings.value_or(1000));
    if (options_.tasks || all) co_await measure_tasks(options_.tasks.value_or(700));
    if ((options_.total && !options_.hold) || all) {
      std::vector<Dialler*> over;
      for (unsigned i = 0; i < options_.concurrency; i += tasks_over_one) over.push_back(co_await connected());
      co_await measure_concurrent_tasks(options_.total.value_or(std::max(2000U, 4 * options_.concurrency)), over);
      for (Dialler* const dialler : over) co_await dialler->disconnect(target_.peer);
    }
    if (options_.connections || all) co_await measure_connections(options_.connections.value_or(100));
    if (options_.bulk || (all && serves_perf)) co_await measure_bulk(options_.bulk.value_or(64) * mebibyte);
    if (options_.hold) co_await hold(*options_.hold);
    if (all && !serves_perf) {
      report_["bulk_up"] = report_["bulk_down"] = nullptr;
      session_.console().line("bulk not measured: the peer does not speak " + std::string(perf_protocol));
    }
    tell_report();
  }

  /// Returns when the peer has said what it speaks, or that it does not say.
  Awaitable<void> identified(Agent& agent) {
    try {
      co_await agent.identify(target_.peer);
    } catch (const boost::system::system_error&) {
      if (agent.connection_to(target_.peer) == nullptr) throw;
    }
  }

  /// A new agent with a connection to the target.
  Awaitable<Dialler*> connected() {
    Dialler& dialler = add_dialler();
    co_await dialler.agent.connect(target_.addresses, target_.peer);
    co_return &dialler;
  }

  Dialler& add_dialler() {
    const Environment& environment = session_.system().environment();
    KeyPair identity = identity_of(options_, session_.system().random());
    diallers_.push_back(std::make_unique<Dialler>(environment, std::move(identity), options_for_diallers_));
    diallers_.back()->manager.trust(target_.peer);  // the user named it
    return *diallers_.back();
  }

  Awaitable<void> measure_pings(unsigned count) {
    Dialler& dialler = *co_await connected();
    co_await dialler.agent.ping(target_.peer);  // agrees on the protocol
    Times times;
    for (unsigned i = 0; i < count; ++i) times.add(co_await dialler.agent.ping(target_.peer));
    tell("ping", "ping_ms", times.summary());
    co_await dialler.disconnect(target_.peer);
  }

  /// One task, from before it is signed to after its result is verified.
  Awaitable<Duration> time_task(Dialler& dialler) {
    const Time start = session_.now();
    Task task = dialler.manager.make_task(prompt());
    task.timeout_ms = task_patience;
    Answer answer;
    try {
      answer = co_await dialler.manager.submit(target_.peer, std::move(task));
    } catch (const boost::system::system_error& error) {
      if (!is(error, Errc::unsupported)) throw;
      throw Failure(Exit::no_peer, "the peer runs no tasks; measure one that does, such as `p2p-agent serve`");
    }
    if (answer.result.status != Status::completed) {
      const std::string code = answer.result.error ? ": " + answer.result.error->code : std::string();
      throw Failure(Exit::not_completed, "a task was " + std::string(name_of(answer.result.status)) + escaped(code) +
                                             "; measure a peer that answers at once and lets everyone ask, such as `p2p-agent serve`");
    }
    co_return session_.now() - start;
  }

  std::string prompt() const {
    static constexpr std::string_view usual = "Hello, P2P AI!";
    return options_.prompt_bytes ? std::string(*options_.prompt_bytes, 'p') : std::string(usual);
  }

  Awaitable<void> measure_tasks(unsigned count) {
    Dialler& dialler = *co_await connected();
    co_await identified(dialler.agent);
    Times times;
    for (unsigned i = 0; i < count; ++i) {
      if (i == tasks_warm_up) times.start_over();
      times.add(co_await time_task(dialler));
    }
    tell("task", "task_seq_ms", times.summary());
    if (options_.samples) report_["task_seq_ms"].as_object()["samples"] = times.all();
    co_await dialler.disconnect(target_.peer);
  }

  Awaitable<void> measure_concurrent_tasks(unsigned count, std::vector<Dialler*> over) {
    const unsigned in_flight = options_.concurrency;
    for (Dialler* const dialler : over) co_await identified(dialler->agent);
    Times times;
    bool warming_up = true;
    Time start = session_.now();
    std::size_t next = 0;
    std::vector<unsigned> asked(over.size());  // tasks that each has in flight: one that is answered late gets no more than others
    const std::function<Awaitable<void>(unsigned)> one = [&](unsigned) -> Awaitable<void> {
      std::size_t chosen = next++ % over.size();
      for (std::size_t i = 0; i < over.size(); ++i) {
        const std::size_t other = (next + i) % over.size();
        if (asked[other] < asked[chosen]) chosen = other;
      }
      ++asked[chosen];
      times.add(co_await time_task(*over[chosen]));
      --asked[chosen];
      if (warming_up && times.size() == in_flight) {
        warming_up = false;
        times.start_over();
        start = session_.now();
      }
    };
    co_await several_at_once(count, in_flight, one);
    const Duration time = session_.now() - start;
    const json::object latency = times.summary();
    tell("task, " + std::to_string(in_flight) + " at once", "task_conc",
         {{"in_flight", in_flight}, {"total", count}, {"per_s", per_second(times.size(), time)}, {"latency_ms", latency}});
  }

  Awaitable<void> measure_connections(unsigned count) {
    Times connects;
    Times first_bytes;
    const Time start = session_.now();
    const std::function<Awaitable<void>(Dialler&)> connect = [&](Dialler& dialler) -> Awaitable<void> {
      const Time begin = session_.now();
      co_await dialler.agent.connect(target_.addresses, target_.peer);
      connects.add(session_.now() - begin);
    };
    co_await each_over_new_connection(count, connect);
    const double rate = per_second(count, session_.now() - start);
    tell("dial to secured and muxed", "connect_ms", connects.summary());
    tell("connections, " + std::to_string(std::min(count, options_.parallel)) + " at once", "conn", {{"per_s", rate}});

    const std::function<Awaitable<void>(Dialler&)> first_byte = [&](Dialler& dialler) -> Awaitable<void> {
      const Time begin = session_.now();
      co_await dialler.agent.connect(target_.addresses, target_.peer);
      co_await dialler.agent.ping(target_.peer);
      first_bytes.add(session_.now() - begin);
    };
    co_await each_over_new_connection(count, first_byte);
    tell("dial to first byte", "first_byte_ms", first_bytes.summary());
  }

  Awaitable<void> each_over_new_connection(unsigned count, std::function<Awaitable<void>(Dialler&)> work) {
    std::vector<Dialler*> lanes;
    while (lanes.size() < std::min(count, options_.parallel)) lanes.push_back(&add_dialler());
    const std::function<Awaitable<void>(unsigned)> one = [&](unsigned lane) -> Awaitable<void> {
      co_await work(*lanes[lane]);
      co_await lanes[lane]->disconnect(target_.peer);
    };
    co_await several_at_once(count, options_.parallel, one);
  }

  /// Calls `work` `count` times, with the number of its lane, in so many lanes at once. The first failure is the end of all.
  Awaitable<void> several_at_once(unsigned count, unsigned lanes, std::function<Awaitable<void>(unsigned)> work) {
    unsigned begun = 0;
    std::exception_ptr failure;
    const auto one_after_another = [&](unsigned lane) -> Awaitable<void> {
      try {
        while (begun < count && !failure) {
          ++begun;
          co_await work(lane);
        }
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
    };
    TaskGroup group(session_.system().loop());
    for (unsigned lane = 0; lane < std::min(count, lanes); ++lane) group.spawn(one_after_another(lane));
    co_await group.join();
    if (failure) std::rethrow_exception(failure);
  }

  Awaitable<void> measure_bulk(std::uint64_t size) {
    Dialler& dialler = *co_await connected();
    for (const bool up : {true, false}) {
      const Time start = session_.now();
      try {
        Stream stream = co_await dialler.agent.open_stream(target_.peer, std::string(perf_protocol));
        co_await perf(stream, up ? size : 0, up ? 0 : size);
      } catch (const boost::system::system_error& error) {
        if (!is(error, Errc::unsupported)) throw;
        throw Failure(Exit::no_peer, "the peer does not speak " + std::string(perf_protocol) + "; start it with `p2p-agent serve --perf`");
      }
      const Duration time = session_.now() - start;
      const double rate = rounded(static_cast<double>(size) / 1e6 / std::chrono::duration<double>(time).count(), 10);
      tell(up ? "bulk up" : "bulk down", up ? "bulk_up" : "bulk_down", {{"bytes", size}, {"ms", milliseconds_of(time)}, {"MBps", rate}});
    }
    co_await dialler.disconnect(target_.peer);
  }

  Awaitable<void> hold(unsigned count) {
    std::vector<Dialler*> held;
    const auto check_held = [&] {
      for (const Dialler* const dialler : held) {
        if (dialler->agent.connection_to(target_.peer) == nullptr) fail(Errc::closed, "the peer ended a connection that was to be held");
      }
    };
    const std::function<Awaitable<void>(unsigned)> one = [&](unsigned) -> Awaitable<void> {
      Dialler* const dialler = co_await connected();
      held.push_back(dialler);
      co_await identified(dialler->agent);
    };
    co_await several_at_once(count, held_at_once, one);
    check_held();
    tell_report();  // what was measured before, since this may last
    session_.console().event({{"event", "held"}, {"n", count}});
    session_.console().line(std::to_string(count) + " connections held, until standard input ends");
    if (options_.total) {
      std::vector<Dialler*> asked = held;
      asked.resize(std::min<std::size_t>(asked.size(), held_with_tasks));
      co_await measure_concurrent_tasks(*options_.total, std::move(asked));
      tell_report();
    }
    co_await end_of_input();
    check_held();
  }

  Awaitable<void> end_of_input() {
    const std::function<void()> wait = [this] {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      char discarded[4096];
      while (!session_.interrupted()) {
        if (poll(&input, 1, 200) > 0 && read(STDIN_FILENO, discarded, sizeof discarded) <= 0) break;
      }
    };
    co_await session_.system().environment().pool.run(wait);
    if (session_.interrupted()) fail(Errc::closed, "interrupted");
  }

  Awaitable<void> close_when_interrupted() {
    try {
      co_await session_.agent().pause_until(Time::max());
    } catch (const boost::system::system_error&) {
      for (const auto& dialler : diallers_) dialler->agent.close();
    }
  }

  /// A row for people: rates by themselves, times of single measurements in columns.
  void tell(std::string_view name, std::string_view member, const json::object& figures) {
    report_[member] = figures;
    const json::value* const latency = figures.if_contains("latency_ms");
    const json::object& times = latency != nullptr ? latency->get_object() : figures;
    if (!std::exchange(has_header_, true)) session_.console().line(row("", {"a second", "MB/s", "min, ms", "p50", "p99", "max"}));
    std::vector<std::string> cells;
    for (const char* const key : {"per_s", "MBps"}) cells.push_back(cell(figures, key));
    for (const char* const key : {"min", "p50", "p99", "max"}) cells.push_back(cell(times, key));
    session_.console().line(row(name, cells));
  }

  static std::string cell(const json::object& figures, std::string_view key) {
    const json::value* const value = figures.if_contains(key);
    if (value == nullptr) return "";
    const double number = value->to_number<double>();
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", number < 10 ? 3 : number < 100 ? 2 : 0, number);
    return text;
  }

  static std::string row(std::string_view name, const std::vector<std::string>& cells) {
    std::string line(name);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::size_t end = 28 + 9 * (i + 1);
      line.append(end - std::min(end, line.size() + cells[i].size()), ' ').append(cells[i]);
    }
    return line.substr(0, line.find_last_not_of(' ') + 1);
  }

  /// What was measured since the last time, if anything was.
  void tell_report() {
    if (report_.size() <= 2) return;
    json::object next{{"event", "bench"}, {"muxer", report_.at("muxer")}};
    session_.console().event(std::exchange(report_, std::move(next)));
  }

  const BenchOptions& options_;
  Session session_;
  AgentOptions options_for_diallers_;
  std::vector<std::unique_ptr<Dialler>> diallers_;
  Target target_;
  json::object report_{{"event", "bench"}};
  bool has_header_ = false;
};

}  // namespace

Exit bench(const BenchOptions& options) { return Bench(options).run(); }

}  // namespace p2p::cli
