// The whole course on one machine: two agents, each with an event loop of its own, find each other by mDNS over loopback, connect with
// Noise and a muxer, and exchange one signed task. Every step is printed as it happens.

#include "crypto/crypto.hpp"
#include "p2p_agents.hpp"

#include <unistd.h>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <mutex>
#include <thread>

namespace {

namespace json = boost::json;
using namespace p2p;
using std::chrono::seconds;

constexpr seconds discovery_wait{5};

struct Options {
  std::string prompt = "Hello, P2P AI!";
  std::string muxers = "yamux,mplex";
  bool json = false;
  unsigned repeat = 1;
};

// Steps come from both agents' threads.
class Narrator {
 public:
  Narrator(bool json, bool quiet) : json_(json), quiet_(quiet), start_(std::chrono::steady_clock::now()), last_(start_) {}

  /// One step: who did what, how long it took since the step before, and what there is to see.
  void step(const char* who, const char* event, const std::string& text, json::object details = {}) {
    if (quiet_) return;
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    const double took = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    if (json_) {
      json::object line{{"event", event}, {"agent", who}, {"us", static_cast<std::int64_t>(took * 1000)}};
      for (const auto& [key, value] : details) line[key] = value;
      std::printf("%s\n", json::serialize(line).c_str());
    } else {
      const bool colours = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
      std::printf("%s%8.2f ms%s  %s  %s\n", colours ? "\x1b[2m" : "", took, colours ? "\x1b[0m" : "", who, text.c_str());
    }
    std::fflush(stdout);
  }
  double total_ms() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  const bool json_;
  const bool quiet_;
  std::mutex mutex_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

std::vector<std::string> loopback(Transport& transport) {
  for (const Interface& interface : transport.interfaces()) {
    if (interface.loopback) return {interface.name};
  }
  fail(Errc::unreachable, "there is no loopback interface that is up");
}

std::string joined(const std::vector<Multiaddr>& addresses) {
  std::string text;
  for (const Multiaddr& address : addresses) text += (text.empty() ? "" : " ") + address.text();
  return text;
}

AgentOptions options_of(const Options& options, System& system) {
  AgentOptions agent;
  agent.muxers = parse_muxers(options.muxers);
  agent.interfaces = loopback(system.environment().transport);
  agent.listen = {Multiaddr::tcp("127.0.0.1", 0).value()};
  return agent;
}

/// Agent B: listens, announces itself and runs tasks, on a thread of its own, until it is told to stop.
class ProviderThread {
 public:
  ProviderThread(const Options& options, Narrator& narrator) : narrator_(narrator), thread_([this, &options] { run(options); }) {}
  ~ProviderThread() { thread_.join(); }

  /// B's PeerId, as soon as it listens. Throws what kept it from that.
  PeerId peer() { return listening_.get_future().get(); }
  void stop() {
    // B's own loop does it: an agent is used on the thread of its loop alone.
    stop_requested_.set_value();
  }

 private:
  void run(const Options& options) {
    System system;
    AgentEvents events;
    events.connected = [this](const Connection& connection) {
      narrator_.step("B", "connected", "accepted a connection from " + connection.peer().text(), {{"peer", connection.peer().text()}});
    };
    Agent agent(system.environment(), KeyPair::generate(system.random()), options_of(options, system), events);
    MockExecutor executor;
    Provider provider(agent, executor, {}, [this](const TaskEvent& task) {
      narrator_.step("B", "task", "ran task " + task.task_id + ": " + task.status, {{"task_id", task.task_id}, {"status", task.status}});
    });
    const auto serving = [&]() -> Awaitable<void> {
      narrator_.step("B", "listening", agent.id_text() + " listens on " + joined(agent.addresses()), {{"peer", agent.id_text()}});
      listening_.set_value(agent.id());
      const std::function<void()> wait = [this] { stop_requested_.get_future().wait(); };
      co_await system.environment().pool.run(wait);
      co_await provider.shut_down(seconds(1));
    };
    try {
      system.run(agent.run(serving));
      narrator_.step("B", "stopped", "stopped");
    } catch (...) {
      try {
        listening_.set_exception(std::current_exception());
      } catch (const std::future_error&) {
        std::terminate();  // it listened already, so this is a bug
      }
    }
  }

  Narrator& narrator_;
  std::promise<PeerId> listening_;
  std::promise<void> stop_requested_;
  std::thread thread_;
};

/// Agent A's part, on the calling thread.
Awaitable<void> request(Agent& agent, const PeerId& wanted, const Options& options, Narrator& narrator) {
  const Environment& environment = agent.environment();
  narrator.step("A", "listening", agent.id_text() + " listens on " + joined(agent.addresses()), {{"peer", agent.id_text()}});
  const Time deadline = environment.clock.now() + discovery_wait;
  while (co_await agent.next_discovered(deadline) != wanted) {
  }
  const std::vector<Multiaddr> addresses = agent.discovered_addresses(wanted);
  narrator.step("A", "discovered", "found " + wanted.text() + " by mDNS at " + joined(addresses),
                {{"peer", wanted.text()}, {"addr", joined(addresses)}});
  const Connection* const connection = co_await agent.connect(wanted);
  const std::string muxer(muxer_name(connection->muxer()));
  narrator.step("A", "connected", "connected to " + connection->remote_address().text() + " with Noise and " + muxer,
                {{"peer", wanted.text()}, {"addr", connection->remote_address().text()}, {"muxer", muxer}});
  TaskManager manager(agent);
  Task task = manager.make_task(options.prompt);
  task.timeout_ms = 10'000;
  const std::function<void(const std::string&)> on_sent = [&narrator](const std::string& payload) {
    narrator.step("A", "task_sent", "signed and sent  " + payload, {{"task", payload}});
  };
  const Answer answer = co_await manager.submit(wanted, std::move(task), {}, on_sent);
  const std::string result(as_text(answer.result_payload));
  narrator.step("A", "result", "got and verified " + result, {{"result", result}});
  if (answer.result.status != Status::completed) fail(Errc::closed, "the task was not completed: " + answer.result.error->message);
  const std::string expected = "Processed: " + options.prompt;
  if (answer.result.text != expected) fail(Errc::unverified, "the result is not '" + expected + "'");
}

void once(const Options& options, Narrator& narrator) {
  ProviderThread provider(options, narrator);
  std::exception_ptr failure;
  try {
    const PeerId wanted = provider.peer();
    System system;
    Agent agent(system.environment(), KeyPair::generate(system.random()), options_of(options, system));
    system.run(agent.run([&] { return request(agent, wanted, options, narrator); }));
    narrator.step("A", "stopped", "stopped");
  } catch (...) {
    failure = std::current_exception();
  }
  provider.stop();
  if (failure) std::rethrow_exception(failure);
}

/// The exit codes of p2p-agent.
int exit_code_of(const boost::system::system_error& error) {
  if (is(error, Errc::invalid)) return 2;
  if (is(error, Errc::no_peer)) return 3;
  if (is(error, Errc::timed_out)) return 6;
  if (is(error, Errc::unverified)) return 7;
  return 4;
}

}  // namespace

int main(int argc, char** argv) {
  crypto::forbid_core_dumps();
  Options options;
  CLI::App app{"Two agents find each other over loopback, connect and exchange one signed task"};
  app.add_option("--prompt", options.prompt, "What to ask")->capture_default_str();
  app.add_option("--muxer", options.muxers, "yamux,mplex or one of them")->capture_default_str();
  app.add_flag("--json", options.json, "One JSON object a line");
  app.add_option("--repeat", options.repeat, "Do it so often, and count the successes")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : (app.exit(error), 2);
  }
  const bool many = options.repeat > 1;
  unsigned succeeded = 0;
  int exit_code = 0;
  double slowest = 0;
  for (unsigned round = 0; round < options.repeat; ++round) {
    Narrator narrator(options.json, many);
    try {
      once(options, narrator);
      ++succeeded;
    } catch (const boost::system::system_error& error) {
      exit_code = exit_code_of(error);
      std::fprintf(stderr, "mvp_demo: %s\n", message_of(error).c_str());
      narrator.step("A", "error", message_of(error), {{"message", message_of(error)}, {"exit", exit_code}});
    } catch (const std::exception& error) {
      std::fprintf(stderr, "mvp_demo: a bug of ours: %s\n", error.what());
      exit_code = 1;
    }
    slowest = std::max(slowest, narrator.total_ms());
    if (many && isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r%u/%u", succeeded, round + 1);
  }
  if (many) {
    std::printf("%u/%u succeeded, the slowest in %.0f ms\n", succeeded, options.repeat, slowest);
  } else if (exit_code == 0 && !options.json) {
    std::printf(
        "\nDone in %.0f ms. Now try it yourself, in two terminals:\n  build/release/p2p-agent serve\n  build/release/p2p-agent run "
        "\"Hello, P2P AI!\"\n",
        slowest);
  }
  return exit_code;
}
