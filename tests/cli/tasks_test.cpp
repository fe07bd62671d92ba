// serve, run and models, as users combine them.

#include "base/limits.hpp"
#include "support/heap.hpp"
#include "support/program.hpp"
#include "support/small_disk.hpp"
#include "support/temporary.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <map>
#include <sstream>
#include <thread>

namespace p2p::test {
namespace {

/// The arguments of a provider whose command is a line of shell.
std::vector<std::string> script(const std::string& name, const std::string& line, std::vector<std::string> more = {"--allow-any"}) {
  more.insert(more.end(), {"--as", name, "--", "sh", "-c", line});
  return more;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Serve, RunsACommandForWhoeverAsksByItsName) {
  Serving provider(script("shout", "tr a-z A-Z"));
  EXPECT_EQ(run({"run", "--peer", provider.address, "--model", "shout", "hello"}).output, "HELLO\n");
  const Ended answer = run({"run", "--json", "--peer", provider.address, "hello"});  // it is all there is
  EXPECT_EQ(answer.exit, 0) << answer.errors;
  const json::object event = parsed(answer.output);
  EXPECT_EQ(text_of(event, "executor"), "command");
  EXPECT_EQ(text_of(event, "model"), "shout");
  const Ended other = run({"run", "--json", "--peer", provider.address, "--model", "whisper", "hello"});
  EXPECT_EQ(other.exit, 5);
  EXPECT_EQ(text_of(parsed(other.output).at("error").get_object(), "code"), "unsupported_model");
}

TEST(Serve, RunsACommandWithTheArgumentsThatWereTyped) {
  // All that an option parser could take for its own.
  Serving provider({"--allow-any", "--as", "show", "--", "printf", "%s|", "[:lower:]", "[a,b]", "[]", "--json", "--", "-x", ""});
  EXPECT_EQ(run({"run", "--peer", provider.address, "hello"}).output, "[:lower:]|[a,b]|[]|--json|--|-x||\n");
  const Ended misplaced = run({"serve", "--allow-any", "--as", "show", "printf", "x"});
  EXPECT_EQ(misplaced.exit, 2);
  EXPECT_NE(misplaced.errors.find("put `--` before the command"), std::string::npos) << misplaced.errors;
}

TEST(Serve, StaysWhenItsTerminalIsGoneIfItWasStartedToAndGoesOtherwise) {
  Process stays({"/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", program, "serve", "--json"}, on_loopback);
  const std::string address = parsed(stays.line()).at("addrs").as_array().at(0).as_string().c_str();
  stays.signal(SIGHUP);
  EXPECT_EQ(run({"run", "--peer", address, "hello"}).output, "Processed: hello\n");
  stays.signal(SIGTERM);
  EXPECT_EQ(stays.wait(), 0);
  Serving goes({"--allow", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"});
  goes.process.signal(SIGHUP);
  EXPECT_EQ(goes.process.wait(), 0);
}

TEST(Serve, ListensOnTheInterfacesThatAreNamed) {
  for (const std::string listen : {"/ip4/0.0.0.0/tcp/0", "/ip4/127.0.0.1/tcp/0"}) {
    Serving provider({"--interface", "lo", "--listen", listen});
    EXPECT_TRUE(provider.address.starts_with("/ip4/127.0.0.1/tcp/")) << provider.address;
  }
  for (const bool any : {true, false}) {
    std::vector<std::string> arguments{"serve", "--no-mdns", "--interface", "no-such"};
    if (any) arguments.insert(arguments.end(), {"--listen", "/ip4/0.0.0.0/tcp/0"});
    const Ended refused = run(arguments);
    EXPECT_EQ(refused.exit, 2);
    EXPECT_NE(refused.errors.find("no network interface 'no-such'"), std::string::npos) << refused.errors;
  }
}

TEST(Serve, RefusesOptionsThatWouldDoNothing) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> all{
      {{"--receipts-max", "1G"}, "goes with --receipts"},
      {{"--openai-key-file", "/dev/null"}, "goes with --executor openai:"},
      {{"--max-output", "5M"}, "4M at most"},
      {{"--max-input", "5M"}, "4M at most"},
  };
  for (const auto& [options, why] : all) {
    std::vector<std::string> arguments{"serve"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Ended refused = run(arguments);
    EXPECT_EQ(refused.exit, 2) << why;
    EXPECT_NE(refused.errors.find(why), std::string::npos) << refused.errors;
  }
}

TEST(Run, SaysWhyNobodyHereTakesTheTask) {
  if (!alone) GTEST_SKIP() << "others are on this network";
  {
    const Serving provider({"--executor", "summary=mock"});
    const Ended ended = run({"run", "hello"});
    EXPECT_EQ(ended.exit, 3);
    EXPECT_NE(ended.errors.find("takes tasks of type inference; there are: summary"), std::string::npos) << ended.errors;
  }
  {
    const Serving provider({"--allow-any", "--executor", "command:wc", "--executor", "command:sort"});
    const Ended ended = run({"run", "hello"});
    EXPECT_EQ(ended.exit, 3);
    EXPECT_NE(ended.errors.find("has to name"), std::string::npos) << ended.errors;
    EXPECT_NE(ended.errors.find("wc"), std::string::npos) << ended.errors;
    const Serving other;  // takes what names none
    EXPECT_EQ(run({"run", "hello"}).output, "Processed: hello\n");
  }
  const Serving provider({"--allow", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"});
  const Ended models = run({"models", "--wait", "1"});
  EXPECT_EQ(models.exit, 3);
  EXPECT_NE(models.errors.find("does not run tasks for"), std::string::npos) << models.errors;
  const Ended named = run({"run", "--peer", provider.address, "hello"});
  EXPECT_EQ(named.exit, 5);
  EXPECT_NE(named.errors.find("give --identity FILE"), std::string::npos) << named.errors;
}

TEST(Run, TakesNoTemperatureThatIsNone) {
  for (const std::string value : {"nan", "inf", "-1"}) EXPECT_EQ(run({"run", "--temperature", value, "hello"}).exit, 2) << value;
}

TEST(Serve, TellsWhatACommandFailedOf) {
  Serving provider(script("fails", "echo half; echo 'no such animal' >&2; exit 3"));
  const Ended answer = run({"run", "--json", "--peer", provider.address, "hello"});
  EXPECT_EQ(answer.exit, 5);
  const json::object event = parsed(answer.output);
  EXPECT_EQ(text_of(event, "text"), "half\n");
  EXPECT_EQ(text_of(event.at("error").get_object(), "code"), "executor_failed");
  const std::string message = text_of(event.at("error").get_object(), "message");
  EXPECT_NE(message.find("no such animal"), std::string::npos) << message;
  EXPECT_NE(message.find('3'), std::string::npos) << message;
}

TEST(Serve, EndsACommandWithTheRequester) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("pid");
  Serving provider(script("sleep", "echo $$ > " + file + ".new; mv " + file + ".new " + file + "; echo up; sleep 1000"));
  Process requester({program, "run", "--stream", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_EQ(requester.line(), "up");
  const pid_t command = std::stoi(content_of(file));
  EXPECT_EQ(kill(command, 0), 0);
  requester.signal(SIGINT);
  EXPECT_EQ(requester.wait(), 130);
  EXPECT_EQ(text_of(parsed(provider.process.line_with("\"task\"")), "status"), "lost");
  // And all that it started, as soon as somebody has collected the dead.
  EXPECT_NE(eventually([&] { return usleep(10'000), kill(-command, 0); }, [](int result) { return result != 0; }), 0);
}

TEST(Serve, EndsACommandWhenNobodyReadsItsOutput) {
  const TemporaryDirectory directory;
  Serving provider(script("sleep", "echo up; sleep 1000"));
  Process requester({program, "run", "--stream", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_EQ(requester.line(), "up");
  requester.close_output();
  EXPECT_EQ(requester.wait(), 130);
  EXPECT_EQ(text_of(parsed(provider.process.line_with("\"task\"")), "status"), "lost");
}

TEST(Serve, GoesOnWhileNobodyReadsWhatItTells) {
  Serving provider;
  const std::string connections = "400";  // each tells of its beginning and its end, which no pipe holds
  EXPECT_EQ(run({"bench", provider.address, "--connections", connections, "--parallel", "8"}).exit, 0);
  const Ended ping = run({"ping", provider.address, "--count", "1"});
  EXPECT_EQ(ping.exit, 0) << ping.errors;
  provider.process.signal(SIGINT);
  EXPECT_EQ(provider.process.wait(), 0);
  std::size_t begun = 0;
  for (const std::string& line : lines_of(provider.process.output)) begun += text_of(parsed(line), "event") == "connected";
  EXPECT_GT(begun, 400U);
}

TEST(Serve, TellsABurstOfWhatPeersCauseAndHowMuchItLeavesOut) {
  Serving provider;
  const int connections = limits::events_burst * 11 / 20;  // two events each
  EXPECT_EQ(run({"bench", provider.address, "--connections", std::to_string(connections), "--parallel", "8"}).exit, 0);
  std::this_thread::sleep_for(2 * limits::log_pace);  // then there is room for one more
  EXPECT_EQ(run({"ping", provider.address, "--count", "1"}).exit, 0);
  int told = 0;
  json::object event = parsed(provider.process.line_with("\"event\""));
  for (; text_of(event, "event") != "left_out"; ++told) event = parsed(provider.process.line_with("\"event\""));
  EXPECT_GE(told, limits::events_burst);
  EXPECT_LT(told, limits::events_burst + connections / 10);
  EXPECT_GT(event.at("n").to_number<int>(), 0);
}

TEST(Serve, TellsABurstOfTasksThatRanAndHowMuchItLeavesOut) {
  if (is_sanitized()) GTEST_SKIP() << "it takes more tasks a second than a sanitizer lets through";
  Serving provider;
  const auto begun = std::chrono::steady_clock::now();
  const Process bench({program, "bench", provider.address, "--total", std::to_string(2 * limits::tasks_burst), "--concurrency", "64"},
                      on_loopback);
  int told = 0;
  json::object event = parsed(provider.process.line_with("\"event\""));
  for (; text_of(event, "event") != "left_out"; event = parsed(provider.process.line_with("\"event\"")))
    told += text_of(event, "event") == "task";
  EXPECT_LE(told, limits::tasks_burst + (std::chrono::steady_clock::now() - begun) / limits::tasks_pace + 1);
  EXPECT_GT(event.at("n").to_number<int>(), 0);
}

TEST(Serve, KeepsNoMoreThanAMebibyteForWhoDoesNotRead) {
  Serving provider;
  EXPECT_EQ(run({"bench", provider.address, "--total", "10000", "--concurrency", "64"}).exit, 0);
  provider.process.signal(SIGINT);
  EXPECT_EQ(provider.process.wait(), 0);
  const std::size_t pipe = 64 * 1024;
  EXPECT_GT(provider.process.output.size(), limits::output_waiting);
  EXPECT_LT(provider.process.output.size(), limits::output_waiting + 2 * pipe);
}

TEST(Serve, EndsWhenItIsToldToThoughNobodyReadsWhatItTells) {
  Serving provider;
  EXPECT_EQ(run({"bench", provider.address, "--connections", "400", "--parallel", "8"}).exit, 0);
  provider.process.signal(SIGTERM);
  siginfo_t ended{};
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(provider.process.pid()), &ended, WEXITED | WNOWAIT), 0);  // nothing is read meanwhile
  EXPECT_EQ(ended.si_code, CLD_EXITED);
}

TEST(Run, TakesAllOfItsAnswerWhileNobodyReadsItsOutput) {
  Serving provider({"--executor", "mock:delay=200,pieces=4"});
  const std::string prompt(2'000'000, 'x');
  Process requester({program, "run", "--stream", "--peer", provider.address, "-"}, on_loopback, prompt);
  EXPECT_EQ(text_of(parsed(provider.process.line_with("\"task\"")), "status"), "completed");
  EXPECT_EQ(requester.wait(), 0) << requester.errors;
  EXPECT_EQ(requester.output.size(), std::string_view("Processed: ").size() + prompt.size() + 1);
}

TEST(Serve, StartsRealExecutorsOnlyWhenToldWhoMayAsk) {
  const Ended silent = run({"serve", "--as", "shout", "--", "tr", "a-z", "A-Z"});
  EXPECT_EQ(silent.exit, 2);
  EXPECT_NE(silent.errors.find("--allow-any"), std::string::npos);
  EXPECT_NE(silent.errors.find("--allow PEERID"), std::string::npos);
  const std::string somebody = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
  EXPECT_EQ(run({"serve", "--allow-any", "--allow", somebody}).exit, 2);
  EXPECT_EQ(run({"serve", "--allow", "somebody"}).exit, 2);
}

TEST(Serve, NeverPutsTheMockBesideARealExecutor) {
  EXPECT_EQ(run({"serve", "--allow-any", "--executor", "mock", "--executor", "command:cat"}).exit, 2);
}

TEST(Serve, RefusesWhatCannotRunWhenItStarts) {
  const Ended missing = run({"serve", "--allow-any", "--as", "x", "--", "no-such-program-anywhere"});
  EXPECT_EQ(missing.exit, 2);
  EXPECT_NE(missing.errors.find("no-such-program-anywhere"), std::string::npos);
  const Ended twice = run({"serve", "--allow-any", "--executor", "command:cat", "--executor", "command:cat -u"});
  EXPECT_EQ(twice.exit, 2);
  EXPECT_NE(twice.errors.find("cat"), std::string::npos);
  EXPECT_EQ(run({"serve", "--allow-any", "--", "cat"}).exit, 2);    // it has no name
  EXPECT_EQ(run({"serve", "--allow-any", "--as", "cat"}).exit, 2);  // and no program
  EXPECT_EQ(run({"serve", "--executor", "Paint=mock"}).exit, 2);    // no task type
  EXPECT_EQ(run({"serve", "--allow-any", "--executor", "command:"}).exit, 2);
}

TEST(Serve, OffersSeveralExecutorsAndTaskTypes) {
  Serving provider(
      {"--allow-any", "--executor", "command:cat", "--executor", "counting=command:wc -c", "--as", "shout", "--", "tr", "a-z", "A-Z"});
  EXPECT_EQ(run({"run", "--peer", provider.address, "--model", "shout", "hello"}).output, "HELLO\n");
  EXPECT_EQ(run({"run", "--peer", provider.address, "--model", "cat", "hello"}).output, "hello\n");
  EXPECT_EQ(run({"run", "--peer", provider.address, "--type", "counting", "hello"}).output, "5\n");
  const Ended unnamed = run({"run", "--peer", provider.address, "hello"});
  EXPECT_EQ(unnamed.exit, 5);
  EXPECT_NE(unnamed.errors.find("cat, shout"), std::string::npos) << unnamed.errors;
}

TEST(Serve, LetsOnlyThoseAskWhomItAllowsAndReadsTheirListAgain) {
  const TemporaryDirectory directory;
  const std::string mine = directory.file("mine.key");
  const std::string list = directory.file("allowed");
  const std::string self = lines_of(run({"id", "--identity", mine}).output).at(0);
  write_file(list, "# nobody yet\n");
  Serving provider(script("shout", "tr a-z A-Z", {"--allow-file", list}));
  const std::vector<std::string> ask{"run", "--json", "--identity", mine, "--peer", provider.address, "hello"};
  const Ended refused = run(ask);
  EXPECT_EQ(refused.exit, 5);
  EXPECT_EQ(text_of(parsed(refused.output).at("error").get_object(), "code"), "not_allowed");
  write_file(list, "# me\n" + self + "\n");
  provider.process.signal(SIGHUP);
  const Ended allowed = eventually([&] { return run(ask); }, [](const Ended& ended) { return ended.exit == 0; });
  EXPECT_EQ(text_of(parsed(allowed.output), "text"), "HELLO");
  write_file(list, "nonsense\n");
  provider.process.signal(SIGHUP);  // and the old list stays
  EXPECT_EQ(run(ask).exit, 0);
  if (alone) {
    const Ended stranger = run({"run", "hello"});
    EXPECT_EQ(stranger.exit, 3);
    EXPECT_NE(stranger.errors.find("--allow"), std::string::npos) << stranger.errors;
  }
}

TEST(Serve, ReadsItsListAgainWhenItStaysWithoutATerminalToo) {
  const TemporaryDirectory directory;
  const std::string mine = directory.file("mine.key");
  const std::string list = directory.file("allowed");
  const std::string self = lines_of(run({"id", "--identity", mine}).output).at(0);
  write_file(list, "# nobody yet\n");
  Process serve({"/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", program, "serve", "--json", "--allow-file", list}, on_loopback);
  const std::string address = parsed(serve.line()).at("addrs").as_array().at(0).as_string().c_str();
  const std::vector<std::string> ask{"run", "--identity", mine, "--peer", address, "hello"};
  EXPECT_EQ(run(ask).exit, 5);
  write_file(list, self + "\n");
  serve.signal(SIGHUP);
  const Ended allowed = eventually([&] { return run(ask); }, [](const Ended& ended) { return ended.exit == 0; });
  EXPECT_EQ(allowed.output, "Processed: hello\n");
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.errors;
}

TEST(Serve, KeepsItsIdentityInAFile) {
  const TemporaryDirectory directory;
  const std::string key = directory.file("key");
  std::string first;
  {
    Serving provider({"--identity", key});
    first = provider.peer;
  }
  struct stat status {};
  ASSERT_EQ(stat(key.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_EQ(Serving({"--identity", key}).peer, first);
}

TEST(Receipts, OfBothSidesVerify) {
  const TemporaryDirectory directory;
  const std::string mine = directory.file("receipt");
  const std::string theirs = directory.file("kept");
  Serving provider({"--receipts", theirs});
  EXPECT_EQ(run({"run", "--peer", provider.address, "--receipt", mine, "hello"}).exit, 0);
  const Ended shown = run({"verify", mine});
  EXPECT_EQ(shown.exit, 0) << shown.errors;
  EXPECT_NE(shown.output.find(provider.peer), std::string::npos);
  std::vector<std::string> kept;
  for (const auto& entry : std::filesystem::directory_iterator(theirs)) kept.push_back(entry.path());
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(content_of(kept[0]), content_of(mine));
  std::string altered = content_of(mine);
  altered[altered.size() / 2] = static_cast<char>(altered[altered.size() / 2] ^ 1);
  write_file(mine, altered);
  EXPECT_EQ(run({"verify", mine}).exit, 7);
  // What can't be written is known before anything runs.
  EXPECT_EQ(run({"run", "--peer", provider.address, "--receipt", directory.file("no/such/place"), "hello"}).exit, 2);
}

TEST(Receipts, WithoutRoomForThemTheProviderIsBusy) {
  const TemporaryDirectory directory;
  const std::string kept = directory.file("kept");
  std::filesystem::create_directory(kept);
  write_file(kept + "/20260117T103000.123Z-old.receipt", std::string(6'000'000, 'r'));
  Serving provider({"--receipts", kept, "--receipts-max", "9M"});
  const Ended answer = run({"run", "--json", "--peer", provider.address, "hello"});
  EXPECT_EQ(answer.exit, 5);
  EXPECT_EQ(text_of(parsed(answer.output).at("error").get_object(), "code"), "busy");
  provider.process.signal(SIGTERM);
  EXPECT_EQ(provider.process.wait(), 0);
  EXPECT_NE(provider.process.errors.find("there is no room for more receipts"), std::string::npos) << provider.process.errors;
  const Ended refused = run({"serve", "--receipts", kept, "--receipts-max", "8M"});
  EXPECT_EQ(refused.exit, 2);
  EXPECT_NE(refused.errors.find("--receipts-max has to be at least 9M"), std::string::npos) << refused.errors;
}

TEST(Run, WritesAllOfALongAnswerIntoAPipe) {
  const Serving provider;
  const TemporaryDirectory directory;
  const std::string prompt(500'000, 'x');
  write_file(directory.file("prompt"), prompt);
  const std::string command = "'" + program + "' run --peer " + provider.address + " - < '" + directory.file("prompt") + "'";
  Process counting({"/bin/sh", "-c", command + " | wc -c"}, on_loopback);
  EXPECT_EQ(std::stoul(counting.line()), std::string("Processed: \n").size() + prompt.size());
  EXPECT_EQ(counting.wait(), 0);
}

TEST(Run, SaysWhenItsOutputIsLost) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "there is no /dev/full here";
  const Serving provider;
  Process full({"/bin/sh", "-c", "'" + program + "' run --peer " + provider.address + " x > /dev/full"}, on_loopback);
  EXPECT_EQ(full.wait(), 2);
  EXPECT_NE(full.errors.find("not all of the output could be written: No space left"), std::string::npos) << full.errors;
}

TEST(Run, AsksItsPeersInTheirOrder) {
  const Serving first;
  const Serving second;
  const Ended ended = run({"run", "--json", "--peer", first.peer, "--peer", second.address, "x"});
  EXPECT_EQ(text_of(parsed(ended.output), "provider"), first.peer);
  const std::string nobody = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
  const Ended other = run({"run", "--json", "--wait", "2", "--peer", nobody, "--peer", second.peer, "x"});
  EXPECT_EQ(text_of(parsed(other.output), "provider"), second.peer) << other.errors;
}

TEST(Run, EndsAtOnceThoughTheSystemStillLooksForAName) {
  const TemporaryDirectory directory;
  const std::optional<std::string> told = on_small_disk(directory.path(), 1 << 20, [&]() -> std::string {
    const int server = silent_name_server(directory.path());
    if (server < 0) return "no such name server here";
    Process run({program, "run", "--peer", "/dns4/slow.example/tcp/1", "hello"}, on_loopback);
    char question = 0;
    if (recv(server, &question, 1, 0) < 0) return "nobody asked";
    const auto before = std::chrono::steady_clock::now();
    run.signal(SIGINT);
    const int exit = run.wait();
    if (std::chrono::steady_clock::now() - before > std::chrono::seconds(20)) return "it waited for the name";
    return std::to_string(exit) + ": " + run.errors;
  });
  if (!told || told == "no such name server here") GTEST_SKIP() << "no name server of its own is to be had here";
  EXPECT_EQ(*told, "130: p2p-agent: interrupted\n");
}

TEST(Run, TakesAPromptThatIsTheNameOfACommand) {
  const Serving provider({"--allow-any"});
  EXPECT_EQ(run({"run", "models", "--peer", provider.address}).output, "Processed: models\n");
}

TEST(Run, RefusesAPromptThatIsNoText) {
  const Ended ended = run({"run", "--peer", "/ip4/127.0.0.1/tcp/1", "gr\xfc\xdf"});
  EXPECT_EQ(ended.exit, 2);
  EXPECT_NE(ended.errors.find("UTF-8"), std::string::npos) << ended.errors;
}

TEST(Run, SendsWhatModelsUnderstand) {
  Serving provider({"--allow-any", "--as", "show", "--", "sh", "-c", "cat \"$P2P_TASK_FILE\""});
  Ended answer =
      run({"run", "--peer", provider.address, "--model", "show", "--max-tokens", "7", "--temperature", "0.5", "--seed", "-3", "hi"});
  EXPECT_EQ(parsed(answer.output), parsed(R"({"prompt":"hi","model":"show","max_tokens":7,"temperature":0.5,"seed":-3})"));
  answer = run({"run", "--peer", provider.address, "--system", "be brief", "hi"});
  EXPECT_EQ(parsed(answer.output), parsed(R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]})"));
  const TemporaryDirectory directory;
  const std::string file = directory.file("input.json");
  write_file(file, R"({"messages":[{"role":"user","content":"hi"}],"stop":["."]})");
  answer = run({"run", "--peer", provider.address, "--system", "be brief", "--seed", "1", "--input", file});
  EXPECT_EQ(parsed(answer.output),
            parsed(R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}],"stop":["."],"seed":1})"));
  write_file(file, R"({"top_p":0.1})");
  answer = run({"run", "--peer", provider.address, "--input", file, "hi"});
  EXPECT_EQ(parsed(answer.output), parsed(R"({"top_p":0.1,"prompt":"hi"})"));
  write_file(file, R"({"prompt":"hi"})");
  EXPECT_EQ(run({"run", "--peer", provider.address, "--input", file, "twice"}).exit, 2);
  write_file(file, R"({"prompt":"hi","prompt":"ho"})");
  EXPECT_EQ(run({"run", "--peer", provider.address, "--input", file}).exit, 2);
  EXPECT_EQ(run({"run", "--peer", provider.address, "--input", directory.file("none")}).exit, 2);
}

TEST(Run, AsksTheMockLast) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving mock;
  Serving provider(script("shout", "tr a-z A-Z"));
  // On a busy machine one of them may be heard too late.
  int by_the_mock = 0;
  while (by_the_mock < 20 && run({"run", "hello"}).output != "HELLO\n") ++by_the_mock;
  EXPECT_LT(by_the_mock, 20);
  EXPECT_EQ(run({"run", "--model", "mock", "hello"}).output, "Processed: hello\n");
}

TEST(Run, SaysWhoHasWhichModel) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving mock;
  Serving provider(script("shout", "tr a-z A-Z"));
  const auto both = [&](const Ended& ended) {
    return ended.errors.find("has shout") < ended.errors.size() && ended.errors.find("has mock") < ended.errors.size();
  };
  const Ended nobody = eventually([] { return run({"run", "--wait", "300ms", "--model", "llama", "hello"}); }, both);
  EXPECT_EQ(nobody.exit, 3);
  for (const std::string& part : {std::string("llama"), std::string("has shout"), std::string("has mock"), provider.peer.substr(46)}) {
    EXPECT_NE(nobody.errors.find(part), std::string::npos) << part << " is not in " << nobody.errors;
  }
}

TEST(Run, GivesUpWhenATypeIsNotThere) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving mock;
  const Ended nobody = run({"run", "--wait", "300ms", "--type", "painting", "hello"});
  EXPECT_EQ(nobody.exit, 3);
  EXPECT_NE(nobody.errors.find("painting"), std::string::npos) << nobody.errors;
}

TEST(Run, TriesAgainWhenTheProviderIsBusy) {
  Serving provider({"--executor", "mock:delay=4000", "--slots", "1", "--queue", "0"});
  Process first({program, "run", "--peer", provider.address, "x"}, on_loopback);
  EXPECT_FALSE(provider.process.line_with("\"connected\"").empty());
  provider.wait_until_running();
  const Ended second = run({"run", "--retries", "20", "--peer", provider.address, "y"});
  EXPECT_EQ(second.exit, 0) << second.errors;
  EXPECT_EQ(first.wait(), 0);
}

TEST(Run, TriesAgainWhenTheFirstConnectionBreaks) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ASSERT_EQ(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  const std::string named = "/ip4/127.0.0.1/tcp/" + std::to_string(ntohs(address.sin_port));
  Process client({program, "run", "--retries", "20", "--peer", named, "x"}, on_loopback);
  const int accepted = accept(listener, nullptr, nullptr);
  close(listener);
  close(accepted);
  const Serving provider({"--listen", named});
  EXPECT_EQ(client.wait(), 0) << client.errors;
  EXPECT_EQ(run({"run", "--retries", "1", "--peer", "/ip4/127.0.0.1/tcp/1", "x"}).exit, 4);
}

TEST(Run, TakesDurationsWithTheirUnits) {
  Serving provider({"--executor", "mock:delay=60000"});
  EXPECT_EQ(run({"run", "--timeout", "200ms", "--peer", provider.address, "x"}).exit, 6);
  for (const char* const wrong : {"", "5 s", "-1", "1e3", "5d", "s", "1.2.3s", "25h", "0"}) {
    EXPECT_EQ(run({"run", "--timeout", wrong, "--peer", provider.address, "x"}).exit, 2) << wrong;
  }
}

TEST(Models, AreListedWithWhoHasThem) {
  if (!alone) GTEST_SKIP() << "this needs a network of its own, and there is none to be had";
  Serving mock;
  Serving provider(script("shout", "tr a-z A-Z"));
  const Ended listed = run({"models", "--json", "--wait", "300ms"});
  EXPECT_EQ(listed.exit, 0) << listed.errors;
  std::map<std::string, std::string> who;
  for (const std::string& line : lines_of(listed.output)) {
    const json::object event = parsed(line);
    EXPECT_EQ(text_of(event, "event"), "model");
    EXPECT_EQ(event.at("queue").get_object().at("running").to_number<int>(), 0);
    who[text_of(event, "model")] = text_of(event, "peer");
  }
  EXPECT_EQ(who, (std::map<std::string, std::string>{{"mock", mock.peer}, {"shout", provider.peer}}));
}

}  // namespace
}  // namespace p2p::test
