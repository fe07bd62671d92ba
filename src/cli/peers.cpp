#include "cli/session.hpp"
#include "task/manager.hpp"

#include <boost/json/array.hpp>

namespace p2p::cli {
namespace {

namespace json = boost::json;

struct Listed {
  std::vector<Multiaddr> addresses;
  std::string agent;
  std::optional<Info> info;
  std::string problem;
};

/// Everything that can be learned of one peer; what cannot is its problem.
Awaitable<Listed> ask(Agent& agent, PeerId peer) {
  Listed listed;
  listed.addresses = agent.discovered_addresses(peer);
  try {
    co_await agent.connect(peer);
    listed.agent = (co_await agent.identify(peer)).agent_version;
    TaskManager manager(agent);
    listed.info = co_await manager.info(peer);
  } catch (const boost::system::system_error& error) {
    if (!is(error, Errc::unsupported)) listed.problem = message_of(error);
  }
  co_return listed;
}

void show(const Console& console, const PeerId& peer, const Listed& listed) {
  json::object event{{"event", "peer"}, {"peer", peer.text()}};
  json::array& addresses = event["addrs"].emplace_array();
  for (const Multiaddr& address : listed.addresses) addresses.push_back(json::string(address.with_peer_id(peer).text()));
  if (!listed.agent.empty()) event["agent"] = listed.agent;
  std::string executes;
  json::array& executors = event["executors"].emplace_array();
  if (listed.info) {
    for (const Offer& offer : listed.info->executors) {
      executors.push_back({{"task_type", offer.task_type},
                           {"executor", offer.executor},
                           {"models", json::array(offer.models.begin(), offer.models.end())}});
      executes += (executes.empty() ? "" : ", ") + offer.task_type + " with " + offer.executor;
      for (const std::string& model : offer.models) executes += " " + model;
    }
    event["queue"] = json::object{{"running", listed.info->running},
                                  {"waiting", listed.info->waiting},
                                  {"slots", listed.info->slots},
                                  {"capacity", listed.info->capacity}};
    executes += "; " + std::to_string(listed.info->running) + " running, " + std::to_string(listed.info->waiting) + " waiting";
  } else {
    executes = listed.problem.empty() ? "no tasks" : listed.problem;
  }
  if (!listed.problem.empty()) event["problem"] = listed.problem;
  console.event(event);
  console.line(console.bold(peer.text()) + "  " + escaped(listed.agent));
  console.line("  " + escaped(executes));
  for (const Multiaddr& address : listed.addresses) console.line("  " + address.text());
}

}  // namespace

Exit peers(const PeersOptions& options) {
  Session session(options, true);
  const auto work = [&]() -> Awaitable<Exit> {
    const Time deadline = session.now() + seconds_of(options.wait_s);
    TaskGroup asking(session.system().loop());
    std::size_t found = 0;
    std::exception_ptr interrupted;
    const auto ask_and_show = [&session](PeerId peer) -> Awaitable<void> {
      const Listed listed = co_await ask(session.agent(), peer);
      show(session.console(), peer, listed);
    };
    try {
      while (const std::optional<PeerId> peer = co_await session.next_discovered(deadline)) {
        ++found;
        asking.spawn(ask_and_show(*peer));
      }
    } catch (const boost::system::system_error&) {
      interrupted = std::current_exception();
    }
    co_await asking.join();
    if (interrupted) std::rethrow_exception(interrupted);
    if (found == 0) throw session.nobody();
    co_return Exit::done;
  };
  return session.run(work);
}

}  // namespace p2p::cli
