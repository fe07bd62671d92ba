#include "http/sse.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace p2p::http {
namespace {

constexpr Error too_large{Errc::too_large, "a server-sent event is too large"};

}  // namespace

bool EventParser::fits(std::size_t line) const { return line <= limits::event_line - event_.type.size() - event_.data.size(); }

Result<std::optional<ServerEvent>> EventParser::next() {
  while (const std::optional<std::string_view> line = next_line()) {
    if (!fits(line->size())) return too_large;
    if (!line->empty()) {
      take(*line);
      continue;
    }
    ServerEvent event = std::exchange(event_, {});
    if (std::exchange(has_data_, false)) return std::optional(std::move(event));
  }
  if (!fits(input_.size() - line_)) return too_large;
  input_.erase(0, line_);
  scanned_ -= line_;
  line_ = 0;
  return std::optional<ServerEvent>();
}

std::optional<std::string_view> EventParser::next_line() {
  if (after_cr_ && line_ < input_.size()) {
    if (input_[line_] == '\n') ++line_;
    after_cr_ = false;
  }
  const std::size_t end = input_.find_first_of("\r\n", std::max(scanned_, line_));
  if (end == std::string::npos) {
    scanned_ = input_.size();
    return std::nullopt;
  }
  std::string_view line(input_.data() + line_, end - line_);
  if (!std::exchange(begun_, true) && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  after_cr_ = input_[end] == '\r';
  line_ = scanned_ = end + 1;
  return line;
}

void EventParser::take(std::string_view line) {
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "event") {
    event_.type = value;
  } else if (name == "data") {
    if (std::exchange(has_data_, true)) event_.data += '\n';
    event_.data += value;
  }
}

}  // namespace p2p::http
