#pragma once
// Whether an address that discovery gave is dialled. Anybody on a link can name one address for as many peers as they like, and everyone
// who searches would dial it for each of these. So there is one dial to it at a time; and behind one that came to nothing none for
// limits::mdns_news, unless for the same peer or for the one that proved to be there. A dial that is given up says nothing.
//
// They can name all ports of a host that has said nothing, too, and everyone who searches would flood or scan it for them. So of addresses
// that were not said by their own host, limits::hearsay_burst of one host are dialled at once, and one more each limits::hearsay_pace.

#include "base/limits.hpp"
#include "identity/identity.hpp"
#include "network/admission.hpp"
#include "network/clock.hpp"
#include "wire/multiaddr.hpp"

#include <map>
#include <string>
#include <vector>

namespace p2p {

class DialTurns {
 public:
  /// Takes the address until give_back(). False while somebody else has it, or while its host was dialled as often as may be on `hearsay`:
  /// `waiting` is notified when that ends, unless it stops waiting.
  bool take(const Multiaddr& address, bool hearsay, Time now, Alarm& waiting) {
    const auto at = taken_.find(address);
    if (at != taken_.end()) {
      at->second.push_back(&waiting);
      return false;
    }
    if (hearsay) {
      std::erase_if(paced_, [now](const auto& entry) { return entry.second <= now; });
      Time& paced = paced_.try_emplace(host_of(address), now).first->second;
      const Time turn = paced - (limits::hearsay_burst - 1) * limits::hearsay_pace;
      if (turn > now) {
        waiting.set(turn);
        return false;
      }
      paced += limits::hearsay_pace;
    }
    taken_.try_emplace(address);
    return true;
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
  std::map<std::string, Time> paced_;               // hosts dialled on hearsay, and when those dials would be over at their pace
};

}  // namespace p2p
