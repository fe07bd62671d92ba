#include "cli/units.hpp"

#include <charconv>
#include <cmath>

namespace p2p::cli {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// A decimal number without sign or exponent, and one of the units behind it.
template <std::size_t N>
std::optional<double> parse(std::string_view text, const Unit (&units)[N]) {
  const std::string_view digits = text.substr(0, text.find_first_not_of("0123456789."));
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  const std::string_view name = text.substr(digits.size());
  for (const Unit& unit : units) {
    if (unit.name == name) return number * unit.factor;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  static constexpr Unit units[]{{"", 1e9}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  const std::optional<double> nanoseconds = parse(text, units);
  if (!nanoseconds || *nanoseconds > 86'400e9) return std::nullopt;
  return Duration(std::llround(*nanoseconds));
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  static constexpr Unit units[]{{"", 1}, {"K", 1024}, {"M", 1024 * 1024}, {"G", 1024 * 1024 * 1024}};
  const std::optional<double> bytes = parse(text, units);
  if (!bytes || *bytes > 9'007'199'254'740'992.0) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(*bytes));
}

}  // namespace p2p::cli
