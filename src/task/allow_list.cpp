#include "task/allow_list.hpp"

#include "base/limits.hpp"
#include "task/files.hpp"

#include <algorithm>

namespace p2p {
namespace {

constexpr std::string_view blanks = " \t\r";
constexpr const char* such_as = " is no PeerId: give one such as `p2p-agent id --identity FILE` shows (12D3Koo…)";

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

}  // namespace

PeerIds parse_allow_list(std::string_view text, const std::string& file) {
  PeerIds listed;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view name = without_blanks(line.substr(0, line.find('#')));
    if (name.empty()) continue;
    const Result<PeerId> peer = PeerId::from_text(name);
    if (!peer) {
      fail(Errc::invalid, file + ":" + std::to_string(number) + ": '" + std::string(name.substr(0, limits::text_shown)) + "'" + such_as);
    }
    listed.insert(*peer);
  }
  return listed;
}

AllowList::AllowList(const std::vector<std::string>& peers, std::optional<std::string> file) : file_(std::move(file)) {
  for (const std::string& text : peers) {
    const Result<PeerId> peer = PeerId::from_text(text);
    if (!peer) fail(Errc::invalid, "'" + text + "'" + such_as);
    named_.insert(*peer);
  }
  reload();
}

std::size_t AllowList::size() const {
  const auto only_listed = std::count_if(listed_.begin(), listed_.end(), [this](const PeerId& peer) { return !named_.contains(peer); });
  return named_.size() + static_cast<std::size_t>(only_listed);
}

void AllowList::reload() {
  if (!file_) return;
  const Bytes bytes = read_file(*file_, limits::allow_file);
  if (bytes.size() > limits::allow_file) {
    fail(Errc::invalid, *file_ + " is larger than a list of peers may be (" + std::to_string(limits::allow_file) + " bytes)");
  }
  listed_ = parse_allow_list(as_text(bytes), *file_);
}

}  // namespace p2p
