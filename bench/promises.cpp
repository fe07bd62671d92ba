// What providers promise about time and about what they leave behind, measured over loopback between two agents on threads of their own,
// and judged. Prints a line for each; exit code 1 when one is missed. Part of `make soak`.

#include "base/limits.hpp"
#include "executors/command.hpp"
#include "network/protocol.hpp"
#include "serving.hpp"
#include "task/sealing.hpp"

#include <sys/wait.h>
#include <algorithm>
#include <cstdio>
#include <random>

namespace {

using namespace p2p;
using namespace p2p::bench;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int pieces = 1000;
constexpr int cancels = 200;

double ms_since(steady_clock::time_point start) { return std::chrono::duration<double, std::milli>(steady_clock::now() - start).count(); }

double median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

bool judge(const char* what, double value, const char* unit, double bound) {
  std::printf("%-70s %9.3f %s, at most %g: %s\n", what, value, unit, bound, value <= bound ? "good" : "MISSED");
  return value <= bound;
}

/// Writes pieces that say when they were made; or, for the prompt "wait", nothing until it is stopped.
class Stamping final : public Executor {
 public:
  std::string_view name() const override { return "stamping"; }
  Awaitable<Outcome> run(TaskRun& run) override {
    const Environment& environment = run.environment();
    Outcome outcome;
    if (run.task().prompt() == "wait") {
      Event stop(environment.loop);
      run.on_stop([&] {
        heard = steady_clock::now();
        stop.notify();
      });
      ++started;
      co_await stop.wait();
      ++stopped;
      outcome.status = Status::cancelled;
      co_return outcome;
    }
    for (int i = 0; i < pieces && !run.stopped(); ++i) {
      co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + milliseconds(1));
      co_await run.write(std::to_string(steady_clock::now().time_since_epoch().count()) + ' ');
    }
    co_return outcome;
  }

  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  std::atomic<steady_clock::time_point> heard{};
};

class Requester {
 public:
  explicit Requester(Agent& agent, PeerId provider) : agent_(agent), provider_(std::move(provider)), manager_(agent) {}

  /// From the moment that the executor wrote a piece until it is verified here.
  Awaitable<double> time_of_a_piece() {
    std::vector<double> times;
    const std::function<void(const Update&)> note = [&](const Update& update) {
      if (!update.text) return;
      const steady_clock::time_point made{steady_clock::duration(std::stoll(*update.text))};
      times.push_back(ms_since(made));
    };
    Task task = manager_.make_task("stamps");
    task.stream = true;
    co_await manager_.submit(provider_, task, note);
    if (times.size() != pieces) throw std::runtime_error("pieces got lost");
    co_return median(times);
  }

  /// Starts a task and resets its stream when it has run for a while. Returns when it did.
  Awaitable<steady_clock::time_point> cancel(std::string prompt, std::string model, std::function<Awaitable<void>()> until) {
    Task task = manager_.make_task(std::move(prompt));
    task.input["model"] = model;
    task.stream = true;
    const Bytes envelope = seal_message(agent_.identity(), MessageKind::task, task.to_json());
    Stream stream = co_await agent_.open_stream(provider_, std::string(task_protocol));
    co_await write_frame(stream, envelope);
    co_await until();
    const steady_clock::time_point now = steady_clock::now();
    stream.reset();
    co_return now;
  }

  Awaitable<void> pause(Duration duration) {
    const Environment& environment = agent_.environment();
    co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + duration);
  }

 private:
  Agent& agent_;
  const PeerId provider_;
  TaskManager manager_;
};

int measure() {
  Stamping stamping;
  CommandExecutor command("loop", find_program({"sh", "-c", "while :; do echo x; sleep 0.005; done"}));
  TimerCount timers{0};
  ProviderOptions options;
  options.slots = 4;
  const auto make = [&](const Environment&) {
    return Offered{{}, {{std::string(inference), stamping}, {std::string(inference), command}}};
  };
  Serving serving(make, options, timers);
  System system;
  Agent agent(system.environment(), KeyPair::generate(system.random()), quiet(false));
  bool good = true;
  const auto work = [&]() -> Awaitable<void> {
    const Connection* const connection = co_await agent.connect(serving.addresses);
    Requester requester(agent, connection->peer());
    good &= judge("a piece, from the executor to the requester, median", co_await requester.time_of_a_piece(), "ms", 1);

    const auto slowest_cancel = [&]() -> Awaitable<double> {
      double slowest = 0;
      for (int i = 1; i <= cancels; ++i) {
        const int before = stamping.stopped;
        const std::function<Awaitable<void>()> until_started = [&]() -> Awaitable<void> {
          while (stamping.started == before) co_await requester.pause(milliseconds(1));
        };
        const steady_clock::time_point cancelled = co_await requester.cancel("wait", "stamping", until_started);
        while (stamping.stopped == before) co_await requester.pause(milliseconds(1));
        slowest = std::max(slowest, std::chrono::duration<double, std::milli>(stamping.heard.load() - cancelled).count());
      }
      co_return slowest;
    };
    double slowest = co_await slowest_cancel();
    for (int again = 0; slowest > 100 && again < 2; ++again) {
      std::printf("a cancel took %.0f ms: measured again, in case that the machine stood still\n", slowest);
      slowest = co_await slowest_cancel();
    }
    good &= judge("a cancel, from the requester to the executor, slowest of 200", slowest, "ms", 100);

    const auto all_ended = [&]() -> Awaitable<void> {
      const steady_clock::time_point start = steady_clock::now();
      while (serving.running() > 0 && ms_since(start) < 10'000) co_await requester.pause(milliseconds(10));
    };
    // Commands, cancelled before, while and after they start. The first quarter warms up.
    std::mt19937 dice(1);
    double memory = 0;
    double descriptors = 0;
    for (int i = 0; i < cancels; ++i) {
      if (i == cancels / 4) {
        co_await all_ended();
        memory = resident_mib();
        descriptors = static_cast<double>(count_of("fd"));
      }
      const std::function<Awaitable<void>()> a_while = [&]() -> Awaitable<void> { co_await requester.pause(milliseconds(dice() % 40)); };
      co_await requester.cancel("x", "loop", a_while);
    }
    co_await all_ended();
    good &= judge("200 commands cancelled at random: still running", static_cast<double>(serving.running()), "tasks", 0);
    good &= judge("  child processes left", waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD ? 0 : 1, "or more", 0);
    good &= judge("  descriptors more than before", static_cast<double>(count_of("fd")) - descriptors, "", 0);
    good &= judge("  memory more than before", resident_mib() - memory, "MiB", 4);
  };
  system.run(agent.run(work));
  return good ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return measure();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "promises: %s\n", error.what());
    return 1;
  }
}
