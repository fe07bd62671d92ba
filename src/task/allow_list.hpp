#pragma once
// Who may have tasks run: PeerIds, as options and as a file that may change while the provider runs.

#include "identity/identity.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace p2p {

using PeerIds = std::unordered_set<PeerId>;

/// One PeerId a line; blank lines are skipped, and so is what follows a `#`. Throws invalid, naming `file` and the line, where it is none.
PeerIds parse_allow_list(std::string_view text, const std::string& file);

class AllowList {
 public:
  /// The file is as parse_allow_list() takes it. Throws invalid, naming the text, or the file and the line, that is no PeerId.
  explicit AllowList(const std::vector<std::string>& peers, std::optional<std::string> file = std::nullopt);

  bool allows(const PeerId& peer) const { return named_.contains(peer) || listed_.contains(peer); }
  std::size_t size() const;

  /// Reads the file again. Throws as the constructor does, and leaves the list as it was.
  void reload();

 private:
  PeerIds named_;
  const std::optional<std::string> file_;
  PeerIds listed_;
};

}  // namespace p2p
