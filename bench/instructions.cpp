// What `make bench-instructions` counts: whole handshakes and whole tasks, both sides of each, over the network in memory. Times are for
// other programs; what is counted here is the same in every run, as long as the code is. Only what lies between begin() and end() counts.
// It is done many times over, since checking a signature takes another course for each.
//
// Standard output, for scripts/bench-instructions: "compiler NAME VERSION, LIBRARY" (of signatures), and "FIGURE TIMES" for each figure, in
// the order of callgrind's dumps.

#include "crypto/crypto.hpp"
#include "executors/mock.hpp"
#include "support/sim.hpp"
#include "task/manager.hpp"
#include "task/provider.hpp"

#include <valgrind/callgrind.h>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <vector>

namespace p2p::test {
namespace {

constexpr int warm_up = 32;
constexpr int handshakes = 32;
constexpr int tasks = 64;

// callgrind begins with its collection off.
void begin() { CALLGRIND_TOGGLE_COLLECT; }
void end() { CALLGRIND_TOGGLE_COLLECT; }
void dump(const char* figure, int times) {
  CALLGRIND_DUMP_STATS_AT(figure);
  std::printf("%s %d\n", figure, times);
}

AgentOptions without_discovery(AgentOptions options) {
  options.mdns = false;
  return options;
}

class Bench {
 public:
  Bench() : accepted_(network_.loop()), left_(network_.loop()) { network_.reads = SimNetwork::Reads::all; }

  void run() {
    std::vector<SimAgent*> agents{&host_, &requester_};
    for (int i = 0; i < warm_up + handshakes; ++i) {
      agents.push_back(strangers_.emplace_back(std::make_unique<SimAgent>(network_, looking_for_host())).get());
    }
    network_.run(std::move(agents), [this]() -> Awaitable<void> {
      // Neither knows the other yet, and each checks the other's proof of who it is.
      for (int i = 0; i < warm_up + handshakes; ++i) co_await connect(strangers_[static_cast<std::size_t>(i)]->agent, i >= warm_up);
      dump("handshake", handshakes);
      for (int i = 0; i < warm_up + handshakes; ++i) co_await connect(requester_.agent, i >= warm_up);
      dump("reconnection", handshakes);

      co_await requester_.agent.connect(host_.agent.addresses());
      co_await accepted_.wait();
      co_await requester_.agent.identify(host_.agent.id());
      for (int i = 0; i < warm_up; ++i) co_await ask();
      begin();
      for (int i = 0; i < tasks; ++i) co_await ask();
      end();
      dump("task", tasks);
      co_await provider_.shut_down(std::chrono::seconds(0));
    });
  }

 private:
  static AgentOptions looking_for_host() { return without_discovery(looking({std::string(yamux_protocol)})); }

  /// Counts, if it shall, until both have the connection. What each has begun by then to ask of the other's identify is in it.
  Awaitable<void> connect(Agent& agent, bool count) {
    counting_ = count;
    if (count) begin();
    co_await agent.connect(host_.agent.addresses());
    co_await accepted_.wait();
    co_await agent.identify(host_.agent.id());
    co_await host_.agent.identify(agent.id());
    agent.disconnect(host_.agent.id());
    co_await left_.wait();
  }

  Awaitable<void> ask() {
    const Answer answer = co_await manager_.submit(host_.agent.id(), manager_.make_task("Hello, P2P AI!"));
    if (answer.result.text != "Processed: Hello, P2P AI!") fail(Errc::unverified, "another answer than the mock gives");
  }

  void accepted() {
    if (std::exchange(counting_, false)) end();
    accepted_.notify();
  }

  SimNetwork network_;
  Event accepted_;
  Event left_;
  bool counting_ = false;
  std::vector<std::unique_ptr<SimAgent>> strangers_;
  SimAgent requester_{network_, looking_for_host()};
  SimAgent host_{network_, without_discovery(listening({std::string(yamux_protocol)})),
                 AgentEvents{{}, {}, [this](const Connection&) { accepted(); }, [this](const Connection&) { left_.notify(); }}};
  MockExecutor executor_;
  Provider provider_{host_.agent, executor_};
  TaskManager manager_{requester_.agent};
};

}  // namespace
}  // namespace p2p::test

int main() {
  std::printf("compiler %s, %s\n", P2P_COMPILER, p2p::crypto::curve25519_library());
  try {
    p2p::test::Bench().run();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "instructions: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
