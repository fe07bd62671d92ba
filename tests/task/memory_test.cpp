// What peers can make a provider hold.

#include "support/tasks.hpp"

#include "base/coding.hpp"

namespace p2p::test {
namespace {

class Memory : public Tasks {
 protected:
  static constexpr std::size_t all = limits::memory_least;
  static constexpr std::size_t share = limits::memory_share(all);

  Memory() : small(network, options()), attacker(network, looking({GetParam()})) {}

  static AgentOptions options() {
    AgentOptions options = listening({GetParam()});
    options.max_memory = all;
    return options;
  }
  PeerId provider_id() const { return small.agent.id(); }

  /// Begins a message of the largest size and ends it never.
  Awaitable<void> begin_without_end(Stream stream) {
    Bytes bytes;
    put_uvarint(bytes, limits::task_frame);
    bytes.resize(limits::task_frame);
    try {
      co_await stream.write(bytes);
      co_await released.wait();
    } catch (const boost::system::system_error&) {
    }
  }

  SimAgent small;
  SimAgent attacker;
  Latch released{network.loop()};
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Memory, each_muxer, name_of_muxer);

TEST_P(Memory, OfMessagesWithoutEndIsTakenFromWhomTheyComeFrom) {
  MockExecutor mock;
  Provider provider_of_tasks(small.agent, mock);
  network.run({&small, &attacker, &requester}, [&]() -> Awaitable<void> {
    const PeerId target = provider_id();
    co_await requester.agent.connect(small.agent.addresses());
    Stream honest = co_await requester.agent.open_stream(target, std::string(task_protocol));
    TaskGroup attack(network.loop());
    std::size_t most = 0;
    for (int connections = 0; connections < 3; ++connections) {
      co_await attacker.agent.connect(small.agent.addresses());
      for (int streams = 0; streams < 30; ++streams) {
        if (attacker.agent.connection_to(target) == nullptr) break;
        attack.spawn(begin_without_end(attacker.agent.open_stream_lazily(target, std::string(task_protocol))));
      }
      for (int i = 0; i < 1000; ++i) {
        co_await pause(milliseconds(1));
        most = std::max(most, small.agent.memory_held());
      }
      // It is what the attacker took that went, and nothing else.
      EXPECT_EQ(attacker.agent.connection_to(target), nullptr);
      EXPECT_LT(small.agent.memory_held(), share / 4);
    }
    EXPECT_GT(most, share / 2);
    EXPECT_LE(most, share + 1024 * 1024);  // and what one turn of the loop brings
    EXPECT_NE(requester.agent.connection_to(target), nullptr);
    const Answer answer = co_await manager.submit(target, task("still here"));
    EXPECT_EQ(answer.result.text, "Processed: still here");
    EXPECT_NE(std::find_if(small.host.log.begin(), small.host.log.end(),
                           [&](const std::string& line) {
                             return line.find("memory") != std::string::npos && line.find(attacker.agent.id().text()) != std::string::npos;
                           }),
              small.host.log.end());
    released.open();
    co_await attack.join();
    honest.reset();
    co_await provider_of_tasks.shut_down(seconds(0));
  });
  EXPECT_EQ(small.agent.memory_held(), 0U);
}

TEST_P(Memory, OfTasksIsBoundedAndWhatExceedsItIsBusy) {
  MockExecutor mock({.delay = seconds(5)});
  ProviderOptions many;
  many.slots = 1000;
  Provider provider_of_tasks(small.agent, mock, many);
  network.run({&small, &requester}, [&]() -> Awaitable<void> {
    const PeerId target = provider_id();
    co_await requester.agent.connect(small.agent.addresses());
    std::size_t completed = 0;
    std::size_t busy = 0;
    TaskGroup asking(network.loop());
    const auto ask = [&]() -> Awaitable<void> {
      const Answer answer = co_await manager.submit(target, task(std::string(1024 * 1024, 'x')));
      if (answer.result.status == Status::completed) ++completed;
      if (answer.result.error && answer.result.error->code == "busy") ++busy;
      if (answer.result.error && answer.result.error->code == "busy") {
        EXPECT_NE(answer.result.error->message.find("memory"), std::string::npos);
      }
    };
    for (int i = 0; i < 40; ++i) {
      asking.spawn(ask());
      co_await pause(milliseconds(20));
    }
    co_await asking.join();
    // Each takes its input while it waits, and as much for the output twice.
    EXPECT_GE(completed, share / 2 / (4 * 1024 * 1024));
    EXPECT_LE(completed, share / 2 / (1024 * 1024));
    EXPECT_GE(busy, 10U);
    // It is all given back.
    const Answer answer = co_await manager.submit(target, task(std::string(1024 * 1024, 'x')));
    EXPECT_EQ(answer.result.status, Status::completed);
    co_await provider_of_tasks.shut_down(seconds(0));
  });
}

// A host that has taken its half, however many keys it has, does not keep others from having theirs.
TEST_P(Memory, OfTasksIsNobodysAlone) {
  MockExecutor mock({.delay = seconds(5)});
  ProviderOptions many;
  many.slots = 1000;
  Provider provider_of_tasks(small.agent, mock, many);
  Agent second_key(attacker.host.environment(), KeyPair::generate(network.random()), looking({GetParam()}));
  TaskManager first(attacker.agent);
  TaskManager second(second_key);
  network.run({&small, &requester, &attacker}, [&]() -> Awaitable<void> {
    const PeerId target = provider_id();
    co_await requester.agent.connect(small.agent.addresses());
    co_await attacker.agent.connect(small.agent.addresses());
    second_key.start();
    co_await second_key.connect(small.agent.addresses());
    TaskGroup asking(network.loop());
    const auto ask = [&](TaskManager& greedy) -> Awaitable<void> {
      try {
        Task large = greedy.make_task(std::string(1024 * 1024, 'x'));
        co_await greedy.submit(target, std::move(large));
      } catch (const boost::system::system_error&) {
      }
    };
    for (int i = 0; i < 40; ++i) {
      asking.spawn(ask(i % 2 == 0 ? first : second));
      co_await pause(milliseconds(20));
    }
    const Answer answer = co_await manager.submit(target, task(std::string(1024 * 1024, 'y')));
    EXPECT_EQ(answer.result.status, Status::completed);
    co_await asking.join();
    co_await second_key.stop();
    co_await provider_of_tasks.shut_down(seconds(0));
  });
}

}  // namespace
}  // namespace p2p::test
