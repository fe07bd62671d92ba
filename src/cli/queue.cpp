#include "cli/queue.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace p2p::cli {

void Queue::add(const PeerId& peer) {
  if (!known_.insert(peer).second) {
    found_again_.insert(peer);
    return;
  }
  waiting_.push_back(peer);
  if (waiting_.size() > limits::search_waiting) make_room();
}

// Of those who name the peer, whoever has least of what is shared.
Source Queue::least_of(const PeerId& peer, const Shares& shares) const {
  const std::vector<Source> sources = sources_of_(peer);
  if (sources.empty()) return Source({});
  return *std::min_element(sources.begin(), sources.end(), [&](const Source& a, const Source& b) { return shares.of(a) < shares.of(b); });
}

// The last one of whoever has most.
void Queue::make_room() {
  Shares shares;
  for (const PeerId& peer : waiting_) {
    for (const Source& source : sources_of_(peer)) shares.add(source);
  }
  auto last = waiting_.begin();
  Shares::Share most_of_all;
  for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
    const Shares::Share share = shares.of(least_of(*one, shares));
    if (share < most_of_all) continue;
    most_of_all = share;
    last = one;
  }
  known_.erase(*last);
  found_again_.erase(*last);
  waiting_.erase(last);
}

std::optional<PeerId> Queue::next() {
  Shares shares;
  for (const auto& [peer, source] : asking_) shares.add(source);
  for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
    Source source = least_of(*one, shares);
    const Shares::Share share = shares.of(source);
    const std::size_t places = limits::search_peers + (share.of_scarce == 0 ? limits::search_peers_first : 0);
    if (asking_.size() >= places) continue;
    if (share.of_ip >= limits::search_peers_source || share.of_scarce >= limits::search_peers_prefix) continue;
    PeerId peer = *one;
    asking_.emplace(peer, std::move(source));
    found_again_.erase(peer);
    waiting_.erase(one);
    return peer;
  }
  return std::nullopt;
}

void Queue::done(const PeerId& peer) { asking_.erase(peer); }

void Queue::again(const PeerId& peer) {
  known_.erase(peer);
  if (found_again_.erase(peer) > 0) add(peer);
}

}  // namespace p2p::cli
