#pragma once
// Reading and writing the primitives of libp2p's formats.
//
//   uvarint  unsigned LEB128, least significant group first, minimal, at most 9 bytes (63 bits)
//            https://github.com/multiformats/unsigned-varint
//   u16, u32, u64 are big-endian

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace p2p {

inline constexpr std::size_t max_uvarint_size = 9;

struct Uvarint {
  std::uint64_t value;
  std::size_t size;  ///< bytes that it takes
};

/// The varint at the front of `in`; nothing while its last byte is still to come. Errors: malformed (not minimal, longer than 9 bytes).
Result<std::optional<Uvarint>> peek_uvarint(ByteView in) noexcept;

void put_uvarint(Bytes& out, std::uint64_t value);
/// Writes one of up to 63 bits at `at`, where there are max_uvarint_size bytes, and returns where it ends.
std::uint8_t* store_uvarint(std::uint8_t* at, std::uint64_t value) noexcept;
std::size_t uvarint_size(std::uint64_t value) noexcept;

void put_u16(Bytes& out, std::uint16_t value);

inline void store_u16(std::uint8_t* at, std::uint16_t value) noexcept {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
inline void store_u32(std::uint8_t* at, std::uint32_t value) noexcept {
  store_u16(at, static_cast<std::uint16_t>(value >> 16));
  store_u16(at + 2, static_cast<std::uint16_t>(value));
}
inline void store_u64(std::uint8_t* at, std::uint64_t value) noexcept {
  store_u32(at, static_cast<std::uint32_t>(value >> 32));
  store_u32(at + 4, static_cast<std::uint32_t>(value));
}
inline std::uint16_t load_u16(const std::uint8_t* at) noexcept { return static_cast<std::uint16_t>(at[0] << 8 | at[1]); }
inline std::uint32_t load_u32(const std::uint8_t* at) noexcept { return static_cast<std::uint32_t>(load_u16(at)) << 16 | load_u16(at + 2); }
inline std::uint64_t load_u64(const std::uint8_t* at) noexcept { return static_cast<std::uint64_t>(load_u32(at)) << 32 | load_u32(at + 4); }

/// Takes values off the front of a byte string. Every read that would pass the end is `malformed`.
class Reader {
 public:
  explicit Reader(ByteView in) noexcept : rest_(in) {}

  ByteView rest() const noexcept { return rest_; }
  bool empty() const noexcept { return rest_.empty(); }

  Result<ByteView> bytes(std::size_t count) noexcept;
  Result<std::uint16_t> u16() noexcept;
  Result<std::uint64_t> uvarint() noexcept;
  /// A uvarint length of at most `limit`, then that many bytes. Errors: too_large above the limit, malformed.
  Result<ByteView> length_prefixed(std::size_t limit) noexcept;

 private:
  ByteView rest_;
};

}  // namespace p2p
