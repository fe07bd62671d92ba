#pragma once
// libp2p's signed envelope: who says what, in which domain, and the signature that shows it.
//
//   Envelope { 1 public_key  2 payload_type  3 payload  5 signature }       protobuf
//   signature over  uvarint‖domain  uvarint‖payload_type  uvarint‖payload
//
// https://github.com/libp2p/specs/blob/master/RFC/0002-signed-envelopes.md

#include "identity/identity.hpp"

namespace p2p {

struct Envelope {
  PeerId signer;
  Bytes payload_type;
  Bytes payload;
  bool exact;  ///< each part stands in it once, in order, in its shortest form, and nothing else: no byte can change without the signature
               ///< failing
};

/// The encoded envelope of `payload`, signed by `keys`.
Bytes seal_envelope(const KeyPair& keys, std::string_view domain, ByteView payload_type, ByteView payload);

/// Decodes an envelope and checks its signature. The caller compares its type with what it expects, and the signer, too.
/// Errors: malformed, unverified (the signature does not hold).
Result<Envelope> open_envelope(ByteView encoded, std::string_view domain);
/// The same of one that `expected` signed. Errors: malformed; unverified (another peer signed it, which is seen first, or the signature
/// does not hold).
Result<Envelope> open_envelope(ByteView encoded, std::string_view domain, const Verifier& expected);

// Signed peer records, as identify carries them: an address list with a sequence number.
inline constexpr std::string_view peer_record_domain = "libp2p-peer-record";
inline constexpr std::array<std::uint8_t, 2> peer_record_type{0x03, 0x01};

/// The PeerRecord protobuf; addresses are binary multiaddrs.
Bytes encode_peer_record(const PeerId& id, std::uint64_t sequence, const std::vector<Bytes>& addresses);

}  // namespace p2p
