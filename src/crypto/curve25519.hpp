#pragma once
// X25519 (RFC 7748) and Ed25519 (RFC 8032) by two libraries that give the same bytes. They are most of what a handshake and a task cost,
// and lib25519 (https://lib25519.cr.yp.to) takes two thirds of libsodium's time for them, but is not packaged everywhere, nor can
// it be linked without slowing each start: it asks the processor what it can do a dozen times. So it is loaded where it is first needed, if
// it is installed.

#include "crypto/crypto.hpp"

namespace p2p::crypto {

struct Curve25519 {
  const char* library;
  Key (*x25519_public)(const SecretKey& secret) noexcept;
  Result<SecretKey> (*x25519)(const SecretKey& secret, const Key& public_key) noexcept;
  Signature (*sign)(const Secret<64>& secret, ByteView message) noexcept;
  /// Refuses also what some verifiers of RFC 8032 take: a key or a signature in a second form, and points of low order for the key or R.
  bool (*verify)(ByteView public_key, ByteView message, ByteView signature) noexcept;
};

/// Makes libsodium ready, or ends the process.
void initialise() noexcept;

const Curve25519& libsodium() noexcept;
/// Null where it is not installed, or does not do what it is known for.
const Curve25519* lib25519() noexcept;

}  // namespace p2p::crypto
