#include "base/base58.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace p2p {
namespace {

constexpr std::string_view base58_alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
constexpr std::string_view base36_alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view base32_alphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::string_view base64url_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// The bases that are not a power of two are read as one big number.
Result<Bytes> decode_number(std::string_view text, std::string_view alphabet) {
  if (text.size() > limits::base_text) return Error{Errc::too_large, "base-encoded text above its limit"};
  const std::size_t zeros = std::min(text.find_first_not_of(alphabet[0]), text.size());
  Bytes number;  // little-endian while it grows
  for (const char c : text.substr(zeros)) {
    const std::size_t digit = alphabet.find(c);
    if (digit == std::string_view::npos) return Error{Errc::malformed, "character outside the base's alphabet"};
    std::size_t carry = digit;
    for (std::uint8_t& byte : number) {
      carry += byte * alphabet.size();
      byte = static_cast<std::uint8_t>(carry);
      carry >>= 8;
    }
    if (carry > 0) number.push_back(static_cast<std::uint8_t>(carry));
  }
  number.insert(number.end(), zeros, 0);
  std::reverse(number.begin(), number.end());
  return number;
}

Result<Bytes> decode_bits(std::string_view text, std::string_view alphabet, unsigned bits) {
  if (text.size() > limits::base_text) return Error{Errc::too_large, "base-encoded text above its limit"};
  Bytes out;
  std::uint32_t pending = 0;
  unsigned pending_bits = 0;
  for (const char c : text) {
    const std::size_t digit = alphabet.find(c);
    if (digit == std::string_view::npos) return Error{Errc::malformed, "character outside the base's alphabet"};
    pending = pending << bits | static_cast<std::uint32_t>(digit);
    pending_bits += bits;
    if (pending_bits >= 8) {
      pending_bits -= 8;
      out.push_back(static_cast<std::uint8_t>(pending >> pending_bits));
      pending &= (1U << pending_bits) - 1;
    }
  }
  if (pending_bits >= bits || pending != 0) return Error{Errc::malformed, "base-encoded text with bits left over"};
  return out;
}

}  // namespace

std::string base58_encode(ByteView bytes) {
  std::string digits;  // least significant first while it grows
  std::size_t zeros = 0;
  while (zeros < bytes.size() && bytes[zeros] == 0) ++zeros;
  for (const std::uint8_t byte : bytes.subspan(zeros)) {
    unsigned carry = byte;
    for (char& digit : digits) {
      carry += static_cast<unsigned>(static_cast<unsigned char>(digit)) << 8;
      digit = static_cast<char>(carry % 58);
      carry /= 58;
    }
    for (; carry > 0; carry /= 58) digits.push_back(static_cast<char>(carry % 58));
  }
  std::string text(zeros, base58_alphabet[0]);
  std::reverse(digits.begin(), digits.end());
  for (const char digit : digits) text += base58_alphabet[static_cast<unsigned char>(digit)];
  return text;
}

Result<Bytes> base58_decode(std::string_view text) { return decode_number(text, base58_alphabet); }

Result<Bytes> multibase_decode(std::string_view text) {
  if (text.empty()) return Error{Errc::malformed, "empty multibase text"};
  const std::string_view digits = text.substr(1);
  switch (text[0]) {
    case 'z': return base58_decode(digits);
    case 'k': return decode_number(digits, base36_alphabet);
    case 'b': return decode_bits(digits, base32_alphabet, 5);
    case 'B': {
      std::string lower(digits.substr(0, limits::base_text + 1));
      for (char& c : lower) {
        if (c >= 'a' && c <= 'z') return Error{Errc::malformed, "character outside the base's alphabet"};
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      }
      return decode_bits(lower, base32_alphabet, 5);
    }
    case 'u': return decode_bits(digits, base64url_alphabet, 6);
    default: return Error{Errc::malformed, "unknown multibase prefix"};
  }
}

}  // namespace p2p
