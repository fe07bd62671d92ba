#pragma once
// Durations and sizes as people write them.

#include "base/time.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace p2p::cli {

/// "30" (seconds), "500ms", "1.5s", "5m", "1h": up to a day. Nothing for another text.
std::optional<Duration> parse_duration(std::string_view text);
/// "4096" (bytes), "64K", "2M", "1G", in powers of 1,024: up to 2^53. Nothing for another text.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// `value`, from 0 to 2^53, to the nearest of as many `parts` of one: what is printed has no more digits than it was measured with.
double rounded(double value, int parts);

}  // namespace p2p::cli
