#pragma once
// A provider and a requester over the network in memory, for tests of tasks.

#include "base/limits.hpp"
#include "executors/mock.hpp"
#include "network/protocol.hpp"
#include "support/each_muxer.hpp"
#include "support/keys.hpp"
#include "support/sim.hpp"
#include "task/manager.hpp"
#include "task/provider.hpp"

namespace p2p::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A provider and a requester with a connection between them.
class Tasks : public testing::TestWithParam<std::string> {
 protected:
  Tasks() : requester(network, looking({GetParam()})), provider_host(network, listening({GetParam()})), manager(requester.agent) {}

  void serve(MockOptions mock = {}, ProviderOptions options = {}) {
    executor = std::make_unique<MockExecutor>(mock);
    provider =
        std::make_unique<Provider>(provider_host.agent, *executor, options, [this](const TaskEvent& event) { events.push_back(event); });
  }

  void serve_with(std::vector<Offering> offerings, ProviderOptions options = {}) {
    provider = std::make_unique<Provider>(provider_host.agent, std::move(offerings), std::move(options),
                                          [this](const TaskEvent& event) { events.push_back(event); });
  }

  void with_connection(std::function<Awaitable<void>()> work) {
    network.run({&requester, &provider_host}, [&]() -> Awaitable<void> {
      co_await requester.agent.connect(provider_host.agent.addresses());
      co_await work();
      if (provider) co_await provider->shut_down(seconds(0));
    });
  }

  PeerId peer() const { return provider_host.agent.id(); }
  Awaitable<void> pause(Duration duration) { return test::pause(network, duration); }

  Task task(std::string prompt = "hi", bool stream = false) {
    Task made = manager.make_task(std::move(prompt));
    made.stream = stream;
    return made;
  }
  /// The error that submitting ends with, or nothing.
  Awaitable<std::optional<Errc>> error_of(Task made, std::string* message = nullptr) {
    try {
      co_await manager.submit(peer(), std::move(made));
    } catch (const boost::system::system_error& error) {
      if (message != nullptr) *message = message_of(error);
      co_return static_cast<Errc>(error.code().value());
    }
    co_return std::nullopt;
  }

  /// Sends one frame by hand on a task stream and returns the first frame that comes back.
  Awaitable<std::optional<Bytes>> exchange(Bytes envelope) {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    co_await write_frame(stream, envelope);
    try {
      co_return co_await read_frame(stream, limits::task_frame);
    } catch (const boost::system::system_error&) {
      co_return std::nullopt;  // reset
    }
  }
  /// The code of the rejection that a payload gets.
  Awaitable<std::string> code_of(std::string payload) {
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, payload);
    const std::optional<Bytes> answer = co_await exchange(envelope);
    if (!answer) co_return "reset";
    const TaskResult result = parse_result(open_message(*answer, key_of(peer())).value().payload).value();
    EXPECT_EQ(result.task_sha256, task_hash(as_bytes(payload)));
    EXPECT_EQ(result.recipient, requester.agent.id().text());
    rejected_id = result.task_id;
    if (!result.error) co_return "none";
    co_return result.error->code;
  }

  SimNetwork network;
  SimAgent requester;
  SimAgent provider_host;
  TaskManager manager;
  std::unique_ptr<MockExecutor> executor;
  std::unique_ptr<Provider> provider;
  std::vector<TaskEvent> events;
  std::string rejected_id;
};

}  // namespace p2p::test
