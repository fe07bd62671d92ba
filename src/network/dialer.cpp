#include "network/dialer.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace p2p {
namespace {

constexpr std::chrono::milliseconds dial_stagger{250};

}  // namespace

// The attempts at the addresses of one peer.
struct Dialer::Race {
  explicit Race(const Environment& environment) : changed(environment.clock, environment.loop), attempts(environment.loop) {}

  std::optional<PeerId> expected;
  Known known;           // addresses, at present
  std::size_t most = 0;  // of them that are tried
  bool discovered = false;
  SaidByHost said_by_host;  // of those
  std::vector<Multiaddr> tried;
  std::list<ByteStream*> channels;  // of the attempts under way
  std::list<Alarm*> waiting;        // of those whose turn has not come
  std::size_t under_way = 0;        // attempts
  std::optional<Upgraded> winner;
  std::optional<boost::system::error_code> error;
  std::string message;
  bool over = false;
  Alarm changed;
  TaskGroup attempts;

  /// An address to try, if there is one and not too many are being tried.
  std::optional<Multiaddr> next() const {
    if (tried.size() >= most || under_way >= limits::dial_addresses) return std::nullopt;
    for (const Multiaddr& one : known()) {
      if (std::find(tried.begin(), tried.end(), one) == tried.end()) return one;
    }
    return std::nullopt;
  }
  void failed(const boost::system::error_code& how, const std::string& why) {
    // That somebody else answered is worth more to know than that nobody did.
    if (!error || how == Errc::unverified) error = how;
    message += (message.empty() ? "" : "; ") + why;
  }
  void end_in_time() {
    if (!winner && !error) failed(make_error_code(Errc::timed_out), "no connection was made in time");
    stop();
  }
  void stop() {
    over = true;
    for (ByteStream* const channel : channels) channel->close();
    for (Alarm* const one : waiting) one->notify();
    changed.notify();
  }
};

Dialer::Dialer(const Environment& environment, PeerId own, std::function<UpgradeOptions()> options)
    : environment_(environment), own_(std::move(own)), options_(std::move(options)) {}

void Dialer::close() {
  closed_ = true;
  for (Race* const race : races_) race->stop();
}

Awaitable<Upgraded> Dialer::dial(std::vector<Multiaddr> addresses, std::optional<PeerId> expected, Time deadline) {
  Race race(environment_);
  race.expected = std::move(expected);
  race.known = [&addresses] { return addresses; };
  race.most = limits::dial_addresses;
  co_return co_await run(race, deadline);
}

Awaitable<Upgraded> Dialer::dial_discovered(PeerId peer, Known known, SaidByHost said_by_host, Time deadline) {
  Race race(environment_);
  race.expected = std::move(peer);
  race.known = std::move(known);
  race.most = limits::mdns_addresses;
  race.discovered = true;
  race.said_by_host = std::move(said_by_host);
  co_return co_await run(race, deadline);
}

Awaitable<Upgraded> Dialer::run(Race& race, Time deadline) {
  if (closed_) fail(Errc::closed, "the agent is stopping");
  const auto registered = races_.insert(races_.end(), &race);
  Timer timer;
  if (deadline != Time::max()) {
    timer = environment_.clock.schedule(deadline, [&race] { race.end_in_time(); });
  }
  while (!race.over && !race.winner) {
    const std::optional<Multiaddr> next = race.next();
    if (!next && race.under_way == 0) break;
    if (next) {
      race.tried.push_back(*next);
      ++race.under_way;
      race.attempts.spawn(attempt(race, *next));
    }
    if (race.discovered || race.next()) {
      race.changed.set(environment_.clock.now() + dial_stagger);
    } else {
      race.changed.clear();
    }
    co_await race.changed.wait();
  }
  race.stop();
  co_await race.attempts.join();
  races_.erase(registered);
  if (closed_) fail(Errc::closed, "the agent is stopping");
  if (race.tried.empty() && !race.error) {
    fail(Errc::no_peer, "no address is known" + (race.expected ? " for " + race.expected->text() : std::string()));
  }
  if (!race.winner) throw boost::system::system_error(*race.error, race.message);
  co_return *std::move(race.winner);
}

Awaitable<void> Dialer::take_turn(Race& race, const Multiaddr& address, const PeerId& peer) {
  Alarm free(environment_.clock, environment_.loop);
  const auto waiting = race.waiting.insert(race.waiting.end(), &free);
  bool taken = false;
  bool in_vain = false;
  while (!race.over && !taken && !in_vain) {
    const Time now = environment_.clock.now();
    in_vain = turns_.in_vain(address, peer, now);
    taken = !in_vain && turns_.take(address, !race.said_by_host(address), now, free);
    if (!taken && !in_vain) co_await free.wait();
  }
  race.waiting.erase(waiting);
  if (taken) co_return;
  turns_.stop_waiting(address, free);
  if (in_vain) fail(Errc::unreachable, address.text() + " was dialled a moment ago for another peer, and this one was not there");
  fail(Errc::closed, address.text() + " was being dialled already");
}

Awaitable<void> Dialer::attempt(Race& race, Multiaddr address) {
  std::optional<PeerId> expected = race.expected;
  std::optional<std::list<ByteStream*>::iterator> registered;
  PeerId proven;
  bool has_turn = false;
  try {
    if (const std::optional<PeerId> named = address.peer_id()) {
      if (expected && *expected != *named) fail(Errc::unverified, address.text() + " is another peer's address");
      expected = named;
    }
    if (race.discovered) {
      co_await take_turn(race, address, *expected);
      has_turn = true;
    }
    std::unique_ptr<ByteStream> channel = environment_.transport.dial(address);
    registered = race.channels.insert(race.channels.end(), channel.get());
    co_await channel->connect(limits::dial);
    UpgradeOptions options = options_();
    options.proven = &proven;
    Upgraded upgraded = co_await upgrade_dialer(environment_, options, std::move(channel), expected);
    if (upgraded.secure.remote->id() == own_) fail(Errc::unverified, address.text() + " is this agent itself");
    if (!race.winner) race.winner = std::move(upgraded);
  } catch (const boost::system::system_error& error) {
    if (!race.over) {
      race.failed(error.code(), message_of(error));
      if (has_turn && !is(error, Errc::exhausted)) turns_.failed(address, *expected, proven, environment_.clock.now());
    }
  }
  if (registered) race.channels.erase(*registered);
  if (has_turn) turns_.give_back(address);
  --race.under_way;
  race.changed.notify();
}

}  // namespace p2p
