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

TEST(Limits, OfMemoryHoldWhateverPeersSend) {
  if (__sanitizer_get_current_allocated_bytes != nullptr) GTEST_SKIP() << "a sanitizer takes memory of its own";
  for (const std::string& muxer : {std::string(yamux_protocol), std::string(mplex_protocol)}) {
    Serving serving({"--max-memory", "96M", "--listen", on_127});
    const std::size_t before = peak_memory(serving.process.pid());
    if (before == 0) GTEST_SKIP() << "nobody says here how much memory a process has had";
    const Multiaddr address = first_address(serving);

    System system;
    const auto attack = [&]() -> Awaitable<void> {
      AgentOptions options;
      options.mdns = false;
      options.muxers = {muxer};
      for (int connection = 0; connection < 4; ++connection) {
        Agent agent(system.environment(), KeyPair::generate(system.random()), options);
        const auto flood = [&]() -> Awaitable<void> {
          std::vector<Multiaddr> addresses(1, address);
          const PeerId peer = (co_await agent.connect(addresses))->peer();
          TaskGroup group(system.loop());
          std::size_t under_way = 0;
          const auto begin = [&](Stream stream) -> Awaitable<void> {
            Bytes bytes;
            put_uvarint(bytes, limits::task_frame);
            bytes.resize(limits::task_frame);  // one byte is missing, then two
            ++under_way;
            try {
              co_await stream.write(bytes);
              co_await stream.read();
            } catch (const boost::system::system_error&) {
            }
          };
          for (int i = 0; i < 100; ++i) group.spawn(begin(agent.open_stream_lazily(peer, std::string(task_protocol))));
          co_await group.join();  // until it is let go
          EXPECT_EQ(under_way, 100U);
        };
        const std::function<Awaitable<void>()> work = flood;
        co_await agent.run(work);
      }
    };
    system.run(attack());
    const Ended asked = run({"run", "--peer", serving.address, "still here"});
    EXPECT_EQ(asked.output, "Processed: still here\n") << asked.errors;
    EXPECT_LE(peak_memory(serving.process.pid()), before + limits::memory_least) << muxer;
    EXPECT_GE(peak_memory(serving.process.pid()), before + limits::memory_least / 4) << "it was no attack";
    serving.process.signal(SIGTERM);
    EXPECT_EQ(serving.process.wait(), 0);
    EXPECT_NE(serving.process.errors.find("memory"), std::string::npos) << serving.process.errors;
  }
}

}  // namespace
}  // namespace p2p::test
