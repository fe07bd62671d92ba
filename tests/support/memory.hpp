#pragma once
// How much of a secret stands in this process's memory: in its owner, on the stack, in what was given back to the heap.

#include "base/bytes.hpp"

#include <climits>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace p2p::test {

/// Whether the process can look through its own memory: under Linux, and where no sanitizer adds terabytes to it.
constexpr bool can_search_memory() {
#if !defined(__linux__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return false;
#else
  return true;
#endif
#else
  return true;
#endif
}

/// A secret to be looked for. Here it stands only in disguise, and without its ends, where X25519 sets bits.
class Needle {
 public:
  explicit Needle(ByteView secret) {
    for (const std::uint8_t byte : secret.subspan(ends, secret.size() - 2 * ends)) disguised_.push_back(byte ^ disguise);
  }

  /// Places in the memory that this process can write to. While no other thread runs.
  std::size_t copies() const {
    std::size_t count = 0;
    for (const auto& [from, to] : writable_memory()) {
      const std::uint8_t* const end = to - disguised_.size();
      for (const std::uint8_t* at = from; at <= end; ++at) {
        at = static_cast<const std::uint8_t*>(std::memchr(at, disguised_.front() ^ disguise, static_cast<std::size_t>(end - at + 1)));
        if (at == nullptr) break;
        std::size_t same = 1;
        while (same < disguised_.size() && (at[same] ^ disguise) == disguised_[same]) ++same;
        if (same == disguised_.size()) ++count;
      }
    }
    return count;
  }

 private:
  static constexpr std::size_t ends = 2;
  static constexpr std::uint8_t disguise = 0x5a;
  using Range = std::pair<const std::uint8_t*, const std::uint8_t*>;

  static std::vector<Range> writable_memory() {
#ifdef __GLIBC__
    mallopt(M_TRIM_THRESHOLD,
            INT_MAX);  // the heap's end would go back to the system behind this list, and with it what is to be looked through
#endif
    std::vector<Range> ranges;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      std::size_t read = 0;
      const std::uintptr_t from = std::stoull(line, &read, 16);
      const std::uintptr_t to = std::stoull(line.substr(read + 1), &read, 16);
      if (line.find(" rw") == std::string::npos) continue;
      ranges.emplace_back(reinterpret_cast<const std::uint8_t*>(from), reinterpret_cast<const std::uint8_t*>(to));
    }
    return ranges;
  }

  Bytes disguised_;
};

}  // namespace p2p::test
