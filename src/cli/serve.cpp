#include "base/limits.hpp"
#include "cli/pace.hpp"
#include "cli/session.hpp"
#include "crypto/crypto.hpp"
#include "executors/registry.hpp"
#include "network/perf.hpp"
#include "task/allow_list.hpp"
#include "task/files.hpp"
#include "task/provider.hpp"
#include "task/receipt_store.hpp"

#include <boost/json/array.hpp>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace p2p::cli {
namespace {

namespace json = boost::json;

/// What a task that runs has open at most: the pipes of a command.
constexpr std::size_t descriptors_of_task = 3;

/// Addresses that `run --peer` takes as they stand.
json::array texts(const std::vector<Multiaddr>& addresses, const PeerId& peer) {
  json::array list;
  for (const Multiaddr& address : addresses) list.push_back(json::string(address.with_peer_id(peer).text()));
  return list;
}

std::vector<Multiaddr> listen_addresses(const ServeOptions& options, Transport& transport) {
  std::vector<Multiaddr> addresses;
  for (const std::string& text : options.listen) {
    const Result<Multiaddr> address = Multiaddr::from_text(text);
    if (!address || !tcp_address(*address)) {
      throw Failure(Exit::usage, "cannot listen on '" + text + "': give an address such as /ip4/0.0.0.0/tcp/4001");
    }
    addresses.push_back(*address);
  }
  const auto means_all = [](const Multiaddr& address) {
    const TcpAddress tcp = tcp_address(address).value();
    return tcp.host == "0.0.0.0" || tcp.host == "::";
  };
  const bool narrows = !options.interfaces.empty() && std::any_of(addresses.begin(), addresses.end(), means_all);
  if (!addresses.empty() && !narrows) return addresses;
  const std::vector<Multiaddr> usual = everywhere(transport, options.interfaces);
  if (usual.empty()) {
    throw Failure(Exit::usage, "there is no network interface '" + options.interfaces.front() +
                                   "' that is up, has an address, and is not point-to-point");
  }
  if (addresses.empty()) return usual;
  // Every address means every one of the interfaces named.
  std::vector<Multiaddr> narrowed;
  for (const Multiaddr& address : addresses) {
    const TcpAddress tcp = tcp_address(address).value();
    if (!means_all(address)) {
      narrowed.push_back(address);
      continue;
    }
    for (const Multiaddr& one : usual) {
      const TcpAddress own = tcp_address(one).value();
      if (own.kind == tcp.kind) narrowed.push_back(Multiaddr::tcp(own.host, tcp.port, own.zone).value());
    }
  }
  if (narrowed.empty()) throw Failure(Exit::usage, "the interface has no address of the kind that --listen asks for");
  return narrowed;
}

/// The key for OpenAI-compatible servers: of a file, or of the environment.
crypto::SecretText openai_key(const ServeOptions& options) {
  const auto trimmed = [](std::string_view key) { return key.substr(0, key.find_last_not_of("\r ") + 1); };
  if (options.openai_key_file.empty()) {
    char* const given = std::getenv("OPENAI_API_KEY");
    if (given == nullptr) return {};
    crypto::SecretText key(trimmed(given));
    crypto::wipe({reinterpret_cast<std::uint8_t*>(given), std::strlen(given)});
    return key;
  }
  Bytes file = read_file(options.openai_key_file, limits::key_file);
  const std::string_view line = as_text(file).substr(0, as_text(file).find('\n'));
  const bool fits = !line.empty() && line.size() <= limits::key_file;
  crypto::SecretText key(trimmed(line));
  crypto::wipe(file);
  if (!fits) throw Failure(Exit::usage, "'" + options.openai_key_file + "' has no key in its first line");
  return key;
}

/// The executors that the command line asks for, each with its task type; the mock when it asks for none.
class Executors {
 public:
  Executors(const ServeOptions& options, const Environment& environment) {
    ExecutorSettings settings;
    const auto is_server = [](const std::string& text) { return text.find("openai:") != std::string::npos; };
    if (!options.openai_key_file.empty() && std::none_of(options.executors.begin(), options.executors.end(), is_server)) {
      throw Failure(Exit::usage, "--openai-key-file goes with --executor openai:BASE_URL, the server that gets the key");
    }
    settings.openai_key = openai_key(options);
    settings.openai_key_in_clear = !options.openai_key_file.empty();
    if (options.max_output) settings.command_output = static_cast<std::size_t>(*options.max_output);
    for (const std::string& text : options.executors) {
      // A type stands before a `=` that comes before anything else.
      const std::size_t equals = text.find('=');
      const bool typed = equals != std::string::npos && text.find_first_of(": ") > equals;
      const std::string type = typed ? text.substr(0, equals) : std::string(inference);
      const std::string spec = typed ? text.substr(equals + 1) : text;
      if (!is_task_type(type)) throw Failure(Exit::usage, "'" + type + "' is no task type: give 1 to 64 of a-z 0-9 . _ -");
      add(type, make_executor(spec, environment, settings), needs_permission(spec));
    }
    if (!options.command.empty()) {
      if (options.as.empty()) {
        throw Failure(Exit::usage,
                      "the command needs a name that others ask for it by: `--as NAME -- " + options.command.front() + " ...`");
      }
      add(std::string(inference), make_command_executor(options.as, options.command, options.worker, environment, settings), true);
    } else if (!options.as.empty() || options.worker) {
      throw Failure(Exit::usage, "--as and --worker go with a command: `serve --as NAME -- PROGRAM ARG...`");
    }
    if (owned_.empty()) add(std::string(inference), make_executor("mock", environment, settings), false);
    if (needs_permission_ && has_mock_) {
      throw Failure(Exit::usage, "the mock runs nothing, and would answer in the place of what does; leave it out beside a real executor");
    }
  }

  const std::vector<Offering>& offerings() const noexcept { return offerings_; }
  bool need_permission() const noexcept { return needs_permission_; }

 private:
  void add(std::string type, std::unique_ptr<Executor> executor, bool needs) {
    owned_.push_back(std::move(executor));
    offerings_.push_back({std::move(type), *owned_.back()});
    (needs ? needs_permission_ : has_mock_) = true;
  }

  std::vector<std::unique_ptr<Executor>> owned_;
  std::vector<Offering> offerings_;
  bool needs_permission_ = false;
  bool has_mock_ = false;
};

/// Who may ask. Nothing: everyone.
std::unique_ptr<AllowList> allow_list(const ServeOptions& options, bool needed) {
  const bool named = !options.allow.empty() || !options.allow_file.empty();
  if (options.allow_any && named) throw Failure(Exit::usage, "--allow-any lets everyone ask; leave it or the --allow options out");
  if (named) {
    return std::make_unique<AllowList>(options.allow, options.allow_file.empty() ? std::nullopt : std::optional(options.allow_file));
  }
  if (needed && !options.allow_any) {
    throw Failure(Exit::usage,
                  "say who may have tasks run here: `p2p-agent serve --allow PEERID ...` with what `p2p-agent id --identity FILE` shows on "
                  "the other machine, or `p2p-agent serve --allow-any ...` for everyone on the network");
  }
  return nullptr;
}

/// Tells what happens, as events or lines.
class Narrator {
 public:
  explicit Narrator(const Console& console) : console_(console) {}

  void listening(const Agent& agent, const std::vector<Offer>& offers) const {
    const std::vector<Multiaddr> addresses = agent.addresses();
    console_.event({{"event", "listening"}, {"peer", agent.id_text()}, {"addrs", texts(addresses, agent.id())}});
    for (const Offer& offer : offers) {
      std::string line = "serving " + offer.task_type + " with " + offer.executor;
      for (const std::string& model : offer.models) line += " " + escaped(model);
      console_.line(line + " as " + console_.bold(agent.id_text()));
    }
    for (const Multiaddr& address : addresses) console_.line("  " + address.text());
  }
  AgentEvents events() const {
    AgentEvents events;
    events.discovered = [this](const PeerId& peer, const std::vector<Multiaddr>& addresses) {
      if (!has_room()) return;
      console_.event({{"event", "peer_discovered"}, {"peer", peer.text()}, {"addrs", texts(addresses, peer)}});
      console_.line(console_.dim("discovered   ") + peer.text());
    };
    events.connected = [this](const Connection& connection) {
      if (!has_room()) return;
      console_.event({{"event", "connected"},
                      {"peer", connection.peer().text()},
                      {"addr", connection.remote_address().text()},
                      {"muxer", muxer_name(connection.muxer())}});
      console_.line(console_.dim("connected    ") + connection.peer().text() + " " + connection.remote_address().text());
    };
    events.disconnected = [this](const Connection& connection) {
      if (!has_room()) return;
      console_.event({{"event", "disconnected"}, {"peer", connection.peer().text()}, {"reason", connection.reason()}});
      console_.line(console_.dim("disconnected ") + connection.peer().text() + " (" + escaped(connection.reason()) + ")");
    };
    return events;
  }
  void task(const TaskEvent& task) const {
    const bool ran = task.status == name_of(Status::completed) || task.status == name_of(Status::failed);
    if (!has_room(ran ? tasks_pace_ : pace_)) return;
    json::object event{{"event", "task"}, {"task_id", task.task_id}, {"peer", task.requester.text()}, {"status", task.status}};
    if (!task.code.empty()) event["code"] = task.code;
    event["queued_ms"] = task.queued.count();
    event["run_ms"] = task.run.count();
    console_.event(event);
    console_.line(console_.dim("task         ") + task.task_id + " " + task.status + (task.code.empty() ? "" : " (" + task.code + ")") +
                  ", " + std::to_string(task.run.count()) + " ms");
  }

 private:
  bool has_room() const { return has_room(pace_); }
  /// For one more event of a peer, who may cause any number of them.
  bool has_room(Pace& pace) const {
    const bool is_read = console_.has_room() || pace.leave_out();
    if (!is_read || !pace.admit(std::chrono::steady_clock::now())) return false;
    if (const std::uint64_t count = pace_.left_out() + tasks_pace_.left_out()) {
      console_.event({{"event", "left_out"}, {"n", count}});
      console_.line(console_.dim("left out     ") + std::to_string(count) + " of these, more than anybody reads");
    }
    return true;
  }
  const Console& console_;
  mutable Pace pace_{limits::log_pace, limits::events_burst};
  mutable Pace tasks_pace_{limits::tasks_pace, limits::tasks_burst};  // of those that ran
};

}  // namespace

Exit serve(const ServeOptions& options) {
  const Console console(options.json);
  const Narrator narrator(console);
  const std::unique_ptr<Logger> logger = make_logger(options.log_level);
  System system(logger.get());
  const Environment& environment = system.environment();

  AgentOptions agent_options;
  agent_options.listen = listen_addresses(options, environment.transport);
  agent_options.muxers = parse_muxers(options.muxers);
  agent_options.mdns = !options.no_mdns;
  agent_options.interfaces = options.interfaces;
  if (options.max_memory && *options.max_memory < limits::memory_least) {
    throw Failure(Exit::usage, "--max-memory has to be at least " + std::to_string(limits::memory_least / (1024 * 1024)) + "M");
  }
  if (std::max(options.max_input.value_or(0), options.max_output.value_or(0)) > limits::task_frame) {
    throw Failure(Exit::usage, "--max-input and --max-output are 4M at most, which a message holds");
  }
  agent_options.max_memory = options.max_memory;
  agent_options.max_connections = options.max_connections;
  agent_options.max_connections_per_address = options.max_connections_per_address;
  const Executors executors(options, environment);
  const std::size_t tasks = executors.offerings().size() * options.slots.value_or(limits::server_slots);
  try {
    allow_descriptors(options.max_connections + limits::pending_handshakes + descriptors_of_task * tasks + descriptors_besides);
  } catch (const boost::system::system_error& error) {  // more than there are at present wait until some are free
    environment.log.write(Logger::Level::warn, message_of(error));
  }
  const std::unique_ptr<AllowList> allowed = allow_list(options, executors.need_permission());
  std::unique_ptr<ReceiptStore> receipts;
  if (options.receipts.empty() && options.receipts_max) throw Failure(Exit::usage, "--receipts-max goes with --receipts DIR");
  if (!options.receipts.empty()) {
    constexpr std::uint64_t least = receipt_limit / (1024 * 1024) + 1;
    const std::uint64_t most = options.receipts_max.value_or(std::uint64_t{1} << 30);
    if (most >> 20 < least) {
      throw Failure(Exit::usage, "--receipts-max has to be at least " + std::to_string(least) + "M, which a single receipt can take");
    }
    receipts = std::make_unique<ReceiptStore>(environment.pool, options.receipts, most);
  }

  ProviderOptions provider_options;
  provider_options.slots = options.slots;
  provider_options.queue = options.queue;
  provider_options.max_time = std::chrono::duration_cast<std::chrono::milliseconds>(options.max_time);
  if (options.max_input) provider_options.max_input = static_cast<std::size_t>(*options.max_input);
  if (options.max_output) provider_options.max_output = static_cast<std::size_t>(*options.max_output);
  if (allowed) provider_options.may_ask = [&allowed](const PeerId& peer) { return allowed->allows(peer); };
  provider_options.receipts = receipts.get();
  const std::function<void(const TaskEvent&)> on_task = [&narrator](const TaskEvent& task) { narrator.task(task); };
  Agent agent(environment, identity_of(options, system.random()), agent_options, options.quiet ? AgentEvents() : narrator.events());
  Provider provider(agent, executors.offerings(), provider_options, options.quiet ? nullptr : on_task);
  if (options.perf) agent.handle(std::string(perf_protocol), perf_handler());

  const auto serving = [&]() -> Awaitable<void> {
    Event stop(environment.loop);
    unsigned signals_seen = 0;
    const std::vector<int> ending{SIGINT, SIGTERM};
    const auto end = [&stop] {
      stop.notify();
      Console::hurry();
    };
    const Signals signals(environment.loop, ending, [&] {
      ++signals_seen;
      end();
      if (signals_seen == 2) provider.hurry();
    });
    std::vector<int> hang_up;
    if (!options.allow_file.empty() || !ignores_hang_up()) hang_up.push_back(SIGHUP);
    const Signals reloading(environment.loop, hang_up, [&] {
      if (options.allow_file.empty()) return end();  // as a program that does not know the signal
      try {
        allowed->reload();
      } catch (const boost::system::system_error& error) {
        environment.log.write(Logger::Level::error, "who may ask stays as it was: " + message_of(error));
      }
    });
    const std::function<Awaitable<void>()> until_signalled = [&]() -> Awaitable<void> {
      narrator.listening(agent, provider.offers());
      environment.log.write(Logger::Level::debug, std::string("X25519 and Ed25519 are by ") + crypto::curve25519_library());
      co_await stop.wait();
      co_await provider.shut_down(options.grace);
    };
    std::exception_ptr failure;
    try {
      co_await agent.run(until_signalled);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) {
      co_await provider.shut_down(Duration::zero());
      std::rethrow_exception(failure);
    }
  };
  try {
    system.run(serving());
  } catch (const boost::system::system_error& error) {
    throw failure_of(error);
  }
  return Exit::done;
}

}  // namespace p2p::cli
