// Whole agents on real sockets, and the program itself as a user starts it. mDNS stays on the loopback interface.

#include "base/limits.hpp"
#include "network/protocol.hpp"
#include "p2p_agents.hpp"
#include "support/program.hpp"
#include "support/task_vector.hpp"
#include "support/temporary.hpp"
#include "task/receipt.hpp"

#include <gtest/gtest.h>
#include <boost/asio/post.hpp>
#include <csignal>
#include <map>
#include <set>
#include <thread>

namespace p2p::test {
namespace {

TEST(Program, FindsAProviderAndPrintsItsAnswer) {
  Serving provider;
  const Ended result = run({"run", "--peer", provider.peer, "Hello, P2P AI!"});
  EXPECT_EQ(result.exit, 0) << result.errors;
  EXPECT_EQ(result.output, "Processed: Hello, P2P AI!\n");
  EXPECT_EQ(result.errors, "");
  const json::object task = parsed(provider.process.line_with("\"task\""));
  EXPECT_EQ(text_of(task, "status"), "completed");
  provider.process.signal(SIGTERM);
  EXPECT_EQ(provider.process.wait(), 0);
}

TEST(Program, AsksWhomeverItFinds) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving provider;
  const Ended result = run({"run", "--json", "anybody"});
  EXPECT_EQ(result.exit, 0) << result.errors;
  const json::object event = parsed(result.output);
  EXPECT_EQ(text_of(event, "event"), "result");
  EXPECT_EQ(text_of(event, "text"), "Processed: anybody");
  EXPECT_EQ(text_of(event, "executor"), "mock");
  EXPECT_TRUE(event.at("timings").get_object().contains("discover_ms"));
}

TEST(Program, EndsWithTheAnswerHoweverLongItWouldHaveLooked) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving provider;
  const auto start = std::chrono::steady_clock::now();
  const Ended result = run({"run", "--wait", "60", "anybody"});
  EXPECT_EQ(result.exit, 0) << result.errors;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(Program, ReadsThePromptFromStandardInput) {
  Serving provider;
  EXPECT_EQ(run({"run", "--peer", provider.address}, "from a pipe\n").output, "Processed: from a pipe\n");
  EXPECT_EQ(run({"run", "--peer", provider.address, "-"}, "two\nlines").output, "Processed: two\nlines\n");
}

TEST(Program, StreamsOverEachMuxer) {
  Serving provider({"--executor", "mock:delay=30,pieces=3"});
  for (const char* const muxer : {"yamux", "mplex", "mplex,yamux"}) {
    const Ended result = run({"run", "--stream", "--json", "--muxer", muxer, "--peer", provider.address, "in pieces"});
    EXPECT_EQ(result.exit, 0) << result.errors;
    std::string text;
    std::string last;
    std::size_t start = 0;
    for (std::size_t end; (end = result.output.find('\n', start)) != std::string::npos; start = end + 1) {
      last = result.output.substr(start, end - start);
      const json::object event = parsed(last);
      if (text_of(event, "event") == "update") text += text_of(event, "text");
    }
    EXPECT_EQ(text, "Processed: in pieces");
    EXPECT_EQ(text_of(parsed(last), "text"), text);
  }
}

TEST(Program, ListsAndPingsPeers) {
  Serving provider;
  const Ended peers = eventually(
      [] {
        return run({"peers", "--json", "--wait", "1"});
      },
      [](const Ended& ended) { return ended.exit == 0; });
  EXPECT_EQ(peers.exit, 0) << peers.errors;
  EXPECT_NE(peers.output.find(provider.peer), std::string::npos);
  EXPECT_NE(peers.output.find("\"executor\":\"mock\""), std::string::npos);
  const Ended ping = run({"ping", "--count", "2", "--json", provider.peer});
  EXPECT_EQ(ping.exit, 0) << ping.errors;
  EXPECT_NE(ping.output.find("\"received\":2"), std::string::npos);
}

TEST(Program, MeasuresAPeer) {
  Serving provider({"--perf", "--quiet", "--queue", "100"});  // nobody reads what it prints
  const Ended measured = run({"bench", "--json", "--pings", "5", "--tasks", "203", "--samples", "--total", "20", "--concurrency", "4",
                              "--connections", "6", "--parallel", "2", "--bulk", "1", provider.address});
  EXPECT_EQ(measured.exit, 0) << measured.errors;
  const json::object event = parsed(measured.output);
  EXPECT_EQ(text_of(event, "event"), "bench");
  EXPECT_EQ(text_of(event, "muxer"), "yamux");
  const auto counted = [&](const char* member) { return event.at(member).at("n").to_number<int>(); };
  EXPECT_EQ(counted("ping_ms"), 5);
  EXPECT_EQ(counted("task_seq_ms"), 3);
  EXPECT_EQ(event.at("task_seq_ms").at("samples").as_array().size(), 3U);
  EXPECT_EQ(event.at("task_conc").at("latency_ms").at("n").to_number<int>(), 16);
  EXPECT_EQ(counted("connect_ms"), 6);
  EXPECT_EQ(counted("first_byte_ms"), 6);
  EXPECT_GT(event.at("conn").at("per_s").to_number<double>(), 0);
  for (const char* const way : {"bulk_up", "bulk_down"}) EXPECT_EQ(event.at(way).at("bytes").to_number<int>(), 1024 * 1024);

  EXPECT_EQ(run({"bench", "--total", "8", "--concurrency", "4", provider.address}).exit, 2);
  const Ended short_round = run({"bench", provider.address});
  EXPECT_EQ(short_round.exit, 0) << short_round.errors;
  EXPECT_NE(short_round.output.find("bulk down"), std::string::npos) << short_round.output;
}

TEST(Program, MeasuresOnlyWhatItIsAskedFor) {
  Serving provider({"--perf", "--quiet"});
  const std::map<std::string, std::pair<std::vector<std::string>, std::set<std::string>>> figures{
      {"pings", {{"--pings", "3"}, {"ping_ms"}}},
      {"tasks", {{"--tasks", "201"}, {"task_seq_ms"}}},
      {"total", {{"--total", "20", "--concurrency", "1"}, {"task_conc"}}},
      {"connections", {{"--connections", "2"}, {"connect_ms", "first_byte_ms", "conn"}}},
      {"bulk", {{"--bulk", "1"}, {"bulk_up", "bulk_down"}}},
  };
  for (const auto& [name, asked] : figures) {
    std::vector<std::string> arguments{"bench", "--json", provider.peer};  // which mDNS finds
    arguments.insert(arguments.end(), asked.first.begin(), asked.first.end());
    const Ended measured = run(arguments);
    EXPECT_EQ(measured.exit, 0) << name << ": " << measured.errors;
    std::set<std::string> members;
    for (const auto& member : parsed(measured.output)) members.emplace(member.key());
    std::set<std::string> expected{"event", "muxer"};
    expected.insert(asked.second.begin(), asked.second.end());
    EXPECT_EQ(members, expected) << name;
  }
}

TEST(Program, TellsWhatItMeasuredBeforeItFailed) {
  Serving provider;  // without --perf
  const Ended measured = run({"bench", "--json", provider.address, "--pings", "3", "--bulk", "1"});
  EXPECT_EQ(measured.exit, 3) << measured.errors;
  EXPECT_NE(measured.errors.find("serve --perf"), std::string::npos) << measured.errors;
  const std::size_t end = measured.output.find('\n');
  EXPECT_EQ(parsed(measured.output.substr(0, end)).at("ping_ms").at("n").to_number<int>(), 3);
  EXPECT_EQ(text_of(parsed(measured.output.substr(end + 1)), "event"), "error");
  // What cannot be measured is known before anything is.
  const Ended refused = run({"bench", provider.address, "--pings", "3", "--total", "20", "--concurrency", "10"});
  EXPECT_EQ(refused.exit, 2);
  EXPECT_EQ(refused.output, "");
}

TEST(Program, MeasuresAsManyTasksAsItsConcurrencyNeeds) {
  Serving provider({"--queue", "600", "--slots", "600"});
  const Ended measured = run({"bench", "--json", provider.address, "--concurrency", "600"});
  EXPECT_EQ(measured.exit, 0) << measured.errors;
  const json::object figures = parsed(measured.output);
  EXPECT_EQ(figures.at("task_conc").at("total").to_number<int>(), 2400);
  EXPECT_TRUE(figures.at("bulk_up").is_null());  // it serves no perf
}

TEST(Program, HoldsConnectionsUntilItsInputEnds) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("pid");
  Serving provider;
  // The input is open for as long as a program lives that writes nothing into it.
  Process holder({"/bin/sh", "-c", "sh -c 'echo $$ > \"$0\"; exec sleep 1000' \"$0\" | exec \"$@\"", file, program, "bench", "--json",
                  "--pings", "2", "--hold", "3", "--total", "20", "--concurrency", "4", provider.address},
                 on_loopback);
  EXPECT_EQ(parsed(holder.line()).at("ping_ms").at("n").to_number<int>(), 2) << "told before what lasts";
  EXPECT_EQ(holder.line(), "{\"event\":\"held\",\"n\":3}");
  struct Input {
    pid_t writer;
    void end() { kill(std::exchange(writer, 0), SIGKILL); }
    ~Input() {
      if (writer != 0) end();
    }
  } input{std::stoi(content_of(file))};
  EXPECT_EQ(parsed(holder.line()).at("task_conc").at("latency_ms").at("n").to_number<int>(), 16);
  std::set<std::string> there;
  const auto take = [&](const std::string& line) {
    const json::object event = parsed(line);
    if (text_of(event, "event") == "connected") there.insert(text_of(event, "peer"));
    if (text_of(event, "event") == "disconnected") there.erase(text_of(event, "peer"));
  };
  EXPECT_EQ(run({"ping", "--count", "1", "--json", provider.address}).exit, 0);  // whose end is told last
  for (std::size_t ended = 0; ended < 3;) {
    const std::string line = provider.process.line();
    ASSERT_FALSE(line.empty());
    take(line);
    ended += text_of(parsed(line), "event") == "disconnected";
  }
  EXPECT_EQ(there.size(), 3U);
  input.end();
  EXPECT_EQ(holder.wait(), 0) << holder.errors;
  while (!there.empty()) {
    const std::string line = provider.process.line();
    ASSERT_FALSE(line.empty());
    take(line);
  }
}

TEST(Program, DoesNotMeasureWhatAPeerDoesNotServe) {
  Serving provider;
  const Ended refused = run({"bench", "--bulk", "1", provider.address});
  EXPECT_EQ(refused.exit, 3) << refused.output;
  EXPECT_NE(refused.errors.find("does not speak"), std::string::npos) << refused.errors;
}

TEST(Program, SaysThatNobodyWasFound) {
  const std::string nobody = KeyPair(std::array<std::uint8_t, 32>{1}).peer_id().text();
  const Ended result = run({"run", "--json", "--wait", "0.1", "--peer", nobody, "x"});
  EXPECT_EQ(result.exit, 3);
  const json::object event = parsed(result.output);
  EXPECT_EQ(text_of(event, "event"), "error");
  EXPECT_EQ(text_of(event, "reason"), "no_peer");
  EXPECT_NE(result.errors.find("check that"), std::string::npos);
}

TEST(Program, SaysThatNobodyIsListening) {
  std::string address;
  {
    Serving gone;
    address = gone.address;
  }
  const Ended result = run({"run", "--peer", address, "x"});
  EXPECT_EQ(result.exit, 4);
  EXPECT_NE(result.errors.find("could not connect"), std::string::npos);
}

TEST(Program, RefusesAnotherPeerThanTheOneAskedFor) {
  Serving provider;
  const std::string bare = provider.address.substr(0, provider.address.find("/p2p/"));
  const Ended result = run({"run", "--peer", bare + "/p2p/" + KeyPair(std::array<std::uint8_t, 32>{1}).peer_id().text(), "x"});
  EXPECT_EQ(result.exit, 7);
  EXPECT_EQ(run({"run", "--peer", bare, "x"}).exit, 0);
}

TEST(Program, FailsAtOnceWhenTheProviderIsKilled) {
  Serving provider({"--executor", "mock:delay=60000"});
  Process requester({program, "run", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_FALSE(provider.process.line_with("\"connected\"").empty());
  provider.wait_until_running();
  provider.process.signal(SIGKILL);
  EXPECT_EQ(requester.wait(), 4) << requester.errors;
}

TEST(Program, LetsTheProviderKeepToTheDeadline) {
  Serving provider({"--executor", "mock:delay=60000"});
  const Ended result = run({"run", "--json", "--timeout", "0.2", "--peer", provider.address, "x"});
  EXPECT_EQ(result.exit, 6);
  EXPECT_EQ(text_of(parsed(result.output).at("error").get_object(), "code"), "deadline_exceeded");
}

TEST(Program, PassesOnThatTheProviderIsBusy) {
  Serving provider({"--executor", "mock:delay=60000", "--slots", "1", "--queue", "0"});
  Process first({program, "run", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_FALSE(provider.process.line_with("\"connected\"").empty());
  provider.wait_until_running();
  const Ended result = run({"run", "--json", "--peer", provider.address, "y"});
  EXPECT_EQ(result.exit, 5);
  EXPECT_EQ(text_of(parsed(result.output).at("error").get_object(), "code"), "busy");
  first.signal(SIGINT);
  EXPECT_EQ(first.wait(), 130);
  EXPECT_EQ(text_of(parsed(provider.process.line_with("\"lost\"")), "status"), "lost");
}

TEST(Program, FinishesWhatRunsBeforeItStops) {
  Serving provider({"--executor", "mock:delay=4000"});
  Process requester({program, "run", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_FALSE(provider.process.line_with("\"connected\"").empty());
  provider.wait_until_running();
  provider.process.signal(SIGTERM);
  EXPECT_EQ(requester.wait(), 0) << requester.errors;
  EXPECT_EQ(provider.process.wait(), 0);
}

TEST(Program, TakesMistakesForUsageErrors) {
  const std::vector<std::vector<std::string>> mistakes{
      {},
      {"fly"},
      {"run", "--peer", "nobody", "x"},
      {"run", "--peer", "/ip4/127.0.0.1", "x"},
      {"run", "--peer", "/ip4/127.0.0.1/udp/4001", "x"},
      {"run", "--peer", "/ip4/127.0.0.1/tcp/0", "x"},
      {"run", "--peer", "/ip4/127.0.0.1/udp/4001/quic-v1", "x"},
      {"run", "--muxer", "spdy", "x"},
      {"run", "--wait", "-1", "x"},
      {"run", "--timeout", "0", "x"},
      {"run", "--interface", "nowhere0", "x"},
      {"run", "--log-level", "loud", "x"},
      {"ping"},
      {"serve", "--listen", "/ip4/127.0.0.1"},
      {"serve", "--executor", "magic"},
      {"serve", "--slots", "0"},
  };
  for (const std::vector<std::string>& mistake : mistakes) {
    const Ended result = run(mistake);
    EXPECT_EQ(result.exit, 2) << (mistake.empty() ? "" : mistake.back()) << result.errors;
    EXPECT_EQ(result.output, "");
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  }
}

TEST(Program, HelpsInAScreen) {
  for (const char* const command : {"serve", "run", "models", "peers", "ping", "bench", "id", "verify"}) {
    const Ended result = run({command, "--help"});
    EXPECT_EQ(result.exit, 0);
    EXPECT_LE(std::count(result.output.begin(), result.output.end(), '\n'), 40) << result.output;
    EXPECT_NE(result.output.find("Exit codes"), std::string::npos);
  }
  EXPECT_NE(run({"--version"}).output.find(task_protocol), std::string::npos);
  EXPECT_EQ(run({"id"}).output.substr(0, 8), "12D3KooW");
}

TEST(Program, TellsAPeerThatRunsNoTasksFromNone) {
  System system;
  AgentOptions options;
  options.listen = {Multiaddr::tcp("127.0.0.1", 0).value()};
  options.mdns = false;
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  Ended result{};
  const auto course = [&]() -> Awaitable<void> {
    agent.start();
    co_await system.environment().pool.run([&] { result = run({"run", "--peer", agent.addresses().front().text(), "x"}); });
    co_await agent.stop();
  };
  system.run(course());
  EXPECT_EQ(result.exit, 3) << result.errors;
  EXPECT_NE(result.errors.find("does not run tasks"), std::string::npos) << result.errors;
}

TEST(Program, VerifiesAReceipt) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("receipt");
  const std::string receipt(as_text(make_receipt(ByteView(task_frame).subspan(2), ByteView(result_frame).subspan(2))));
  write_file(file, receipt);
  const Ended shown = run({"verify", file});
  EXPECT_EQ(shown.exit, 0) << shown.errors;
  for (const std::string_view part : {requester_id, provider_id, vector_id, std::string_view("\n  Hello, P2P AI!\n"),
                                      std::string_view("\n  Processed: Hello, P2P AI!\n"), std::string_view("2026-01-17T10:30:01Z")}) {
    EXPECT_NE(shown.output.find(part), std::string::npos) << part << " is not in\n" << shown.output;
  }
  const Ended piped = run({"verify", "--json", "-"}, receipt);
  EXPECT_EQ(piped.exit, 0) << piped.errors;
  const json::object event = parsed(piped.output);
  EXPECT_EQ(text_of(event, "event"), "receipt");
  EXPECT_EQ(text_of(event, "requester"), requester_id);
  EXPECT_EQ(text_of(event, "provider"), provider_id);
  EXPECT_EQ(text_of(event, "task_id"), vector_id);
  EXPECT_EQ(text_of(event, "task_type"), "inference");
  EXPECT_EQ(text_of(event, "asked"), "2026-01-17T10:30:00Z");
  EXPECT_EQ(text_of(event, "answered"), "2026-01-17T10:30:01Z");
  EXPECT_EQ(text_of(event, "prompt"), "Hello, P2P AI!");
  EXPECT_EQ(text_of(event, "status"), "completed");
  EXPECT_EQ(text_of(event, "executor"), "mock");
  EXPECT_EQ(text_of(event, "text"), "Processed: Hello, P2P AI!");
  EXPECT_TRUE(event.at("addressed").get_bool());
}

TEST(Program, RefusesAReceiptThatDoesNotHold) {
  std::string receipt(as_text(make_receipt(ByteView(task_frame).subspan(2), ByteView(result_frame).subspan(2))));
  receipt.back() = static_cast<char>(receipt.back() ^ 1);
  const Ended refused = run({"verify", "--json", "-"}, receipt);
  EXPECT_EQ(refused.exit, 7);
  EXPECT_EQ(text_of(parsed(refused.output), "event"), "error");
  EXPECT_EQ(text_of(parsed(refused.output), "reason"), "verify");
  EXPECT_NE(refused.errors.find("the result's signature does not hold"), std::string::npos) << refused.errors;
  const TemporaryDirectory directory;
  EXPECT_EQ(run({"verify", directory.file("none")}).exit, 2);
  EXPECT_EQ(run({"verify", directory.path()}).exit, 2);
  EXPECT_EQ(run({"verify"}).exit, 2);
}

TEST(Program, TakesAReceiptOfATaskForAnybodyOnlyWhenTold) {
  const KeyPair asking = requester();
  const std::string task =
      R"({"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","task_type":"inference","input":{"temperature":1e-9,"messages":)"
      R"([{"role":"user","content":"one\ntwo"}]},"timestamp":"2026-01-17T10:30:00Z"})";
  TaskResult result = parse_result(as_bytes(result_payload)).value();
  result.task_sha256 = task_hash(as_bytes(task));
  result.text = "a line\nasked by nobody\x1b[2J";
  const Bytes bytes =
      make_receipt(seal_message(asking, MessageKind::task, task), seal_message(provider(), MessageKind::result, result.to_json()));
  const std::string receipt(as_text(bytes));
  const Ended refused = run({"verify", "-"}, receipt);
  EXPECT_EQ(refused.exit, 7);
  EXPECT_NE(refused.errors.find("--unaddressed"), std::string::npos);
  const Ended taken = run({"verify", "--unaddressed", "-"}, receipt);
  EXPECT_EQ(taken.exit, 0) << taken.errors;
  EXPECT_NE(taken.output.find("\n  a line\n  asked by nobody\\x1b[2J\n"), std::string::npos) << taken.output;
  const json::object event = parsed(run({"verify", "--unaddressed", "--json", "-"}, receipt).output);
  EXPECT_FALSE(event.at("addressed").get_bool());
  EXPECT_EQ(text_of(event, "prompt"), "one\ntwo");
  EXPECT_EQ(event.at("input").get_object().at("temperature").get_double(), 1e-9);
}

TEST(Program, KeepsAnIdentityInAFile) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("identity");
  const Ended made = run({"id", "--identity", file});
  EXPECT_EQ(made.exit, 0) << made.errors;
  EXPECT_EQ(run({"id", "--identity", file}).output, made.output);
  EXPECT_NE(run({"id"}).output, made.output);
  std::filesystem::permissions(file, std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  const Ended refused = run({"id", "--identity", file});
  EXPECT_EQ(refused.exit, 2);
  EXPECT_NE(refused.errors.find("chmod 600 " + file), std::string::npos) << refused.errors;
}

TEST(Library, SaysWhereItListensWhenItListensEverywhere) {
  System system;
  AgentOptions options;
  options.listen = {Multiaddr::tcp("0.0.0.0", 0).value(), Multiaddr::tcp("127.0.0.1", 0).value()};
  options.mdns = false;
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  std::vector<std::string> addresses;
  const std::function<Awaitable<void>()> look = [&]() -> Awaitable<void> {
    for (const Multiaddr& address : agent.addresses()) addresses.push_back(address.text());
    co_return;
  };
  system.run(agent.run(look));
  const auto on_loopback_interface = [](const std::string& address) { return address.starts_with("/ip4/127.0.0.1/tcp/"); };
  EXPECT_GE(std::count_if(addresses.begin(), addresses.end(), on_loopback_interface), 2);
  for (const std::string& address : addresses) EXPECT_FALSE(address.starts_with("/ip4/0.0.0.0/")) << address;
}

/// Two agents of the library, on real sockets, each on a thread of its own.
TEST(Library, ExchangesATaskBetweenTwoLoops) {
  for (const char* const ip : {"127.0.0.1", "::1"}) {
    System provider_system;
    AgentOptions options;
    options.listen = {Multiaddr::tcp(ip, 0).value()};
    options.mdns = false;
    Agent provider_agent(provider_system.environment(), KeyPair::generate(provider_system.random()), options);
    MockExecutor executor;
    Provider provider(provider_agent, executor);
    try {
      provider_agent.start();
    } catch (const boost::system::system_error& error) {
      GTEST_SKIP() << "no " << ip << " here: " << error.what();
    }
    const std::vector<Multiaddr> addresses = provider_agent.addresses();
    Latch stop(provider_system.loop());
    const auto serving = [&]() -> Awaitable<void> {
      co_await stop.wait();
      co_await provider.shut_down(seconds(1));
      co_await provider_agent.stop();
    };
    std::thread thread([&] { provider_system.run(serving()); });

    System system;
    AgentOptions none;
    none.mdns = false;
    Agent agent(system.environment(), KeyPair::generate(system.random()), none);
    TaskManager manager(agent);
    std::string text;
    const auto asking = [&]() -> Awaitable<void> {
      agent.start();
      const Connection* const connection = co_await agent.connect(addresses);
      const PeerId peer = connection->peer();
      // Large enough that both signatures are made on the worker pool.
      Task task = manager.make_task(std::string(2 * limits::pool_threshold, 'x'));
      const Answer answer = co_await manager.submit(peer, std::move(task));
      text = *answer.result.text;
      co_await agent.stop();
    };
    system.run(asking());
    EXPECT_EQ(text, "Processed: " + std::string(2 * limits::pool_threshold, 'x'));
    // Work for another loop is posted to it.
    boost::asio::post(provider_system.loop(), [&stop] { stop.open(); });
    thread.join();
  }
}

}  // namespace
}  // namespace p2p::test
