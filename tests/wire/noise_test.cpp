#include "wire/noise.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <functional>

namespace p2p {
namespace {

using test::hex;
using test::hex_array;
using Role = NoiseHandshake::Role;
using crypto::Key;
using crypto::SecretKey;

// The keys of flynn/noise's vectors, which the vector of a whole libp2p handshake uses too.
const Key initiator_static = hex_array<32>("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
const Key responder_static = hex_array<32>("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
const Key initiator_ephemeral = hex_array<32>("202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f");
const Key responder_ephemeral = hex_array<32>("4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60");

const KeyPair& initiator_identity() {
  static const KeyPair keys(hex_array<32>("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"));
  return keys;
}
const KeyPair& responder_identity() {
  static const KeyPair keys(std::array<std::uint8_t, 32>{});
  return keys;
}

const std::string yamux = "/yamux/1.0.0";
const std::string mplex = "/mplex/6.7.0";

NoiseHandshake::Parameters initiator_parameters(std::optional<PeerId> expected = std::nullopt) {
  static const NoiseStatic own(initiator_identity(), initiator_static);
  return {own, initiator_ephemeral, {yamux, mplex}, std::move(expected)};
}
NoiseHandshake::Parameters responder_parameters(std::optional<PeerId> expected = std::nullopt) {
  static const NoiseStatic own(responder_identity(), responder_static);
  return {own, responder_ephemeral, {yamux}, std::move(expected)};
}

const std::string frame_1 = "0020358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254";
const std::string frame_2 =
    "00d864b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4ef4ed56c133cff4560"
    "a34e36ea82109f26cf2e5a5caf992b8b4dc7d75b0572c81341e68ad10231fe006dcef1006c3adfbc58fa3f8f7b125935f31f8b9e3a87e80d3cbc6d23fb9c541adba05a"
    "c46dca9d1e71a464f3463fc231cda1b20e887806cd6938c5c42f4d873aad19026d7a8aa2c584e09a3e58089dcc901af50529745f94216610cafd32b1ac73bf9b837316"
    "a67be1e968b7a2f0f9d8d4e9b8dbdb3bf1";
const std::string frame_3 =
    "00c687f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d91dfcb1bf948e6b39911a0c1f615f5b4502320cd7b9b479fd98c480fafdd61f5e93"
    "858f566ed8b6e39a20b486d45185eb32978db15c655ce1de6fbbdffb953a0c39f0b45a87a12bdc01aee67172c64b22b78e1170970225393bcdaf4d88e502fc1b160fd8"
    "ebc2f9bab60db8d2f09cc148c20dbe810831018a8cae9debef6fdb1c510dfc961b06f8a7973bfe1ab4e24eec59c1774f0fdff75abe6ce6b68a38d401214534b80e19";

Bytes field(unsigned number, ByteView value) {
  Bytes bytes;
  put_uvarint(bytes, number << 3 | 2);
  put_uvarint(bytes, value.size());
  append(bytes, value);
  return bytes;
}

Bytes operator+(Bytes a, ByteView b) {
  append(a, b);
  return a;
}

Bytes frame(ByteView message) {
  Bytes bytes;
  put_u16(bytes, static_cast<std::uint16_t>(message.size()));
  return bytes + message;
}

/// What libp2p puts into a handshake: the key, its signature that ties the Noise static key to it, and more.
Bytes proof(const KeyPair& identity, const Key& static_public, ByteView more = {}, std::string_view prefix = "noise-libp2p-static-key:") {
  return field(1, identity.public_key().encoded()) + field(2, identity.sign(to_bytes(prefix) + static_public)) + more;
}

Bytes payload(const KeyPair& identity, const Key& static_secret, ByteView more = {}) {
  return proof(identity, crypto::x25519_public(static_secret), more);
}

Bytes muxer_list(const std::vector<std::string>& muxers) {
  Bytes list;
  for (const std::string& muxer : muxers) append(list, field(2, as_bytes(muxer)));
  return field(4, list);
}

// The other side of a handshake, after the Noise specification alone: it may put anything into its messages.
class Other {
 public:
  Other(const Key& static_secret, const Key& ephemeral_secret) : static_(static_secret), ephemeral_(ephemeral_secret) { mix_hash({}); }

  // Sends a point of low order: whatever secret it is combined with, the result is zero.
  void claim_static(const Key& point) {
    static_public_ = point;
    static_ = {};
  }
  void claim_ephemeral(const Key& point) {
    ephemeral_public_ = point;
    ephemeral_ = {};
  }

  Bytes write_1(ByteView content = {}) {
    mix_hash(ephemeral_public_);
    mix_hash(content);
    return Bytes(ephemeral_public_.begin(), ephemeral_public_.end()) + content;
  }
  void read_1(ByteView message) {
    remote_ephemeral_ = key_at(message);
    mix_hash(message.first(32));
    mix_hash(message.subspan(32));
  }
  Bytes write_2(ByteView content) {
    mix_hash(ephemeral_public_);
    mix_key(ephemeral_, remote_ephemeral_);
    Bytes message = Bytes(ephemeral_public_.begin(), ephemeral_public_.end()) + seal(static_public_);
    mix_key(static_, remote_ephemeral_);
    return message + seal(content);
  }
  Bytes read_2(ByteView message) {
    remote_ephemeral_ = key_at(message);
    mix_hash(message.first(32));
    mix_key(ephemeral_, remote_ephemeral_);
    remote_static_ = key_at(open(message.subspan(32, 48)));
    mix_key(ephemeral_, remote_static_);
    return open(message.subspan(80));
  }
  Bytes write_3(ByteView content) {
    Bytes message = seal(static_public_);
    mix_key(static_, remote_ephemeral_);
    return message + seal(content);
  }
  Bytes read_3(ByteView message) {
    remote_static_ = key_at(open(message.first(48)));
    mix_key(ephemeral_, remote_static_);
    return open(message.subspan(48));
  }
  std::pair<SecretKey, SecretKey> split() const {
    std::pair<SecretKey, SecretKey> keys;
    crypto::hkdf2(chaining_key_, {}, keys.first, keys.second);
    return keys;
  }
  const crypto::Digest& hash() const { return hash_; }

 private:
  static Key key_at(ByteView bytes) {
    Key key;
    std::copy_n(bytes.begin(), key.size(), key.begin());
    return key;
  }
  void mix_hash(ByteView data) { hash_ = crypto::sha256({hash_, data}); }
  void mix_key(const Key& secret, const Key& public_key) {
    const SecretKey shared = secret == Key{} ? SecretKey() : crypto::x25519(secret, public_key).value();
    crypto::hkdf2(chaining_key_, shared, chaining_key_, cipher_key_);
    nonce_ = 0;
  }
  Bytes seal(ByteView plaintext) {
    Bytes text = Bytes(plaintext.begin(), plaintext.end()) + Bytes(16);
    crypto::Aead(cipher_key_).seal(nonce_++, hash_, text);
    mix_hash(text);
    return text;
  }
  Bytes open(ByteView ciphertext) {
    Bytes text(ciphertext.begin(), ciphertext.end());
    if (!crypto::Aead(cipher_key_).open(nonce_++, hash_, text)) throw std::runtime_error("the other side cannot read a handshake message");
    text.resize(text.size() - 16);
    mix_hash(ciphertext);
    return text;
  }

  Key static_;
  Key ephemeral_;
  Key static_public_ = crypto::x25519_public(static_);
  Key ephemeral_public_ = crypto::x25519_public(ephemeral_);
  crypto::Digest hash_ = key_at(as_bytes("Noise_XX_25519_ChaChaPoly_SHA256"));
  SecretKey chaining_key_ = hash_;
  SecretKey cipher_key_;
  std::uint64_t nonce_ = 0;
  Key remote_ephemeral_{};
  Key remote_static_{};
};

/// Gives a handshake all of `input`, of which it must take everything.
Result<void> take(NoiseHandshake& handshake, const Bytes& input) {
  ByteView rest(input);
  TRY(handshake.receive(rest));
  EXPECT_TRUE(rest.empty());
  return {};
}

std::string plaintext(NoiseReader& reader, const std::string& frames) {
  Bytes bytes = hex(frames);
  ByteSpan in(bytes);
  std::string text;
  while (!in.empty()) text += as_text(reader.next(in).value().value());
  return text;
}

TEST(NoiseHandshake, AgreesWithFlynn) {
  // First that the other side here is Noise: every message, and the first of each direction behind it.
  const std::string m1 = "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254";
  const std::string m2 =
      "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4ef4ed56c133cff4560a3"
      "4e36ea82109f26cf2e5a5caf992b608d55c747f615e5a3425a7a19eefb8f";
  const std::string m3 =
      "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d97e5ea11b16f3968710b23a3be3202dc1b5e1ce3c963347491e74f5c0768a9b42";
  Other initiator(initiator_static, initiator_ephemeral);
  Other responder(responder_static, responder_ephemeral);
  EXPECT_EQ(to_hex(initiator.write_1()), m1);
  responder.read_1(hex(m1));
  EXPECT_EQ(to_hex(responder.write_2({})), m2);
  EXPECT_EQ(initiator.read_2(hex(m2)), Bytes());
  EXPECT_EQ(to_hex(initiator.write_3({})), m3);
  EXPECT_EQ(responder.read_3(hex(m3)), Bytes());
  EXPECT_EQ(initiator.hash(), responder.hash());
  const auto [to_responder, to_initiator] = initiator.split();
  const auto same = responder.split();
  EXPECT_EQ(to_hex(same.first) + to_hex(same.second), to_hex(to_responder) + to_hex(to_initiator));

  NoiseWriter writer{crypto::Aead(to_responder)};
  writer.append(as_bytes("yellowsubmarine"));
  EXPECT_EQ(to_hex(writer.take({})), "001fa52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6");
  NoiseReader reader{crypto::Aead(to_initiator)};
  EXPECT_EQ(plaintext(reader, "001f2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521"), "submarineyellow");

  // Ours can only follow as far as Noise goes: a libp2p peer cannot leave its identity out.
  NoiseHandshake ours(Role::initiator, initiator_parameters());
  EXPECT_EQ(to_hex(ours.take_output()), "0020" + m1);
  EXPECT_EQ(take(ours, hex("0060" + m2)).error().code, Errc::malformed);
  Other until_message_2(initiator_static, initiator_ephemeral);
  until_message_2.write_1();
  until_message_2.read_2(hex(m2));
  EXPECT_EQ(ours.hash(), until_message_2.hash());
}

TEST(NoiseHandshake, AgreesWithJsByteForByte) {
  EXPECT_EQ(to_hex(crypto::x25519_public(initiator_static)), "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
  EXPECT_EQ(to_hex(crypto::x25519_public(responder_static)), "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c");
  NoiseHandshake initiator(Role::initiator, initiator_parameters(responder_identity().peer_id()));
  NoiseHandshake responder(Role::responder, responder_parameters(initiator_identity().peer_id()));
  EXPECT_EQ(responder.take_output(), Bytes());

  EXPECT_EQ(to_hex(initiator.take_output()), frame_1);
  EXPECT_EQ(to_hex(initiator.hash()), "0692f02b3695dffc70fcecd58b1abcb9a2ea2f210579481b10b68218e90adff1");
  EXPECT_TRUE(take(responder, hex(frame_1)).has_value());

  EXPECT_EQ(to_hex(responder.take_output()), frame_2);
  EXPECT_EQ(to_hex(responder.hash()), "548c4745d076c02f6b07d5ad803b8d35974f1d689987f40fcf418b2c8aefb935");
  EXPECT_EQ(to_hex(responder.chaining_key()), "ab28cb873b3caf67c7843596cf43aa1b26abdd15121e8aa1a668568205044424");
  EXPECT_FALSE(initiator.done());
  EXPECT_TRUE(take(initiator, hex(frame_2)).has_value());
  EXPECT_TRUE(initiator.done());

  EXPECT_EQ(to_hex(initiator.take_output()), frame_3);
  EXPECT_FALSE(responder.done());
  EXPECT_TRUE(take(responder, hex(frame_3)).has_value());
  EXPECT_TRUE(responder.done());
  EXPECT_EQ(responder.take_output(), Bytes());
  for (const NoiseHandshake* side : {&initiator, &responder}) {
    EXPECT_EQ(to_hex(side->hash()), "d4e8fc8c97c2bcde4ffb0b8103cfab862964b3eab3de47a8b44aefccc4ffd590");
    EXPECT_EQ(to_hex(side->chaining_key()), "9782bdbe8c5cd413532c73d14b7aed7f0888466e71cc2c43bf862bc66018bd17");
  }

  NoiseSession at_initiator = initiator.finish();
  NoiseSession at_responder = responder.finish();
  EXPECT_EQ(at_initiator.remote->id(), responder_identity().peer_id());
  EXPECT_EQ(at_responder.remote->id(), initiator_identity().peer_id());
  EXPECT_EQ(at_initiator.remote->key(), responder_identity().public_key());
  EXPECT_EQ(at_responder.remote->key(), initiator_identity().public_key());
  EXPECT_EQ(at_initiator.remote_muxers, std::vector{yamux});
  EXPECT_EQ(at_responder.remote_muxers, (std::vector{yamux, mplex}));

  const Bytes ping = hex("000200010000000000000000");
  const Bytes pong = hex("000200020000000000000000");
  const std::string header = "\x13/multistream/1.0.0\n";
  const std::string ping_frame = "001cdc499c46c979611c0f700aecaf6a37577ff17a06dc5963de61fe52aa";
  const std::string header_frame = "0024cd69d56ba4474fec61e53d94874ba553205774c4932f5d9c127c36dff81bc8bb2ecfb08f";
  at_initiator.writer.append(ping);
  EXPECT_EQ(to_hex(at_initiator.writer.take({})), ping_frame);
  at_initiator.writer.append(as_bytes(header));
  EXPECT_EQ(to_hex(at_initiator.writer.take({})), header_frame);
  EXPECT_EQ(plaintext(at_responder.reader, ping_frame + header_frame), std::string(as_text(ping)) + header);
  const std::string pong_frame = "001c5732c82cefcf0dfce4bf53a0d406c9bb2096509255e2fae266fe5f25";
  at_responder.writer.append(pong);
  EXPECT_EQ(to_hex(at_responder.writer.take({})), pong_frame);
  EXPECT_EQ(plaintext(at_initiator.reader, pong_frame + "00100a1e288fbd92d320625c63d100ce99cf"), as_text(pong));
}

TEST(NoiseHandshake, TakesTheFramesHoweverTheyAreSplit) {
  test::SeededRandom random;
  for (int round = 0; round < 30; ++round) {
    const auto piece = [&] { return round == 0 ? 1 : 1 + random.below(100); };
    const auto feed = [&](NoiseHandshake& handshake, const std::string& frames) {
      const Bytes input = hex(frames) + hex("0004aabb");  // what comes behind is not the handshake's
      Bytes held;
      for (std::size_t at = 0; at < input.size() && !handshake.done();) {
        const std::size_t count = std::min<std::size_t>(piece(), input.size() - at);
        append(held, ByteView(input).subspan(at, count));
        at += count;
        ByteView rest(held);
        handshake.receive(rest).value();
        held.erase(held.begin(), held.end() - static_cast<std::ptrdiff_t>(rest.size()));
      }
    };
    NoiseHandshake initiator(Role::initiator, initiator_parameters());
    feed(initiator, frame_2);
    EXPECT_EQ(to_hex(initiator.take_output()), frame_1 + frame_3);
    NoiseHandshake responder(Role::responder, responder_parameters());
    feed(responder, frame_1 + frame_3);
    EXPECT_EQ(to_hex(responder.take_output()), frame_2);
    EXPECT_TRUE(initiator.done() && responder.done());
  }
}

TEST(NoiseHandshake, LeavesWhatComesBehindIt) {
  NoiseHandshake initiator(Role::initiator, initiator_parameters());
  const Bytes input = hex(frame_2 + "001c5732");
  ByteView rest(input);
  initiator.receive(rest).value();
  EXPECT_EQ(to_hex(rest), "001c5732");
  initiator.receive(rest).value();
  EXPECT_EQ(to_hex(rest), "001c5732");
}

TEST(NoiseHandshake, WaitsForTheRestOfAFrame) {
  const Bytes second = hex(frame_2);
  for (std::size_t size = 0; size < second.size(); ++size) {
    NoiseHandshake initiator(Role::initiator, initiator_parameters());
    ByteView in = ByteView(second).first(size);
    EXPECT_TRUE(initiator.receive(in).has_value());
    EXPECT_EQ(in.size(), size);
    EXPECT_FALSE(initiator.done());
  }
}

TEST(NoiseHandshake, RefusesMessagesCutShort) {
  // Every truncation of a message, its length made to fit.
  const Bytes first = hex(frame_1);
  for (std::size_t size = 0; size < first.size() - 2; ++size) {
    NoiseHandshake responder(Role::responder, responder_parameters());
    EXPECT_EQ(take(responder, frame(ByteView(first).subspan(2, size))).error().code, Errc::malformed);
  }
  const Bytes second = hex(frame_2);
  for (std::size_t size = 0; size < second.size() - 2; ++size) {
    NoiseHandshake initiator(Role::initiator, initiator_parameters());
    EXPECT_EQ(take(initiator, frame(ByteView(second).subspan(2, size))).error().code, size < 96 ? Errc::malformed : Errc::unverified);
  }
  const Bytes third = hex(frame_3);
  for (std::size_t size = 0; size < third.size() - 2; ++size) {
    NoiseHandshake responder(Role::responder, responder_parameters());
    take(responder, first).value();
    EXPECT_EQ(take(responder, frame(ByteView(third).subspan(2, size))).error().code, size < 64 ? Errc::malformed : Errc::unverified);
  }
}

TEST(NoiseHandshake, RefusesEveryFlippedBit) {
  const auto flipped = [](const std::string& encoded, std::size_t bit) {
    Bytes bytes = hex(encoded);
    bytes[2 + bit / 8] = static_cast<std::uint8_t>(bytes[2 + bit / 8] ^ 1U << bit % 8);
    return bytes;
  };
  // Nothing protects message 1 yet, but the initiator does not accept the answer to another one.
  for (std::size_t bit = 0; bit < 8 * 32; ++bit) {
    NoiseHandshake initiator(Role::initiator, initiator_parameters());
    NoiseHandshake responder(Role::responder, responder_parameters());
    ASSERT_TRUE(take(responder, flipped(frame_1, bit)).has_value());
    const Result<void> answered = take(initiator, responder.take_output());
    ASSERT_TRUE(answered.has_error()) << "bit " << bit << " of message 1";
    EXPECT_EQ(answered.error().code, Errc::unverified);
  }
  for (std::size_t bit = 0; bit < 8 * (frame_2.size() / 2 - 2); ++bit) {
    NoiseHandshake initiator(Role::initiator, initiator_parameters());
    const Result<void> taken = take(initiator, flipped(frame_2, bit));
    ASSERT_TRUE(taken.has_error()) << "bit " << bit << " of message 2";
    EXPECT_EQ(taken.error().code, Errc::unverified);
    EXPECT_FALSE(initiator.done());
  }
  for (std::size_t bit = 0; bit < 8 * (frame_3.size() / 2 - 2); ++bit) {
    NoiseHandshake responder(Role::responder, responder_parameters());
    take(responder, hex(frame_1)).value();
    const Result<void> taken = take(responder, flipped(frame_3, bit));
    ASSERT_TRUE(taken.has_error()) << "bit " << bit << " of message 3";
    EXPECT_EQ(taken.error().code, Errc::unverified);
    EXPECT_FALSE(responder.done());
  }
}

TEST(NoiseHandshake, RefusesAnotherPeerThanTheExpected) {
  NoiseHandshake initiator(Role::initiator, initiator_parameters(initiator_identity().peer_id()));
  EXPECT_EQ(take(initiator, hex(frame_2)).error().code, Errc::unverified);
  EXPECT_FALSE(initiator.done());
  NoiseHandshake responder(Role::responder, responder_parameters(responder_identity().peer_id()));
  EXPECT_EQ(take(responder, hex(frame_1 + frame_3)).error().code, Errc::unverified);
  EXPECT_FALSE(responder.done());
}

// Points of low order on Curve25519 and its twist, in all the forms that they are written in.
const char* const low_order_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

TEST(NoiseHandshake, RefusesPointsOfLowOrder) {
  for (const char* const text : low_order_points) {
    const Key point = hex_array<32>(text);
    NoiseHandshake responder(Role::responder, responder_parameters());
    Other initiating(initiator_static, initiator_ephemeral);
    initiating.claim_ephemeral(point);
    EXPECT_EQ(take(responder, frame(initiating.write_1())).error().code, Errc::unverified) << text;
    EXPECT_EQ(responder.take_output(), Bytes()) << text;
    for (const bool ephemeral : {true, false}) {
      // All else in the message is right, as somebody would send it who does not look at the result either.
      NoiseHandshake initiator(Role::initiator, initiator_parameters());
      Other responding(responder_static, responder_ephemeral);
      responding.read_1(ByteView(initiator.take_output()).subspan(2));
      ephemeral ? responding.claim_ephemeral(point) : responding.claim_static(point);
      const Key static_public = ephemeral ? crypto::x25519_public(responder_static) : point;
      EXPECT_EQ(take(initiator, frame(responding.write_2(proof(responder_identity(), static_public)))).error().code, Errc::unverified)
          << text;
      EXPECT_FALSE(initiator.done());
    }
    NoiseHandshake last(Role::responder, responder_parameters());
    Other claiming(initiator_static, initiator_ephemeral);
    take(last, frame(claiming.write_1())).value();
    claiming.read_2(ByteView(last.take_output()).subspan(2));
    claiming.claim_static(point);
    EXPECT_EQ(take(last, frame(claiming.write_3(proof(initiator_identity(), point)))).error().code, Errc::unverified) << text;
    EXPECT_FALSE(last.done());
  }
}

/// What the real initiator says to a responder that puts `content` into message 2.
Result<NoiseSession> answered_with(ByteView content, NoiseProofs* proofs = nullptr) {
  NoiseHandshake::Parameters parameters = initiator_parameters();
  parameters.proofs = proofs;
  NoiseHandshake initiator(Role::initiator, std::move(parameters));
  Other other(responder_static, responder_ephemeral);
  other.read_1(ByteView(initiator.take_output()).subspan(2));
  TRY(take(initiator, frame(other.write_2(content))));
  other.read_3(ByteView(initiator.take_output()).subspan(2));
  EXPECT_EQ(other.hash(), initiator.hash());
  return initiator.finish();
}

/// What the real responder says to an initiator that puts `content` into message 3.
Result<NoiseSession> dialed_with(ByteView content, ByteView content_1 = {}, NoiseProofs* proofs = nullptr) {
  NoiseHandshake::Parameters parameters = responder_parameters();
  parameters.proofs = proofs;
  NoiseHandshake responder(Role::responder, std::move(parameters));
  Other other(initiator_static, initiator_ephemeral);
  TRY(take(responder, frame(other.write_1(content_1))));
  other.read_2(ByteView(responder.take_output()).subspan(2));
  TRY(take(responder, frame(other.write_3(content))));
  EXPECT_EQ(other.hash(), responder.hash());
  return responder.finish();
}

TEST(NoiseHandshake, RefusesIdentitiesThatAreNotProven) {
  const KeyPair stranger(std::array<std::uint8_t, 32>{1});
  // `prove` makes the payload for a static key; both roles check it.
  const struct {
    const char* what;
    std::function<Bytes(const KeyPair&, const Key&)> prove;
    Errc refused;
  } cases[] = {
      {"nothing", [](const KeyPair&, const Key&) { return Bytes(); }, Errc::malformed},
      {"no protobuf", [](const KeyPair&, const Key&) { return hex("0a05"); }, Errc::malformed},
      {"no key",
       [](const KeyPair& keys, const Key& secret) {
         return field(2, keys.sign(to_bytes("noise-libp2p-static-key:") + crypto::x25519_public(secret)));
       },
       Errc::malformed},
      {"a key that is none", [](const KeyPair& keys, const Key& secret) { return payload(keys, secret, field(1, hex("08011200"))); },
       Errc::malformed},
      {"a key with more behind it",
       [](const KeyPair& keys, const Key& secret) {
         const ByteView key = keys.public_key().encoded();
         return payload(keys, secret, field(1, Bytes(key.begin(), key.end()) + hex("1800")));
       },
       Errc::malformed},
      {"no signature", [](const KeyPair& keys, const Key&) { return field(1, keys.public_key().encoded()); }, Errc::unverified},
      {"another's key",
       [&stranger](const KeyPair& keys, const Key& secret) { return payload(keys, secret, field(1, stranger.public_key().encoded())); },
       Errc::unverified},
      {"a signature of another static key", [](const KeyPair& keys, const Key&) { return payload(keys, Key{7}); }, Errc::unverified},
      {"a signature without the prefix",
       [](const KeyPair& keys, const Key& secret) { return proof(keys, crypto::x25519_public(secret), {}, ""); }, Errc::unverified},
      {"a signature cut short",
       [](const KeyPair& keys, const Key& secret) {
         const auto signature = keys.sign(to_bytes("noise-libp2p-static-key:") + crypto::x25519_public(secret));
         return payload(keys, secret, field(2, ByteView(signature).first(63)));
       },
       Errc::unverified},
  };
  NoiseProofs proofs;  // which has the honest ones: they make none of the others good
  answered_with(payload(responder_identity(), responder_static), &proofs).value();
  dialed_with(payload(initiator_identity(), initiator_static), {}, &proofs).value();
  for (const auto& forged : cases) {
    for (NoiseProofs* const known : {static_cast<NoiseProofs*>(nullptr), &proofs, &proofs}) {
      EXPECT_EQ(answered_with(forged.prove(responder_identity(), responder_static), known).error().code, forged.refused) << forged.what;
      EXPECT_EQ(dialed_with(forged.prove(initiator_identity(), initiator_static), {}, known).error().code, forged.refused) << forged.what;
    }
  }
}

crypto::Digest digest_of_proof(const KeyPair& keys, const Key& secret, ByteView signature) {
  return crypto::sha256({crypto::sha256(keys.public_key().encoded()), crypto::x25519_public(secret), signature});
}

TEST(NoiseHandshake, ChecksAProofOnceIfItHeld) {
  NoiseProofs proofs;
  const Bytes honest = payload(responder_identity(), responder_static);
  const auto signature = responder_identity().sign(to_bytes("noise-libp2p-static-key:") + crypto::x25519_public(responder_static));
  EXPECT_EQ(answered_with(honest, &proofs).value().remote->id(), responder_identity().peer_id());
  EXPECT_TRUE(proofs.contains(digest_of_proof(responder_identity(), responder_static, signature)));
  EXPECT_EQ(answered_with(honest, &proofs).value().remote->id(), responder_identity().peer_id());

  const Bytes wrong = payload(responder_identity(), responder_static, field(2, Bytes(64, 1)));
  const crypto::Digest proof = digest_of_proof(responder_identity(), responder_static, Bytes(64, 1));
  EXPECT_EQ(answered_with(wrong, &proofs).error().code, Errc::unverified);
  EXPECT_FALSE(proofs.contains(proof));
  proofs.add(proof);  // nobody can; that it is taken now shows that it was not checked
  EXPECT_EQ(answered_with(wrong, &proofs).value().remote->id(), responder_identity().peer_id());
}

TEST(NoiseProofs, AreTheLastOnes) {
  const auto proof = [](std::size_t number) {
    return crypto::sha256(ByteView(reinterpret_cast<const std::uint8_t*>(&number), sizeof number));
  };
  NoiseProofs proofs;
  EXPECT_FALSE(proofs.contains(proof(0)));
  for (std::size_t i = 0; i < limits::noise_proofs; ++i) proofs.add(proof(i));
  for (std::size_t i = 0; i < limits::noise_proofs; ++i) EXPECT_TRUE(proofs.contains(proof(i))) << i;
  proofs.add(proof(limits::noise_proofs));
  EXPECT_FALSE(proofs.contains(proof(0)));
  EXPECT_TRUE(proofs.contains(proof(1)));
  EXPECT_TRUE(proofs.contains(proof(limits::noise_proofs)));
}

TEST(NoiseHandshake, SkipsWhatItDoesNotKnowInAPayload) {
  const Bytes more = field(3, as_bytes("data, once")) + field(4, field(1, as_bytes("a certificate's hash"))) + field(100, Bytes(300));
  const NoiseSession answered = answered_with(payload(responder_identity(), responder_static, more)).value();
  EXPECT_EQ(answered.remote->id(), responder_identity().peer_id());
  EXPECT_EQ(answered.remote_muxers, std::vector<std::string>());
  EXPECT_EQ(dialed_with(payload(initiator_identity(), initiator_static, more)).value().remote->id(), initiator_identity().peer_id());
}

TEST(NoiseHandshake, IgnoresAPayloadInMessage1) {
  EXPECT_EQ(dialed_with(payload(initiator_identity(), initiator_static), as_bytes("early")).value().remote->id(),
            initiator_identity().peer_id());
}

TEST(NoiseHandshake, TakesMessagesUpToTheLargestFrame) {
  const Bytes needed = payload(responder_identity(), responder_static);
  const std::size_t padding = limits::noise_frame - 96 - needed.size() - 5;  // a field's number and length take 5
  const Bytes largest = needed + field(100, Bytes(padding));
  ASSERT_EQ(largest.size(), limits::noise_frame - 96);
  EXPECT_EQ(answered_with(largest).value().remote->id(), responder_identity().peer_id());
}

TEST(NoiseHandshake, LooksAtAMuxerListUpToItsLimit) {
  std::vector<std::string> muxers;
  for (std::size_t i = 0; i < limits::noise_muxers; ++i) muxers.push_back("/" + std::to_string(i));
  EXPECT_EQ(answered_with(payload(responder_identity(), responder_static, muxer_list(muxers))).value().remote_muxers, muxers);
  std::vector<std::string> longer = muxers;
  longer.emplace_back("/surplus");
  EXPECT_EQ(answered_with(payload(responder_identity(), responder_static, muxer_list(longer))).value().remote_muxers, muxers);
  EXPECT_EQ(dialed_with(payload(initiator_identity(), initiator_static, muxer_list(longer))).value().remote_muxers, muxers);
}

TEST(NoiseHandshake, SendsNoListOfMuxersWhenThereIsNone) {
  NoiseHandshake::Parameters of_initiator = initiator_parameters();
  NoiseHandshake::Parameters of_responder = responder_parameters();
  of_initiator.muxers.clear();
  of_responder.muxers.clear();
  NoiseHandshake initiator(Role::initiator, std::move(of_initiator));
  NoiseHandshake responder(Role::responder, std::move(of_responder));
  take(responder, initiator.take_output()).value();
  take(initiator, responder.take_output()).value();
  const Bytes third = initiator.take_output();
  EXPECT_EQ(third.size(), 2 + 48 + payload(initiator_identity(), initiator_static).size() + 16);
  take(responder, third).value();
  EXPECT_EQ(responder.finish().remote_muxers, std::vector<std::string>());
}

const Key record_key = hex_array<32>("4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953");

NoiseWriter writer() { return NoiseWriter(crypto::Aead(record_key)); }
NoiseReader reader() { return NoiseReader(crypto::Aead(record_key)); }

/// What a reader makes of all frames in `bytes`, which must be whole.
Bytes opened(NoiseReader& reading, Bytes bytes) {
  Bytes plain;
  ByteSpan in(bytes);
  while (!in.empty()) append(plain, reading.next(in).value().value());
  return plain;
}

TEST(NoiseRecords, CarryEverythingHoweverItIsWrittenAndSplit) {
  test::SeededRandom random;
  for (int round = 0; round < 20; ++round) {
    NoiseWriter writing = writer();
    NoiseReader reading = reader();
    const Bytes sent = random.bytes(static_cast<std::size_t>(random.below(200'000)));
    Bytes received;
    Bytes arrived;
    Bytes buffer;
    for (std::size_t at = 0; at < sent.size();) {
      const std::size_t count = std::min<std::size_t>(sent.size() - at, random.below(50'000));
      writing.append(ByteView(sent).subspan(at, count));
      at += count;
      if (random.below(3) == 0) writing.flush();
      if (at < sent.size() && random.below(2) == 0) continue;
      buffer = writing.take(std::move(buffer));
      EXPECT_EQ(writing.size(), 0U);
      for (std::size_t passed = 0; passed < buffer.size();) {
        const std::size_t piece = std::min<std::size_t>(buffer.size() - passed, 1 + random.below(20'000));
        append(arrived, ByteView(buffer).subspan(passed, piece));
        passed += piece;
        ByteSpan in(arrived);
        while (const std::optional<ByteView> record = reading.next(in).value()) append(received, *record);
        arrived.erase(arrived.begin(), arrived.end() - static_cast<std::ptrdiff_t>(in.size()));
      }
    }
    EXPECT_EQ(arrived.size(), 0U);
    EXPECT_EQ(received, sent);
  }
}

TEST(NoiseRecords, GatherWhatIsWrittenUntilTheyAreFullOrFlushed) {
  NoiseWriter writing = writer();
  writing.flush();
  EXPECT_EQ(writing.take({}), Bytes()) << "nothing to say is no record";
  writing.append({});
  EXPECT_EQ(writing.size(), 0U);
  writing.append(as_bytes("a"));
  EXPECT_EQ(writing.size(), 2U + 1);
  writing.append(as_bytes("b"));
  EXPECT_EQ(writing.size(), 2U + 2);
  writing.flush();
  EXPECT_EQ(writing.size(), 2U + 2 + 16);
  writing.append(Bytes(limits::noise_write));
  EXPECT_EQ(writing.size(), 20 + 2 + limits::noise_write + 16) << "full, so ended";
  writing.append(Bytes(limits::noise_write + 1));
  EXPECT_EQ(writing.size(), 20 + 2 * (2 + limits::noise_write + 16) + 2 + 1);
  const Bytes taken = writing.take(Bytes(5));
  NoiseReader reading = reader();
  EXPECT_EQ(opened(reading, taken).size(), 2 + 2 * limits::noise_write + 1);
}

TEST(NoiseRecords, AreReadUpToTheLargestFrame) {
  Bytes largest(2 + limits::noise_frame, 0xff);  // its length is all ones
  crypto::Aead(record_key).seal(0, {}, ByteSpan(largest).subspan(2));
  NoiseReader reading = reader();
  EXPECT_EQ(opened(reading, largest).size(), limits::noise_plaintext);
}

TEST(NoiseRecords, WithoutATagAreRefusedAndWithoutContentAreNot) {
  for (std::size_t size = 0; size < crypto::Aead::tag_size; ++size) {
    Bytes bytes = frame(Bytes(size));
    ByteSpan in(bytes);
    EXPECT_EQ(reader().next(in).error().code, Errc::malformed);
    in = ByteSpan(bytes).first(2);
    EXPECT_EQ(reader().next(in).error().code, Errc::malformed) << "not worth waiting for";
  }
  Bytes empty(2 + 16);
  empty[1] = 16;
  crypto::Aead(record_key).seal(0, {}, ByteSpan(empty).subspan(2));
  ByteSpan in(empty);
  EXPECT_EQ(reader().next(in).value().value().size(), 0U);
  EXPECT_TRUE(in.empty());
}

TEST(NoiseRecords, WaitForTheRestOfAFrame) {
  NoiseWriter writing = writer();
  writing.append(as_bytes("hello"));
  Bytes whole = writing.take({});
  NoiseReader reading = reader();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ByteSpan in = ByteSpan(whole).first(size);
    EXPECT_EQ(reading.next(in).value(), std::nullopt);
    EXPECT_EQ(in.size(), size);
  }
  EXPECT_EQ(opened(reading, whole), to_bytes("hello"));
}

TEST(NoiseRecords, RefuseEveryFlippedBit) {
  NoiseWriter writing = writer();
  writing.append(as_bytes("hello"));
  const Bytes whole = writing.take({});
  for (std::size_t bit = 8 * 2; bit < 8 * whole.size(); ++bit) {
    Bytes bytes = whole;
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ 1U << bit % 8);
    ByteSpan in(bytes);
    const auto read = reader().next(in);
    ASSERT_TRUE(read.has_error()) << "bit " << bit;
    EXPECT_EQ(read.error().code, Errc::unverified);
  }
}

TEST(NoiseRecords, RefuseFramesRepeatedLeftOutOrMadeShorter) {
  NoiseWriter writing = writer();
  writing.append(as_bytes("one"));
  const Bytes first = writing.take({});
  writing.append(as_bytes("two"));
  const Bytes second = writing.take({});
  for (Bytes frames : {second + first, first + first, frame(ByteView(first).subspan(2, first.size() - 3))}) {
    NoiseReader reading = reader();
    ByteSpan in(frames);
    Result<std::optional<ByteView>> read = reading.next(in);
    if (read && *read) read = reading.next(in);
    ASSERT_TRUE(read.has_error());
    EXPECT_EQ(read.error().code, Errc::unverified);
  }
}

}  // namespace
}  // namespace p2p
