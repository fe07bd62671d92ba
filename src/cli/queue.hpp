#pragma once
// Whom of all that discovery finds to ask, and when. Anybody on a link can name peers, as many as he likes: whoever names too many waits
// for his own, and holds up nobody else's.

#include "identity/identity.hpp"
#include "network/shares.hpp"

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
  using Sources = std::function<std::vector<Source>(const PeerId&)>;

  /// `sources_of` tells who names a peer, which may change. It counts for the one that has least.
  explicit Queue(Sources sources_of) : sources_of_(std::move(sources_of)) {}

  /// A peer that was found. It gets a place once; and once more behind again(), if it was found again since it had the last one.
  void add(const PeerId& peer);
  /// The one to ask now, which has a place until it is done(). Nothing when there is none, or no place for it: there are some more for
  /// those who are the first of their source.
  std::optional<PeerId> next();
  void done(const PeerId& peer);
  void again(const PeerId& peer);

  std::size_t asking() const noexcept { return asking_.size(); }

 private:
  void make_room();

  Source least_of(const PeerId& peer, const Shares& shares) const;

  const Sources sources_of_;
  std::list<PeerId> waiting_;        // in the order in which they were found
  std::map<PeerId, Source> asking_;  // and who named them
  std::set<PeerId> known_;
  std::set<PeerId> found_again_;  // of these
};

}  // namespace p2p::cli
