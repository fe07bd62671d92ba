#pragma once
// Identify: what a node says of itself after connecting.
//
//   message   uvarint length ‖ Identify protobuf; the sender then closes its write side. go may send further messages that merge into one.
//
// https://github.com/libp2p/specs/blob/master/identify/README.md (which leaves the length prefix out)

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "identity/identity.hpp"
#include "wire/multiaddr.hpp"

#include <optional>
#include <string>
#include <vector>

namespace p2p {

inline constexpr std::string_view identify_protocol = "/ipfs/id/1.0.0";
inline constexpr std::string_view identify_push_protocol = "/ipfs/id/push/1.0.0";

struct Identify {
  std::optional<PublicKey> public_key;
  std::vector<Multiaddr> listen_addrs;
  std::vector<std::string> protocols;
  std::optional<Multiaddr> observed_addr;  ///< the receiver as the sender sees it
  std::string protocol_version;            ///< as agent_version, printable ASCII when it was merged: `?` stands for all else
  std::string agent_version;
  Bytes signed_peer_record;  ///< an envelope, not interpreted

  /// The message with its length prefix.
  Bytes encode() const;
  /// Takes over what the protobuf (without a length prefix) says; what it leaves out stays. Unusable addresses and protocol names are
  /// skipped, surplus ones beyond the limits too. Errors: malformed.
  Result<void> merge(ByteView protobuf);
  /// Takes over each field that a later message (a push) has, lists as a whole.
  void replace(Identify said);
  /// Bytes that it holds, about.
  std::size_t memory() const noexcept;
};

}  // namespace p2p
