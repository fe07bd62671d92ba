#pragma once
// Byte strings: owning (Bytes), read-only view (ByteView) and writable view (ByteSpan). A view never outlives what it looks at.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;
using ByteSpan = std::span<std::uint8_t>;

inline ByteView as_bytes(std::string_view text) noexcept { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

inline std::string_view as_text(ByteView bytes) noexcept { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

inline Bytes to_bytes(std::string_view text) {
  const ByteView view = as_bytes(text);
  return {view.begin(), view.end()};
}

/// Bytes that are copied in one go. For more of them glibc takes `rep movsb`, which on AMD's Zen 3 and 4 is twenty times slower when what
/// is written lies 1 to 15 bytes behind what is read, within a page of either (glibc's bug 30994, mended in 2.39): as much as to encrypt
/// them.
inline constexpr std::size_t copy_piece = 2048;

/// Like std::memmove, towards a front that may overlap what is moved.
void move_to_front(std::uint8_t* front, ByteView bytes) noexcept;

/// What append() does with more than a piece. It asks for memory once.
void append_in_pieces(Bytes& to, ByteView bytes);

inline void append(Bytes& to, ByteView bytes) {
  if (bytes.size() > copy_piece) return append_in_pieces(to, bytes);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

inline bool equal(ByteView a, ByteView b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Lower-case hexadecimal, two digits a byte.
std::string to_hex(ByteView bytes);

}  // namespace p2p
