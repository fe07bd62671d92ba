#include "identity/envelope.hpp"

#include "base/coding.hpp"
#include "identity.pb.h"
#include "identity/serialized.hpp"

namespace p2p {
namespace {

Bytes signed_bytes(std::string_view domain, ByteView payload_type, ByteView payload) {
  Bytes message;
  message.reserve(3 * max_uvarint_size + domain.size() + payload_type.size() + payload.size());
  for (const ByteView part : {as_bytes(domain), payload_type, payload}) {
    put_uvarint(message, part.size());
    append(message, part);
  }
  return message;
}

Result<proto::Envelope> parse(ByteView encoded) {
  proto::Envelope envelope;
  if (!envelope.ParseFromArray(encoded.data(), static_cast<int>(encoded.size()))) return Error{Errc::malformed, "not an envelope"};
  return envelope;
}

Result<Envelope> checked(const proto::Envelope& envelope, ByteView encoded, std::string_view domain, const Verifier& signer) {
  const ByteView type = as_bytes(envelope.payload_type());
  const ByteView payload = as_bytes(envelope.payload());
  if (!signer.verify(signed_bytes(domain, type, payload), as_bytes(envelope.signature()))) {
    return Error{Errc::unverified, "the envelope's signature does not hold"};
  }
  const bool exact = envelope.unknown_fields().empty() && equal(serialized(envelope), encoded);
  return Envelope{signer.id(), {type.begin(), type.end()}, {payload.begin(), payload.end()}, exact};
}

}  // namespace

Bytes seal_envelope(const KeyPair& keys, std::string_view domain, ByteView payload_type, ByteView payload) {
  const auto signature = keys.sign(signed_bytes(domain, payload_type, payload));
  proto::Envelope envelope;
  envelope.mutable_public_key()->assign(as_text(keys.public_key().encoded()));  // set_… would copy twice
  envelope.mutable_payload_type()->assign(as_text(payload_type));
  envelope.mutable_payload()->assign(as_text(payload));
  envelope.mutable_signature()->assign(as_text(signature));
  return serialized(envelope);
}

Result<Envelope> open_envelope(ByteView encoded, std::string_view domain) {
  TRY_ASSIGN(const proto::Envelope envelope, parse(encoded));
  TRY_ASSIGN(PublicKey signer, PublicKey::decode(as_bytes(envelope.public_key())));
  return checked(envelope, encoded, domain, Verifier(std::move(signer)));
}

Result<Envelope> open_envelope(ByteView encoded, std::string_view domain, const Verifier& expected) {
  TRY_ASSIGN(const proto::Envelope envelope, parse(encoded));
  if (const ByteView key = as_bytes(envelope.public_key()); !equal(key, expected.key().encoded())) {
    TRY(PublicKey::decode(key));
    return Error{Errc::unverified, "an envelope signed by another peer"};
  }
  return checked(envelope, encoded, domain, expected);
}

Bytes encode_peer_record(const PeerId& id, std::uint64_t sequence, const std::vector<Bytes>& addresses) {
  proto::PeerRecord record;
  record.set_peer_id(id.bytes().data(), id.bytes().size());
  record.set_seq(sequence);
  for (const Bytes& address : addresses) record.add_addresses()->set_multiaddr(address.data(), address.size());
  return serialized(record);
}

}  // namespace p2p
