#pragma once
// Whom of all that discovery finds to ask, and when. Anybody on a link can name peers, as many as he likes: whoever names too many waits
// for his own, and holds up nobody else's.

#include "identity/identity.hpp"

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2p::cli {

class Queue {
 public:
  static constexpr std::size_t most = 64;            // asked at once; each may take as many descriptors as limits::dial_addresses
  static constexpr std::size_t most_of_source = 16;  // of these, named by one source
  static constexpr std::size_t most_waiting = 1024;

  using Sources = std::function<std::vector<std::string>(const PeerId&)>;

  /// `sources_of` tells who names a peer, by their IP addresses, which may change. It counts for the one that has least.
  explicit Queue(Sources sources_of) : sources_of_(std::move(sources_of)) {}

  /// A peer that was found; once, until it is done() and to be asked again.
  void add(const PeerId& peer);
  /// The one to ask now, which has a place until it is done(). Nothing when there is none, or no place for it.
  std::optional<PeerId> next();
  void done(const PeerId& peer, bool again);

  std::size_t asking() const noexcept { return asking_.size(); }

 private:
  void make_room();

  using Shares = std::map<std::string, std::size_t>;
  std::string least_of(const PeerId& peer, Shares& shares) const;

  const Sources sources_of_;
  std::list<PeerId> waiting_;             // in the order in which they were found
  std::map<PeerId, std::string> asking_;  // and who named them
  std::set<PeerId> known_;
};

}  // namespace p2p::cli
