#include "cli/session.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <cstdio>

namespace p2p::cli {
namespace {

constexpr std::chrono::seconds interval{1};

std::string text_of(double milliseconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", milliseconds);
  return text;
}

}  // namespace

Exit ping(const PingOptions& options) {
  const PeerName named = parse_peer(options.peer);
  Session session(options, !named.address);
  std::vector<double> times;
  std::size_t sent = 0;

  const auto work = [&]() -> Awaitable<Exit> {
    const PeerId peer = co_await session.reach(named, session.now() + options.wait);
    const Multiaddr address = session.agent().connection_to(peer)->remote_address();
    session.console().line("PING " + peer.text() + " (" + address.text() + "): " + std::to_string(ping_size) + " bytes");
    while (!options.count || sent < *options.count) {
      if (sent > 0) co_await session.pause(interval);
      ++sent;
      const double time = milliseconds_of(co_await session.agent().ping(peer));
      times.push_back(time);
      session.console().event({{"event", "pong"}, {"peer", peer.text()}, {"seq", sent}, {"ms", time}});
      session.console().line(std::to_string(ping_size) + " bytes from " + peer.short_text() + ": seq=" + std::to_string(sent) +
                             " time=" + text_of(time) + " ms");
    }
    co_return Exit::done;
  };
  const auto statistics = [&] {
    if (sent == 0) return;
    boost::json::object event{{"event", "ping_statistics"}, {"sent", sent}, {"received", times.size()}};
    std::string line = std::to_string(sent) + " sent, " + std::to_string(times.size()) + " received";
    if (!times.empty()) {
      double sum = 0;
      for (const double time : times) sum += time;
      const auto [least, most] = std::minmax_element(times.begin(), times.end());
      const double mean = rounded(sum / static_cast<double>(times.size()), 1000);
      event["min_ms"] = *least;
      event["avg_ms"] = mean;
      event["max_ms"] = *most;
      line += ", min/avg/max = " + text_of(*least) + "/" + text_of(mean) + "/" + text_of(*most) + " ms";
    }
    session.console().event(event);
    session.console().line("--- " + line);
  };
  try {
    const Exit exit = session.run(work);
    statistics();
    return exit;
  } catch (const Failure& failure) {
    statistics();
    // Without a count, the interrupt is how one ends it.
    if (failure.exit == Exit::interrupted && !options.count && sent > 0 && sent == times.size()) return Exit::done;
    throw;
  }
}

}  // namespace p2p::cli
