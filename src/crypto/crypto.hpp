#pragma once
// The primitives, from OpenSSL (ChaCha20-Poly1305, SHA-256, HMAC, foreign signatures), libsodium (wiping) and one of two libraries for
// Ed25519 and X25519 (crypto/curve25519.hpp). This room is the only one that knows these libraries, and knows no protocol.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/random.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

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
/// From now on no core of this process is written, whatever happens to it: any of its pages may hold a secret, the libraries' among them.
/// It also keeps other processes of the same user from reading its memory (Linux). Children that exec a program are not concerned.
void forbid_core_dumps() noexcept;

/// Secret bytes that are wiped when they go or are moved away. Nothing copies them by accident.
template <std::size_t N>
class Secret {
 public:
  Secret() noexcept = default;
  /// The bytes copied are the caller's to wipe.
  Secret(const std::array<std::uint8_t, N>& bytes) noexcept : bytes_(bytes) {}
  Secret(Secret&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      wipe(other.bytes_);
    }
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(bytes_); }

  std::uint8_t* data() noexcept { return bytes_.data(); }
  const std::uint8_t* data() const noexcept { return bytes_.data(); }
  static constexpr std::size_t size() noexcept { return N; }
  auto begin() noexcept { return bytes_.begin(); }
  auto begin() const noexcept { return bytes_.begin(); }
  auto end() noexcept { return bytes_.end(); }
  auto end() const noexcept { return bytes_.end(); }

  /// Secrets are not compared: that would take the longer the more of them is alike.
  friend bool equal(const Secret&, const Secret&) = delete;
  friend bool equal(const Secret&, ByteView) = delete;
  friend bool equal(ByteView, const Secret&) = delete;

 private:
  std::array<std::uint8_t, N> bytes_{};
};
using SecretKey = Secret<32>;

/// Gives memory back wiped.
template <class T>
struct WipingAllocator {
  using value_type = T;

  WipingAllocator() noexcept = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>&) noexcept {}

  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* at, std::size_t count) noexcept {
    wipe({reinterpret_cast<std::uint8_t*>(at), count * sizeof(T)});
    std::allocator<T>().deallocate(at, count);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) noexcept { return true; }
};

/// A secret of any length, such as a key for a server. Each copy is wiped when it goes.
class SecretText {
 public:
  SecretText() noexcept = default;
  /// The text copied is the caller's to wipe.
  SecretText(std::string_view text) : text_(text.begin(), text.end()) {}
  SecretText(const char* text) : SecretText(std::string_view(text)) {}

  std::string_view view() const noexcept { return {text_.data(), text_.size()}; }
  bool empty() const noexcept { return text_.empty(); }
  void append(std::string_view text) { text_.insert(text_.end(), text.begin(), text.end()); }

 private:
  std::vector<char, WipingAllocator<char>> text_;  // a string would keep what is short within itself
};

Digest sha256(ByteView data);
Digest sha256(std::initializer_list<ByteView> parts);

/// Noise's HKDF with two outputs, HMAC-SHA256, `chaining_key` as salt (Noise specification, section 4.3). It may be one of the outputs.
void hkdf2(const SecretKey& chaining_key, ByteView input, SecretKey& first, SecretKey& second);

/// Which library X25519 and Ed25519 are by here: "lib25519" if it is installed, else "libsodium".
const char* curve25519_library() noexcept;

// X25519 (RFC 7748)
Key x25519_public(const SecretKey& secret) noexcept;
/// Errors: unverified when the shared secret is zero (a point of low order).
Result<SecretKey> x25519(const SecretKey& secret, const Key& public_key) noexcept;

// Ed25519 (RFC 8032)
Key ed25519_public(const SecretKey& seed) noexcept;
/// `secret` is seed ‖ public key.
Signature ed25519_sign(const Secret<64>& secret, ByteView message) noexcept;
bool ed25519_verify(ByteView public_key, ByteView message, ByteView signature) noexcept;

/// A public key of another kind, read once; any number of threads check signatures with it. Null is one that nothing verifies with.
using ForeignKey = std::shared_ptr<evp_pkey_st>;
/// Of a DER SubjectPublicKeyInfo: an RSA key of 2,048 to 8,192 bits with an exponent of up to 33 bits, a point on P-256, P-384 or P-521.
/// Null for anything else.
ForeignKey rsa_key(ByteView der) noexcept;
ForeignKey ecdsa_key(ByteView der) noexcept;
/// Of a compressed secp256k1 point of 33 bytes.
ForeignKey secp256k1_key(ByteView point) noexcept;
/// Checks a signature over SHA-256 of the message: RSASSA-PKCS1-v1_5, or ECDSA (DER).
bool verify(const ForeignKey& key, ByteView message, ByteView signature) noexcept;

/// ChaCha20-Poly1305 (RFC 8439) in place, with the nonce that Noise makes of a counter: four zero bytes, then 64 bits little-endian.
class Aead {
 public:
  static constexpr std::size_t tag_size = 16;

  explicit Aead(const SecretKey& key);
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
