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
constexpr std::string_view all_steps = "identify,ping,info,task,stream,tampered,echo";
constexpr seconds step_limit{60};
constexpr seconds task_limit = step_limit - limits::result_margin;
constexpr std::chrono::milliseconds between_opens{250};  // js-libp2p ends an mplex connection for a sixth stream within a second
constexpr std::size_t echo_piece = 64 * 1024;            // bytes written at once

struct Options {
  std::vector<std::string> listen;
  std::string muxers = "yamux,mplex";
  bool mdns = false;
  bool ipv6 = false;  // without effect: mDNS uses both families
  std::string address;
  std::string steps{all_steps};
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
  MockExecutor executor({std::chrono::milliseconds(0), 3});
  Provider provider(agent, executor, {}, [](const TaskEvent& task) {
    emit({{"event", "task"}, {"task_id", task.task_id}, {"status", task.status}, {"peer", task.requester.text()}});
  });
  agent.handle(std::string(echo_protocol), serve_echo);
  system.run(while_started(agent, [&]() -> Awaitable<void> {
    emit({{"event", "listening"}, {"peer", agent.id().text()}, {"addrs", texts(agent.addresses())}});
    co_await told_to_end(system.loop());
    co_await provider.shut_down(seconds(0));
  }));
}

// ---- dial

/// The steps of `dial`, over the one connection.
class Session {
 public:
  Session(Agent& agent, PeerId peer, const Options& options)
      : agent_(agent), peer_(std::move(peer)), options_(options), manager_(agent), next_open_(now() + between_opens) {}

  Awaitable<void> step(const std::string& name) {
    static const std::map<std::string_view, Awaitable<void> (Session::*)()> steps = {
        {"identify", &Session::identify}, {"ping", &Session::ping},         {"info", &Session::info}, {"task", &Session::task},
        {"stream", &Session::stream},     {"tampered", &Session::tampered}, {"echo", &Session::echo}};
    const auto found = steps.find(name);
    if (found == steps.end()) fail(Errc::invalid, "the steps are " + std::string(all_steps));
    return (this->*found->second)();
  }

 private:
  Time now() const { return agent_.environment().clock.now(); }

  /// Waits until another stream may be opened.
  Awaitable<void> pace() {
    co_await sleep_until(agent_.environment().clock, agent_.environment().loop, next_open_);
    next_open_ = now() + between_opens;
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
    Stream stream = co_await open(ping_protocol);
    json::array times;
    while (times.size() < 3) times.push_back(milliseconds_of(co_await p2p::ping(stream, agent_.environment().random)));
    stream.close_write();
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
  const PeerId peer_;
  const Options& options_;
  TaskManager manager_;
  Time next_open_;  // identify's stream was the first
};

void dial(const Options& options) {
  const std::vector<Multiaddr> addresses(1, multiaddr_of(options.address));
  const std::optional<PeerId> expected = addresses.front().peer_id();
  if (!expected) fail(Errc::invalid, "the address does not end in /p2p/…");
  System system;
  AgentOptions agent_options;
  agent_options.muxers = parse_muxers(options.muxers);
  agent_options.mdns = false;
  Agent agent(system.environment(), KeyPair::generate(system.random()), agent_options);
  std::string step;
  const auto work = [&]() -> Awaitable<void> {
    const Connection* const connection = co_await agent.connect(addresses);
    emit({{"event", "connected"}, {"peer", connection->peer().text()}, {"muxer", muxer_name(connection->muxer())}});
    Session session(agent, *expected, options);
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
  Agent agent(system.environment(), KeyPair::generate(system.random()), agent_options);
  system.run(while_started(agent, [&]() -> Awaitable<void> {
    const Duration wait = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.wait_s));
    const Time deadline = system.environment().clock.now() + wait;
    while (co_await agent.next_discovered(deadline) != *wanted) {
    }
    std::vector<Multiaddr> addresses = agent.discovered_addresses(*wanted);
    for (Multiaddr& address : addresses) address = address.with_peer_id(*wanted);
    emit({{"event", "peer_discovered"}, {"peer", wanted->text()}, {"addrs", texts(addresses)}});
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
