#pragma once
// Outbound connections: attempts at the addresses of one peer, a quarter of a second apart, of which the first that succeeds wins.

#include "network/dial_turns.hpp"
#include "network/upgrade.hpp"

#include <functional>
#include <list>
#include <optional>
#include <vector>

namespace p2p {

class Dialer {
 public:
  /// `options` is asked for each attempt.
  Dialer(const Environment& environment, PeerId own, std::function<UpgradeOptions()> options);

  using Known = std::function<std::vector<Multiaddr>()>;
  using SaidByHost = std::function<bool(const Multiaddr&)>;

  /// A connection with its handshake done, to the first of `addresses` that answers, as `expected` where that is given; a /p2p part in an
  /// address counts as well. Throws no_peer without addresses, unreachable, timed_out, unverified, closed. Whatever the addresses do, it is
  /// over at `deadline`.
  Awaitable<Upgraded> dial(std::vector<Multiaddr> addresses, std::optional<PeerId> expected, Time deadline);
  /// The same for the addresses that discovery knows of a peer, those among them that it hears of meanwhile: the first ones can be
  /// anybody's. Each attempt takes its turn (dial_turns.hpp), for which is asked whether an address was said by its own host.
  Awaitable<Upgraded> dial_discovered(PeerId peer, Known known, SaidByHost said_by_host, Time deadline);
  /// Ends what is under way, and refuses what comes.
  void close();

 private:
  struct Race;

  Awaitable<Upgraded> run(Race& race, Time deadline);
  Awaitable<void> attempt(Race& race, Multiaddr address);
  /// Returns when the address may be dialled. Throws unreachable when the peer is not there, closed when the race is over before.
  Awaitable<void> take_turn(Race& race, const Multiaddr& address, const PeerId& peer);

  const Environment& environment_;
  const PeerId own_;
  const std::function<UpgradeOptions()> options_;
  std::list<Race*> races_;  // under way
  DialTurns turns_;
  bool closed_ = false;
};

}  // namespace p2p
