// What the program does with the secrets that it is given: it uses them.

#include "crypto/crypto.hpp"
#include "identity/key_file.hpp"
#include "network/system.hpp"
#include "support/leaks.hpp"
#include "support/openai_server.hpp"
#include "support/program.hpp"
#include "support/spellings.hpp"
#include "support/temporary.hpp"

#include <future>
#include <thread>

namespace p2p::test {
namespace {

/// A model server on a thread of its own. It answers once, and from then on refuses the key and repeats it, as some do.
class RefusingServer {
 public:
  RefusingServer() : thread_([this] { serve(); }) { url = listening_.get_future().get(); }
  ~RefusingServer() {
    stop_.set_value();
    thread_.join();
  }
  std::string url;

 private:
  void serve() {
    System system;
    OpenAiServer server(system.environment());
    bool answered = false;
    server.at["/v1/chat/completions"] = [&answered](Call& call) -> Awaitable<void> {
      if (std::exchange(answered, true)) {
        std::string body = R"({"error":{"message":"Incorrect API key provided: )" + call.headers["authorization"] + "\"}}";
        co_await call.answer(401, std::move(body));
        co_return;
      }
      co_await call.begin();
      std::string events = delta("yes") + finished() + done;
      co_await call.chunk(std::move(events));
      co_await call.last_chunk();
    };
    const auto work = [&]() -> Awaitable<void> {
      server.start();
      listening_.set_value(server.url());
      const std::function<void()> wait = [this] { stop_.get_future().wait(); };
      co_await system.environment().pool.run(wait);
      co_await server.stop();
    };
    system.run(work());
  }

  std::promise<std::string> listening_;
  std::promise<void> stop_;
  std::thread thread_;
};

/// A new key file; what is secret of it.
Bytes secret_of_new(const std::string& path) {
  crypto::SystemRandom random;
  load_or_create_key(path, random);
  const std::string content = content_of(path);
  return to_bytes(content.substr(4, 32));
}

TEST(Spellings, AreFoundWhereverTheyBegin) {
  Bytes secret(32);
  crypto::SystemRandom().fill(secret);
  for (const std::string& spelling : spellings(secret)) EXPECT_EQ(spelling_in("some " + spelling + " thing", secret), spelling);
  for (std::size_t before = 0; before < 3; ++before) {
    Bytes longer(before, 'x');
    append(longer, secret);
    append(longer, as_bytes("yyy"));
    EXPECT_NE(spelling_in(base64(longer, "+/"), secret), "");
  }
  EXPECT_EQ(spelling_in("some thing", secret), "");
}

TEST(Leaks, AreFoundInEachSpelling) {
  crypto::Secret<KeyPair::seed_size> seed;
  crypto::SystemRandom().fill(std::span(seed.data(), seed.size()));
  const std::string named = "connected to " + KeyPair(seed).peer_id().text() + "\n";
  const Bytes secret(seed.data(), seed.data() + seed.size());
  EXPECT_TRUE(Leaks(named).found().empty());
  EXPECT_EQ(Leaks(named).peers().size(), 1U);
  std::vector<std::string> texts{std::string(as_text(secret)), base58_encode(secret), to_hex(secret), "0" + to_hex(secret)};
  for (std::size_t before = 0; before < 3; ++before) {
    Bytes longer(before, 'x');
    append(longer, secret);
    append(longer, as_bytes("yyy"));
    for (const char* const last_two : {"+/", "-_"}) texts.push_back("AB" + base64(longer, last_two));
  }
  for (const std::string& text : texts) EXPECT_EQ(Leaks(named + text + "\n").found().size(), 1U) << text;
}

TEST(Secrets, AreInNothingThatTheProgramSays) {
  const TemporaryDirectory directory;
  const std::string theirs = directory.file("provider");
  const std::string mine = directory.file("requester");
  const std::string key_file = directory.file("openai");
  std::map<std::string, Bytes> secrets{{"provider", secret_of_new(theirs)}, {"requester", secret_of_new(mine)}};
  Bytes arbitrary(24);
  crypto::SystemRandom().fill(arbitrary);
  const std::string key = "sk-" + to_hex(arbitrary);
  secrets["key"] = to_bytes(key);
  secrets["heart of the key"] = to_bytes(key.substr(8, 20));
  write_file(key_file, key + "\n");

  std::string said;
  const auto note = [&said](const Ended& ended) {
    said += ended.output + ended.errors;
    return ended.exit;
  };
  const std::vector<std::string> wordy{"--json", "--log-level", "trace"};
  const auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), wordy.begin(), wordy.end());
    return note(run(std::move(arguments)));
  };
  RefusingServer server;
  Serving provider({"--log-level", "trace", "--identity", theirs, "--openai-key-file", key_file, "--executor", "openai:" + server.url,
                    "--allow-any", "--receipts", directory.file("receipts")});
  const auto ready = [](int exit) { return exit == 0; };
  const std::vector<std::string> asking{"run", "--stream", "--identity", mine, "--peer", provider.address, "--retries", "20", "hi"};
  EXPECT_EQ(eventually([&] { return ask(asking); }, ready), 0);
  EXPECT_EQ(ask({"run", "--identity", mine, "--peer", provider.address, "hi"}), 5);  // the server refuses the key
  EXPECT_EQ(ask({"ping", "--identity", mine, "--count", "2", provider.address}), 0);
  EXPECT_EQ(eventually([&] { return ask({"peers", "--identity", mine, "--wait", "0.2"}); }, ready), 0);
  EXPECT_EQ(note(run({"id", "--json", "--identity", mine})), 0);
  // Files that are nearly right are shown in no message either.
  write_file(directory.file("damaged"), content_of(theirs).substr(0, 60));
  std::filesystem::permissions(directory.file("damaged"), std::filesystem::perms::owner_read);
  EXPECT_EQ(note(run({"id", "--identity", directory.file("damaged")})), 2);
  write_file(key_file, key + " " + key + "\n");
  EXPECT_EQ(note(run({"serve", "--openai-key-file", key_file, "--executor", "openai:" + server.url, "--allow-any"})), 2);
  provider.process.signal(SIGTERM);
  EXPECT_EQ(provider.process.wait(), 0);
  said += provider.process.output + provider.process.errors;

  EXPECT_NE(said.find("refused the provider's key"), std::string::npos);
  EXPECT_NE(said.find("debug"), std::string::npos);
  for (const auto& [name, secret] : secrets) EXPECT_EQ(spelling_in(said, secret), "") << name;
  for (const std::string& receipt : names_in(directory.file("receipts"))) {
    const std::string content = content_of(directory.file("receipts/" + receipt));
    for (const auto& [name, secret] : secrets) EXPECT_EQ(spelling_in(content, secret), "") << name;
  }
}

/// Starts a line of shell with cores allowed, and aborts what runs then.
bool aborts_with_a_core(const TemporaryDirectory& directory, const std::string& line) {
  Process process({"/bin/sh", "-c", "ulimit -c unlimited && cd " + directory.path() + " && " + line}, on_loopback);
  EXPECT_NE(process.line(), "") << process.errors;  // it runs
  process.signal(SIGABRT);
  EXPECT_EQ(process.wait(), 128 + SIGABRT);
  return process.dumped_core;
}

TEST(Secrets, AreInNoCoreBecauseTheProgramLeavesNone) {
  const TemporaryDirectory directory;
  if (!aborts_with_a_core(directory, "echo up; exec sleep 100")) GTEST_SKIP() << "nothing leaves cores here";
  EXPECT_FALSE(aborts_with_a_core(directory, "exec " + program + " serve --json"));
}

}  // namespace
}  // namespace p2p::test
