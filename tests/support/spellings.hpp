#pragma once
// How bytes could stand in a text.

#include "base/base58.hpp"
#include "base/bytes.hpp"

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace p2p::test {

/// "+/" and "-_" are the last two that are in use.
inline std::string base64_digits(const char* last_two) {
  return std::string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") + last_two;
}

inline std::string base64(ByteView bytes, const char* last_two) {
  const std::string digits = base64_digits(last_two);
  std::string text;
  for (std::size_t at = 0; at + 3 <= bytes.size(); at += 3) {  // what is left over has no digits of its own
    const unsigned three = static_cast<unsigned>(bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2]);
    for (const unsigned shift : {18U, 12U, 6U, 0U}) text += digits[three >> shift & 63];
  }
  return text;
}

/// As they are, in hexadecimal, as numbers, in base58, and in base64, wherever in a longer text they begin.
inline std::vector<std::string> spellings(ByteView bytes) {
  std::vector<std::string> list{std::string(as_text(bytes)), base58_encode(bytes)};
  for (std::size_t from = 0; from < 3; ++from) {
    for (const char* const last_two : {"+/", "-_"}) list.push_back(base64(bytes.subspan(from), last_two));
  }
  for (const char* const between : {"", ":", " ", ",", ", "}) {
    std::string hex;
    std::string numbers;
    for (const std::uint8_t byte : bytes) {
      hex += (hex.empty() ? "" : between) + to_hex({&byte, 1});
      numbers += (numbers.empty() ? "" : between) + std::to_string(byte);
    }
    list.push_back(hex);
    std::transform(hex.begin(), hex.end(), hex.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    list.push_back(hex);
    list.push_back(numbers);
  }
  return list;
}

/// The spelling of `bytes` that stands in `text`; empty when none does.
inline std::string spelling_in(std::string_view text, ByteView bytes) {
  for (const std::string& spelling : spellings(bytes)) {
    if (text.find(spelling) != std::string_view::npos) return spelling;
  }
  return {};
}

}  // namespace p2p::test
