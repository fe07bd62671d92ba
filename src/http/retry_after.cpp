#include "http/client.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace p2p::http {
namespace {

std::optional<unsigned> number(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// RFC 9110, section 5.6.7, in the one form that is written today: "Sun, 06 Nov 1994 08:49:37 GMT".
std::optional<WallTime> parse_date(std::string_view text) {
  static constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || !text.ends_with(" GMT")) return std::nullopt;
  const auto month = std::find(months.begin(), months.end(), text.substr(8, 3));
  const auto day = number(text.substr(5, 2));
  const auto year = number(text.substr(12, 4));
  const auto hour = number(text.substr(17, 2));
  const auto minute = number(text.substr(20, 2));
  const auto second = number(text.substr(23, 2));
  if (month == months.end() || !day || !year || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(month - months.begin()) + 1), std::chrono::day(*day)};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) + std::chrono::seconds(*second);
}

}  // namespace

std::optional<std::chrono::milliseconds> retry_after(const Head& head, WallTime now) {
  using std::chrono::milliseconds;
  const std::optional<std::string_view> text = head.header("Retry-After");
  if (!text) return std::nullopt;
  milliseconds wait{};
  if (const auto seconds = number(*text)) {
    wait = std::chrono::seconds(*seconds);
  } else if (const auto date = parse_date(*text)) {
    wait = *date - now;
  } else {
    return std::nullopt;
  }
  return std::clamp(wait, milliseconds(0), milliseconds(std::chrono::hours(24)));
}

}  // namespace p2p::http
