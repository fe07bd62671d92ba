#include "crypto/curve25519.hpp"

#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <sodium.h>

namespace p2p::crypto {
namespace {

using test::flipped;
using test::hex;
using test::hex_array;

Key key(std::string_view text) { return hex_array<32>(text); }

/// Each test is for each library.
class Library : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (curve == nullptr) GTEST_SKIP() << "lib25519 is not installed here";
  }

  const Curve25519* const curve = std::string_view(GetParam()) == "libsodium" ? &libsodium() : lib25519();
};
class X25519 : public Library {};
class Ed25519 : public Library {};

TEST_P(X25519, AgreesWithRfc7748) {
  EXPECT_EQ(to_hex(curve
                       ->x25519(key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                                key("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"))
                       .value()),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  const Key alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const Key bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  EXPECT_EQ(to_hex(curve->x25519_public(alice)), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  EXPECT_EQ(to_hex(curve->x25519_public(bob)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const SecretKey shared = curve->x25519(alice, curve->x25519_public(bob)).value();
  EXPECT_EQ(to_hex(shared), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
  EXPECT_EQ(to_hex(curve->x25519(bob, curve->x25519_public(alice)).value()), to_hex(shared));
}

TEST_P(X25519, RefusesPointsOfLowOrder) {
  for (const char* const point : {
           "0000000000000000000000000000000000000000000000000000000000000000",
           "0100000000000000000000000000000000000000000000000000000000000000",
           "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
           "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
           "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
           "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
       }) {
    const Result<SecretKey> shared = curve->x25519(key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"), key(point));
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

TEST_P(Ed25519, AgreesWithRfc8032) {
  for (const Ed25519Vector& vector : ed25519_vectors) {
    EXPECT_EQ(to_hex(ed25519_public(key(vector.seed))), vector.public_key);
    const auto secret = hex_array<64>(std::string(vector.seed) + vector.public_key);
    EXPECT_EQ(to_hex(curve->sign(secret, hex(vector.message))), vector.signature);
    EXPECT_TRUE(curve->verify(hex(vector.public_key), hex(vector.message), hex(vector.signature)));
  }
}

TEST_P(Ed25519, RefusesEveryFlippedBit) {
  const Bytes public_key = hex(ed25519_vectors[2].public_key);
  const Bytes message = hex(ed25519_vectors[2].message);
  const Bytes signature = hex(ed25519_vectors[2].signature);
  for (std::size_t bit = 0; bit < 512; ++bit) EXPECT_FALSE(curve->verify(public_key, message, flipped(signature, bit))) << bit;
  for (std::size_t bit = 0; bit < 256; ++bit) EXPECT_FALSE(curve->verify(flipped(public_key, bit), message, signature)) << bit;
  for (std::size_t bit = 0; bit < 16; ++bit) EXPECT_FALSE(curve->verify(public_key, flipped(message, bit), signature)) << bit;
}

TEST_P(Ed25519, RefusesKeysAndSignaturesOfOtherSizes) {
  const Bytes public_key = hex(ed25519_vectors[0].public_key);
  const Bytes signature = hex(ed25519_vectors[0].signature);
  Bytes longer_key = public_key;
  longer_key.push_back(0);
  Bytes longer_signature = signature;
  longer_signature.push_back(0);
  EXPECT_FALSE(curve->verify(ByteView(public_key).first(31), {}, signature));
  EXPECT_FALSE(curve->verify(longer_key, {}, signature));
  EXPECT_FALSE(curve->verify(public_key, {}, ByteView(signature).first(63)));
  EXPECT_FALSE(curve->verify(public_key, {}, longer_signature));
  EXPECT_FALSE(curve->verify({}, {}, {}));
}

TEST_P(Ed25519, RefusesKeysThatAnyoneCanSignFor) {
  // s = 0 and R = -kA satisfy the equation, and for a key of low order there are few -kA to try: these are all.
  const Bytes points[] = {hex("0100000000000000000000000000000000000000000000000000000000000000"),
                          hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                          hex("0000000000000000000000000000000000000000000000000000000000000000"),
                          hex("0000000000000000000000000000000000000000000000000000000000000080"),
                          hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
                          hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
                          hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
                          hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa")};
  // The second forms of 0 and 1 with either sign, and 1 and -1 with the wrong one.
  const Bytes others[] = {hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                          hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
                          hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                          hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
                          hex("0100000000000000000000000000000000000000000000000000000000000080"),
                          hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")};
  const auto refused = [&](const Bytes& point) {
    for (const Bytes& r : points) {
      Bytes signature = r;
      signature.resize(64);
      for (const std::string_view message : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
        EXPECT_FALSE(curve->verify(point, as_bytes(message), signature)) << to_hex(point) << ' ' << to_hex(r);
      }
    }
  };
  for (const Bytes& point : points) refused(point);
  for (const Bytes& point : others) refused(point);
}

TEST_P(Ed25519, RefusesASignatureWithoutANonce) {
  // R of low order is r = 0 and s = ka, which the equation holds for: whoever has signed so has told the key.
  const Bytes public_key = hex(ed25519_vectors[0].public_key);
  Key scalar;
  {
    std::array<std::uint8_t, 64> expanded;
    const Bytes seed = hex(ed25519_vectors[0].seed);
    crypto_hash_sha512(expanded.data(), seed.data(), seed.size());
    std::copy(expanded.begin(), expanded.begin() + 32, scalar.begin());
    scalar.front() &= 0xf8;
    scalar.back() = static_cast<std::uint8_t>((scalar.back() & 0x7f) | 0x40);
  }
  Bytes signature = hex("0100000000000000000000000000000000000000000000000000000000000000");
  const Bytes message = hex("af82");
  Bytes hashed = signature;
  for (const Bytes& part : {public_key, message}) append(hashed, part);
  std::array<std::uint8_t, 64> wide;
  crypto_hash_sha512(wide.data(), hashed.data(), hashed.size());
  signature.resize(64);
  crypto_core_ed25519_scalar_reduce(signature.data() + 32, wide.data());
  crypto_core_ed25519_scalar_mul(signature.data() + 32, signature.data() + 32, scalar.data());
  EXPECT_FALSE(curve->verify(public_key, message, signature));
}

TEST_P(Ed25519, RefusesTheSecondFormOfASignature) {
  const Bytes public_key = hex(ed25519_vectors[0].public_key);
  Bytes signature = hex(ed25519_vectors[0].signature);
  ASSERT_TRUE(curve->verify(public_key, {}, signature));
  const Bytes order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  for (unsigned multiple = 1; multiple < 8; ++multiple) {  // 8 do not fit
    unsigned carry = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      carry += signature[32 + i] + order[i];
      signature[32 + i] = static_cast<std::uint8_t>(carry);
      carry >>= 8;
    }
    EXPECT_FALSE(curve->verify(public_key, {}, signature)) << multiple;
  }
}

TEST_P(Ed25519, GivesWhatLibsodiumGives) {
  test::SeededRandom random;
  for (std::size_t size = 0; size < 5000; size += size < 260 ? 1 : size < 1980 || size > 2050 ? 67 : 1) {
    Key seed;
    random.fill(seed);
    const Key public_key = ed25519_public(seed);
    std::array<std::uint8_t, 64> both;
    std::copy(public_key.begin(), public_key.end(), std::copy(seed.begin(), seed.end(), both.begin()));
    const Secret<64> secret(both);
    const Bytes message = random.bytes(size);
    const Signature signature = curve->sign(secret, message);
    EXPECT_EQ(signature, libsodium().sign(secret, message)) << size;
    EXPECT_TRUE(curve->verify(public_key, message, signature)) << size;
    EXPECT_FALSE(curve->verify(public_key, message, flipped(Bytes(signature.begin(), signature.end()), size % 512))) << size;
  }
}

TEST_P(X25519, GivesWhatLibsodiumGives) {
  test::SeededRandom random;
  for (int i = 0; i < 300; ++i) {
    Key bytes;
    random.fill(bytes);
    const SecretKey secret(bytes);
    random.fill(bytes);
    if (i % 3 == 0) std::fill(bytes.begin() + 1, bytes.end(), 0xff);  // p or more, with the top bit set: u is read modulo both
    EXPECT_EQ(curve->x25519_public(secret), libsodium().x25519_public(secret));
    const Result<SecretKey> shared = curve->x25519(secret, bytes);
    const Result<SecretKey> theirs = libsodium().x25519(secret, bytes);
    ASSERT_EQ(shared.has_value(), theirs.has_value()) << to_hex(bytes);
    if (!shared.has_value()) continue;
    EXPECT_EQ(to_hex(*shared), to_hex(*theirs)) << to_hex(bytes);
  }
}

TEST(Curve25519, IsByLib25519WhereThatIsInstalled) { EXPECT_STREQ(curve25519_library(), lib25519() == nullptr ? "libsodium" : "lib25519"); }

INSTANTIATE_TEST_SUITE_P(, X25519, testing::Values("libsodium", "lib25519"), [](const auto& each) { return std::string(each.param); });
INSTANTIATE_TEST_SUITE_P(, Ed25519, testing::Values("libsodium", "lib25519"), [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace p2p::crypto
