#include "crypto/crypto.hpp"

#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <openssl/hmac.h>
#include <algorithm>

namespace p2p::crypto {
namespace {

using test::hex;
using test::hex_array;

Key key(std::string_view text) { return hex_array<32>(text); }

Bytes flipped(Bytes bytes, std::size_t bit) {
  bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ 1U << bit % 8);
  return bytes;
}

TEST(Sha256, AgreesWithFips180) {
  EXPECT_EQ(to_hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(as_bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, OfPartsIsThatOfTheWhole) { EXPECT_EQ(sha256({as_bytes("a"), {}, as_bytes("bc")}), sha256(as_bytes("abc"))); }

template <class A, class B>
concept Comparable = requires(const A& a, const B& b) {
  equal(a, b);
}
|| requires(const A& a, const B& b) { a == b; };
static_assert(Comparable<Bytes, ByteView> && Comparable<Key, Key>);

TEST(Secrets, AreNotComparedByAnythingThatTakesLongerTheMoreIsAlike) {
  EXPECT_FALSE((Comparable<SecretKey, SecretKey>));
  EXPECT_FALSE((Comparable<SecretKey, ByteView>));
  EXPECT_FALSE((Comparable<ByteView, SecretKey>));
  EXPECT_FALSE((Comparable<Secret<64>, Bytes>));
  EXPECT_FALSE((Comparable<SecretText, SecretText>));
}

TEST(Secrets, AreZeroOnceWiped) {
  Bytes secret = hex("010203");
  wipe(secret);
  EXPECT_EQ(secret, Bytes(3));
}

TEST(SystemRandom, DoesNotRepeatItself) {
  SystemRandom random;
  Key first{};
  Key second{};
  random.fill(first);
  random.fill(second);
  EXPECT_NE(first, second);
  EXPECT_NE(first, Key{});
}

TEST(Hkdf, AgreesWithRfc5869) {
  // Appendix A.3: no salt (32 zero bytes) and no info; two outputs are its first 42 bytes and 22 more.
  SecretKey first;
  SecretKey second;
  hkdf2(Key{}, Bytes(22, 0x0b), first, second);
  EXPECT_EQ(to_hex(first), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
  EXPECT_EQ(to_hex(ByteView(second).first(10)), "9d201395faa4b61a96c8");
}

TEST(Hkdf, SplitsTheChainingKeyOfALibp2pHandshake) {
  SecretKey to_responder;
  SecretKey to_initiator;
  hkdf2(key("9782bdbe8c5cd413532c73d14b7aed7f0888466e71cc2c43bf862bc66018bd17"), {}, to_responder, to_initiator);
  EXPECT_EQ(to_hex(to_responder), "4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953");
  EXPECT_EQ(to_hex(to_initiator), "a8b5dce3cef845d63c9671c350eb15cbb50b6c6d5f0d3231d32d711dab1ed191");
}

Bytes hmac(ByteView secret, ByteView data) {
  Bytes out(32);
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), data.data(), data.size(), out.data(), nullptr);
  return out;
}

TEST(Hkdf, IsMadeOfHmac) {
  test::SeededRandom random;
  for (const std::size_t size : {0U, 1U, 32U, 63U, 64U, 65U, 1000U}) {
    SecretKey chaining_key;
    random.fill(chaining_key);
    const Bytes input = random.bytes(size);
    SecretKey first;
    SecretKey second;
    hkdf2(chaining_key, input, first, second);
    const Bytes temporary = hmac(chaining_key, input);
    EXPECT_EQ(to_hex(first), to_hex(hmac(temporary, hex("01"))));
    Bytes block(first.begin(), first.end());
    block.push_back(2);
    EXPECT_EQ(to_hex(second), to_hex(hmac(temporary, block)));
  }
}

TEST(Hkdf, MayWriteOverTheChainingKey) {
  SecretKey chaining_key = key("9782bdbe8c5cd413532c73d14b7aed7f0888466e71cc2c43bf862bc66018bd17");
  SecretKey second;
  hkdf2(chaining_key, {}, chaining_key, second);
  EXPECT_EQ(to_hex(chaining_key), "4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953");
  EXPECT_EQ(to_hex(second), "a8b5dce3cef845d63c9671c350eb15cbb50b6c6d5f0d3231d32d711dab1ed191");
}

TEST(X25519, AgreesWithRfc7748) {
  EXPECT_EQ(to_hex(x25519(key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                          key("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"))
                       .value()),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  const Key alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const Key bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  EXPECT_EQ(to_hex(x25519_public(alice)), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  EXPECT_EQ(to_hex(x25519_public(bob)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const SecretKey shared = x25519(alice, x25519_public(bob)).value();
  EXPECT_EQ(to_hex(shared), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
  EXPECT_EQ(to_hex(x25519(bob, x25519_public(alice)).value()), to_hex(shared));
}

TEST(X25519, RefusesPointsOfLowOrder) {
  for (const char* const point : {
           "0000000000000000000000000000000000000000000000000000000000000000",
           "0100000000000000000000000000000000000000000000000000000000000000",
           "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
           "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
           "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
       }) {
    const Result<SecretKey> shared = x25519(key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"), key(point));
    ASSERT_TRUE(shared.has_error()) << point;
    EXPECT_EQ(shared.error().code, Errc::unverified);
  }
}

struct Ed25519Vector {
  const char* seed;
  const char* public_key;
  const char* message;
  const char* signature;
};

// RFC 8032, section 7.1
const Ed25519Vector ed25519_vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
     "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
     "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
     "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

TEST(Ed25519, AgreesWithRfc8032) {
  for (const Ed25519Vector& vector : ed25519_vectors) {
    EXPECT_EQ(to_hex(ed25519_public(key(vector.seed))), vector.public_key);
    const auto secret = hex_array<64>(std::string(vector.seed) + vector.public_key);
    EXPECT_EQ(to_hex(ed25519_sign(secret, hex(vector.message))), vector.signature);
    EXPECT_TRUE(ed25519_verify(hex(vector.public_key), hex(vector.message), hex(vector.signature)));
  }
}

TEST(Ed25519, RefusesEveryFlippedBit) {
  const Bytes public_key = hex(ed25519_vectors[2].public_key);
  const Bytes message = hex(ed25519_vectors[2].message);
  const Bytes signature = hex(ed25519_vectors[2].signature);
  for (std::size_t bit = 0; bit < 512; ++bit) EXPECT_FALSE(ed25519_verify(public_key, message, flipped(signature, bit))) << bit;
  for (std::size_t bit = 0; bit < 256; ++bit) EXPECT_FALSE(ed25519_verify(flipped(public_key, bit), message, signature)) << bit;
  for (std::size_t bit = 0; bit < 16; ++bit) EXPECT_FALSE(ed25519_verify(public_key, flipped(message, bit), signature)) << bit;
}

TEST(Ed25519, RefusesKeysAndSignaturesOfOtherSizes) {
  const Bytes public_key = hex(ed25519_vectors[0].public_key);
  const Bytes signature = hex(ed25519_vectors[0].signature);
  Bytes longer_key = public_key;
  longer_key.push_back(0);
  Bytes longer_signature = signature;
  longer_signature.push_back(0);
  EXPECT_FALSE(ed25519_verify(ByteView(public_key).first(31), {}, signature));
  EXPECT_FALSE(ed25519_verify(longer_key, {}, signature));
  EXPECT_FALSE(ed25519_verify(public_key, {}, ByteView(signature).first(63)));
  EXPECT_FALSE(ed25519_verify(public_key, {}, longer_signature));
  EXPECT_FALSE(ed25519_verify({}, {}, {}));
}

TEST(Ed25519, RefusesAKeyOfLowOrder) {
  // With this key and this R, s = 0 satisfies the equation for any message.
  const Bytes identity = hex("0100000000000000000000000000000000000000000000000000000000000000");
  Bytes signature = identity;
  signature.resize(64);
  EXPECT_FALSE(ed25519_verify(identity, as_bytes("anything"), signature));
}

Bytes sealed(Aead& aead, std::uint64_t counter, ByteView associated_data, ByteView text) {
  Bytes out(text.begin(), text.end());
  out.resize(text.size() + Aead::tag_size);
  aead.seal(counter, associated_data, out);
  return out;
}

TEST(Aead, AgreesWithRfc8439) {
  // Appendix A.5, whose nonce is four zero bytes and a counter.
  const std::uint64_t counter = 0x0807060504030201;
  const Bytes associated_data = hex("f33388860000000000004e91");
  const std::string text =
      "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or obsoleted by other documents "
      "at "
      "any time. It is inappropriate to use Internet-Drafts as reference material or to cite them other than as /\u201cwork in "
      "progress./\u201d";
  Aead aead(key("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"));
  Bytes out = sealed(aead, counter, associated_data, as_bytes(text));
  EXPECT_EQ(
      to_hex(out),
      "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f"
      "830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c76"
      "7b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa"
      "76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b0270"
      "9beead9d67890cbb22392336fea1851f38");
  ASSERT_TRUE(aead.open(counter, associated_data, out));
  EXPECT_EQ(as_text(ByteView(out).first(text.size())), text);
}

TEST(Aead, AgreesWithJsLibp2p) {
  Aead to_responder(key("4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953"));
  EXPECT_EQ(to_hex(sealed(to_responder, 0, {}, hex("000200010000000000000000"))),
            "dc499c46c979611c0f700aecaf6a37577ff17a06dc5963de61fe52aa");
  EXPECT_EQ(to_hex(sealed(to_responder, 1, {}, as_bytes("\x13/multistream/1.0.0\n"))),
            "cd69d56ba4474fec61e53d94874ba553205774c4932f5d9c127c36dff81bc8bb2ecfb08f");
  Aead to_initiator(key("a8b5dce3cef845d63c9671c350eb15cbb50b6c6d5f0d3231d32d711dab1ed191"));
  EXPECT_EQ(to_hex(sealed(to_initiator, 1, {}, {})), "0a1e288fbd92d320625c63d100ce99cf");
}

TEST(Aead, OpensWhatItSealedAtEverySize) {
  test::SeededRandom random;
  Key secret;
  random.fill(secret);
  Aead sealer(secret);
  Aead opener(secret);
  std::uint64_t counter = 0;
  for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 63U, 64U, 65U, 1000U, 65519U}) {
    const Bytes text = random.bytes(size);
    const Bytes associated_data = random.bytes(size % 40);
    Bytes record = sealed(sealer, ++counter, associated_data, text);
    EXPECT_NE(size > 0, equal(ByteView(record).first(size), text)) << size;
    ASSERT_TRUE(opener.open(counter, associated_data, record)) << size;
    EXPECT_TRUE(equal(ByteView(record).first(size), text)) << size;
  }
}

TEST(Aead, RefusesEveryFlippedBitAndLeavesNothingToRead) {
  Aead aead(key("4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953"));
  const Bytes associated_data = hex("a1a2");
  const Bytes good = sealed(aead, 5, associated_data, as_bytes("some text"));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes record = flipped(good, bit);
    EXPECT_FALSE(aead.open(5, associated_data, record)) << bit;
    EXPECT_TRUE(equal(ByteView(record).first(9), Bytes(9))) << bit;
  }
  for (std::size_t bit = 0; bit < 16; ++bit) {
    Bytes record = good;
    EXPECT_FALSE(aead.open(5, flipped(associated_data, bit), record)) << bit;
  }
  Bytes record = good;
  EXPECT_TRUE(aead.open(5, associated_data, record));  // refusals leave no trace
}

TEST(Aead, RefusesAnotherCounterKeyOrLength) {
  Aead aead(key("4759d15f0f4cfb9c3cef133e60b44ea3479cae90880a7e71df96f111d78d5953"));
  Aead other(key("a8b5dce3cef845d63c9671c350eb15cbb50b6c6d5f0d3231d32d711dab1ed191"));
  const Bytes good = sealed(aead, 5, {}, as_bytes("some text"));
  for (const std::uint64_t counter : {std::uint64_t(4), std::uint64_t(6), std::uint64_t(5) << 32, std::uint64_t(5) << 56}) {
    Bytes record = good;
    EXPECT_FALSE(aead.open(counter, {}, record)) << counter;
  }
  Bytes record = good;
  EXPECT_FALSE(other.open(5, {}, record));
  for (std::size_t size = 0; size < good.size(); ++size) {
    Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(aead.open(5, {}, cut)) << size;
  }
}

TEST(Aead, KeepsItsKeyWhenMoved) {
  Aead first(key("a8b5dce3cef845d63c9671c350eb15cbb50b6c6d5f0d3231d32d711dab1ed191"));
  Aead second = std::move(first);
  Aead third(Key{});
  third = std::move(second);
  EXPECT_EQ(to_hex(sealed(third, 1, {}, {})), "0a1e288fbd92d320625c63d100ce99cf");
}

}  // namespace
}  // namespace p2p::crypto
