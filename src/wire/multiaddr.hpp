#pragma once
// Multiaddrs: self-describing network addresses, as text and as bytes.
//
//   binary  { uvarint code ‖ value }…      fixed values bare, variable ones behind a uvarint length; ports u16 big-endian
//   text    { /name or /name/value }…
//
// https://github.com/multiformats/multiaddr. The whole table of protocols that peers put into their lists is understood, so that an address
// that we cannot dial is still read, compared and passed on; what can be dialled is ip4, ip6 (with or without a zone) or dns names over
// tcp.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "identity/identity.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

class Multiaddr {
 public:
  /// The empty address: no part at all, equal only to another empty one.
  Multiaddr() = default;

  /// Errors: malformed (with the reason), too_large.
  static Result<Multiaddr> from_text(std::string_view text);
  /// Errors: malformed (an unknown code too: its length cannot be known), too_large.
  static Result<Multiaddr> from_bytes(ByteView bytes);
  /// `ip` is a textual IPv4 or IPv6 address; `zone` (an interface name) belongs to link-local IPv6 ones. Errors: malformed.
  static Result<Multiaddr> tcp(std::string_view ip, std::uint16_t port, std::string_view zone = {});

  ByteView bytes() const noexcept { return bytes_; }
  std::string text() const;
  bool empty() const noexcept { return bytes_.empty(); }

  /// The PeerId of its last /p2p part.
  std::optional<PeerId> peer_id() const;
  Multiaddr with_peer_id(const PeerId& id) const;
  Multiaddr without_peer_id() const;

  friend bool operator==(const Multiaddr&, const Multiaddr&) = default;
  friend auto operator<=>(const Multiaddr& a, const Multiaddr& b) noexcept { return as_text(a.bytes_) <=> as_text(b.bytes_); }

 private:
  explicit Multiaddr(Bytes bytes) : bytes_(std::move(bytes)) {}
  Bytes bytes_;
};

/// What a TCP address says: a host and a port, and nothing besides except a trailing PeerId.
struct TcpAddress {
  enum class Host : std::uint8_t { ip4, ip6, dns, dns4, dns6 };
  Host kind;
  std::string host;  ///< textual IP address or name
  std::string zone;  ///< interface name of a link-local IPv6 address, or empty
  std::uint16_t port;
};

/// Errors: unsupported (another transport).
Result<TcpAddress> tcp_address(const Multiaddr& address);

/// Where an IP address can be reached from, which decides whether one learned from the network may be dialled.
enum class Reach : std::uint8_t { loopback, link_local, private_network, global, unusable };
Reach reach_of(std::string_view ip);

}  // namespace p2p
