#pragma once
// The slots of an executor and the queue before them. Both go to whoever has fewest, and of those, a slot to whoever waits longest for one:
// by host first, since PeerIds cost nothing, and among those of one host by requester.

#include "identity/identity.hpp"

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <tuple>
#include <utility>

namespace p2p {

/// Whom a task is for.
struct Party {
  std::string host;  ///< scarce_part() of the IP address that it comes from
  PeerId requester;

  friend bool operator==(const Party&, const Party&) = default;
  friend std::strong_ordering operator<=>(const Party&, const Party&) = default;
};

/// How many slots and places there are is up to who uses it. A guest has a `party`, and a `has_slot` that is set here; it outlives its
/// place.
template <class Guest>
class Places {
 public:
  std::size_t running() const noexcept { return running_; }
  /// In the order in which they came.
  const std::list<Guest*>& waiting() const noexcept { return waiting_; }

  /// At the end of the queue.
  void enter(Guest& guest) {
    waiting_.push_back(&guest);
    // Who comes, or comes back, is served before whoever had the last slot, and behind all who waited then.
    const Count newcomer{.seated = seated_ > 0 ? seated_ - 1 : 0};
    ++hosts_.try_emplace(guest.party.host, newcomer).first->second.waiting;
    ++parties_.try_emplace(guest.party, newcomer).first->second.waiting;
  }

  /// Who has to leave a full queue for a newcomer: the last of those who have most there, if that is more than the newcomer has then. Null
  /// if there is nobody.
  Guest* gives_way_to(const Party& newcomer) const {
    const std::size_t of_host = count(hosts_, newcomer.host).waiting;
    const std::size_t own = count(parties_, newcomer).waiting;
    Guest* found = nullptr;
    std::pair<std::size_t, std::size_t> most;
    for (auto place = waiting_.rbegin(); place != waiting_.rend(); ++place) {
      const Party& party = (*place)->party;
      const std::pair has(hosts_.at(party.host).waiting, parties_.at(party).waiting);
      const bool is_more = party.host == newcomer.host ? has.second > own + 1 : has.first > of_host + 1;
      if (!is_more || (found != nullptr && has <= most)) continue;
      found = *place;
      most = has;
    }
    return found;
  }

  /// Gives a slot to the first of those whose turn it is. Null when nobody waits.
  Guest* seat() {
    const auto turn = [this](const Guest* guest) {
      const Count& host = hosts_.at(guest->party.host);
      const Count& party = parties_.at(guest->party);
      return std::tuple(host.running, host.seated, party.running, party.seated);
    };
    const auto sooner = [&turn](const Guest* a, const Guest* b) { return turn(a) < turn(b); };
    const auto next = parties_.size() > 1 ? std::min_element(waiting_.begin(), waiting_.end(), sooner) : waiting_.begin();
    if (next == waiting_.end()) return nullptr;
    Guest* const guest = *next;
    waiting_.erase(next);
    ++running_;
    ++seated_;
    guest->has_slot = true;
    for (Count* const of : {&hosts_.at(guest->party.host), &parties_.at(guest->party)}) {
      --of->waiting;
      ++of->running;
      of->seated = seated_;
    }
    return guest;
  }

  /// Gives back the guest's slot, or its place in the queue. False when it has neither.
  bool leave(Guest& guest) {
    if (guest.has_slot) {
      guest.has_slot = false;
      --running_;
      take(guest.party, &Count::running);
      return true;
    }
    const auto place = std::find(waiting_.begin(), waiting_.end(), &guest);
    if (place == waiting_.end()) return false;
    waiting_.erase(place);
    take(guest.party, &Count::waiting);
    return true;
  }

 private:
  struct Count {
    std::size_t waiting = 0;
    std::size_t running = 0;
    std::uint64_t seated = 0;  // when it got a slot last
  };

  template <class Counts>
  static Count count(const Counts& counts, const typename Counts::key_type& of) {
    const auto found = counts.find(of);
    return found == counts.end() ? Count() : found->second;
  }
  void take(const Party& party, std::size_t Count::*what) {
    take(hosts_, party.host, what);
    take(parties_, party, what);
  }
  template <class Counts>
  static void take(Counts& counts, const typename Counts::key_type& of, std::size_t Count::*what) {
    const auto found = counts.find(of);
    --(found->second.*what);
    if (found->second.waiting + found->second.running == 0) counts.erase(found);
  }

  std::list<Guest*> waiting_;
  std::map<std::string, Count> hosts_;
  std::map<Party, Count> parties_;
  std::size_t running_ = 0;
  std::uint64_t seated_ = 0;  // how many were, so far
};

}  // namespace p2p
