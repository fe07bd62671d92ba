#pragma once
// Where random bytes come from. Handed in, never reached for: tests use a seeded one. The real one is crypto/crypto.hpp's SystemRandom.

#include "base/bytes.hpp"

#include <cstdint>

namespace p2p {

class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(ByteSpan out) noexcept = 0;

  /// Uniform in [0, bound); bound > 0. The bias of a 64-bit remainder is harmless for jitter and names, its only uses.
  std::uint64_t below(std::uint64_t bound) noexcept {
    std::uint8_t raw[8];
    fill(raw);
    std::uint64_t value = 0;
    for (const std::uint8_t byte : raw) value = value << 8 | byte;
    return value % bound;
  }
};

}  // namespace p2p
