#include "identity/identity.hpp"

#include "base/base58.hpp"
#include "base/coding.hpp"
#include "base/limits.hpp"
#include "identity.pb.h"
#include "identity/serialized.hpp"

#include <algorithm>

namespace p2p {
namespace {

constexpr std::uint8_t identity_hash = 0x00;
constexpr std::uint8_t sha2_256_hash = 0x12;
constexpr std::uint64_t cid_version_1 = 1;
constexpr std::uint64_t libp2p_key_codec = 0x72;
constexpr std::size_t max_inlined_key = 42;

Bytes encode_key(PublicKey::Type type, ByteView data) {
  proto::Key key;
  key.set_type(static_cast<proto::KeyType>(type));
  key.mutable_data()->assign(as_text(data));
  return serialized(key);
}

// ParseFromArray would write to stderr about each missing field, as often as a peer likes.
bool parse(proto::Key& key, ByteView protobuf) {
  return key.ParsePartialFromArray(protobuf.data(), static_cast<int>(protobuf.size())) && key.IsInitialized();
}

crypto::Secret<64> secret_of(const crypto::SecretKey& seed) {
  crypto::Secret<64> secret;
  std::copy(seed.begin(), seed.end(), secret.begin());
  const crypto::Key public_key = crypto::ed25519_public(seed);
  std::copy(public_key.begin(), public_key.end(), secret.begin() + 32);
  return secret;
}

}  // namespace

PublicKey::PublicKey(Type type, ByteView data) : PublicKey(type, data.size(), encode_key(type, data)) {}

Result<PublicKey> PublicKey::decode(ByteView protobuf) {
  if (protobuf.size() > limits::public_key) return Error{Errc::too_large, "public key above its limit"};
  proto::Key key;
  if (!parse(key, protobuf)) return Error{Errc::malformed, "not a public key"};
  const auto type = static_cast<Type>(key.type());
  const std::size_t size = key.data().size();
  Bytes encoded = encode_key(type, as_bytes(key.data()));
  if (!equal(encoded, protobuf)) return Error{Errc::malformed, "public key is not in its canonical form"};
  if (type == Type::ed25519 && size != 32) return Error{Errc::malformed, "Ed25519 key of a wrong size"};
  if (type == Type::secp256k1 && size != 33) return Error{Errc::malformed, "secp256k1 key of a wrong size"};
  return PublicKey(type, size, std::move(encoded));
}

Verifier::Verifier(PublicKey key) : key_(std::move(key)), id_(key_) {
  switch (key_.type()) {
    case PublicKey::Type::ed25519: break;
    case PublicKey::Type::rsa: foreign_ = crypto::rsa_key(key_.data()); break;
    case PublicKey::Type::secp256k1: foreign_ = crypto::secp256k1_key(key_.data()); break;
    case PublicKey::Type::ecdsa: foreign_ = crypto::ecdsa_key(key_.data()); break;
  }
}

bool Verifier::verify(ByteView message, ByteView signature) const noexcept {
  if (key_.type() == PublicKey::Type::ed25519) return crypto::ed25519_verify(key_.data(), message, signature);
  return crypto::verify(foreign_, message, signature);
}

PeerId::PeerId(const PublicKey& key) {
  const auto put = [this](std::uint8_t hash, ByteView digest) {  // both varints take a byte
    bytes_[0] = hash;
    bytes_[1] = static_cast<std::uint8_t>(digest.size());
    std::copy(digest.begin(), digest.end(), bytes_.begin() + 2);
    size_ = static_cast<std::uint8_t>(2 + digest.size());
  };
  if (key.encoded().size() <= max_inlined_key) {
    put(identity_hash, key.encoded());
  } else {
    put(sha2_256_hash, crypto::sha256(key.encoded()));
  }
}

Result<PeerId> PeerId::from_bytes(ByteView multihash) noexcept {
  Reader reader(multihash);
  TRY_ASSIGN(const std::uint64_t hash, reader.uvarint());
  TRY_ASSIGN(const ByteView digest, reader.length_prefixed(max_inlined_key));
  if (!reader.empty()) return Error{Errc::malformed, "bytes behind a PeerId"};
  if (hash == sha2_256_hash) {
    if (digest.size() != 32) return Error{Errc::malformed, "PeerId with a SHA-256 digest of a wrong size"};
  } else if (hash != identity_hash) {
    return Error{Errc::malformed, "PeerId with an unknown hash"};
  } else if (digest.empty()) {
    return Error{Errc::malformed, "empty PeerId"};
  }
  PeerId id;
  std::copy(multihash.begin(), multihash.end(), id.bytes_.begin());
  id.size_ = static_cast<std::uint8_t>(multihash.size());
  return id;
}

Result<PeerId> PeerId::from_text(std::string_view text) {
  if (text.starts_with('1') || text.starts_with("Qm")) {
    TRY_ASSIGN(const Bytes multihash, base58_decode(text));
    return from_bytes(multihash);
  }
  TRY_ASSIGN(const Bytes cid, multibase_decode(text));
  Reader reader(cid);
  TRY_ASSIGN(const std::uint64_t version, reader.uvarint());
  TRY_ASSIGN(const std::uint64_t codec, reader.uvarint());
  if (version != cid_version_1 || codec != libp2p_key_codec) return Error{Errc::malformed, "a CID, but not of a libp2p key"};
  return from_bytes(reader.rest());
}

std::string PeerId::text() const { return base58_encode(bytes()); }

std::string PeerId::short_text() const {
  const std::string whole = text();
  return whole.size() <= 10 ? whole : "…" + whole.substr(whole.size() - 6);
}

std::optional<PublicKey> PeerId::public_key() const {
  if (size_ < 2 || bytes_[0] != identity_hash) return std::nullopt;
  const Result<PublicKey> key = PublicKey::decode(bytes().subspan(2));
  return key ? std::optional(*key) : std::nullopt;
}

KeyPair KeyPair::generate(Random& random) {
  crypto::SecretKey seed;
  random.fill(seed);
  return KeyPair(seed);
}

KeyPair::KeyPair(const crypto::Secret<seed_size>& seed)
    : secret_(secret_of(seed)), public_key_(PublicKey::Type::ed25519, ByteView(secret_).subspan(32)), peer_id_(public_key_) {}

Result<KeyPair> KeyPair::decode(ByteView protobuf) {
  proto::Key key;
  const struct Wiping {
    proto::Key& key;
    ~Wiping() { crypto::wipe({reinterpret_cast<std::uint8_t*>(key.mutable_data()->data()), key.data().size()}); }
  } wiping{key};
  if (!parse(key, protobuf)) return Error{Errc::malformed, "not a private key"};
  if (key.type() != proto::ED25519) return Error{Errc::unsupported, "a private key, but not an Ed25519 one"};
  const ByteView data = as_bytes(key.data());
  if (data.size() != 64 && data.size() != 96) return Error{Errc::malformed, "Ed25519 private key of a wrong size"};
  crypto::SecretKey seed;
  std::copy_n(data.begin(), seed_size, seed.begin());
  KeyPair pair(seed);
  const ByteView public_half = ByteView(pair.secret_).subspan(32);
  const bool whole = equal(data.subspan(32, 32), public_half) && (data.size() == 64 || equal(data.subspan(64), public_half));
  if (!whole) return Error{Errc::malformed, "the halves of the Ed25519 private key do not belong together"};
  return pair;
}

crypto::Secret<68> KeyPair::encode() const noexcept {
  // Written by hand, so that no library keeps a copy: type Ed25519, then 64 bytes of data.
  static constexpr std::array<std::uint8_t, 4> beginning{0x08, 0x01, 0x12, 0x40};
  crypto::Secret<68> protobuf;
  std::copy(secret_.begin(), secret_.end(), std::copy(beginning.begin(), beginning.end(), protobuf.begin()));
  return protobuf;
}

std::array<std::uint8_t, 64> KeyPair::sign(ByteView message) const noexcept { return crypto::ed25519_sign(secret_, message); }

}  // namespace p2p
