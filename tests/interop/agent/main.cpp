// The interop peer on our own library; ../README.md says what its commands are.

#include "base/limits.hpp"
#include "p2p_agents.hpp"

#include <openssl/evp.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <sstream>

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace p2p;
using std::chrono::seconds;

constexpr std::string_view echo_protocol = "/p2p-ai-agents/test-echo/1.0.0";
constexpr std::string_view usual_steps = "identify,ping,info,task,stream,tampered,echo";
constexpr std::string_view more_steps = "cancel,retry,conflict,codes,deadline";
constexpr seconds step_limit{60};
constexpr seconds task_limit = step_limit - limits::result_margin;
constexpr std::uint64_t linger_ms = 10'000;
constexpr std::chrono::milliseconds short_deadline{500};
constexpr std::chrono::milliseconds between_opens{250};  // js-libp2p ends an mplex connection for a sixth stream within a second
constexpr std::size_t echo_piece = 64 * 1024;            // bytes written at once

struct Options {
  std::vector<std::string> listen;
  std::string muxers = "yamux,mplex";
  bool mdns = false;
  bool ipv6 = false;  // without effect: mDNS uses both families
  std::string address;
  std::string steps{usual_steps};
  std::string prompt = "Hello, P2P AI!";
  std::uint64_t bytes = 64 * 1024 * 1024;
  std::string peer;
  double wait_s = 30;
};

void emit(const json::object& event) {
  std::printf("%s\n", json::serialize(event).c_str());
  std::fflush(stdout);
}

json::array texts(const std::vector<Multiaddr>& addresses) {
  json::array list;
  for (const Multiaddr& address : addresses) list.push_back(json::string(address.text()));
  return list;
}

double milliseconds_of(Duration duration) { return std::round(std::chrono::duration<double, std::micro>(duration).count()) / 1000; }

Multiaddr multiaddr_of(const std::string& text) {
  const Result<Multiaddr> address = Multiaddr::from_text(text);
  if (!address) fail(Errc::invalid, "'" + text + "' is no multiaddr: " + address.error().reason);
  return *address;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_sha256(), nullptr); }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(ByteView bytes) { EVP_DigestUpdate(context_, bytes.data(), bytes.size()); }
  /// Of all that was given, in hexadecimal. Once.
  std::string finish() {
    crypto::Digest digest;
    EVP_DigestFinal_ex(context_, digest.data(), nullptr);
    return to_hex(digest);
  }

 private:
  EVP_MD_CTX* context_;
};

/// Starts the agent, does `work`, stops the agent.
Awaitable<void> while_started(Agent& agent, std::function<Awaitable<void>()> work) {
  std::exception_ptr failure;
  try {
    agent.start();
    co_await work();
  } catch (...) {
    failure = std::current_exception();
  }
  co_await agent.stop();
  if (failure) std::rethrow_exception(failure);
}

// ---- serve

Awaitable<void> serve_echo(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
    co_await stream.write(bytes);
  }
  stream.close_write();
}

/// Does what the prompt says (../README.md), and else what the mock does.
class PromptedExecutor final : public Executor {
 public:
  explicit PromptedExecutor(Agent& agent) : agent_(agent) {}

  std::string_view name() const override { return mock_.name(); }
  std::size_t slots() const override { return 64; }  // which mostly wait

  Awaitable<Outcome> run(TaskRun& run) override {
    const std::string prompt = run.task().prompt();
    const std::vector<std::string> words = split(prompt);
    const std::vector<std::uint64_t> numbers = numbers_of(words);
    if (words.size() == 2 && words[0] == "code") return end_with(run, words[1]);
    if (words[0] == "slow" && words.size() == 3 && numbers.size() == 2 && numbers[0] > 0) {
      return in_pieces(run, numbers[0], milliseconds(numbers[1]), 0);
    }
    const unsigned attempt = ++attempts_[run.task().task_id];
    if (words[0] == "busy" && words.size() == 3 && numbers.size() == 2 && attempt <= numbers[0]) return be_busy(numbers[1]);
    if (words[0] == "break" && words.size() == 2 && numbers.size() == 1 && numbers[0] > 0 && attempt == 1) {
      return in_pieces(run, std::max<std::uint64_t>(3, numbers[0] + 1), milliseconds(50), numbers[0]);
    }
    return mock_.run(run);
  }

 private:
  using milliseconds = std::chrono::milliseconds;

  static std::vector<std::string> split(const std::string& prompt) {
    std::vector<std::string> words(1);
    for (const char letter : prompt) {
      if (letter == ':') {
        words.emplace_back();
      } else {
        words.back() += letter;
      }
    }
    return words;
  }

  /// All but the first word, if they are numbers.
  static std::vector<std::uint64_t> numbers_of(const std::vector<std::string>& words) {
    std::vector<std::uint64_t> numbers;
    for (std::size_t at = 1; at < words.size(); ++at) {
      const std::string& word = words[at];
      if (word.empty() || word.size() > 6 || word.find_first_not_of("0123456789") != std::string::npos) return {};
      numbers.push_back(std::stoull(word));
    }
    return numbers;
  }

  static TaskError error_of(std::string code) { return {std::move(code), "the prompt asked for it", std::nullopt}; }

  Awaitable<Outcome> be_busy(std::uint64_t retry_after_ms) {
    Outcome busy;
    busy.status = Status::rejected;
    busy.error = error_of("busy");
    busy.error->retry_after_ms = retry_after_ms;
    co_return busy;
  }

  Awaitable<Outcome> end_with(TaskRun& run, std::string code) {
    Outcome outcome;
    outcome.error = error_of(code);
    const bool cancelled = code == "cancelled" || code == "deadline_exceeded";
    const bool failed = code == "executor_failed" || code == "output_too_large";
    outcome.status = cancelled ? Status::cancelled : failed ? Status::failed : Status::rejected;
    if (code == "busy") outcome.error->retry_after_ms = 50;
    if (outcome.status != Status::rejected) co_await run.write("Processed: ");
    co_return outcome;
  }

  /// Waits `pause` before each piece, and drops the connection behind the one numbered `break_after`.
  Awaitable<Outcome> in_pieces(TaskRun& run, std::uint64_t pieces, milliseconds pause, std::uint64_t break_after) {
    const Environment& environment = run.environment();
    const std::string text = "Processed: " + run.task().prompt();
    Alarm next(environment.clock, environment.loop);
    run.on_stop([&next] { next.notify(); });
    std::string_view rest = text;
    for (std::uint64_t piece = 1; piece <= pieces; ++piece) {
      const Time due = environment.clock.now() + pause;
      while (!run.stopped() && environment.clock.now() < due) {
        next.set(due);
        co_await next.wait();
      }
      if (run.stopped()) break;
      const std::string_view part = piece == pieces ? rest : cut_text(rest, std::max<std::size_t>(rest.size() / (pieces - piece + 1), 1));
      rest.remove_prefix(part.size());
      if (!part.empty()) co_await run.write(part);
      if (piece == break_after) agent_.disconnect(run.requester());
    }
    run.on_stop(nullptr);
    Outcome outcome;
    if (run.stopped()) outcome.status = Status::cancelled;
    co_return outcome;
  }

  Agent& agent_;
  MockExecutor mock_{{std::chrono::milliseconds(30), 3}};  // with pauses, or the pieces would leave as one
  std::map<std::string, unsigned> attempts_;               // by task id, for a test's few tasks
};

Awaitable<void> wait_for_signal(asio::signal_set& signals, Event& over) {
  boost::system::error_code ignored;
  co_await signals.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  over.notify();
}

Awaitable<void> wait_for_end(asio::posix::stream_descriptor& input, Event& over) {
  boost::system::error_code error;
  std::array<char, 256> ignored;
  while (!error) co_await input.async_read_some(asio::buffer(ignored), asio::redirect_error(asio::use_awaitable, error));
  over.notify();
}

/// Returns at SIGINT, at SIGTERM, and when standard input ends.
Awaitable<void> told_to_end(const Loop& loop) {
  asio::signal_set signals(loop, SIGINT, SIGTERM);
  asio::posix::stream_descriptor input(loop, ::dup(STDIN_FILENO));
  Event over(loop);
  TaskGroup watchers(loop);
  watchers.spawn(wait_for_signal(signals, over));
  watchers.spawn(wait_for_end(input, over));
  co_await over.wait();
  signals.cancel();
  input.close();
  co_await watchers.join();
}

void serve(const Options& options) {
  System system;
  const auto tell = [](const char* event, const Connection& connection) {
    emit({{"event", event}, {"peer", connection.peer().text()}, {"muxer", muxer_name(connection.muxer())}});
  };
  AgentEvents events;
  events.connected = [&tell](const Connection& connection) { tell("connected", connection); };
  events.disconnected = [&tell](const Connection& connection) { tell("disconnected", connection); };
  events.discovered = [](const PeerId& peer, std::vector<Multiaddr> addresses) {
    for (Multiaddr& address : addresses) address = address.with_peer_id(peer);
    emit({{"event", "peer_discovered"}, {"peer", peer.text()}, {"addrs", texts(addresses)}});
  };
  AgentOptions agent_options;
  for (const std::string& text : options.listen) agent_options.listen.push_back(multiaddr_of(text));
  if (options.listen.empty()) agent_options.listen.push_back(multiaddr_of("/ip4/127.0.0.1/tcp/0"));
  agent_options.muxers = parse_muxers(options.muxers);
  agent_options.mdns = options.mdns;
  Agent agent(system.environment(), KeyPair::generate(system.random()), agent_options, events);
  PromptedExecutor executor(agent);
  Provider provider(agent, executor, {}, [](const TaskEvent& task) {
    json::object event{{"event", "task"}, {"task_id", task.task_id}, {"status", task.status}, {"peer", task.requester.text()}};
    if (!task.code.empty()) event["code"] = task.code;
    emit(event);
  });
  agent.handle(std::string(echo_protocol), serve_echo);
  system.run(while_started(agent, [&]() -> Awaitable<void> {
    emit({{"event", "listening"}, {"peer", agent.id().text()}, {"addrs", texts(agent.addresses())}});
    co_await told_to_end(system.loop());
    co_await provider.shut_down(seconds(0));
  }));
}

// ---- dial

/// The system's transport, of which the last connection can be cut. Agent::disconnect() resets the streams first, and that cancels.
class Cable final : public Transport {
 public:
  explicit Cable(Transport& system) : system_(system) {}

  std::unique_ptr<ByteStream> dial(const Multiaddr& address) override {
    std::unique_ptr<ByteStream> channel = system_.dial(address);
    last_ = channel.get();
    return channel;
  }
  std::unique_ptr<Listener> listen(const Multiaddr& address) override { return system_.listen(address); }
  std::vector<Interface> interfaces() override { return system_.interfaces(); }

  /// While the connection is there.
  void cut() { last_->close(); }

 private:
  Transport& system_;
  ByteStream* last_ = nullptr;
};

/// The steps of `dial`, over the one connection.
class Session {
 public:
  Session(Agent& agent, Cable& cable, const Connection& connection, const Options& options)
      : agent_(agent),
        cable_(cable),
        peer_(connection.peer()),
        options_(options),
        manager_(agent),
        pause_(muxer_name(connection.muxer()) == "yamux" ? Duration() : Duration(between_opens)),
        next_open_(now() + pause_) {}

  Awaitable<void> step(const std::string& name) {
    static const std::map<std::string_view, Awaitable<void> (Session::*)()> steps = {
        {"identify", &Session::identify}, {"ping", &Session::ping},         {"info", &Session::info},   {"task", &Session::task},
        {"stream", &Session::stream},     {"tampered", &Session::tampered}, {"echo", &Session::echo},   {"cancel", &Session::cancel},
        {"retry", &Session::retry},       {"conflict", &Session::conflict}, {"codes", &Session::codes}, {"deadline", &Session::deadline}};
    const auto found = steps.find(name);
    if (found == steps.end()) fail(Errc::invalid, "the steps are " + std::string(usual_steps) + "," + std::string(more_steps));
    return (this->*found->second)();
  }

 private:
  Time now() const { return agent_.environment().clock.now(); }

  /// Waits until another stream may be opened.
  Awaitable<void> pace() {
    co_await sleep_until(agent_.environment().clock, agent_.environment().loop, next_open_);
    next_open_ = now() + pause_;
  }

  Awaitable<Stream> open(std::string_view protocol) {
    co_await pace();
    co_return co_await agent_.open_stream(peer_, std::string(protocol));
  }

  Awaitable<void> identify() {
    const Identify known = co_await agent_.identify(peer_);
    json::array protocols;
    for (const std::string& protocol : known.protocols) protocols.push_back(json::string(protocol));
    json::value observed;
    if (known.observed_addr) observed = json::string(known.observed_addr->text());
    emit({{"event", "identify"},
          {"agent", known.agent_version},
          {"protocol_version", known.protocol_version},
          {"protocols", protocols},
          {"listen_addrs", texts(known.listen_addrs)},
          {"observed", observed}});
  }

  Awaitable<void> ping() {
    json::array times;
    co_await pace();
    while (times.size() < 3) times.push_back(milliseconds_of(co_await agent_.ping(peer_)));
    emit({{"event", "ping"}, {"ms", times}});
  }

  Awaitable<void> info() {
    co_await pace();
    const Info info = co_await manager_.info(peer_);
    json::array executors;
    for (const Offer& offer : info.executors) {
      const json::array models(offer.models.begin(), offer.models.end());
      executors.push_back(json::object{{"task_type", offer.task_type}, {"executor", offer.executor}, {"models", models}});
    }
    const json::object queue{{"running", info.running}, {"waiting", info.waiting}, {"slots", info.slots}, {"capacity", info.capacity}};
    emit({{"event", "info"}, {"agent", info.agent}, {"executors", executors}, {"queue", queue}});
  }

  Awaitable<void> task() { return ask(false); }
  Awaitable<void> stream() { return ask(true); }

  Task new_task() const {
    Task task = manager_.make_task(options_.prompt);
    task.recipient = peer_.text();
    task.timeout_ms = static_cast<std::uint64_t>(std::chrono::milliseconds(task_limit).count());
    return task;
  }

  Awaitable<void> ask(bool stream) {
    Task task = new_task();
    task.stream = stream;
    std::uint64_t updates = 0;
    co_await pace();
    const Answer answer = co_await manager_.submit(peer_, std::move(task), [&updates](const Update&) { ++updates; });
    const TaskResult& result = answer.result;
    json::object event{{"event", stream ? "stream" : "task"}, {"status", name_of(result.status)}, {"text", nullptr}};
    if (result.text) event["text"] = *result.text;
    if (stream) {
      event["updates"] = updates;
    } else {
      event["executor"] = result.executor;
    }
    emit(event);
    if (result.error) fail(Errc::closed, "the task was " + std::string(name_of(result.status)) + ": " + result.error->message);
  }

  /// A task as it is sent. The library's own requester has no way to break the rules, or to leave in the midst of a task.
  struct Question {
    std::string id;
    std::string payload;
    Bytes envelope;
    bool stream = false;
  };
  /// What came back and verified.
  struct Reply {
    std::optional<TaskResult> result;
    Bytes envelope;  // the result's
    std::string text;
    std::uint64_t updates = 0;
  };

  Question question(const std::string& id, std::string payload, bool stream) const {
    Bytes envelope = seal_message(agent_.identity(), MessageKind::task, payload);
    return {id, std::move(payload), std::move(envelope), stream};
  }
  Question question(const Task& task) const { return question(task.task_id, task.to_json(), task.stream); }

  Task streamed_task() const {
    Task task = new_task();
    task.stream = true;
    return task;
  }

  Awaitable<Stream> send(const Question& asked) {
    Stream stream = co_await open(task_protocol);
    co_await write_frame(stream, asked.envelope);
    co_return stream;
  }

  Awaitable<void> next(Stream& stream, const Question& asked, Reply& reply) {
    std::optional<Bytes> envelope = co_await read_frame(stream, limits::task_frame);
    if (!envelope) fail(Errc::closed, "the stream ended without a result");
    const OpenedMessage message = open_message(*envelope, *stream.peer_key()).value();
    if (message.kind == MessageKind::update && asked.stream) {
      const Update update = parse_update(message.payload).value();
      if (update.task_id != asked.id || update.seq != reply.updates) fail(Errc::unverified, "an update of another task or place");
      ++reply.updates;
      reply.text += update.text.value_or("");
      co_return;
    }
    if (message.kind != MessageKind::result) fail(Errc::unverified, "neither an update that was asked for nor a result");
    TaskResult result = parse_result(message.payload).value();
    const bool unnamed = result.status == Status::rejected && result.task_id == nil_task_id;
    if (result.task_id != asked.id && !unnamed) fail(Errc::unverified, "the result has another task_id");
    if (result.task_sha256 != task_hash(as_bytes(asked.payload))) fail(Errc::unverified, "the result has another task_sha256");
    if (result.recipient != agent_.id().text()) fail(Errc::unverified, "the result is for another peer");
    if (asked.stream && result.text && *result.text != reply.text) fail(Errc::unverified, "the updates do not add up to the output");
    reply.result = std::move(result);
    reply.envelope = *std::move(envelope);
  }

  Awaitable<Reply> answer_of(const Question& asked, Duration patience = step_limit) {
    Stream stream = co_await send(asked);
    const Timer deadline = stream.deadline(patience, "there is no result in time");
    Reply reply;
    while (!reply.result) co_await next(stream, asked, reply);
    stream.close_write();
    try {
      if (!(co_await stream.read()).empty()) fail(Errc::unverified, "there is more behind the result");
    } catch (const boost::system::system_error& error) {
      if (!is(error, Errc::closed)) throw;
    }
    co_return reply;
  }

  Awaitable<void> first_text(Stream& stream, const Question& asked, Reply& reply) {
    const Timer deadline = stream.deadline(step_limit, "there is no text in time");
    while (reply.text.empty()) {
      co_await next(stream, asked, reply);
      if (reply.result) fail(Errc::closed, "the task ended before its first text");
    }
  }

  static void expect(const TaskResult& result, Status status, std::string_view code) {
    const std::string got = result.error ? result.error->code : "no error";
    if (result.status == status && got == code) return;
    fail(Errc::closed, std::string(name_of(result.status)) + " with " + got + " instead of " + std::string(code));
  }

  Awaitable<void> cancel() {
    Task task = streamed_task();
    task.linger_ms = linger_ms;  // so that only the reset can be what stops it
    const Question asked = question(task);
    Stream stream = co_await send(asked);
    Reply reply;
    co_await first_text(stream, asked, reply);
    stream.reset();
    // What is answered behind the reset proves that it has arrived.
    co_await pace();
    co_await agent_.ping(peer_);
    emit({{"event", "cancel"}, {"task_id", asked.id}, {"updates", reply.updates}});
  }

  /// One envelope three times: until the connection is dropped in its midst, until the result, and once more.
  Awaitable<void> retry() {
    Task task = streamed_task();
    task.linger_ms = linger_ms;
    const Question asked = question(task);
    Stream stream = co_await send(asked);
    Reply first;
    co_await first_text(stream, asked, first);
    cable_.cut();
    try {
      while (!(co_await stream.read()).empty()) {
      }
    } catch (const boost::system::system_error& error) {
      if (!is(error, Errc::closed)) throw;
    }
    std::vector<Multiaddr> addresses(1, multiaddr_of(options_.address));
    co_await agent_.connect(std::move(addresses));
    next_open_ = now() + pause_;
    const Reply second = co_await answer_of(asked);
    const Reply third = co_await answer_of(asked);
    const TaskResult& result = *second.result;
    emit({{"event", "retry"},
          {"task_id", asked.id},
          {"status", name_of(result.status)},
          {"text", result.text.value_or("")},
          {"same", second.envelope == third.envelope}});
    if (result.error) fail(Errc::closed, "the task was " + std::string(name_of(result.status)) + ": " + result.error->message);
  }

  Awaitable<void> conflict() {
    Task task = new_task();
    const Question asked = question(task);
    const Reply first = co_await answer_of(asked);
    if (first.result->error) fail(Errc::closed, "the first task was not completed: " + first.result->error->message);
    task.input["prompt"] = options_.prompt + "!";
    const Question other = question(task);
    const Reply second = co_await answer_of(other);
    expect(*second.result, Status::rejected, "task_id_conflict");
    emit({{"event", "conflict"}, {"task_id", asked.id}, {"status", name_of(second.result->status)}, {"code", second.result->error->code}});
  }

  Awaitable<void> codes() {
    struct Fault {
      std::string_view code;
      std::string_view member;  // that gets another value; with none the value is the whole payload
      std::string_view value;
      bool named = true;
    };
    static constexpr std::array faults = {
        Fault{"invalid_task", "", "[]", false},
        Fault{"invalid_task", "task_id", R"("x")", false},
        Fault{"invalid_task", "stream", "1"},
        Fault{"invalid_task", "timeout_ms", R"("30000")"},
        Fault{"invalid_task", "input", R"({"prompt":"a","messages":[{"role":"user","content":"a"}]})"},
        Fault{"wrong_recipient", "recipient", R"("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")"},
        Fault{"unsupported_task_type", "task_type", R"("translation")"},
        Fault{"unsupported_model", "input", R"({"prompt":"a","model":"no-such-model"})"},
    };
    json::array codes;
    for (const Fault& fault : faults) {
      const Task task = new_task();
      json::object members = json::parse(task.to_json()).as_object();
      if (!fault.member.empty()) members[fault.member] = json::parse(fault.value);
      const Question asked = question(task.task_id, fault.member.empty() ? std::string(fault.value) : json::serialize(members), false);
      const Reply reply = co_await answer_of(asked);
      expect(*reply.result, Status::rejected, fault.code);
      if (fault.named != (reply.result->task_id == asked.id)) fail(Errc::unverified, "answered for another id: " + asked.payload);
      codes.push_back(json::string(fault.code));
    }
    emit({{"event", "codes"}, {"codes", codes}});
  }

  Awaitable<void> deadline() {
    Task task = streamed_task();
    task.timeout_ms = static_cast<std::uint64_t>(short_deadline.count());
    const Question asked = question(task);
    const Reply reply = co_await answer_of(asked, short_deadline + std::chrono::seconds(5));
    expect(*reply.result, Status::cancelled, "deadline_exceeded");
    json::object event{
        {"event", "deadline"}, {"task_id", asked.id},     {"status", name_of(reply.result->status)}, {"code", reply.result->error->code},
        {"text", nullptr},     {"updates", reply.updates}};
    if (reply.result->text) event["text"] = *reply.result->text;
    emit(event);
  }

  Awaitable<void> tampered() {
    const std::string payload = new_task().to_json();
    Bytes envelope = seal_message(agent_.identity(), MessageKind::task, payload);
    // The lowest bit of the prompt's first letter: the JSON stays whole, and only the signature can tell.
    constexpr std::string_view before = "\"prompt\":\"";
    const auto at = std::search(envelope.begin(), envelope.end(), before.begin(), before.end());
    if (at == envelope.end()) fail(Errc::invalid, "the task has no prompt");
    at[static_cast<std::ptrdiff_t>(before.size())] ^= 1;
    Stream stream = co_await open(task_protocol);
    const Timer deadline = stream.deadline(step_limit, "the stream did not end");
    co_await write_frame(stream, envelope);
    try {
      if (!(co_await stream.read()).empty()) fail(Errc::unverified, "the tampered task was answered with content");
    } catch (const boost::system::system_error& error) {
      if (!is(error, Errc::closed)) throw;
    }
    if (agent_.connection_to(peer_) == nullptr) fail(Errc::closed, "the connection ended together with the stream");
    emit({{"event", "tampered"}, {"refused", true}});
  }

  Awaitable<void> echo() {
    Stream stream = co_await open(echo_protocol);
    const Timer deadline = stream.deadline(step_limit, "the echo takes too long");
    const Time start = now();
    Sha256 sent;
    Sha256 received;
    std::exception_ptr failure;
    TaskGroup writing(agent_.environment().loop);
    writing.spawn(write_sequence(stream, sent, failure));
    std::uint64_t count = 0;
    try {
      while (true) {
        const ByteView bytes = co_await stream.read();
        if (bytes.empty()) break;
        received.update(bytes);
        count += bytes.size();
      }
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
    if (count < options_.bytes) stream.reset({Errc::closed, "the echo ended too early"});  // so that the writer ends, too
    co_await writing.join();
    if (failure) std::rethrow_exception(failure);
    const std::string sha256 = received.finish();
    if (count != options_.bytes) fail(Errc::unverified, std::to_string(count) + " bytes came back");
    if (sha256 != sent.finish()) fail(Errc::unverified, "the bytes that came back are not those that were sent");
    emit({{"event", "echo"}, {"bytes", count}, {"sha256", sha256}, {"ms", milliseconds_of(now() - start)}});
  }

  Awaitable<void> write_sequence(Stream& stream, Sha256& sent, std::exception_ptr& failure) {
    std::mt19937_64 sequence;  // seeded with a constant
    Bytes piece(echo_piece);
    try {
      for (std::uint64_t left = options_.bytes; left > 0; left -= piece.size()) {
        piece.resize(std::min<std::uint64_t>(left, piece.size()));
        for (std::size_t at = 0; at < piece.size(); at += sizeof(std::uint64_t)) {
          const std::uint64_t number = sequence();
          std::memcpy(&piece[at], &number, std::min(sizeof number, piece.size() - at));
        }
        sent.update(piece);
        co_await stream.write(piece);
      }
      stream.close_write();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }

  Agent& agent_;
  Cable& cable_;
  const PeerId peer_;
  const Options& options_;
  TaskManager manager_;
  const Duration pause_;  // between the streams that are opened
  Time next_open_;        // identify's stream was the first
};

void dial(const Options& options) {
  const std::vector<Multiaddr> addresses(1, multiaddr_of(options.address));
  const std::optional<PeerId> expected = addresses.front().peer_id();
  if (!expected) fail(Errc::invalid, "the address does not end in /p2p/…");
  System system;
  AgentOptions agent_options;
  agent_options.muxers = parse_muxers(options.muxers);
  agent_options.mdns = false;
  const Environment& usual = system.environment();
  Cable cable(usual.transport);
  const Environment environment{usual.loop, usual.clock, usual.random, cable, usual.multicast, usual.pool, usual.log};
  Agent agent(environment, KeyPair::generate(system.random()), agent_options);
  std::string step;
  const auto work = [&]() -> Awaitable<void> {
    const Connection* const connection = co_await agent.connect(addresses);
    emit({{"event", "connected"}, {"peer", connection->peer().text()}, {"muxer", muxer_name(connection->muxer())}});
    Session session(agent, cable, *connection, options);
    std::istringstream steps(options.steps);
    while (std::getline(steps, step, ',')) co_await session.step(step);
  };
  try {
    system.run(while_started(agent, work));
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error((step.empty() ? "" : step + ": ") + message_of(error));
  }
}

// ---- discover

void discover(const Options& options) {
  const Result<PeerId> wanted = PeerId::from_text(options.peer);
  if (!wanted) fail(Errc::invalid, "'" + options.peer + "' is no PeerId");
  System system;
  AgentOptions agent_options;
  agent_options.listen = everywhere(system.environment().transport);
  const auto now = [&] { return system.environment().clock.now(); };
  const Time start = now();
  Agent agent(system.environment(), KeyPair::generate(system.random()), agent_options);
  system.run(while_started(agent, [&]() -> Awaitable<void> {
    const Duration wait = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.wait_s));
    const Time deadline = now() + wait;
    while (co_await agent.next_discovered(deadline) != *wanted) {
    }
    const double ms = milliseconds_of(now() - start);
    std::vector<Multiaddr> addresses = agent.discovered_addresses(*wanted);
    for (Multiaddr& address : addresses) address = address.with_peer_id(*wanted);
    emit({{"event", "peer_discovered"}, {"peer", wanted->text()}, {"addrs", texts(addresses)}, {"ms", ms}});
  }));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"The interop peer on p2p-ai-agents' own library"};
  app.require_subcommand(1);
  CLI::App* const serve_command = app.add_subcommand("serve", "Serve until a signal or the end of standard input");
  serve_command->add_option("--listen", options.listen)->allow_extra_args(false);
  serve_command->add_option("--muxer", options.muxers);
  serve_command->add_flag("--mdns", options.mdns);
  serve_command->add_flag("--ipv6", options.ipv6);
  CLI::App* const dial_command = app.add_subcommand("dial", "Connect and do the steps");
  dial_command->add_option("MULTIADDR", options.address)->required();
  dial_command->add_option("--muxer", options.muxers);
  dial_command->add_option("--do", options.steps);
  dial_command->add_option("--prompt", options.prompt);
  dial_command->add_option("--bytes", options.bytes);
  CLI::App* const discover_command = app.add_subcommand("discover", "Wait until mDNS finds a peer");
  discover_command->add_option("--for", options.peer)->required();
  discover_command->add_option("--wait", options.wait_s)->check(CLI::Range(0.0, 86400.0));
  discover_command->add_flag("--ipv6", options.ipv6);
  try {
    app.parse(argc, argv);
    if (serve_command->parsed()) serve(options);
    if (dial_command->parsed()) dial(options);
    if (discover_command->parsed()) discover(options);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    emit({{"event", "error"}, {"message", error.what()}});
  } catch (const boost::system::system_error& error) {
    emit({{"event", "error"}, {"message", message_of(error)}});
  } catch (const std::exception& error) {
    emit({{"event", "error"}, {"message", error.what()}});
  }
  return 1;
}
