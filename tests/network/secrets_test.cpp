// What agents make of their secrets: connections, and nothing that stays or is told.

#include "executors/mock.hpp"
#include "support/memory.hpp"
#include "support/sim.hpp"
#include "support/spellings.hpp"
#include "task/manager.hpp"
#include "task/provider.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

/// Random bytes, and a note of all that could be a key.
class NotingRandom final : public Random {
 public:
  explicit NotingRandom(std::function<void(ByteView key)> note) : note_(std::move(note)) {}
  void fill(ByteSpan out) noexcept override {
    random_.fill(out);
    if (out.size() == 32) note_(out);
  }

 private:
  crypto::SystemRandom random_;
  const std::function<void(ByteView)> note_;
};

/// Two agents, a task in each direction of a connection, and their end. `while_connected` is called with the number of agents.
std::string whole_exchange(Random& random, const std::function<void()>& while_connected = {}) {
  SimNetwork network;
  std::string log;
  {
    std::vector<SimHost*> hosts{&network.add_host(), &network.add_host()};
    std::vector<std::unique_ptr<Agent>> agents;
    for (SimHost* const host : hosts) {
      Environment own = host->environment();
      const Environment environment{own.loop, own.clock, random, own.transport, own.multicast, own.pool, own.log};
      agents.push_back(std::make_unique<Agent>(environment, KeyPair::generate(random), listening()));
    }
    MockExecutor mock;
    Provider provider(*agents[0], mock);
    TaskManager manager(*agents[1]);
    const std::function<Awaitable<void>()> ask = [&]() -> Awaitable<void> {
      const PeerId peer = agents[0]->id();
      co_await agents[1]->connect(agents[0]->addresses());
      Task task = manager.make_task("hi");
      const Answer answer = co_await manager.submit(peer, task);
      EXPECT_EQ(answer.result.text, "Processed: hi");
      if (while_connected) while_connected();
      agents[1]->disconnect(peer);
    };
    network.run([&]() -> Awaitable<void> {
      co_await agents[0]->run([&]() -> Awaitable<void> {
        co_await agents[1]->run(ask);
        co_await provider.shut_down(Duration::zero());
      });
    }());
    for (SimHost* const host : hosts) {
      for (const std::string& line : host->log) log += line + '\n';
    }
  }
  return log;
}

TEST(AgentsSecrets, AreInMemoryOnceAndOnlyAsLongAsTheyAreUsed) {
  if (!can_search_memory()) GTEST_SKIP() << "memory can't be looked through here";
  std::vector<Needle> secrets;
  NotingRandom random([&](ByteView key) { secrets.emplace_back(key); });
  std::size_t once = 0;
  whole_exchange(random, [&] {
    for (const Needle& secret : secrets) {
      const std::size_t copies = secret.copies();
      EXPECT_LE(copies, 1U);
      once += copies;
    }
  });
  EXPECT_EQ(once, 4U);  // the identities and static keys of two agents; the ephemeral keys are gone when the connection is there
  EXPECT_EQ(secrets.size(), 6U);
  for (const Needle& secret : secrets) EXPECT_EQ(secret.copies(), 0U);
}

TEST(AgentsSecrets, AreInNoLog) {
  std::vector<Bytes> secrets;
  NotingRandom random([&](ByteView key) { secrets.emplace_back(key.begin(), key.end()); });
  const std::string log = whole_exchange(random);
  EXPECT_NE(log, "");
  EXPECT_EQ(secrets.size(), 6U);
  for (const Bytes& secret : secrets) EXPECT_EQ(spelling_in(log, secret), "");
}

}  // namespace
}  // namespace p2p::test
