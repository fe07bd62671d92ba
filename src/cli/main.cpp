#include "cli/commands.hpp"
#include "network/agent.hpp"
#include "task/message.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace p2p;
using namespace p2p::cli;

constexpr const char* exit_codes =
    "Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 no peer (or none that runs tasks),\n"
    "4 connection failed or ended without a result, 5 the result is not 'completed',\n"
    "6 out of time, 7 something did not verify, 130 interrupted.";

void add_common(CLI::App& command, CommonOptions& options, bool network = true) {
  command.add_flag("--json", options.json, "Print one JSON object a line");
  if (!network) return;
  command.add_option("--muxer", options.muxers, "Muxers in order of preference: yamux,mplex or one of them")
      ->capture_default_str()
      ->type_name("LIST");
  command.add_option("--interface", options.interfaces, "Use this network interface alone; repeatable")
      ->envname("P2P_AGENT_INTERFACE")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command.add_option("--log-level", options.log_level, "debug, info, warn, error or off, to standard error")
      ->capture_default_str()
      ->type_name("LEVEL");
}

CLI::Option* add_seconds(CLI::App& command, const char* name, double& value, const char* description, double least = 0) {
  return command.add_option(name, value, description)->capture_default_str()->check(CLI::Range(least, 86400.0))->type_name("SECONDS");
}

std::string version() {
  return std::string(agent_version) + "\nprotocols: /noise " + std::string(yamux_protocol) + " " + std::string(mplex_protocol) + " " +
         std::string(identify_protocol) + " " + std::string(identify_push_protocol) + " " + std::string(ping_protocol) + " " +
         std::string(task_protocol) + " " + std::string(info_protocol) + " mDNS _p2p._udp.local";
}

int main_of(int argc, char** argv) {
  CLI::App app{"AI agents on a local network: find each other, hand each other tasks. No server, no account."};
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  app.footer(exit_codes);
  app.option_defaults()->always_capture_default(false);

  ServeOptions serve_options;
  CLI::App* const serve_command = app.add_subcommand("serve", "Run tasks for others, until interrupted");
  serve_command->add_option("--listen", serve_options.listen, "Listen here (default: every interface, a free port); repeatable")
      ->type_name("MULTIADDR")
      ->allow_extra_args(false);
  serve_command->add_option("--executor", serve_options.executor, "mock, or mock:delay=MS,pieces=N")
      ->capture_default_str()
      ->type_name("SPEC");
  serve_command->add_option("--slots", serve_options.slots, "Tasks that run at once (default: one a core)")
      ->check(CLI::Range(1, 10000))
      ->type_name("N");
  serve_command->add_option("--queue", serve_options.queue, "Tasks that may wait")
      ->capture_default_str()
      ->check(CLI::Range(0, 10000))
      ->type_name("N");
  add_seconds(*serve_command, "--grace", serve_options.grace_s, "How long running tasks may go on after the first signal");
  serve_command->add_flag("--no-mdns", serve_options.no_mdns, "Neither announce this agent nor look for others");
  add_common(*serve_command, serve_options);

  RunOptions run_options;
  CLI::App* const run_command = app.add_subcommand("run", "Have a task run by an agent on the network and print its output");
  run_command->add_option("PROMPT", run_options.prompt, "The prompt; - or none reads it from standard input");
  run_command->add_option("--peer", run_options.peers, "Ask this peer alone; repeatable, tried in order")
      ->type_name("MULTIADDR|PEERID")
      ->allow_extra_args(false);
  run_command->add_flag("--stream", run_options.stream, "Print the output as it comes");
  add_seconds(*run_command, "--wait", run_options.wait_s, "How long to look for a peer");
  add_seconds(*run_command, "--timeout", run_options.timeout_s, "How long the task may take", 0.001);
  add_common(*run_command, run_options);

  PeersOptions peers_options;
  CLI::App* const peers_command = app.add_subcommand("peers", "List the agents on the network and what they execute");
  add_seconds(*peers_command, "--wait", peers_options.wait_s, "How long to look");
  add_common(*peers_command, peers_options);

  PingOptions ping_options;
  CLI::App* const ping_command = app.add_subcommand("ping", "Measure the round trip to a peer");
  ping_command->add_option("PEER", ping_options.peer, "The peer")->required()->type_name("MULTIADDR|PEERID");
  ping_command->add_option("--count", ping_options.count, "Stop after so many (default: when interrupted)")
      ->check(CLI::Range(1U, 1000000000U))
      ->type_name("N");
  add_seconds(*ping_command, "--wait", ping_options.wait_s, "How long to look for a peer named by its PeerId");
  add_common(*ping_command, ping_options);

  CommonOptions id_options;
  CLI::App* const id_command = app.add_subcommand("id", "Make an identity and show its PeerId");
  add_common(*id_command, id_options, false);

  for (CLI::App* const command : {serve_command, run_command, peers_command, ping_command, id_command}) command->footer(exit_codes);

  // Which form errors take must be known even when the command line cannot be read.
  bool json = false;
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) json = json || std::string_view(argv[i]) == "--json";
  try {
    app.parse(argc, argv);
    if (serve_command->parsed()) return static_cast<int>(serve(serve_options));
    if (run_command->parsed()) return static_cast<int>(run(run_options));
    if (peers_command->parsed()) return static_cast<int>(peers(peers_options));
    if (ping_command->parsed()) return static_cast<int>(cli::ping(ping_options));
    return static_cast<int>(cli::id(id_options));
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

}  // namespace

int main(int argc, char** argv) { return main_of(argc, argv); }
