#pragma once
// Who says something to a link, and how much each of them has of what all share.

#include "network/admission.hpp"

#include <compare>
#include <cstddef>
#include <string>
#include <unordered_map>
#include <utility>

namespace p2p {

/// Where something comes from: an IP address, and of that the scarce_part().
struct Source {
  Source(std::string from) : ip(std::move(from)), scarce(scarce_part(ip)) {}

  std::string ip;
  std::string scarce;

  friend bool operator==(const Source&, const Source&) = default;
};

/// Counted for the scarce part of an address, so that whoever has a whole /64 has no more of it than others; and, between those who have
/// that in common, for each address.
class Shares {
 public:
  struct Share {
    std::size_t of_scarce = 0;
    std::size_t of_ip = 0;

    friend auto operator<=>(const Share&, const Share&) = default;
  };

  void add(const Source& source) {
    ++scarce_[source.scarce];
    ++ips_[source.ip];
  }
  Share of(const Source& source) const { return {count(scarce_, source.scarce), count(ips_, source.ip)}; }

 private:
  using Counts = std::unordered_map<std::string, std::size_t>;
  static std::size_t count(const Counts& counts, const std::string& of) {
    const auto at = counts.find(of);
    return at == counts.end() ? 0 : at->second;
  }

  Counts scarce_;
  Counts ips_;
};

}  // namespace p2p
