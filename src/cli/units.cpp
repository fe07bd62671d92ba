#include "cli/units.hpp"

#include <cstdlib>
#include <string>

namespace p2p::cli {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Here and in what else begins with the program libm is not used, which would take a twentieth of its start (src/CMakeLists.txt).

std::int64_t to_nearest(double value) { return static_cast<std::int64_t>(value + 0.5); }

// A decimal number without sign or exponent, and one of the units behind it.
template <std::size_t N>
std::optional<double> parse(std::string_view text, const Unit (&units)[N]) {
  const std::string digits(text.substr(0, text.find_first_not_of("0123456789.")));
  char* end = nullptr;
  const double number = std::strtod(digits.c_str(), &end);
  if (digits.empty() || end != digits.c_str() + digits.size()) return std::nullopt;
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
  return Duration(to_nearest(*nanoseconds));
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  static constexpr Unit units[]{{"", 1}, {"K", 1024}, {"M", 1024 * 1024}, {"G", 1024 * 1024 * 1024}};
  const std::optional<double> bytes = parse(text, units);
  if (!bytes || *bytes > 9'007'199'254'740'992.0) return std::nullopt;
  return static_cast<std::uint64_t>(to_nearest(*bytes));
}

double rounded(double value, int parts) { return static_cast<double>(to_nearest(value * parts)) / parts; }

}  // namespace p2p::cli
