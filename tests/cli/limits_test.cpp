// What somebody on the network can do to `p2p-agent serve`.

#include "base/limits.hpp"
#include "base/coding.hpp"
#include "network/agent.hpp"
#include "network/protocol.hpp"
#include "network/system.hpp"
#include "support/heap.hpp"
#include "support/program.hpp"
#include "support/temporary.hpp"
#include "task/manager.hpp"
#include "task/message.hpp"
#include "wire/multistream.hpp"

#include <unistd.h>
#include <optional>
#include <sstream>
#include <thread>

namespace p2p::test {
namespace {

const std::string on_127 = "/ip4/127.0.0.1/tcp/0";

Multiaddr first_address(const Serving& serving) { return Multiaddr::from_text(serving.address).value(); }

// What Linux says of a process, and of a port. Elsewhere nothing.

std::size_t descriptors_of(int pid) {
  std::error_code error;
  const std::filesystem::directory_iterator all("/proc/" + std::to_string(pid) + "/fd", error);
  return error ? 0 : static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// What it has had of the processors so far, with all its threads.
std::chrono::milliseconds processor_time_of(int pid) {
  const std::string line = content_of("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  long in_user_mode = 0;
  long in_kernel_mode = 0;
  fields >> in_user_mode >> in_kernel_mode;
  return std::chrono::milliseconds((in_user_mode + in_kernel_mode) * 1000 / sysconf(_SC_CLK_TCK));
}

/// Connections to a port that are there, and how many of them were not accepted yet. They are accepted in the order in which they came.
struct Visitors {
  std::size_t connected = 0;
  std::size_t waiting = 0;
};

Visitors visitors_of(std::uint16_t port) {
  Visitors visitors;
  std::istringstream table(content_of("/proc/net/tcp"));
  std::string line;
  std::getline(table, line);  // the names of the columns
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string number, local, remote, state, queues;
    fields >> number >> local >> remote >> state >> queues;
    if (std::stoul(local.substr(local.find(':') + 1), nullptr, 16) != port) continue;
    if (state == "01") ++visitors.connected;
    if (state == "0A") visitors.waiting = std::stoul(queues.substr(queues.find(':') + 1), nullptr, 16);
  }
  return visitors;
}

TEST(Limits, ThatAreReachedWithDescriptorsAreWaitedOut) {
  constexpr std::size_t limit = 40;  // `serve` needs some of these itself
  constexpr std::size_t attackers = 60;
  const std::string limited = "ulimit -n " + std::to_string(limit) + "; exec \"$@\"";
  // UndefinedBehaviorSanitizer needs descriptors to look at types, and finds them wrong without.
  std::vector<std::string> variables = on_loopback;
  variables.emplace_back("UBSAN_OPTIONS=halt_on_error=0");
  Process serve({"/bin/sh", "-c", limited, "sh", program, "serve", "--json", "--no-mdns", "--listen", on_127}, variables);
  const json::object event = parsed(serve.line());
  const std::string address = event.at("addrs").as_array().at(0).as_string().c_str();
  const Multiaddr target = Multiaddr::from_text(address).value();
  const std::uint16_t port = tcp_address(target).value().port;
  System system;
  const Environment& environment = system.environment();
  std::vector<std::unique_ptr<ByteStream>> silent;
  const auto attack = [&]() -> Awaitable<void> {
    for (std::size_t i = 0; i < attackers; ++i) {
      silent.push_back(environment.transport.dial(target));
      co_await silent.back()->connect(seconds(5));
    }
  };
  const auto begun = std::chrono::steady_clock::now();
  system.run(attack());
  // Somebody comes while there is no descriptor for it, behind others that wait already.
  Process run({program, "run", "--peer", address, "still here"}, on_loopback);
  if (std::filesystem::exists("/proc/net/tcp")) {
    const auto look = [port] { return usleep(20'000), visitors_of(port); };
    const auto all_there = [](const Visitors& seen) { return seen.connected == attackers + 1 && seen.waiting > 1; };
    EXPECT_EQ(eventually(look, all_there).connected, attackers + 1);
    // For a second it is tried again and again, but not without a pause.
    const auto before = std::chrono::steady_clock::now();
    const std::chrono::milliseconds used_before = processor_time_of(serve.pid());
    usleep(1'000'000);
    const std::chrono::milliseconds used = processor_time_of(serve.pid()) - used_before;
    EXPECT_LT(used, (std::chrono::steady_clock::now() - before) / 4);
    const Visitors still = visitors_of(port);
    const std::size_t descriptors = descriptors_of(serve.pid());  // which root alone may see
    if (std::chrono::steady_clock::now() - begun > limits::handshake - seconds(1)) GTEST_SKIP() << "this machine is too slow for it";
    EXPECT_EQ(still.connected, attackers + 1);
    EXPECT_GT(still.waiting, 1U) << "it was no shortage";
    EXPECT_TRUE(descriptors == limit || descriptors == 0) << descriptors;
  }

  silent.clear();
  EXPECT_EQ(run.wait(), 0) << run.errors;
  EXPECT_EQ(run.output, "Processed: still here\n");
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.errors;
  EXPECT_NE(serve.errors.find(std::string("have to wait: ") + std::strerror(EMFILE)), std::string::npos) << serve.errors;
  EXPECT_EQ(serve.errors.find("have to wait"), serve.errors.rfind("have to wait")) << serve.errors;
}

TEST(Limits, OfDescriptorsAreRaisedForAsManyConnectionsAndTasksOrSaid) {
  const auto serving = [](const std::string& limits, const std::string& connections) {
    return Process({"/bin/sh", "-c", limits + "; exec \"$@\"", "sh", program, "serve", "--json", "--no-mdns", "--listen", on_127,
                    "--max-connections", connections, "--slots", "90"},
                   on_loopback);
  };
  Process raised = serving("ulimit -Sn 100", "200");
  raised.line();
  const std::string all = content_of("/proc/" + std::to_string(raised.pid()) + "/limits");
  if (!all.empty()) {
    std::istringstream line(all.substr(all.find("Max open files") + 14));
    std::size_t soft = 0;
    line >> soft;
    EXPECT_GE(soft, 200U + limits::pending_handshakes + 90 * 3 + descriptors_besides);
  }
  raised.signal(SIGTERM);
  EXPECT_EQ(raised.wait(), 0);
  EXPECT_EQ(raised.errors.find("ulimit"), std::string::npos) << raised.errors;
  Process limited = serving("ulimit -n 100", "200");
  limited.line();
  limited.signal(SIGTERM);
  EXPECT_EQ(limited.wait(), 0);
  EXPECT_NE(limited.errors.find("lets this program open 100 files"), std::string::npos) << limited.errors;
  const Serving peer;
  Process holder({"/bin/sh", "-c", "ulimit -n 100; exec \"$@\"", "sh", program, "bench", "--hold", "200", peer.address}, on_loopback);
  EXPECT_EQ(holder.wait(), 2) << holder.errors;
}

std::size_t memory_of(int pid, const std::string& which) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(which)) return std::stoull(line.substr(which.size())) * 1024;
  }
  return 0;
}
std::size_t peak_memory(int pid) { return memory_of(pid, "VmHWM:"); }
std::size_t own_memory(int pid) { return memory_of(pid, "RssAnon:"); }

/// Four peers begin a task of 4 MiB on each of 250 streams, and leave its last bytes out. Until all of it is let go.
Awaitable<void> begin_a_thousand_tasks(System& system, Multiaddr address, std::string muxer) {
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
  TaskGroup peers(system.loop());
  for (int i = 0; i < 4; ++i) peers.spawn(peer());
  co_await peers.join();
  EXPECT_EQ(begun, 1000U);
}

TEST(Limits, MemoryOfLargeTasksGoesBackWhenTheyAreDone) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer takes memory of its own";
  constexpr std::size_t rest = 6 * 1024 * 1024;  // of the heap, among what stays
  Serving serving({"--max-memory", "1G", "--listen", on_127});
  const std::size_t before = own_memory(serving.process.pid());
  if (before == 0) GTEST_SKIP() << "nobody says here how much memory a process has";
  const Ended tasks = run({"bench", serving.address, "--prompt-bytes", "1000000", "--total", "72", "--concurrency", "32", "--json"});
  EXPECT_EQ(tasks.exit, 0) << tasks.errors;
  EXPECT_GE(peak_memory(serving.process.pid()), before + 2 * (limits::results_kept_bytes + rest)) << "there was little to give back";
  const std::size_t after = eventually(
      [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return own_memory(serving.process.pid());
      },
      [&](std::size_t now) { return now <= before + limits::results_kept_bytes + rest; });
  EXPECT_LE(after, before + limits::results_kept_bytes + rest);
}

TEST(Limits, OfMemoryHoldWhateverPeersSend) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer takes memory of its own";
  for (const std::string& muxer : {std::string(yamux_protocol), std::string(mplex_protocol)}) {
    for (const std::size_t limit : {limits::memory_least, limits::memory}) {
      Serving serving({"--max-memory", std::to_string(limit >> 20) + "M", "--listen", on_127});
      const std::size_t before = peak_memory(serving.process.pid());
      if (before == 0) GTEST_SKIP() << "nobody says here how much memory a process has had";
      System system;
      system.run(begin_a_thousand_tasks(system, first_address(serving), muxer));
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

/// Four connections of one requester ask for the result of a task that is done, each on 250 streams, and read nothing. Returns what
/// somebody else's task ends with meanwhile.
Ended ask_again_and_again(const Serving& serving, bool streamed) {
  System system;
  crypto::Key seed{};
  system.random().fill(seed);
  const KeyPair keys(seed);
  AgentOptions options;
  options.mdns = false;
  std::vector<std::unique_ptr<Agent>> agents;
  for (int i = 0; i < 4; ++i) agents.push_back(std::make_unique<Agent>(system.environment(), KeyPair(seed), options));
  Ended meanwhile{};
  const auto attack = [&]() -> Awaitable<void> {
    const std::vector<Multiaddr> addresses(1, first_address(serving));
    for (const auto& agent : agents) {
      agent->start();
      co_await agent->connect(addresses);
    }
    const PeerId provider = PeerId::from_text(serving.peer).value();
    Task task = TaskManager(*agents.front()).make_task("x");
    task.stream = streamed;
    const Bytes envelope = seal_message(keys, MessageKind::task, task.to_json());
    Stream first = co_await agents.front()->open_stream(provider, std::string(task_protocol));
    co_await write_frame(first, envelope);
    first.close_write();
    while (co_await read_frame(first, limits::task_frame)) {
    }
    std::vector<Stream> streams;
    try {
      for (int i = 0; i < 250; ++i) {
        for (const auto& agent : agents) {
          streams.push_back(agent->open_stream_lazily(provider, std::string(task_protocol)));
          co_await write_frame(streams.back(), envelope);
        }
      }
      for (const auto& agent : agents) co_await agent->ping(provider);
    } catch (const boost::system::system_error&) {
      // the provider ended a connection
    }
    EXPECT_GE(streams.size(), 500U);
    meanwhile = run({"run", "--peer", serving.address, "--model", "flood", "y"});
    streams.clear();
    for (const auto& agent : agents) co_await agent->stop();
  };
  system.run(attack());
  return meanwhile;
}

TEST(Limits, OfMemoryHoldWhateverResultsAreAskedForAgain) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer takes memory of its own";
  constexpr std::size_t limit = limits::memory_least;
  for (const bool streamed : {false, true}) {
    Serving serving({"--max-memory", std::to_string(limit >> 20) + "M", "--listen", on_127, "--allow-any", "--as", "flood", "--", "sh",
                     "-c", "head -c 2000000 /dev/zero | tr '\\0' x"});
    if (peak_memory(serving.process.pid()) == 0) GTEST_SKIP() << "nobody says here how much memory a process has had";
    const Ended meanwhile = ask_again_and_again(serving, streamed);
    EXPECT_EQ(meanwhile.exit, 0) << meanwhile.errors;
    EXPECT_EQ(meanwhile.output.size(), 2'000'001U);
    EXPECT_LE(peak_memory(serving.process.pid()), limit) << (streamed ? "streamed" : "at once");
    serving.process.signal(SIGTERM);
    EXPECT_EQ(serving.process.wait(), 0) << serving.process.errors;
  }
}

/// As many handshakes as an address may have unfinished, each up to the last byte of the largest frame.
Awaitable<void> begin_handshakes(System& system, Multiaddr address, std::vector<std::unique_ptr<ByteStream>>& held) {
  Bytes unfinished = multistream::Dialer({"/noise"}).take_output();
  unfinished.resize(unfinished.size() + 2, 0xff);
  unfinished.resize(unfinished.size() + limits::noise_frame - 1);
  for (std::size_t i = 0; i < limits::pending_handshakes_address; ++i) {
    held.push_back(system.environment().transport.dial(address));
    ByteStream& channel = *held.back();
    co_await channel.connect(seconds(5));
    co_await channel.write(unfinished);
  }
}

/// A requester of tasks whose results it asks for again.
class Hoarder {
 public:
  Hoarder(System& system, Multiaddr address) : agent_(system.environment(), KeyPair::generate(system.random()), options()) {
    addresses_.push_back(std::move(address));
  }

  Awaitable<void> connect() {
    agent_.start();
    provider_ = (co_await agent_.connect(addresses_))->peer();
  }
  bool is_connected() { return agent_.connection_to(*provider_) != nullptr; }
  /// Has a task run whose output is as large as its prompt says. Returns when its result is there.
  Awaitable<void> have_run(std::size_t size, bool streamed) {
    Task task = TaskManager(agent_).make_task(std::to_string(size));
    task.stream = streamed;
    envelope_ = seal_message(agent_.identity(), MessageKind::task, task.to_json());
    Stream stream = agent_.open_stream_lazily(*provider_, std::string(task_protocol));
    co_await write_frame(stream, envelope_);
    stream.close_write();
    while (co_await read_frame(stream, limits::task_frame)) {
    }
  }
  /// For the last result, on as many streams as may follow a task. Reads nothing of it.
  Awaitable<void> ask_again() {
    for (std::size_t i = 0; i < limits::task_followers; ++i) {
      streams_.push_back(agent_.open_stream_lazily(*provider_, std::string(task_protocol)));
      co_await write_frame(streams_.back(), envelope_);
    }
    co_await agent_.ping(*provider_);
  }
  Awaitable<void> leave() {
    streams_.clear();
    co_await agent_.stop();
  }

 private:
  static AgentOptions options() {
    AgentOptions options;
    options.mdns = false;
    return options;
  }

  Agent agent_;
  std::vector<Multiaddr> addresses_;
  std::optional<PeerId> provider_;
  Bytes envelope_;
  std::vector<Stream> streams_;
};

// Both shares, and what counts for neither: handshakes (17 MiB) and results that are remembered (16 MiB).
TEST(Limits, OfMemoryHoldWhenAllOfThemAreReachedAtOnce) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer takes memory of its own";
  constexpr std::size_t limit = limits::memory_least;
  constexpr std::size_t result = 2'000'000;
  constexpr std::size_t smaller = 1'000'000;  // has room beside the half of the share that its host has taken
  for (const std::string& muxer : {std::string(yamux_protocol), std::string(mplex_protocol)}) {
    Serving serving({"--max-memory", std::to_string(limit >> 20) + "M", "--listen", on_127, "--listen", "/ip6/::1/tcp/0", "--allow-any",
                     "--as", "flood", "--", "sh", "-c", "read -r size; head -c \"$size\" /dev/zero | tr '\\0' x"});
    ASSERT_EQ(serving.addresses.size(), 2U);
    const std::size_t before = peak_memory(serving.process.pid());
    if (before == 0) GTEST_SKIP() << "nobody says here how much memory a process has had";
    System system;
    std::vector<std::unique_ptr<Hoarder>> hoarders;  // on two hosts, since one has no more than half of what there is for tasks
    for (const std::string& address : serving.addresses) {
      hoarders.push_back(std::make_unique<Hoarder>(system, Multiaddr::from_text(address).value()));
    }
    std::vector<std::unique_ptr<ByteStream>> handshakes;
    std::chrono::steady_clock::duration held{};
    const auto attack = [&]() -> Awaitable<void> {
      for (const auto& hoarder : hoarders) {
        co_await hoarder->connect();
        for (std::size_t i = 0; i < limits::memory_share(limit) / 2 / (2 * result); ++i) {
          co_await hoarder->have_run(result, true);
          co_await hoarder->ask_again();
        }
      }
      // Others take their place among those that are remembered.
      for (std::size_t i = 0; i <= limits::results_kept_bytes / smaller; ++i) co_await hoarders.front()->have_run(smaller, false);
      const auto begun = std::chrono::steady_clock::now();
      for (const std::string& address : serving.addresses) {
        co_await begin_handshakes(system, Multiaddr::from_text(address).value(), handshakes);
      }
      co_await begin_a_thousand_tasks(system, first_address(serving), muxer);
      held = std::chrono::steady_clock::now() - begun;
      for (const auto& hoarder : hoarders) EXPECT_TRUE(hoarder->is_connected());
      const Ended asked = run({"run", "--peer", serving.address, "5"});
      EXPECT_EQ(asked.output, "xxxxx\n") << asked.errors;
      for (const auto& hoarder : hoarders) co_await hoarder->leave();
    };
    system.run(attack());
    const std::size_t peak = peak_memory(serving.process.pid());
    EXPECT_LE(peak, limit) << muxer;
    if (held > limits::handshake - seconds(1)) GTEST_SKIP() << "this machine is too slow for it";
    EXPECT_GE(peak, before + limit / 4 * 3) << "it was no attack";
    serving.process.signal(SIGTERM);
    EXPECT_EQ(serving.process.wait(), 0);
    EXPECT_NE(serving.process.errors.find("memory"), std::string::npos) << serving.process.errors;
  }
}

TEST(Limits, OfTheLogHoldWhileNoReceiptCanBeKept) {
  const TemporaryDirectory directory;
  const std::string kept = directory.file("kept");
  Serving serving({"--receipts", kept, "--listen", on_127});
  std::filesystem::remove(kept);
  System system;
  AgentOptions options;
  options.mdns = false;
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  const auto begun = std::chrono::steady_clock::now();
  const auto ask = [&]() -> Awaitable<void> {
    const std::vector<Multiaddr> addresses(1, first_address(serving));
    const PeerId provider = (co_await agent.connect(addresses))->peer();
    TaskManager manager(agent);
    for (int i = 0; i < 4 * limits::log_burst; ++i) {
      const Answer answer = co_await manager.submit(provider, manager.make_task("x"));
      EXPECT_EQ(answer.result.status, Status::failed);
    }
  };
  system.run(agent.run(ask));
  serving.process.signal(SIGTERM);
  EXPECT_EQ(serving.process.wait(), 0);
  const std::string& errors = serving.process.errors;
  int told = 0;
  for (std::size_t at = errors.find("could not be kept"); at != std::string::npos; at = errors.find("could not be kept", at + 1)) ++told;
  EXPECT_GE(told, limits::log_burst);
  EXPECT_LE(told, limits::log_burst + (std::chrono::steady_clock::now() - begun) / limits::log_pace + 1);
}

}  // namespace
}  // namespace p2p::test
