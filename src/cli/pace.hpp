#pragma once
// How much of what peers cause is told: they must not fill a disk with it.

#include "base/time.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace p2p::cli {

class Pace {
 public:
  /// `burst` at once, and as many more as `between` apart come later.
  Pace(Duration between, int burst) noexcept : between_(between), burst_(burst) {}

  /// Whether one more is told. It counts as left out if not.
  bool admit(Time now) noexcept {
    const Time used = std::max(used_until_, now) + between_;
    const bool room = used <= now + burst_ * between_;
    if (room) used_until_ = used;
    if (!room) ++left_out_;
    return room;
  }
  /// One more is left out for another reason; false, for `admit`.
  bool leave_out() noexcept {
    ++left_out_;
    return false;
  }
  /// How many were, since this was asked last.
  std::uint64_t left_out() noexcept { return std::exchange(left_out_, 0); }

 private:
  const Duration between_;
  const int burst_;
  Time used_until_{};
  std::uint64_t left_out_ = 0;
};

}  // namespace p2p::cli
