#include "executors/utf8.hpp"

#include <utility>

namespace p2p {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";

struct Lead {
  unsigned more;  // bytes that follow; 0: none may begin like this
  unsigned char low;
  unsigned char high;  // range of the first of them
};

// Table 3-7 of the Unicode Standard.
Lead lead_of(unsigned char byte) {
  if (byte < 0xc2 || byte > 0xf4) return {0, 0, 0};
  if (byte < 0xe0) return {1, 0x80, 0xbf};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};
  if (byte == 0xed) return {2, 0x80, 0x9f};
  if (byte < 0xf0) return {2, 0x80, 0xbf};
  if (byte == 0xf0) return {3, 0x90, 0xbf};
  if (byte == 0xf4) return {3, 0x80, 0x8f};
  return {3, 0x80, 0xbf};
}

}  // namespace

std::string Utf8Repair::push(std::string_view bytes) {
  std::string text;
  text.reserve(held_.size() + bytes.size());
  for (const char character : bytes) {
    const auto byte = static_cast<unsigned char>(character);
    if (missing_ > 0) {
      if (byte >= low_ && byte <= high_) {
        held_ += character;
        low_ = 0x80;
        high_ = 0xbf;
        if (--missing_ == 0) text += std::exchange(held_, {});
        continue;
      }
      text += finish();
    }
    const Lead lead = lead_of(byte);
    if (byte < 0x80) {
      text += character;
    } else if (lead.more == 0) {
      text += replacement;
    } else {
      held_ = character;
      missing_ = lead.more;
      low_ = lead.low;
      high_ = lead.high;
    }
  }
  return text;
}

std::string Utf8Repair::finish() {
  if (std::exchange(missing_, 0) == 0) return {};
  held_.clear();
  return std::string(replacement);
}

std::string repair_utf8(std::string_view bytes) {
  Utf8Repair repair;
  std::string text = repair.push(bytes);
  return text += repair.finish();
}

}  // namespace p2p
