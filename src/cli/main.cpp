#include "cli/commands.hpp"
#include "cli/units.hpp"
#include "crypto/crypto.hpp"
#include "executors/registry.hpp"
#include "network/agent.hpp"
#include "network/system.hpp"
#include "task/message.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

namespace {

using namespace p2p;
using namespace p2p::cli;

constexpr const char* exit_codes =
    "Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 no peer, or none that has what was asked for,\n"
    "4 connection failed or ended without a result, 5 the result is not 'completed',\n"
    "6 out of time, 7 something did not verify, 130 interrupted.";

/// An option, or none: what is said about that is dropped before it costs anything.
class NamedOption {
 public:
  explicit NamedOption(CLI::Option* option) : option_(option) {}

  NamedOption required() {
    return with([](CLI::Option& option) { option.required(); });
  }
  NamedOption type_name(const char* name) {
    return with([name](CLI::Option& option) { option.type_name(name); });
  }
  NamedOption default_str(const char* text) {
    return with([text](CLI::Option& option) { option.default_str(text); });
  }
  NamedOption capture_default_str() {
    return with([](CLI::Option& option) { option.capture_default_str(); });
  }
  NamedOption one_each() {
    return with([](CLI::Option& option) { option.allow_extra_args(false); });
  }
  /// Unlike with CLI11's own this is not spelled out in the help, where it would take a line.
  NamedOption in_range(long least, long most) {
    return with([least, most](CLI::Option& option) { option.check(CLI::Range(least, most).description("")); });
  }

 private:
  template <class Say>
  NamedOption with(Say say) {
    if (option_ != nullptr) say(*option_);
    return *this;
  }

  CLI::Option* option_;
};

/// Gives a command those options that the command line names, or all of them where it asks for help: to make what nobody uses takes CLI11 a
/// tenth of the time until an agent listens.
class NamedOptions {
 public:
  NamedOptions(CLI::App& command, std::span<char* const> words) : command_(command) {
    for (const std::string_view word : words) {
      if (word.starts_with('-')) named_.push_back(word.substr(0, word.find('=')));
    }
  }

  template <class... What>
  NamedOption add_option(const char* names, What&&... what) {
    return NamedOption(wanted(names) ? command_.add_option(names, std::forward<What>(what)...) : nullptr);
  }
  template <class Value, class... What>
  NamedOption add_option_function(const char* names, What&&... what) {
    return NamedOption(wanted(names) ? command_.add_option_function<Value>(names, std::forward<What>(what)...) : nullptr);
  }
  template <class... What>
  NamedOption add_flag(const char* names, What&&... what) {
    return NamedOption(wanted(names) ? command_.add_flag(names, std::forward<What>(what)...) : nullptr);
  }
  /// The command itself, for what need not be named.
  CLI::App& command() { return command_; }

 private:
  bool wanted(std::string_view names) const {
    return !names.starts_with('-') || std::any_of(named_.begin(), named_.end(), [names](std::string_view word) {
      return word == "--help" || word == "-h" || names.starts_with(word) || names.ends_with(word);
    });
  }

  CLI::App& command_;
  std::vector<std::string_view> named_;
};

void add_identity(NamedOptions& command, CommonOptions& options) {
  command.add_option("--identity", options.identity, "The key to be known by, made on first use (default: a new one each time)")
      .type_name("FILE");
}

void add_common(NamedOptions& command, CommonOptions& options) {
  command.add_flag("--json", options.json, "Print one JSON object a line");
  add_identity(command, options);
  command.add_option("--muxer", options.muxers, "Muxers in order of preference: yamux,mplex or one of them")
      .capture_default_str()
      .type_name("LIST");
  command.command()
      .add_option("--interface", options.interfaces, "Use this network interface alone; repeatable")
      ->envname("P2P_AGENT_INTERFACE")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command.add_option("--log-level", options.log_level, "debug, info, warn, error or off, to standard error")
      .capture_default_str()
      .type_name("LEVEL");
}

/// An option whose value is read by `parse`, which gives nothing for a text that cannot be right.
template <class Value, class Parse>
NamedOption add_parsed(NamedOptions& command, const char* name, Value& value, Parse parse, const char* description, const char* hint) {
  const auto read = [&value, parse, hint](const std::string& text) {
    const auto parsed = parse(text);
    if (!parsed) throw CLI::ValidationError("'" + text + "': give " + hint);
    value = *parsed;
  };
  return command.add_option_function<std::string>(name, read, description);
}

NamedOption add_duration(NamedOptions& command, const char* name, Duration& value, const char* description, const char* standard,
                         Duration least = Duration::zero()) {
  const auto parse = [least](const std::string& text) {
    const std::optional<Duration> duration = parse_duration(text);
    return duration && *duration >= least ? duration : std::nullopt;
  };
  return add_parsed(command, name, value, parse, description, "a time such as 30, 500ms, 30s, 5m or 1h, of at most a day")
      .default_str(standard)
      .type_name("TIME");
}

template <class Value>
NamedOption add_size(NamedOptions& command, const char* name, Value& value, const char* description) {
  const auto parse = [](const std::string& text) { return parse_size(text); };
  return add_parsed(command, name, value, parse, description, "a size in bytes, such as 4096, 64K, 2M or 1G").type_name("SIZE");
}

std::string version() {
  return std::string(agent_version) + "\nprotocols: /noise " + std::string(yamux_protocol) + " " + std::string(mplex_protocol) + " " +
         std::string(identify_protocol) + " " + std::string(identify_push_protocol) + " " + std::string(ping_protocol) + " " +
         std::string(task_protocol) + " " + std::string(info_protocol) +
         " mDNS _p2p._udp.local\nsignatures: " + crypto::curve25519_library();
}

void add_options(NamedOptions& command, ServeOptions& options) {
  command
      .add_option("--executor", options.executors,
                  "What runs tasks (default: mock), repeatable: " + executor_kinds() + "; [TYPE=] before it for another task type")
      .type_name("SPEC")
      .one_each();
  command.add_option("--as", options.as, "The name of the command behind `--`, which others ask for as a model").type_name("NAME");
  command.add_flag("--worker", options.worker, "That command stays, and gets its tasks as lines of JSON");
  const auto misplaced = [](const std::vector<std::string>& words) {
    throw CLI::ValidationError("put `--` before the command: serve --as NAME -- " + words.front() + " ...");
  };
  command
      .add_option_function<std::vector<std::string>>("COMMAND", misplaced, "After `--`: a program and its arguments, run without a shell")
      .type_name("PROGRAM ARG...");
  command.add_option("--allow", options.allow, "Only this peer may ask; repeatable").type_name("PEERID").one_each();
  command.add_option("--allow-file", options.allow_file, "Only the peers in this file may ask; read again on SIGHUP").type_name("FILE");
  command.add_flag("--allow-any", options.allow_any, "Everyone on the network may ask");
  command.add_option("--slots", options.slots, "Tasks that run at once, of each executor (default: what suits it)")
      .in_range(1, 10000)
      .type_name("N");
  command.add_option("--queue", options.queue, "Tasks that may wait, of each executor")
      .capture_default_str()
      .in_range(0, 10000)
      .type_name("N");
  add_duration(command, "--max-time", options.max_time, "How long a task may take, whatever it asks for", "10m",
               std::chrono::milliseconds(1));
  add_size(command, "--max-input", options.max_input, "Size of a task (default: 4M, the most)");
  add_size(command, "--max-output", options.max_output, "Size of an output, 4M at most (default: 2M for commands)");
  add_size(command, "--receipts-max", options.receipts_max, "Disk for all receipts, 9M at least; when it is used up, tasks are refused")
      .default_str("1G");
  command.add_option("--receipts", options.receipts, "Keep a receipt of every result but rejections in this directory").type_name("DIR");
  command.add_option("--openai-key-file", options.openai_key_file, "The key for openai:URL (default: $OPENAI_API_KEY, over TLS alone)")
      .type_name("FILE");
  add_duration(command, "--grace", options.grace, "How long running tasks may go on after the first signal", "10s");
  command.add_option("--listen", options.listen, "Listen here (default: every interface, a free port); repeatable")
      .type_name("MULTIADDR")
      .one_each();
  command.add_flag("--no-mdns", options.no_mdns, "Neither announce this agent nor look for others");
  add_size(command, "--max-memory", options.max_memory, "Size of what peers make it hold (default: 256M, more for many connections)");
  command.add_option("--max-connections", options.max_connections, "Connections at once, in all")
      .capture_default_str()
      .in_range(1, 1000000)
      .type_name("N");
  command.add_option("--max-connections-per-address", options.max_connections_per_address, "The same from one address")
      .capture_default_str()
      .in_range(1, 1000000)
      .type_name("N");
  command.add_flag("--perf", options.perf, "Let everyone measure how fast bytes go (`p2p-agent bench --bulk`)");
  command.add_flag("--quiet", options.quiet, "Print nothing but where it listens");
  add_common(command, options);
}

void add_options(NamedOptions& command, RunOptions& options) {
  command.add_option("PROMPT", options.prompt, "The prompt; - or none reads it from standard input");
  command
      .add_option("--model", options.model,
                  "The model, or the command, to ask for (default: the provider's first; of commands the only one)")
      .type_name("NAME");
  command.add_option("--system", options.system, "What a model is told before the prompt").type_name("TEXT");
  command.add_option("--max-tokens", options.max_tokens, "Tokens of output at most").type_name("N");
  command.add_option("--temperature", options.temperature, "0 for the likeliest output, more for more variety").type_name("X");
  command.add_option("--seed", options.seed, "For the same output again, where the model can").type_name("N");
  command.add_option("--input", options.input, "The task's whole input as JSON, - for standard input").type_name("FILE");
  command.add_option("--type", options.task_type, "The task's type").capture_default_str().type_name("TYPE");
  command.add_option("--peer", options.peers, "Ask this peer alone; repeatable, tried in order").type_name("MULTIADDR|PEERID").one_each();
  command.add_flag("--stream,!--no-stream", options.stream, "Print the output as it comes (default: on a terminal)");
  command.add_option("--receipt", options.receipt, "Keep what proves the answer; `p2p-agent verify` checks it").type_name("FILE");
  command.add_option("--retries", options.retries, "Try again without a connection, after a broken one, or when the provider is busy")
      .capture_default_str()
      .in_range(0, 1000)
      .type_name("N");
  add_duration(command, "--wait", options.wait, "How long to look for a peer", "5s");
  add_duration(command, "--timeout", options.timeout, "How long the task may take", "10m", std::chrono::milliseconds(1));
  add_common(command, options);
}

void add_options(NamedOptions& command, SurveyOptions& options) {
  add_duration(command, "--wait", options.wait, "How long to look", "5s");
  add_common(command, options);
}

void add_options(NamedOptions& command, PingOptions& options) {
  command.add_option("PEER", options.peer, "The peer").required().type_name("MULTIADDR|PEERID");
  command.add_option("--count", options.count, "Stop after so many (default: when interrupted)").in_range(1, 1000000000).type_name("N");
  add_duration(command, "--wait", options.wait, "How long to look for a peer named by its PeerId", "5s");
  add_common(command, options);
}

void add_options(NamedOptions& command, BenchOptions& options) {
  command.add_option("PEER", options.peer, "The peer").required().type_name("MULTIADDR|PEERID");
  command.add_option("--pings", options.pings, "Pings, one after another").in_range(1, 1000000000).type_name("N");
  command.add_option("--tasks", options.tasks, "Tasks, one after another; the first 200 don't count")
      .in_range(201, 1000000000)
      .type_name("N");
  command.add_flag("--samples", options.samples, "With --json: the times of all these tasks as well");
  command.add_option("--total", options.total, "Tasks, several at once, more than twice --concurrency")
      .in_range(1, 1000000000)
      .type_name("N");
  command.add_option("--concurrency", options.concurrency, "How many of these at once")
      .capture_default_str()
      .in_range(1, 100000)
      .type_name("C");
  command.add_option("--connections", options.connections, "Connections that are opened and closed").in_range(1, 1000000000).type_name("N");
  command.add_option("--parallel", options.parallel, "How many of these at once").capture_default_str().in_range(1, 10000).type_name("P");
  command.add_option("--bulk", options.bulk, "MiB sent up, then down; needs `serve --perf` or the like over there")
      .in_range(1, 1000000)
      .type_name("MIB");
  command.add_option("--hold", options.hold, "Connections that are opened and held until standard input ends")
      .in_range(1, 1000000)
      .type_name("N");
  command.add_option("--prompt-bytes", options.prompt_bytes, "Size of a task's prompt (default: 14)")
      .in_range(1, 2L * 1024 * 1024)
      .type_name("N");
  add_duration(command, "--wait", options.wait, "How long to look for a peer named by its PeerId", "5s");
  add_common(command, options);
}

void add_options(NamedOptions& command, CommonOptions& options) {
  command.add_flag("--json", options.json, "Print one JSON object a line");
  add_identity(command, options);
}

void add_options(NamedOptions& command, VerifyOptions& options) {
  command.add_option("FILE", options.file, "The receipt; - reads it from standard input").required();
  command.add_flag("--unaddressed", options.unaddressed, "Accept a task that names no recipient: it does not prove who was asked");
  command.add_flag("--json", options.json, "Print one JSON object");
}

/// Gives the command its options, and what to call once they have been read. `behind` are the words behind `--`, for a command that has
/// such; CLI11 would take brackets and commas in them for its own.
using Prepare = std::function<Exit()> (*)(NamedOptions&, std::span<char* const> behind);

template <auto run_command, class Options>
std::function<Exit()> prepare(NamedOptions& command, std::span<char* const> behind) {
  const auto options = std::make_shared<Options>();
  add_options(command, *options);
  if constexpr (std::is_same_v<Options, ServeOptions>) options->command.assign(behind.begin(), behind.end());
  return [options] { return run_command(*options); };
}

struct Command {
  const char* name;
  const char* description;
  Prepare prepare;
};

constexpr Command commands[] = {
    {"serve", "Run tasks for others, until interrupted", prepare<cli::serve, ServeOptions>},
    {"run", "Have a task run by an agent on the network and print its output", prepare<cli::run, RunOptions>},
    {"models", "List the models on the network, who has them and how busy they are", prepare<cli::models, SurveyOptions>},
    {"peers", "List the agents on the network and what they execute", prepare<cli::peers, SurveyOptions>},
    {"ping", "Measure the round trip to a peer", prepare<cli::ping, PingOptions>},
    {"bench", "Measure a peer: round trips, tasks, connections, bytes a second", prepare<cli::bench, BenchOptions>},
    {"id", "Show the PeerId of an identity", prepare<cli::id, CommonOptions>},
    {"verify", "Check a receipt: who asked whom what, and what came back", prepare<cli::verify, VerifyOptions>},
};

/// Null when it is none.
const Command* named_among(std::span<char* const> words) {
  for (const std::string_view word : words) {
    for (const Command& command : commands) {
      if (word == command.name) return &command;
    }
  }
  return nullptr;
}

int main_of(int argc, char** argv) {
  CLI::App app{"AI agents on a local network: find each other, hand each other tasks. No server, no account."};
  app.set_version_flag("--version", version);
  app.require_subcommand(1);
  app.footer(exit_codes);
  app.option_defaults()->always_capture_default(false);
  app.get_formatter()->column_width(38);  // of the longest option

  // Only the command that is named is made, too.
  const std::span<char* const> words(argv, static_cast<std::size_t>(argc));
  const auto dashes = std::find(words.begin(), words.end(), std::string_view("--"));
  const Command* const named = named_among(std::span(words.begin(), dashes).subspan(std::min<std::size_t>(1, words.size())));
  const bool has_command = named != nullptr && named->name == std::string_view("serve") && dashes != words.end();
  std::function<Exit()> call;
  for (const Command& command : named != nullptr ? std::span(named, 1) : std::span(commands)) {
    CLI::App* const subcommand = app.add_subcommand(command.name, command.description);
    subcommand->footer(exit_codes);
    if (named == nullptr) continue;
    NamedOptions options(*subcommand, {words.begin(), dashes});
    call = command.prepare(options, {has_command ? dashes + 1 : words.end(), words.end()});
  }

  // Which form errors take must be known even when the command line cannot be read.
  bool json = false;
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) json = json || std::string_view(argv[i]) == "--json";
  try {
    app.parse(has_command ? static_cast<int>(dashes - words.begin()) : argc, argv);
    const Exit exit = call();
    if (exit == Exit::done) Console::check_written();
    return static_cast<int>(exit);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    Console(json).failure({Exit::usage, std::string(error.what()) + "; `p2p-agent --help` shows what there is"});
    return static_cast<int>(Exit::usage);
  } catch (const Failure& failure) {
    Console(json).failure(failure);
    return static_cast<int>(failure.exit);
  } catch (const boost::system::system_error& error) {
    const Failure failure = failure_of(error);
    Console(json).failure(failure);
    return static_cast<int>(failure.exit);
  } catch (const std::exception& error) {
    Console(json).failure({Exit::bug, std::string("a bug of ours, please report it: ") + error.what()});
    return static_cast<int>(Exit::bug);
  }
}

/// Where one of the three is closed, what is opened next would be written to as output. This fails to be.
void have_standard_streams() {
  int descriptor = 0;
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) descriptor = open("/dev/null", O_RDONLY);
  if (descriptor > STDERR_FILENO) close(descriptor);
}

}  // namespace

int main(int argc, char** argv) {
  have_standard_streams();
  crypto::forbid_core_dumps();
  give_free_memory_back();
  std::signal(SIGPIPE, SIG_IGN);  // whoever writes is told by an error
  const int exit = main_of(argc, argv);
  cli::Console::finish();
  return exit;
}
