#include "cli/survey.hpp"

#include <boost/json/array.hpp>

namespace p2p::cli {
namespace {

namespace json = boost::json;

json::array strings(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

json::object queue_of(const Info& info) {
  return {{"running", info.running}, {"waiting", info.waiting}, {"slots", info.slots}, {"capacity", info.capacity}};
}

std::string load_of(const Info& info) {
  return std::to_string(info.running) + " of " + std::to_string(info.slots) + " running, " + std::to_string(info.waiting) + " waiting";
}

void show_peer(Session& session, const Surveyed& answer, const std::string& agent) {
  const Console& console = session.console();
  json::object event{{"event", "peer"}, {"peer", answer.peer.text()}};
  json::array& addresses = event["addrs"].emplace_array();
  for (const Multiaddr& address : answer.addresses) addresses.push_back(json::string(address.with_peer_id(answer.peer).text()));
  if (!agent.empty()) event["agent"] = agent;
  std::vector<std::string> lines;
  json::array& executors = event["executors"].emplace_array();
  if (answer.info) {
    for (const Offer& offer : answer.info->executors) {
      executors.push_back({{"task_type", offer.task_type}, {"executor", offer.executor}, {"models", strings(offer.models)}});
      lines.push_back(offer.task_type + " with " + offer.executor);
      for (const std::string& model : offer.models) lines.back() += " " + model;
    }
    event["queue"] = queue_of(*answer.info);
    if (answer.info->name) event["name"] = *answer.info->name;
    if (answer.info->may_ask) event["may_ask"] = *answer.info->may_ask;
    if (!lines.empty()) lines.push_back(load_of(*answer.info));
    if (answer.info->may_ask == false) lines.emplace_back("does not run tasks for you");
  } else if (answer.failure) {
    event["problem"] = answer.failure->what();
    lines.emplace_back(answer.failure->what());
  }
  if (lines.empty()) lines.emplace_back("no tasks");
  console.event(event);
  console.line(console.bold(answer.peer.text()) + "  " + escaped(agent));
  for (const std::string& line : lines) console.line("  " + escaped(line));
  for (const Multiaddr& address : answer.addresses) console.line("  " + escaped(address.text()));
}

bool show_models(const Console& console, const Surveyed& answer) {
  bool any = false;
  if (!answer.info) return any;
  for (const Offer& offer : answer.info->executors) {
    for (const std::string& model : names_of(offer)) {
      any = true;
      json::object event{{"event", "model"},           {"model", model},
                         {"peer", answer.peer.text()}, {"task_type", offer.task_type},
                         {"executor", offer.executor}, {"queue", queue_of(*answer.info)}};
      if (answer.info->name) event["name"] = *answer.info->name;
      console.event(event);
      std::string shown = escaped(model);
      if (shown.size() < 24) shown.resize(24, ' ');
      console.line(console.bold(shown) + "  " + (answer.info->name ? escaped(*answer.info->name) + " " : "") + answer.peer.text() + "  " +
                   escaped(offer.executor) + (offer.task_type == inference ? "" : ", " + escaped(offer.task_type)) + "  " +
                   load_of(*answer.info));
    }
  }
  return any;
}

/// Shows every peer that is found in time as soon as it has answered.
/// `show` says whether there was something to show of it.
Exit survey(const SurveyOptions& options, const std::function<Awaitable<bool>(Session& session, const Surveyed& answer)>& show) {
  Session session(options, true);
  const auto work = [&]() -> Awaitable<Exit> {
    Survey survey(session, session.now() + options.wait);
    std::optional<PeerId> refusing;
    std::optional<Failure> failure;
    bool found = false;
    bool shown = false;
    std::exception_ptr interrupted;
    try {
      while (std::optional<Surveyed> answer = co_await survey.next(Time::max())) {
        found = true;
        const bool is_shown = co_await show(session, *answer);
        shown = shown || is_shown;
        if (answer->info && answer->info->may_ask == false) refusing = answer->peer;
        if (answer->failure) failure = answer->failure;
      }
    } catch (const boost::system::system_error&) {
      interrupted = std::current_exception();
    }
    co_await survey.end();
    if (interrupted) std::rethrow_exception(interrupted);
    if (!found) throw session.nobody();
    if (shown) co_return Exit::done;
    if (refusing) throw session.refused_by(*refusing);
    if (failure) throw *failure;
    throw Failure(Exit::no_peer, "there are agents here, and none has a model at present");
  };
  return session.run(work);
}

}  // namespace

Exit peers(const SurveyOptions& options) {
  return survey(options, [](Session& session, const Surveyed& answer) -> Awaitable<bool> {
    std::string agent;
    try {
      agent = (co_await session.agent().identify(answer.peer)).agent_version;
    } catch (const boost::system::system_error&) {
      // no connection, as the answer says, or it says nothing of itself
    }
    show_peer(session, answer, agent);
    co_return true;
  });
}

Exit models(const SurveyOptions& options) {
  return survey(options,
                [](Session& session, const Surveyed& answer) -> Awaitable<bool> { co_return show_models(session.console(), answer); });
}

}  // namespace p2p::cli
