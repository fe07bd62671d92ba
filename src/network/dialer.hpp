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

  /// A connection with its handshake done, to the first of `addresses` that answers, as `expected` where that is given; a /p2p part in an
  /// address counts as well. An attempt at an address that was `discovered`, for an expected peer, takes its turn (dial_turns.hpp). Throws
  /// no_peer without addresses, unreachable, timed_out, unverified, closed. Whatever the addresses do, it is over at `deadline`.
  Awaitable<Upgraded> dial(std::vector<Multiaddr> addresses, std::optional<PeerId> expected, Time deadline, bool discovered);
  /// Ends what is under way, and refuses what comes.
  void close();

 private:
  struct Race;

  Awaitable<void> attempt(Race& race, Multiaddr address, std::optional<PeerId> expected, bool discovered);
  /// Returns when nobody else dials the address. Throws closed when the race is over before.
  Awaitable<void> take_turn(Race& race, const Multiaddr& address);

  const Environment& environment_;
  const PeerId own_;
  const std::function<UpgradeOptions()> options_;
  std::list<Race*> races_;  // under way
  DialTurns turns_;
  bool closed_ = false;
};

}  // namespace p2p
