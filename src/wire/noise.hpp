#pragma once
// Noise_XX_25519_ChaChaPoly_SHA256 as libp2p uses it: a handshake that proves both PeerIds, then records.
//
//   frame      u16 length ‖ Noise message of that many bytes, handshake and transport alike
//   message 1  initiator → responder   e
//   message 2  responder → initiator   e, ee, s, es   payload
//   message 3  initiator → responder   s, se          payload
//   payload    NoiseHandshakePayload { 1 identity_key  2 identity_sig  4 extensions { 2 stream_muxers } }
//   identity_sig over  "noise-libp2p-static-key:" ‖ the sender's Noise static public key
//   transport  ChaCha20-Poly1305, no associated data, a counter for each direction
//
// https://github.com/libp2p/specs/blob/master/noise/README.md, https://noiseprotocol.org/noise.html

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/limits.hpp"
#include "base/sink.hpp"
#include "crypto/crypto.hpp"
#include "identity/identity.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace p2p {

/// Seals records. What is appended gathers in the open record until it is full or flush() is called; the buffer then holds whole frames,
/// encrypted in place.
class NoiseWriter final : public ByteSink {
 public:
  static constexpr std::size_t full_frame = 2 + limits::noise_write + crypto::Aead::tag_size;  // bytes of one whose record is full

  explicit NoiseWriter(crypto::Aead key) : key_(std::move(key)) {}

  void append(ByteView plaintext) override;
  /// Ends the open record, if there is one.
  void flush();
  /// Bytes gathered and not taken, the open record included.
  std::size_t size() const noexcept { return out_.size(); }
  /// Bytes of memory that it takes.
  std::size_t capacity() const noexcept { return out_.capacity(); }
  /// Flushes and hands the frames over; `reuse` becomes the next buffer, its contents dropped.
  Bytes take(Bytes reuse);

 private:
  crypto::Aead key_;
  std::uint64_t counter_ = 0;
  Bytes out_;
  std::size_t open_ = closed;  // where the open record's plaintext begins
  static constexpr std::size_t closed = static_cast<std::size_t>(-1);
};

/// Opens records in the receive buffer.
class NoiseReader {
 public:
  explicit NoiseReader(crypto::Aead key) : key_(std::move(key)) {}

  /// The plaintext of the frame at the front of `in`, decrypted in place; the frame is chopped off. Nothing while it is incomplete. A view
  /// of no bytes is a record without content. Errors: malformed (a frame without a tag), unverified.
  Result<std::optional<ByteView>> next(ByteSpan& in);

 private:
  crypto::Aead key_;
  std::uint64_t counter_ = 0;
};

/// What a finished handshake gives.
struct NoiseSession {
  NoiseWriter writer;
  NoiseReader reader;
  std::shared_ptr<const Verifier> remote;
  std::vector<std::string> remote_muxers;  ///< the other side's early-muxer list; empty when it sent none
};

/// A Noise static key, with the identity's proof that it is its own: what the handshakes of an agent's life have in common.
class NoiseStatic {
 public:
  NoiseStatic(const KeyPair& identity, crypto::SecretKey secret);
  NoiseStatic(const NoiseStatic&) = delete;
  NoiseStatic& operator=(const NoiseStatic&) = delete;

  const crypto::SecretKey& secret() const noexcept { return secret_; }
  const crypto::Key& public_key() const noexcept { return public_; }
  /// identity_key and identity_sig of a NoiseHandshakePayload.
  ByteView identity_key() const noexcept { return identity_key_; }
  const crypto::Signature& identity_sig() const noexcept { return identity_sig_; }

 private:
  crypto::SecretKey secret_;
  crypto::Key public_;
  Bytes identity_key_;
  crypto::Signature identity_sig_;
};

/// Proofs of identity that held, so that a peer who comes again with the same keys costs no check of a signature: the last
/// limits::noise_proofs of them.
class NoiseProofs {
 public:
  bool contains(const crypto::Digest& proof) const noexcept { return std::find(held_.begin(), held_.end(), proof) != held_.end(); }
  void add(const crypto::Digest& proof) noexcept { held_[next_++ % held_.size()] = proof; }

 private:
  std::array<crypto::Digest, limits::noise_proofs> held_{};  // of all zeros is no proof's digest that anybody could find
  std::size_t next_ = 0;
};

class NoiseHandshake {
 public:
  enum class Role : std::uint8_t { initiator, responder };

  struct Parameters {
    const NoiseStatic& own;              ///< outlives the handshake
    crypto::SecretKey ephemeral_secret;  ///< X25519, fresh for this handshake
    std::vector<std::string> muxers;     ///< early-muxer list to send; empty sends none
    std::optional<PeerId> expected;      ///< who the other side must be
    NoiseProofs* proofs = nullptr;       ///< outlives the handshake; null checks every proof
    PeerId* proven = nullptr;            ///< gets who the other side proved to be, expected or not; outlives the handshake
  };

  NoiseHandshake(Role role, Parameters parameters);
  NoiseHandshake(const NoiseHandshake&) = delete;
  NoiseHandshake& operator=(const NoiseHandshake&) = delete;

  /// Takes handshake frames off the front of `in`, none beyond the handshake. Errors: malformed; unverified (a tag, a signature, or another
  /// peer than the expected one).
  Result<void> receive(ByteView& in);
  /// The initiator has output from the start.
  Bytes take_output() { return std::exchange(output_, {}); }
  bool done() const noexcept { return step_ == 3; }

  /// Once, when done.
  NoiseSession finish();
  /// The handshake hash, which both sides share; for tests.
  const crypto::Digest& hash() const noexcept { return hash_; }
  const crypto::SecretKey& chaining_key() const noexcept { return chaining_key_; }

 private:
  void mix_hash(ByteView data);
  Result<void> mix_key(const crypto::SecretKey& secret, const crypto::Key& public_key);
  void encrypt_and_hash(Bytes& message, ByteView plaintext);
  Result<Bytes> decrypt_and_hash(ByteView ciphertext);
  Bytes payload() const;
  Result<void> read_payload(ByteView encoded);
  void put_frame(ByteView message);

  Result<void> write_message_1();
  Result<void> read_message_1(ByteView message);
  Result<void> write_message_2();
  Result<void> read_message_2(ByteView message);
  Result<void> write_message_3();
  Result<void> read_message_3(ByteView message);

  Role role_;
  Parameters parameters_;
  crypto::Key ephemeral_public_;
  crypto::Digest hash_;
  crypto::SecretKey chaining_key_;
  crypto::SecretKey cipher_key_;
  std::uint64_t nonce_ = 0;
  crypto::Key remote_ephemeral_{};
  crypto::Key remote_static_{};
  std::shared_ptr<const Verifier> remote_;
  std::vector<std::string> remote_muxers_;
  unsigned step_ = 0;  // messages done
  Bytes output_;
};

}  // namespace p2p
