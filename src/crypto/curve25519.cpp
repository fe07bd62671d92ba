#include "crypto/curve25519.hpp"

#include <dlfcn.h>
#include <sodium.h>
#include <algorithm>

namespace p2p::crypto {
namespace {

Error low_order() { return {Errc::unverified, "X25519 with a point of low order"}; }

constexpr Curve25519 by_libsodium = {
    "libsodium",
    [](const SecretKey& secret) noexcept {
      Key public_key;
      crypto_scalarmult_base(public_key.data(), secret.data());
      return public_key;
    },
    [](const SecretKey& secret, const Key& public_key) noexcept -> Result<SecretKey> {
      SecretKey shared;
      if (crypto_scalarmult(shared.data(), secret.data(), public_key.data()) != 0) return low_order();
      return shared;
    },
    [](const Secret<64>& secret, ByteView message) noexcept {
      Signature signature;
      crypto_sign_detached(signature.data(), nullptr, message.data(), message.size(), secret.data());
      return signature;
    },
    [](ByteView public_key, ByteView message, ByteView signature) noexcept {
      return public_key.size() == 32 && signature.size() == 64 &&
             crypto_sign_verify_detached(signature.data(), message.data(), message.size(), public_key.data()) == 0;
    },
};

// lib25519's functions by the names that its header's lib25519_dh and lib25519_sign_open stand for, and the one of its parts that signing
// needs: its own lib25519_sign() adds randomness, where RFC 8032 has one signature for each message.
struct Lib25519 {
  void (*dh)(unsigned char* shared, const unsigned char* public_key, const unsigned char* secret);
  int (*open)(unsigned char* message, long long* size, const unsigned char* signed_message, long long signed_size,
              const unsigned char* public_key);
  /// The multiple of the base point, encoded as RFC 8032 does it, by a number below 2^255.
  void (*multiple_of_base)(unsigned char* point, const unsigned char* scalar);
} lib;

// Both libraries leave parts of secrets on the stack where lib25519 is used: it its scalars, libsodium what it adds. More than its deepest
// call takes.
constexpr std::size_t stack_of_secrets = 8 * 1024;

Key lib25519_x25519_public(const SecretKey& secret) noexcept {
  static constexpr Key base_point = {9};
  Key public_key;
  lib.dh(public_key.data(), base_point.data(), secret.data());
  sodium_stackzero(stack_of_secrets);
  return public_key;
}

Result<SecretKey> lib25519_x25519(const SecretKey& secret, const Key& public_key) noexcept {
  SecretKey shared;
  lib.dh(shared.data(), public_key.data(), secret.data());
  sodium_stackzero(stack_of_secrets);
  if (sodium_is_zero(shared.data(), shared.size()) != 0) return low_order();
  return shared;
}

Secret<64> sha512(std::initializer_list<ByteView> parts) noexcept {
  Secret<64> digest;
  crypto_hash_sha512_state state;
  crypto_hash_sha512_init(&state);
  for (const ByteView part : parts) crypto_hash_sha512_update(&state, part.data(), part.size());
  crypto_hash_sha512_final(&state, digest.data());
  sodium_memzero(&state, sizeof state);
  return digest;
}

SecretKey reduced(const Secret<64>& number) noexcept {
  SecretKey scalar;
  crypto_core_ed25519_scalar_reduce(scalar.data(), number.data());
  return scalar;
}

/// RFC 8032, section 5.1.6.
Signature lib25519_sign(const Secret<64>& secret, ByteView message) noexcept {
  const ByteView seed(secret.data(), 32);
  const ByteView public_key(secret.data() + 32, 32);
  Secret<64> expanded = sha512({seed});
  std::uint8_t* const scalar = expanded.data();
  scalar[0] &= 0xf8;
  scalar[31] = (scalar[31] & 0x7f) | 0x40;

  Signature signature;
  const SecretKey nonce = reduced(sha512({ByteView(expanded.data() + 32, 32), message}));
  lib.multiple_of_base(signature.data(), nonce.data());
  SecretKey product = reduced(sha512({ByteView(signature.data(), 32), public_key, message}));
  crypto_core_ed25519_scalar_mul(product.data(), product.data(), scalar);
  crypto_core_ed25519_scalar_add(signature.data() + 32, product.data(), nonce.data());
  sodium_stackzero(stack_of_secrets);
  return signature;
}

/// Whether anyone can sign for this point: its y is 0, 1, -1 or one of the two of order eight. Each has one form, which lib25519 insists
/// on.
bool has_low_order(ByteView point) noexcept {
  static constexpr Key low[] = {
      {},
      {1},
      {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
      {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
       0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
      {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
       0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
  };
  Key y;
  std::copy(point.begin(), point.end(), y.begin());
  y.back() &= 0x7f;  // the top bit is x's sign
  return std::find(std::begin(low), std::end(low), y) != std::end(low);
}

bool lib25519_verify(ByteView public_key, ByteView message, ByteView signature) noexcept {
  // The library takes the two in one piece, and works in it. What is longer takes longest to hash, which libsodium does where it lies.
  std::array<std::uint8_t, 2048> both;
  const std::size_t size = signature.size() + message.size();
  if (size > both.size()) return by_libsodium.verify(public_key, message, signature);
  if (public_key.size() != 32 || signature.size() != 64 || has_low_order(public_key) || has_low_order(signature.first(32))) return false;
  std::copy(message.begin(), message.end(), std::copy(signature.begin(), signature.end(), both.begin()));
  long long opened = 0;
  return lib.open(both.data(), &opened, both.data(), static_cast<long long>(size), public_key.data()) == 0;
}

constexpr Curve25519 by_lib25519 = {"lib25519", lib25519_x25519_public, lib25519_x25519, lib25519_sign, lib25519_verify};

template <class Function>
bool find(void* library, const char* name, Function*& function) noexcept {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

/// Its parts may change: whether it still agrees with libsodium is tried once.
bool load() noexcept {
  void* const library = dlopen("lib25519.so.1", RTLD_NOW | RTLD_LOCAL);  // for as long as the process lives
  if (library == nullptr || !find(library, "lib25519_dh_x25519", lib.dh) || !find(library, "lib25519_sign_ed25519_open", lib.open) ||
      !find(library, "lib25519_nG_merged25519", lib.multiple_of_base))
    return false;
  const SecretKey seed(Key{1});
  Secret<64> secret;
  Key public_key;
  crypto_sign_seed_keypair(public_key.data(), secret.data(), seed.data());
  const Signature signature = by_libsodium.sign(secret, public_key);
  return by_lib25519.sign(secret, public_key) == signature && by_lib25519.verify(public_key, public_key, signature) &&
         by_lib25519.x25519_public(seed) == by_libsodium.x25519_public(seed);
}

const Curve25519& curve25519() noexcept {
  static const Curve25519& chosen = lib25519() != nullptr ? by_lib25519 : libsodium();
  return chosen;
}

}  // namespace

const Curve25519& libsodium() noexcept {
  initialise();
  return by_libsodium;
}

const Curve25519* lib25519() noexcept {
  static const bool loaded = (initialise(), load());
  return loaded ? &by_lib25519 : nullptr;
}

const char* curve25519_library() noexcept { return curve25519().library; }

Key x25519_public(const SecretKey& secret) noexcept { return curve25519().x25519_public(secret); }

Result<SecretKey> x25519(const SecretKey& secret, const Key& public_key) noexcept { return curve25519().x25519(secret, public_key); }

Key ed25519_public(const SecretKey& seed) noexcept {
  // A program that starts needs this, so neither library is asked what it does best here: libsodium has one way alone to do it.
  Key public_key;
  Secret<64> secret;
  crypto_sign_seed_keypair(public_key.data(), secret.data(), seed.data());
  return public_key;
}

Signature ed25519_sign(const Secret<64>& secret, ByteView message) noexcept { return curve25519().sign(secret, message); }

bool ed25519_verify(ByteView public_key, ByteView message, ByteView signature) noexcept {
  return curve25519().verify(public_key, message, signature);
}

}  // namespace p2p::crypto
