#include "cli/session.hpp"
#include "executors/registry.hpp"
#include "task/provider.hpp"

#include <unistd.h>
#include <boost/json/array.hpp>

namespace p2p::cli {
namespace {

namespace json = boost::json;

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
  return addresses.empty() ? everywhere(transport, options.interfaces) : addresses;
}

/// Tells what happens, as events or lines.
class Narrator {
 public:
  explicit Narrator(const Console& console) : console_(console) {}

  void listening(const Agent& agent, const Offer& offer) const {
    const std::vector<Multiaddr> addresses = agent.addresses();
    console_.event({{"event", "listening"}, {"peer", agent.id().text()}, {"addrs", texts(addresses, agent.id())}});
    console_.line("serving " + offer.task_type + " with " + offer.executor + " as " + console_.bold(agent.id().text()));
    for (const Multiaddr& address : addresses) console_.line("  " + address.text());
  }
  AgentEvents events() const {
    AgentEvents events;
    events.discovered = [this](const PeerId& peer, const std::vector<Multiaddr>& addresses) {
      console_.event({{"event", "peer_discovered"}, {"peer", peer.text()}, {"addrs", texts(addresses, peer)}});
      console_.line(console_.dim("discovered   ") + peer.text());
    };
    events.connected = [this](const Connection& connection) {
      console_.event({{"event", "connected"},
                      {"peer", connection.peer().text()},
                      {"addr", connection.remote_address().text()},
                      {"muxer", muxer_name(connection.muxer())}});
      console_.line(console_.dim("connected    ") + connection.peer().text() + " " + connection.remote_address().text());
    };
    events.disconnected = [this](const Connection& connection) {
      console_.event({{"event", "disconnected"}, {"peer", connection.peer().text()}, {"reason", connection.reason()}});
      console_.line(console_.dim("disconnected ") + connection.peer().text() + " (" + escaped(connection.reason()) + ")");
    };
    return events;
  }
  void task(const TaskEvent& task) const {
    json::object event{{"event", "task"}, {"task_id", task.task_id}, {"peer", task.requester.text()}, {"status", task.status}};
    if (!task.code.empty()) event["code"] = task.code;
    event["queued_ms"] = task.queued.count();
    event["run_ms"] = task.run.count();
    console_.event(event);
    console_.line(console_.dim("task         ") + task.task_id + " " + task.status + (task.code.empty() ? "" : " (" + task.code + ")") +
                  ", " + std::to_string(task.run.count()) + " ms");
  }

 private:
  const Console& console_;
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
  const std::unique_ptr<Executor> executor = make_executor(options.executor, environment);
  Agent agent(environment, KeyPair::generate(system.random()), agent_options, narrator.events());
  const ProviderOptions provider_options{options.slots.value_or(executor->slots()), options.queue};
  Provider provider(agent, *executor, provider_options, [&narrator](const TaskEvent& task) { narrator.task(task); });

  const auto serving = [&]() -> Awaitable<void> {
    Event stop(environment.loop);
    unsigned signals_seen = 0;
    const Signals signals(environment.loop, [&] {
      ++signals_seen;
      stop.notify();
      if (signals_seen == 2) provider.hurry();
      if (signals_seen > 2) _exit(static_cast<int>(Exit::interrupted));
    });
    const std::function<Awaitable<void>()> until_signalled = [&]() -> Awaitable<void> {
      narrator.listening(agent, {std::string(inference), std::string(executor->name()), executor->models()});
      co_await stop.wait();
      co_await provider.shut_down(seconds_of(options.grace_s));
    };
    co_await agent.run(until_signalled);
  };
  try {
    system.run(serving());
  } catch (const boost::system::system_error& error) {
    throw failure_of(error);
  }
  return Exit::done;
}

}  // namespace p2p::cli
