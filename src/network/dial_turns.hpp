#pragma once
// Whether an address that discovery gave is dialled. Anybody on a link can name one address for as many peers as they like, and everyone
// who searches would dial it for each of these. So there is one dial to it at a time; and behind one that came to nothing none for
// limits::mdns_news, unless for the same peer or for the one that proved to be there. A dial that is given up says nothing.

#include "base/limits.hpp"
#include "identity/identity.hpp"
#include "network/clock.hpp"
#include "wire/multiaddr.hpp"

#include <map>
#include <vector>

namespace p2p {

class DialTurns {
 public:
  /// Takes the address until give_back(). False while somebody else has it: `waiting` is notified when that ends, unless it stops waiting.
  bool take(const Multiaddr& address, Alarm& waiting) {
    const auto [at, taken] = taken_.try_emplace(address);
    if (!taken) at->second.push_back(&waiting);
    return taken;
  }
  void stop_waiting(const Multiaddr& address, const Alarm& waiting) {
    const auto at = taken_.find(address);
    if (at != taken_.end()) std::erase(at->second, &waiting);
  }
  void give_back(const Multiaddr& address) {
    const auto at = taken_.find(address);
    const std::vector<Alarm*> waiting = std::move(at->second);
    taken_.erase(at);
    for (Alarm* const each : waiting) each->notify();
  }

  /// A dial for `peer` came to nothing; `proven` is who was there, or nobody.
  void failed(const Multiaddr& address, const PeerId& peer, const PeerId& proven, Time now) {
    std::erase_if(failed_, [now](const auto& entry) { return is_over(entry.second, now); });
    failed_.insert_or_assign(address, Failed{peer, proven, now});
  }
  /// Whether somebody else's dial to the address has just shown that this peer is not there.
  bool in_vain(const Multiaddr& address, const PeerId& peer, Time now) const {
    const auto at = failed_.find(address);
    return at != failed_.end() && !is_over(at->second, now) && at->second.peer != peer && at->second.proven != peer;
  }

 private:
  struct Failed {
    PeerId peer;
    PeerId proven;
    Time when;
  };
  static bool is_over(const Failed& dial, Time now) { return dial.when + limits::mdns_news <= now; }

  std::map<Multiaddr, std::vector<Alarm*>> taken_;  // and who waits for each
  std::map<Multiaddr, Failed> failed_;              // lately
};

}  // namespace p2p
