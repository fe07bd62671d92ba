#pragma once
// Two agents with a connection, over the network in memory and one muxer.

#include "support/each_muxer.hpp"
#include "support/sim.hpp"

namespace p2p::test {

inline const std::string silent_protocol = "/test/silent/1.0.0";

/// `a` looks for others, `b` listens and serves silent_protocol: it says nothing until the test is over.
class Connected : public testing::TestWithParam<std::string> {
 protected:
  explicit Connected(AgentEvents events_of_a = {})
      : a(network, looking({GetParam()}), std::move(events_of_a)), b(network, listening({GetParam()})) {
    b.agent.handle(silent_protocol, [this](Stream stream) -> Awaitable<void> {
      Stream held = std::move(stream);
      co_await released.wait();
    });
  }

  /// Runs `work` with a connected to b, and stops both.
  void with_connection(std::function<Awaitable<void>()> work) {
    network.run({&a, &b}, [&]() -> Awaitable<void> {
      co_await a.agent.connect(b.agent.addresses());
      co_await work();
      released.open();
    });
  }

  SimNetwork network;
  Latch released{network.loop()};
  SimAgent a;
  SimAgent b;
};

}  // namespace p2p::test
