#include "wire/noise.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "identity/serialized.hpp"
#include "wire.pb.h"

#include <algorithm>
#include <cassert>

namespace p2p {
namespace {

constexpr std::string_view protocol_name = "Noise_XX_25519_ChaChaPoly_SHA256";  // exactly a hash's 32 bytes, so it is the first hash itself
constexpr std::string_view signature_prefix = "noise-libp2p-static-key:";
constexpr std::size_t tag = crypto::Aead::tag_size;
constexpr std::size_t key_size = 32;

crypto::Key key_at(ByteView bytes) {
  crypto::Key key;
  std::copy_n(bytes.begin(), key.size(), key.begin());
  return key;
}

Bytes signed_bytes(const crypto::Key& static_public) {
  Bytes message = to_bytes(signature_prefix);
  append(message, static_public);
  return message;
}

}  // namespace

void NoiseWriter::append(ByteView plaintext) {
  while (!plaintext.empty()) {
    if (open_ == closed) {
      out_.resize(out_.size() + 2);  // the frame's length, known when the record is full
      open_ = out_.size();
    }
    const std::size_t count = std::min(plaintext.size(), limits::noise_write - (out_.size() - open_));
    p2p::append(out_, plaintext.first(count));
    plaintext = plaintext.subspan(count);
    if (out_.size() - open_ == limits::noise_write) flush();
  }
}

void NoiseWriter::flush() {
  if (open_ == closed) return;
  out_.resize(out_.size() + tag);
  const ByteSpan record = ByteSpan(out_).subspan(open_);
  store_u16(record.data() - 2, static_cast<std::uint16_t>(record.size()));
  key_.seal(counter_++, {}, record);
  open_ = closed;
}

Bytes NoiseWriter::take(Bytes reuse) {
  flush();
  reuse.clear();
  std::swap(out_, reuse);
  return reuse;
}

Result<std::optional<ByteView>> NoiseReader::next(ByteSpan& in) {
  if (in.size() < 2) return std::optional<ByteView>();
  const std::size_t size = load_u16(in.data());
  if (size < tag) return Error{Errc::malformed, "Noise record without a tag"};
  if (in.size() < 2 + size) return std::optional<ByteView>();
  const ByteSpan record = in.subspan(2, size);
  if (!key_.open(counter_++, {}, record)) return Error{Errc::unverified, "Noise record that does not verify"};
  in = in.subspan(2 + size);
  return std::optional<ByteView>(record.first(size - tag));
}

NoiseStatic::NoiseStatic(const KeyPair& identity, crypto::SecretKey secret)
    : secret_(std::move(secret)),
      public_(crypto::x25519_public(secret_)),
      identity_key_(identity.public_key().encoded().begin(), identity.public_key().encoded().end()),
      identity_sig_(identity.sign(signed_bytes(public_))) {}

NoiseHandshake::NoiseHandshake(Role role, Parameters parameters)
    : role_(role),
      parameters_(std::move(parameters)),
      ephemeral_public_(crypto::x25519_public(parameters_.ephemeral_secret)),
      hash_(key_at(as_bytes(protocol_name))),
      chaining_key_(hash_) {
  mix_hash({});  // the prologue, empty
  if (role_ == Role::initiator) write_message_1().value();
}

void NoiseHandshake::mix_hash(ByteView data) { hash_ = crypto::sha256({hash_, data}); }

Result<void> NoiseHandshake::mix_key(const crypto::SecretKey& secret, const crypto::Key& public_key) {
  TRY_ASSIGN(const crypto::SecretKey shared, crypto::x25519(secret, public_key));
  crypto::hkdf2(chaining_key_, shared, chaining_key_, cipher_key_);
  nonce_ = 0;
  return {};
}

void NoiseHandshake::encrypt_and_hash(Bytes& message, ByteView plaintext) {
  const std::size_t start = message.size();
  append(message, plaintext);
  message.resize(message.size() + tag);
  crypto::Aead(cipher_key_).seal(nonce_++, hash_, ByteSpan(message).subspan(start));
  mix_hash(ByteView(message).subspan(start));
}

Result<Bytes> NoiseHandshake::decrypt_and_hash(ByteView ciphertext) {
  Bytes plaintext(ciphertext.begin(), ciphertext.end());
  if (!crypto::Aead(cipher_key_).open(nonce_++, hash_, plaintext)) return Error{Errc::unverified, "Noise handshake that does not verify"};
  plaintext.resize(plaintext.size() - tag);
  mix_hash(ciphertext);
  return plaintext;
}

Bytes NoiseHandshake::payload() const {
  proto::NoiseHandshakePayload message;
  const NoiseStatic& own = parameters_.own;
  message.set_identity_key(own.identity_key().data(), own.identity_key().size());
  message.set_identity_sig(own.identity_sig().data(), own.identity_sig().size());
  for (const std::string& muxer : parameters_.muxers) message.mutable_extensions()->add_stream_muxers(muxer);
  return serialized(message);
}

Result<void> NoiseHandshake::read_payload(ByteView encoded) {
  proto::NoiseHandshakePayload message;
  if (!message.ParseFromArray(encoded.data(), static_cast<int>(encoded.size()))) {
    return Error{Errc::malformed, "Noise handshake payload that is not one"};
  }
  TRY_ASSIGN(PublicKey identity, PublicKey::decode(as_bytes(message.identity_key())));
  auto key = std::make_shared<const Verifier>(std::move(identity));
  const ByteView signature = as_bytes(message.identity_sig());
  const crypto::Digest proof = crypto::sha256({crypto::sha256(key->key().encoded()), remote_static_, signature});
  if (!parameters_.proofs || !parameters_.proofs->contains(proof)) {
    if (!key->verify(signed_bytes(remote_static_), signature)) {
      return Error{Errc::unverified, "the peer did not prove its identity in the Noise handshake"};
    }
    if (parameters_.proofs) parameters_.proofs->add(proof);
  }
  if (parameters_.proven != nullptr) *parameters_.proven = key->id();
  if (parameters_.expected && key->id() != *parameters_.expected)
    return Error{Errc::unverified, "another peer answered than the one asked for"};
  remote_ = std::move(key);
  for (const std::string& muxer : message.extensions().stream_muxers()) {
    if (remote_muxers_.size() == limits::noise_muxers) break;
    remote_muxers_.push_back(muxer);
  }
  return {};
}

void NoiseHandshake::put_frame(ByteView message) {
  put_u16(output_, static_cast<std::uint16_t>(message.size()));
  append(output_, message);
}

Result<void> NoiseHandshake::receive(ByteView& in) {
  while (!done()) {
    if (in.size() < 2) return {};
    const std::size_t size = load_u16(in.data());
    if (in.size() < 2 + size) return {};
    const ByteView message = in.subspan(2, size);
    in = in.subspan(2 + size);
    if (role_ == Role::initiator) {
      TRY(read_message_2(message));
      TRY(write_message_3());
      step_ = 3;
    } else if (step_ == 0) {
      TRY(read_message_1(message));
      TRY(write_message_2());
      step_ = 2;
    } else {
      TRY(read_message_3(message));
      step_ = 3;
    }
  }
  return {};
}

Result<void> NoiseHandshake::write_message_1() {
  mix_hash(ephemeral_public_);
  mix_hash({});  // the payload, empty and not encrypted yet
  put_frame(ephemeral_public_);
  return {};
}

Result<void> NoiseHandshake::read_message_1(ByteView message) {
  if (message.size() < key_size) return Error{Errc::malformed, "Noise message 1 too short"};
  remote_ephemeral_ = key_at(message);
  mix_hash(remote_ephemeral_);
  mix_hash(message.subspan(key_size));  // a payload here is nobody's secret and nothing that we use
  return {};
}

Result<void> NoiseHandshake::write_message_2() {
  Bytes message(ephemeral_public_.begin(), ephemeral_public_.end());
  mix_hash(ephemeral_public_);
  TRY(mix_key(parameters_.ephemeral_secret, remote_ephemeral_));
  encrypt_and_hash(message, parameters_.own.public_key());
  TRY(mix_key(parameters_.own.secret(), remote_ephemeral_));
  encrypt_and_hash(message, payload());
  put_frame(message);
  return {};
}

Result<void> NoiseHandshake::read_message_2(ByteView message) {
  if (message.size() < 2 * key_size + 2 * tag) return Error{Errc::malformed, "Noise message 2 too short"};
  remote_ephemeral_ = key_at(message);
  mix_hash(remote_ephemeral_);
  TRY(mix_key(parameters_.ephemeral_secret, remote_ephemeral_));
  TRY_ASSIGN(const Bytes remote_static, decrypt_and_hash(message.subspan(key_size, key_size + tag)));
  remote_static_ = key_at(remote_static);
  TRY(mix_key(parameters_.ephemeral_secret, remote_static_));
  TRY_ASSIGN(const Bytes encoded, decrypt_and_hash(message.subspan(2 * key_size + tag)));
  return read_payload(encoded);
}

Result<void> NoiseHandshake::write_message_3() {
  Bytes message;
  encrypt_and_hash(message, parameters_.own.public_key());
  TRY(mix_key(parameters_.own.secret(), remote_ephemeral_));
  encrypt_and_hash(message, payload());
  put_frame(message);
  return {};
}

Result<void> NoiseHandshake::read_message_3(ByteView message) {
  if (message.size() < key_size + 2 * tag) return Error{Errc::malformed, "Noise message 3 too short"};
  TRY_ASSIGN(const Bytes remote_static, decrypt_and_hash(message.first(key_size + tag)));
  remote_static_ = key_at(remote_static);
  TRY(mix_key(parameters_.ephemeral_secret, remote_static_));
  TRY_ASSIGN(const Bytes encoded, decrypt_and_hash(message.subspan(key_size + tag)));
  return read_payload(encoded);
}

NoiseSession NoiseHandshake::finish() {
  assert(done());
  crypto::SecretKey initiator_key;
  crypto::SecretKey responder_key;
  crypto::hkdf2(chaining_key_, {}, initiator_key, responder_key);
  crypto::Aead to_responder(initiator_key);
  crypto::Aead to_initiator(responder_key);
  const bool initiator = role_ == Role::initiator;
  return {NoiseWriter(std::move(initiator ? to_responder : to_initiator)), NoiseReader(std::move(initiator ? to_initiator : to_responder)),
          std::move(remote_), std::move(remote_muxers_)};
}

}  // namespace p2p
