#include "base/base58.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <array>

namespace p2p {
namespace {

constexpr std::string_view base58_alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

// What a number is converted in: as many digits of the base at once as fit into 32 bits, or four bytes.
constexpr std::size_t digits_at_once = 5;
constexpr std::uint64_t power(std::uint64_t base, std::size_t exponent) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }

// The value of each character; no_digit for what is outside the alphabet.
constexpr std::uint8_t no_digit = 0xff;
class Digits {
 public:
  explicit constexpr Digits(std::string_view alphabet) : base(alphabet.size()), zero(alphabet[0]) {
    values_.fill(no_digit);
    for (std::size_t i = 0; i < alphabet.size(); ++i) values_[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  }
  constexpr std::uint8_t operator[](char c) const { return values_[static_cast<unsigned char>(c)]; }

  std::size_t base;
  char zero;

 private:
  std::array<std::uint8_t, 256> values_{};
};
constexpr Digits base58_digits(base58_alphabet);
constexpr Digits base36_digits("0123456789abcdefghijklmnopqrstuvwxyz");
constexpr Digits base32_digits("abcdefghijklmnopqrstuvwxyz234567");
constexpr Digits base64url_digits("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

/// number = number * factor + addend; least significant word first.
void multiply_add(std::vector<std::uint32_t>& number, std::uint64_t factor, std::uint64_t addend) {
  for (std::uint32_t& word : number) {
    addend += word * factor;
    word = static_cast<std::uint32_t>(addend);
    addend >>= 32;
  }
  if (addend > 0) number.push_back(static_cast<std::uint32_t>(addend));
}

// The bases that are not a power of two are read as one big number.
Result<Bytes> decode_number(std::string_view text, const Digits& digits) {
  if (text.size() > limits::base_text) return Error{Errc::too_large, "base-encoded text above its limit"};
  const std::size_t zeros = std::min(text.find_first_not_of(digits.zero), text.size());
  std::vector<std::uint32_t> number;
  number.reserve(text.size() / digits_at_once + 1);
  for (std::string_view rest = text.substr(zeros); !rest.empty();) {
    const std::string_view group = rest.substr(0, digits_at_once);
    std::uint64_t value = 0;
    for (const char c : group) {
      const std::uint8_t digit = digits[c];
      if (digit == no_digit) return Error{Errc::malformed, "character outside the base's alphabet"};
      value = value * digits.base + digit;
    }
    multiply_add(number, power(digits.base, group.size()), value);
    rest.remove_prefix(group.size());
  }
  Bytes bytes;  // little-endian
  bytes.reserve(4 * number.size() + zeros);
  for (const std::uint32_t word : number) {
    for (unsigned shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::uint8_t>(word >> shift));
  }
  while (!bytes.empty() && bytes.back() == 0) bytes.pop_back();
  bytes.insert(bytes.end(), zeros, 0);
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

Result<Bytes> decode_bits(std::string_view text, const Digits& digits, unsigned bits) {
  if (text.size() > limits::base_text) return Error{Errc::too_large, "base-encoded text above its limit"};
  Bytes out;
  std::uint32_t pending = 0;
  unsigned pending_bits = 0;
  for (const char c : text) {
    const std::uint8_t digit = digits[c];
    if (digit == no_digit) return Error{Errc::malformed, "character outside the base's alphabet"};
    pending = pending << bits | digit;
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
  constexpr std::uint64_t group_base = power(58, digits_at_once);
  std::size_t zeros = 0;
  while (zeros < bytes.size() && bytes[zeros] == 0) ++zeros;
  std::vector<std::uint32_t> groups;  // of digits, least significant first
  groups.reserve(bytes.size() / 3 + 1);
  for (ByteView rest = bytes.subspan(zeros); !rest.empty();) {
    const ByteView word = rest.first(rest.size() % 4 == 0 ? 4 : rest.size() % 4);
    std::uint64_t carry = 0;
    for (const std::uint8_t byte : word) carry = carry << 8 | byte;
    for (std::uint32_t& group : groups) {
      carry += static_cast<std::uint64_t>(group) << (8 * word.size());
      group = static_cast<std::uint32_t>(carry % group_base);
      carry /= group_base;
    }
    for (; carry > 0; carry /= group_base) groups.push_back(static_cast<std::uint32_t>(carry % group_base));
    rest = rest.subspan(word.size());
  }
  std::string text(zeros + groups.size() * digits_at_once, base58_alphabet[0]);
  auto digit = text.rbegin();
  for (std::uint32_t group : groups) {
    for (std::size_t i = 0; i < digits_at_once; ++i, group /= 58) *digit++ = base58_alphabet[group % 58];
  }
  const std::size_t leading = std::min(text.find_first_not_of(base58_alphabet[0]), text.size());
  text.erase(0, leading - zeros);
  return text;
}

Result<Bytes> base58_decode(std::string_view text) { return decode_number(text, base58_digits); }

Result<Bytes> multibase_decode(std::string_view text) {
  if (text.empty()) return Error{Errc::malformed, "empty multibase text"};
  const std::string_view digits = text.substr(1);
  switch (text[0]) {
    case 'z': return base58_decode(digits);
    case 'k': return decode_number(digits, base36_digits);
    case 'b': return decode_bits(digits, base32_digits, 5);
    case 'B': {
      std::string lower(digits.substr(0, limits::base_text + 1));
      for (char& c : lower) {
        if (c >= 'a' && c <= 'z') return Error{Errc::malformed, "character outside the base's alphabet"};
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      }
      return decode_bits(lower, base32_digits, 5);
    }
    case 'u': return decode_bits(digits, base64url_digits, 6);
    default: return Error{Errc::malformed, "unknown multibase prefix"};
  }
}

}  // namespace p2p
