#include "base/coding.hpp"

#include <array>

namespace p2p {

Result<std::optional<Uvarint>> peek_uvarint(ByteView in) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i == max_uvarint_size) return Error{Errc::malformed, "varint of more than 9 bytes"};
    value |= static_cast<std::uint64_t>(in[i] & 0x7f) << (7 * i);
    if ((in[i] & 0x80) != 0) continue;
    if (in[i] == 0 && i > 0) return Error{Errc::malformed, "varint is not minimal"};
    return std::optional(Uvarint{value, i + 1});
  }
  if (in.size() >= max_uvarint_size) return Error{Errc::malformed, "varint of more than 9 bytes"};
  return std::optional<Uvarint>();
}

std::uint8_t* store_uvarint(std::uint8_t* at, std::uint64_t value) noexcept {
  while (value >= 0x80) {
    *at++ = static_cast<std::uint8_t>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<std::uint8_t>(value);
  return at;
}

void put_uvarint(Bytes& out, std::uint64_t value) {
  std::array<std::uint8_t, max_uvarint_size + 1> bytes;  // nobody reads more than 63 bits, and yet all 64 have their room
  out.insert(out.end(), bytes.data(), store_uvarint(bytes.data(), value));
}

std::size_t uvarint_size(std::uint64_t value) noexcept {
  std::size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

void put_u16(Bytes& out, std::uint16_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

Result<ByteView> Reader::bytes(std::size_t count) noexcept {
  if (count > rest_.size()) return Error{Errc::malformed, "truncated"};
  const ByteView taken = rest_.first(count);
  rest_ = rest_.subspan(count);
  return taken;
}

Result<std::uint16_t> Reader::u16() noexcept {
  TRY_ASSIGN(const ByteView raw, bytes(2));
  return load_u16(raw.data());
}

Result<std::uint64_t> Reader::uvarint() noexcept {
  TRY_ASSIGN(const std::optional<Uvarint> varint, peek_uvarint(rest_));
  if (!varint) return Error{Errc::malformed, "truncated varint"};
  rest_ = rest_.subspan(varint->size);
  return varint->value;
}

Result<ByteView> Reader::length_prefixed(std::size_t limit) noexcept {
  TRY_ASSIGN(const std::uint64_t size, uvarint());
  if (size > limit) return Error{Errc::too_large, "length above its limit"};
  return bytes(static_cast<std::size_t>(size));
}

}  // namespace p2p
