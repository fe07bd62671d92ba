#pragma once
// The primitives, from OpenSSL (ChaCha20-Poly1305, SHA-256, HMAC, foreign signatures) and libsodium (Ed25519, X25519, random, wiping). This
// room is the only one that includes either, and knows no protocol.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/random.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace p2p::crypto {

using Digest = std::array<std::uint8_t, 32>;
using Key = std::array<std::uint8_t, 32>;
using Signature = std::array<std::uint8_t, 64>;

/// The operating system's random bytes.
class SystemRandom final : public Random {
 public:
  void fill(ByteSpan out) noexcept override;
};

void wipe(ByteSpan secret) noexcept;
/// Takes the same time wherever the difference is. Sizes are not secret.
bool equal_secret(ByteView a, ByteView b) noexcept;

Digest sha256(ByteView data);
Digest sha256(std::initializer_list<ByteView> parts);

/// Noise's HKDF with two outputs, HMAC-SHA256, `chaining_key` as salt (Noise specification, section 4.3).
void hkdf2(const Key& chaining_key, ByteView input, Key& first, Key& second);

// X25519 (RFC 7748)
Key x25519_public(const Key& secret) noexcept;
/// Errors: unverified when the shared secret is zero (a point of low order).
Result<Key> x25519(const Key& secret, const Key& public_key) noexcept;

// Ed25519 (RFC 8032)
Key ed25519_public(const Key& seed) noexcept;
/// `secret` is seed ‖ public key.
Signature ed25519_sign(const std::array<std::uint8_t, 64>& secret, ByteView message) noexcept;
bool ed25519_verify(ByteView public_key, ByteView message, ByteView signature) noexcept;

/// Checks a signature over SHA-256 of the message: RSASSA-PKCS1-v1_5 for an RSA key of 2,048 to 8,192 bits, ECDSA (DER) for one on P-256,
/// P-384 or P-521. `public_key` is a DER SubjectPublicKeyInfo.
bool rsa_verify(ByteView public_key, ByteView message, ByteView signature) noexcept;
bool ecdsa_verify(ByteView public_key, ByteView message, ByteView signature) noexcept;
/// The same for a compressed secp256k1 point of 33 bytes.
bool secp256k1_verify(ByteView public_key, ByteView message, ByteView signature) noexcept;

/// ChaCha20-Poly1305 (RFC 8439) in place, with the nonce that Noise makes of a counter: four zero bytes, then 64 bits little-endian.
class Aead {
 public:
  static constexpr std::size_t tag_size = 16;

  explicit Aead(const Key& key);
  Aead(Aead&&) noexcept;
  Aead& operator=(Aead&&) noexcept;
  ~Aead();

  /// Encrypts text[0, size-16) in place and writes the tag into the last 16 bytes.
  void seal(std::uint64_t counter, ByteView associated_data, ByteSpan text_and_tag);
  /// Checks the tag in the last 16 bytes and decrypts what stands before it in place; false, and nothing readable, if it does not hold.
  [[nodiscard]] bool open(std::uint64_t counter, ByteView associated_data, ByteSpan text_and_tag);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace p2p::crypto
