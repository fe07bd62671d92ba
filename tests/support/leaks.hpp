#pragma once
// Whether a text gives away the secret key of somebody whom it names. Which keys there were need not be known: each text of 32 bytes in it
// may be one, and is if it makes one of the PeerIds that stand there too.

#include "base/base58.hpp"
#include "identity/identity.hpp"
#include "support/hex.hpp"
#include "support/spellings.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <vector>

namespace p2p::test {

class Leaks {
 public:
  explicit Leaks(std::string_view text) {
    find_peers(text);
    try_raw(text);
    try_hex(text);
    for (const char* const last_two : {"+/", "-_"}) try_base64(text, last_two);
    try_base58(text);
  }

  /// The PeerIds of Ed25519 keys that the text names.
  const std::set<std::string>& peers() const { return peers_; }
  /// Those among them whose secret stands there, too.
  const std::set<std::string>& found() const { return found_; }
  /// How many different texts were tried.
  std::size_t tried() const { return tried_.size(); }

 private:
  static constexpr std::size_t size = KeyPair::seed_size;
  static constexpr std::string_view base58_digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

  template <class Use>
  static void each_run(std::string_view text, std::string_view digits, std::size_t least, const Use& use) {
    for (std::size_t begin = text.find_first_of(digits); begin != std::string_view::npos;) {
      const std::size_t end = std::min(text.find_first_not_of(digits, begin), text.size());
      if (end - begin >= least) use(text.substr(begin, end - begin));
      begin = text.find_first_of(digits, end);
    }
  }

  void find_peers(std::string_view text) {
    constexpr std::string_view prefix = "12D3KooW";
    constexpr std::size_t length = 52;
    for (std::size_t at = 0; (at = text.find(prefix, at)) != std::string_view::npos; at += prefix.size()) {
      const std::string id(text.substr(at, length));
      if (PeerId::from_text(id)) peers_.insert(id);
    }
  }

  void try_seed(ByteView bytes) {
    if (!tried_.emplace(bytes.begin(), bytes.end()).second) return;
    crypto::Secret<size> seed;
    std::copy(bytes.begin(), bytes.end(), seed.data());
    const std::string peer = KeyPair(seed).peer_id().text();
    if (peers_.contains(peer)) found_.insert(peer);
  }
  void try_windows(ByteView bytes) {
    for (std::size_t at = 0; at + size <= bytes.size(); ++at) try_seed(bytes.subspan(at, size));
  }

  // As it is. Chance makes no key of nothing but what can be printed.
  void try_raw(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    const auto odd = [](std::uint8_t byte) { return byte < ' ' || byte >= 0x7f; };
    std::ptrdiff_t count = 0;
    for (std::size_t end = 0; end < bytes.size(); ++end) {
      count += odd(bytes[end]) ? 1 : 0;
      if (end >= size) count -= odd(bytes[end - size]) ? 1 : 0;
      if (end + 1 >= size && count >= 4) try_seed(bytes.subspan(end + 1 - size, size));
    }
  }

  void try_hex(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    each_run(lower, "0123456789abcdef", 2 * size, [this](std::string_view run) {
      for (std::size_t from = 0; from < 2; ++from) try_windows(hex(run.substr(from, (run.size() - from) / 2 * 2)));
    });
  }

  void try_base64(std::string_view text, const char* last_two) {
    const std::string digits = base64_digits(last_two);
    each_run(text, digits, 43, [&](std::string_view run) {
      for (std::size_t from = 0; from < 4; ++from) {
        Bytes bytes;
        unsigned bits = 0;
        unsigned held = 0;
        for (const char digit : run.substr(from)) {
          bits = (bits << 6 | static_cast<unsigned>(digits.find(digit))) & 0xffff;
          held += 6;
          if (held < 8) continue;
          held -= 8;
          bytes.push_back(static_cast<std::uint8_t>(bits >> held));
        }
        try_windows(bytes);
      }
    });
  }

  void try_base58(std::string_view text) {
    each_run(text, base58_digits, 40, [this](std::string_view run) {
      for (std::size_t length = 40; length <= 44; ++length) {
        for (std::size_t at = 0; at + length <= run.size(); ++at) {
          const Result<Bytes> bytes = base58_decode(run.substr(at, length));
          if (bytes && bytes->size() == size) try_seed(*bytes);
        }
      }
    });
  }

  std::set<std::string> peers_;
  std::set<Bytes> tried_;
  std::set<std::string> found_;
};

}  // namespace p2p::test
