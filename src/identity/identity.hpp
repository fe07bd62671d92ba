#pragma once
// Who an agent is: its key pair, the public key that others see, and the PeerId derived from it.
// https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "crypto/crypto.hpp"

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace p2p {

/// A public key of any type that libp2p has. Its encoding is the deterministic protobuf that PeerIds are made of.
class PublicKey {
 public:
  enum class Type : std::uint8_t { rsa = 0, ed25519 = 1, secp256k1 = 2, ecdsa = 3 };

  /// `data` is the key as libp2p has it for this type.
  PublicKey(Type type, ByteView data);

  /// Errors: malformed (not a PublicKey, not in canonical form, Ed25519 or secp256k1 of a wrong size), too_large.
  static Result<PublicKey> decode(ByteView protobuf);

  Type type() const noexcept { return type_; }
  ByteView encoded() const noexcept { return encoded_; }
  /// The key without what libp2p writes around it.
  ByteView data() const noexcept { return encoded().last(std::min(data_size_, encoded_.size())); }

  friend bool operator==(const PublicKey& a, const PublicKey& b) noexcept { return a.encoded_ == b.encoded_; }

 private:
  PublicKey(Type type, std::size_t data_size, Bytes encoded) : type_(type), data_size_(data_size), encoded_(std::move(encoded)) {}

  Type type_;
  std::size_t data_size_;
  Bytes encoded_;  // ends with it
};

/// The multihash of a public key: the encoded key itself up to 42 bytes (Ed25519, secp256k1), its SHA-256 above (RSA, ECDSA).
class PeerId {
 public:
  static constexpr std::size_t max_size = 44;

  /// Nobody: empty, equal only to another nobody.
  PeerId() noexcept = default;
  explicit PeerId(const PublicKey& key);

  /// Errors: malformed, too_large (a digest of more than 42 bytes).
  static Result<PeerId> from_bytes(ByteView multihash) noexcept;
  /// base58btc (12D3Koo…, 16Uiu2…, Qm…) or a CIDv1 in any multibase of base58.hpp. Errors: malformed, too_large.
  static Result<PeerId> from_text(std::string_view text);

  ByteView bytes() const noexcept { return {bytes_.data(), size_}; }
  /// base58btc, the only form that every implementation reads.
  std::string text() const;
  /// Its last characters, for people: enough to tell a handful of peers apart.
  std::string short_text() const;
  bool empty() const noexcept { return size_ == 0; }
  /// The key itself where the id contains it.
  std::optional<PublicKey> public_key() const;

  friend bool operator==(const PeerId& a, const PeerId& b) noexcept { return equal(a.bytes(), b.bytes()); }
  friend std::strong_ordering operator<=>(const PeerId& a, const PeerId& b) noexcept { return as_text(a.bytes()) <=> as_text(b.bytes()); }

 private:
  std::array<std::uint8_t, max_size> bytes_{};
  std::uint8_t size_ = 0;
};

/// A peer's public key, read once for all signatures of its that are checked. Any number of threads do that.
class Verifier {
 public:
  explicit Verifier(PublicKey key);

  const PublicKey& key() const noexcept { return key_; }
  const PeerId& id() const noexcept { return id_; }
  bool verify(ByteView message, ByteView signature) const noexcept;

 private:
  PublicKey key_;
  PeerId id_;
  crypto::ForeignKey foreign_;  // null for Ed25519, whose keys are used as they are
};

/// An Ed25519 key pair. The secret half stays in this object, and is wiped when that goes or is moved from.
class KeyPair {
 public:
  static constexpr std::size_t seed_size = 32;

  static KeyPair generate(Random& random);
  explicit KeyPair(const crypto::Secret<seed_size>& seed);
  /// libp2p's PrivateKey protobuf: Data is seed ‖ public key, or the older seed ‖ public key ‖ public key.
  /// Errors: unsupported (not Ed25519), malformed (also when the halves do not belong together).
  static Result<KeyPair> decode(ByteView protobuf);
  /// The PrivateKey protobuf with seed ‖ public key.
  crypto::Secret<68> encode() const noexcept;

  KeyPair(const KeyPair&) = delete;
  KeyPair& operator=(const KeyPair&) = delete;
  KeyPair(KeyPair&&) noexcept = default;
  KeyPair& operator=(KeyPair&&) = delete;

  const PublicKey& public_key() const noexcept { return public_key_; }
  const PeerId& peer_id() const noexcept { return peer_id_; }
  std::array<std::uint8_t, 64> sign(ByteView message) const noexcept;

 private:
  crypto::Secret<64> secret_;  // seed ‖ public key
  PublicKey public_key_;
  PeerId peer_id_;
};

}  // namespace p2p

template <>
struct std::hash<p2p::PeerId> {
  std::size_t operator()(const p2p::PeerId& id) const noexcept { return std::hash<std::string_view>()(p2p::as_text(id.bytes())); }
};
