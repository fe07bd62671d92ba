// What somebody on the network can do to `p2p-agent serve`.

#include "base/limits.hpp"
#include "base/coding.hpp"
#include "network/agent.hpp"
#include "network/system.hpp"
#include "support/heap.hpp"
#include "support/program.hpp"
#include "task/message.hpp"

#include <fstream>

namespace p2p::test {
namespace {

const std::string on_127 = "/ip4/127.0.0.1/tcp/0";

Multiaddr first_address(const Serving& serving) { return Multiaddr::from_text(serving.address).value(); }

TEST(Limits, ThatAreReachedWithDescriptorsAreWaitedOut) {
  // `serve` needs some of these itself.
  const std::string limited = "ulimit -n 40; exec \"$@\"";
  Process serve({"/bin/sh", "-c", limited, "sh", program, "serve", "--json", "--listen", on_127}, on_loopback);
  const json::object event = parsed(serve.line());
  const std::string address = event.at("addrs").as_array().at(0).as_string().c_str();

  System system;
  const Environment& environment = system.environment();
  std::vector<std::unique_ptr<ByteStream>> silent;
  std::unique_ptr<Process> asking;
  const auto attack = [&]() -> Awaitable<void> {
    for (int i = 0; i < 60; ++i) {
      silent.push_back(environment.transport.dial(Multiaddr::from_text(address).value()));
      co_await silent.back()->connect(seconds(5));
    }
  };
  system.run(attack());
  // Somebody comes while there is no descriptor for it, and is served when there is.
  Process run({program, "run", "--peer", address, "still here"}, on_loopback);
  silent.clear();
  EXPECT_EQ(run.wait(), 0) << run.errors;
  EXPECT_EQ(run.output, "Processed: still here\n");
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.errors;
}

std::size_t peak_memory(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

/// Four peers begin a task of 4 MiB on each of 250 streams, and leave its last bytes out.
void begin_a_thousand_tasks(const Multiaddr& address, const std::string& muxer) {
  System system;
  Bytes unfinished;
  put_uvarint(unfinished, limits::task_frame);
  unfinished.resize(limits::task_frame);
  AgentOptions options;
  options.mdns = false;
  options.muxers = {muxer};
  std::size_t begun = 0;
  const auto begin = [&](Stream stream) -> Awaitable<void> {
    ++begun;
    try {
      co_await stream.write(unfinished);
      co_await stream.read();  // until it is let go
    } catch (const boost::system::system_error&) {
    }
  };
  const auto peer = [&]() -> Awaitable<void> {
    Agent agent(system.environment(), KeyPair::generate(system.random()), options);
    const std::function<Awaitable<void>()> work = [&]() -> Awaitable<void> {
      std::vector<Multiaddr> addresses(1, address);
      const PeerId provider = (co_await agent.connect(addresses))->peer();
      TaskGroup streams(system.loop());
      for (int i = 0; i < 250; ++i) streams.spawn(begin(agent.open_stream_lazily(provider, std::string(task_protocol))));
      co_await streams.join();
    };
    co_await agent.run(work);
  };
  const auto all = [&]() -> Awaitable<void> {
    TaskGroup peers(system.loop());
    for (int i = 0; i < 4; ++i) peers.spawn(peer());
    co_await peers.join();
  };
  system.run(all());
  EXPECT_EQ(begun, 1000U);
}

TEST(Limits, OfMemoryHoldWhateverPeersSend) {
  if (__sanitizer_get_current_allocated_bytes != nullptr) GTEST_SKIP() << "a sanitizer takes memory of its own";
  for (const std::string& muxer : {std::string(yamux_protocol), std::string(mplex_protocol)}) {
    for (const std::size_t limit : {limits::memory_least, limits::memory}) {
      Serving serving({"--max-memory", std::to_string(limit >> 20) + "M", "--listen", on_127});
      const std::size_t before = peak_memory(serving.process.pid());
      if (before == 0) GTEST_SKIP() << "nobody says here how much memory a process has had";
      begin_a_thousand_tasks(first_address(serving), muxer);
      const Ended asked = run({"run", "--peer", serving.address, "still here"});
      EXPECT_EQ(asked.output, "Processed: still here\n") << asked.errors;
      EXPECT_LE(peak_memory(serving.process.pid()), limit) << muxer;
      EXPECT_GE(peak_memory(serving.process.pid()), before + limit / 4) << "it was no attack";
      serving.process.signal(SIGTERM);
      EXPECT_EQ(serving.process.wait(), 0);
      EXPECT_NE(serving.process.errors.find("memory"), std::string::npos) << serving.process.errors;
    }
  }
}

}  // namespace
}  // namespace p2p::test
