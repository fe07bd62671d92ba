#include "crypto/crypto.hpp"

#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <openssl/hmac.h>
#include <algorithm>

namespace p2p::crypto {
namespace {

using test::flipped;
using test::hex;
using test::hex_array;

Key key(std::string_view text) { return hex_array<32>(text); }

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
