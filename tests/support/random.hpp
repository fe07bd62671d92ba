#pragma once
// A Random that repeats itself: the same seed gives the same bytes (splitmix64).

#include "base/random.hpp"

namespace p2p::test {

class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed = 1) noexcept : state_(seed) {}

  void fill(ByteSpan out) noexcept override {
    for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(next());
  }

  Bytes bytes(std::size_t count) {
    Bytes out(count);
    fill(out);
    return out;
  }

 private:
  std::uint64_t next() noexcept {
    std::uint64_t value = state_ += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
  }

  std::uint64_t state_;
};

}  // namespace p2p::test
