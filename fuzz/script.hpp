#pragma once
// Inputs that say what happens step by step, read as bytes and amounts.

#include "base/bytes.hpp"

#include <algorithm>
#include <cstdint>

namespace p2p::fuzz {

/// Behind its end there are only zeros.
class Script {
 public:
  explicit Script(ByteView bytes) : rest_(bytes) {}
  bool empty() const noexcept { return rest_.empty(); }
  std::uint8_t byte() noexcept { return empty() ? std::uint8_t{0} : bytes(1)[0]; }
  /// Small numbers as they are, large ones in steps.
  std::uint32_t amount() noexcept {
    const std::uint32_t low = byte();
    return low < 240 ? low : (low - 239) << byte() % 25;
  }
  ByteView bytes(std::size_t count) noexcept {
    const ByteView taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  ByteView rest_;
};

}  // namespace p2p::fuzz
