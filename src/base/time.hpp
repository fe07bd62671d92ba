#pragma once
// Points in time as arguments: pure code is told what time it is. network/clock.hpp is where the time comes from.

#include <chrono>

namespace p2p {

using Duration = std::chrono::nanoseconds;
/// Monotonic; says nothing of the date.
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// The date, for timestamps alone. Whoever waits uses Time.
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

}  // namespace p2p
