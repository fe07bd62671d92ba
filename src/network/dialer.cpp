#include "network/dialer.hpp"

#include "base/limits.hpp"

namespace p2p {
namespace {

constexpr std::chrono::milliseconds dial_stagger{250};

}  // namespace

// The attempts of one dial().
struct Dialer::Race {
  explicit Race(const Environment& environment) : changed(environment.clock, environment.loop), attempts(environment.loop) {}

  std::list<ByteStream*> channels;  // of the attempts under way
  std::list<Alarm*> waiting;        // of those whose turn has not come
  std::size_t under_way = 0;        // attempts
  std::optional<Upgraded> winner;
  std::optional<boost::system::error_code> error;
  std::string message;
  bool over = false;
  Alarm changed;
  TaskGroup attempts;

  void failed(const boost::system::system_error& why) {
    // That somebody else answered is worth more to know than that nobody did.
    if (!error || is(why, Errc::unverified)) error = why.code();
    message += (message.empty() ? "" : "; ") + message_of(why);
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

Awaitable<Upgraded> Dialer::dial(std::vector<Multiaddr> addresses, std::optional<PeerId> expected, Time deadline, bool discovered) {
  if (closed_) fail(Errc::closed, "the agent is stopping");
  if (addresses.empty()) fail(Errc::no_peer, "no address is known" + (expected ? " for " + expected->text() : std::string()));
  if (addresses.size() > limits::dial_addresses) addresses.resize(limits::dial_addresses);
  Race race(environment_);
  const auto registered = races_.insert(races_.end(), &race);
  Timer timer;
  if (deadline != Time::max()) {
    timer = environment_.clock.schedule(deadline, [&race] {
      if (!race.winner && !race.error) race.failed({make_error_code(Errc::timed_out), "no connection was made in time"});
      race.stop();
    });
  }
  for (const Multiaddr& address : addresses) {
    if (race.over || race.winner) break;
    ++race.under_way;
    race.attempts.spawn(attempt(race, address, expected, discovered));
    if (&address == &addresses.back()) break;
    race.changed.set(environment_.clock.now() + dial_stagger);
    co_await race.changed.wait();
  }
  while (!race.winner && race.under_way > 0) co_await race.changed.wait();
  race.stop();
  co_await race.attempts.join();
  races_.erase(registered);
  if (closed_) fail(Errc::closed, "the agent is stopping");
  if (!race.winner) throw boost::system::system_error(*race.error, race.message);
  co_return *std::move(race.winner);
}

Awaitable<void> Dialer::take_turn(Race& race, const Multiaddr& address) {
  Alarm free(environment_.clock, environment_.loop);
  const auto waiting = race.waiting.insert(race.waiting.end(), &free);
  bool taken = false;
  while (!race.over && !taken) {
    taken = turns_.take(address, free);
    if (!taken) co_await free.wait();
  }
  race.waiting.erase(waiting);
  if (taken) co_return;
  turns_.stop_waiting(address, free);
  fail(Errc::closed, address.text() + " was being dialled already");
}

Awaitable<void> Dialer::attempt(Race& race, Multiaddr address, std::optional<PeerId> expected, bool discovered) {
  std::optional<std::list<ByteStream*>::iterator> registered;
  PeerId proven;
  bool has_turn = false;
  try {
    if (const std::optional<PeerId> named = address.peer_id()) {
      if (expected && *expected != *named) fail(Errc::unverified, address.text() + " is another peer's address");
      expected = named;
    }
    if (discovered) {
      co_await take_turn(race, address);
      if (turns_.in_vain(address, *expected, environment_.clock.now())) {
        turns_.give_back(address);
        fail(Errc::unreachable, address.text() + " was dialled a moment ago for another peer, and this one was not there");
      }
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
      race.failed(error);
      if (has_turn && !is(error, Errc::exhausted)) turns_.failed(address, *expected, proven, environment_.clock.now());
    }
  }
  if (registered) race.channels.erase(*registered);
  if (has_turn) turns_.give_back(address);
  --race.under_way;
  race.changed.notify();
}

}  // namespace p2p
