#include "cli/queue.hpp"

#include <algorithm>

namespace p2p::cli {

void Queue::add(const PeerId& peer) {
  if (!known_.insert(peer).second) return;
  waiting_.push_back(peer);
  if (waiting_.size() > most_waiting) make_room();
}

// The last one of the source that has most.
void Queue::make_room() {
  std::map<std::string, std::size_t> share;
  for (const PeerId& peer : waiting_) ++share[source_of_(peer)];
  const auto largest = std::max_element(share.begin(), share.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto last =
      std::find_if(waiting_.rbegin(), waiting_.rend(), [&](const PeerId& peer) { return source_of_(peer) == largest->first; });
  known_.erase(*last);
  waiting_.erase(std::prev(last.base()));
}

std::optional<PeerId> Queue::next() {
  if (asking_.size() == most) return std::nullopt;
  std::map<std::string, std::size_t> share;
  for (const auto& [peer, source] : asking_) ++share[source];
  for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
    std::string source = source_of_(*one);
    if (share[source] >= most_of_source) continue;
    PeerId peer = *one;
    asking_.emplace(peer, std::move(source));
    waiting_.erase(one);
    return peer;
  }
  return std::nullopt;
}

void Queue::done(const PeerId& peer, bool again) {
  asking_.erase(peer);
  if (again) known_.erase(peer);
}

}  // namespace p2p::cli
