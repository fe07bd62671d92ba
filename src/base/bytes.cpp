#include "base/bytes.hpp"

#include <algorithm>

namespace p2p {

void move_to_front(std::uint8_t* front, ByteView bytes) noexcept {
  while (!bytes.empty()) {
    const ByteView piece = bytes.first(std::min(bytes.size(), copy_piece));
    std::memmove(front, piece.data(), piece.size());
    front += piece.size();
    bytes = bytes.subspan(piece.size());
  }
}

void append_in_pieces(Bytes& to, ByteView bytes) {
  const std::size_t size = to.size() + bytes.size();
  if (size > to.capacity()) to.reserve(std::max(size, 2 * to.capacity()));
  while (!bytes.empty()) {
    const ByteView piece = bytes.first(std::min(bytes.size(), copy_piece));
    to.insert(to.end(), piece.begin(), piece.end());
    bytes = bytes.subspan(piece.size());
  }
}

std::string to_hex(ByteView bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(bytes.size() * 2, '0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text[2 * i] = digits[bytes[i] >> 4];
    text[2 * i + 1] = digits[bytes[i] & 15];
  }
  return text;
}

}  // namespace p2p
