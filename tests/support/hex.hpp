#pragma once
// Test vectors are written as hexadecimal.

#include "base/bytes.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>

namespace p2p::test {

/// Two digits a byte; blanks and line ends between bytes are ignored.
inline Bytes hex(std::string_view text) {
  static constexpr std::string_view digits = "0123456789abcdef";
  Bytes nibbles;
  for (const char c : text) {
    if (c == ' ' || c == '\n') continue;
    if (digits.find(c) == std::string_view::npos) throw std::invalid_argument("a test vector is not hexadecimal");
    nibbles.push_back(static_cast<std::uint8_t>(digits.find(c)));
  }
  if (nibbles.size() % 2 != 0) throw std::invalid_argument("a test vector has half a byte");
  Bytes bytes;
  for (std::size_t i = 0; i < nibbles.size(); i += 2) bytes.push_back(static_cast<std::uint8_t>(nibbles[i] << 4 | nibbles[i + 1]));
  return bytes;
}

template <std::size_t size>
std::array<std::uint8_t, size> hex_array(std::string_view text) {
  const Bytes bytes = hex(text);
  if (bytes.size() != size) throw std::invalid_argument("a test vector of another size");
  std::array<std::uint8_t, size> array;
  std::copy(bytes.begin(), bytes.end(), array.begin());
  return array;
}

inline Bytes flipped(Bytes bytes, std::size_t bit) {
  bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ 1U << bit % 8);
  return bytes;
}

}  // namespace p2p::test
