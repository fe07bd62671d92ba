// Signatures of the key types that we verify and never make: OpenSSL makes them here.

#include "crypto/crypto.hpp"

#include "support/hex.hpp"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <memory>
#include <stdexcept>
#include <string>

namespace p2p::crypto {
namespace {

using test::flipped;

bool rsa_verify(ByteView der, ByteView message, ByteView signature) noexcept { return verify(crypto::rsa_key(der), message, signature); }
bool ecdsa_verify(ByteView der, ByteView message, ByteView signature) noexcept { return verify(ecdsa_key(der), message, signature); }
bool secp256k1_verify(ByteView point, ByteView message, ByteView signature) noexcept {
  return verify(secp256k1_key(point), message, signature);
}

template <class T, void (*free_function)(T*)>
struct Free {
  void operator()(T* object) const noexcept { free_function(object); }
};
using PrivateKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX, EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX, EVP_MD_CTX_free>>;
using Number = std::unique_ptr<BIGNUM, Free<BIGNUM, BN_free>>;
using Arithmetic = std::unique_ptr<BN_CTX, Free<BN_CTX, BN_CTX_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>>;
using Parameters = std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM, OSSL_PARAM_free>>;
using EcSignature = std::unique_ptr<ECDSA_SIG, Free<ECDSA_SIG, ECDSA_SIG_free>>;

void must(bool done) {
  if (!done) throw std::runtime_error("OpenSSL failed to make what the test needs");
}

PrivateKey rsa_key() {
  PrivateKey key(EVP_RSA_gen(2048));
  must(key != nullptr);
  return key;
}

// A weak key of any size, found quickly: one of its primes is the published one of a Diffie-Hellman group (RFC 3526).
PrivateKey rsa_key(Number published, int other_bits, std::uint64_t exponent = 65537) {
  const Arithmetic arithmetic(BN_CTX_new());
  const Number other(BN_new()), n(BN_new()), e(BN_new()), d(BN_new()), order(BN_new());
  do {
    must(BN_generate_prime_ex(other.get(), other_bits, 0, nullptr, nullptr, nullptr) == 1);
    must(BN_mul(n.get(), published.get(), other.get(), arithmetic.get()) == 1);
  } while (BN_num_bits(n.get()) != BN_num_bits(published.get()) + other_bits);
  must(BN_sub_word(published.get(), 1) == 1 && BN_sub_word(other.get(), 1) == 1 && BN_set_word(e.get(), exponent) == 1 &&
       BN_mul(order.get(), published.get(), other.get(), arithmetic.get()) == 1 &&
       BN_mod_inverse(d.get(), e.get(), order.get(), arithmetic.get()) != nullptr);
  const Builder builder(OSSL_PARAM_BLD_new());
  must(OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) == 1 &&
       OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) == 1 &&
       OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_D, d.get()) == 1);
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* key = nullptr;
  must(EVP_PKEY_fromdata_init(context.get()) == 1 && EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters.get()) == 1);
  return PrivateKey(key);
}

PrivateKey ec_key(const char* curve) {
  PrivateKey key(EVP_EC_gen(curve));
  must(key != nullptr);
  return key;
}

Bytes public_der(const PrivateKey& key) {
  Bytes der(static_cast<std::size_t>(i2d_PUBKEY(key.get(), nullptr)));
  unsigned char* at = der.data();
  must(i2d_PUBKEY(key.get(), &at) > 0);
  return der;
}

Bytes compressed_point(const PrivateKey& key) {
  must(EVP_PKEY_set_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed") == 1);
  Bytes point(200);
  std::size_t size = 0;
  must(EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(), &size) == 1);
  point.resize(size);
  return point;
}

Bytes sign(const PrivateKey& key, std::string_view message, const EVP_MD* digest = EVP_sha256(), int padding = 0) {
  const DigestContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  must(EVP_DigestSignInit(context.get(), &key_context, digest, nullptr, key.get()) == 1);
  if (padding != 0) must(EVP_PKEY_CTX_set_rsa_padding(key_context, padding) == 1);
  const ByteView bytes = as_bytes(message);
  std::size_t size = 0;
  must(EVP_DigestSign(context.get(), nullptr, &size, bytes.data(), bytes.size()) == 1);
  Bytes signature(size);
  must(EVP_DigestSign(context.get(), signature.data(), &size, bytes.data(), bytes.size()) == 1);
  signature.resize(size);
  return signature;
}

using Verify = bool (*)(ByteView, ByteView, ByteView) noexcept;

void expect_only_the_whole_verifies(Verify verify, const Bytes& public_key, const Bytes& signature) {
  const Bytes message = to_bytes("message");
  EXPECT_TRUE(verify(public_key, message, signature));
  EXPECT_FALSE(verify(public_key, as_bytes("Message"), signature));
  EXPECT_FALSE(verify(public_key, {}, signature));
  EXPECT_FALSE(verify({}, message, signature));
  EXPECT_FALSE(verify(public_key, message, {}));
  for (std::size_t bit = 0; bit < signature.size() * 8; ++bit) EXPECT_FALSE(verify(public_key, message, flipped(signature, bit))) << bit;
  for (std::size_t bit = 0; bit < public_key.size() * 8; ++bit) EXPECT_FALSE(verify(flipped(public_key, bit), message, signature)) << bit;
  Bytes longer = signature;
  longer.push_back(0);
  EXPECT_FALSE(verify(public_key, message, longer));
  longer = public_key;
  longer.push_back(0);
  EXPECT_FALSE(verify(longer, message, signature));
  EXPECT_FALSE(verify(ByteView(public_key).first(public_key.size() - 1), message, signature));
}

TEST(RsaVerify, AcceptsPkcs1OverSha256AndNothingElse) {
  const PrivateKey key = rsa_key();
  expect_only_the_whole_verifies(rsa_verify, public_der(key), sign(key, "message"));
  EXPECT_FALSE(rsa_verify(public_der(key), as_bytes("message"), sign(key, "message", EVP_sha512())));
  EXPECT_FALSE(rsa_verify(public_der(key), as_bytes("message"), sign(key, "message", EVP_sha256(), RSA_PKCS1_PSS_PADDING)));
}

TEST(RsaVerify, AcceptsAnEmptyMessage) {
  const PrivateKey key = rsa_key();
  EXPECT_TRUE(rsa_verify(public_der(key), {}, sign(key, "")));
}

TEST(RsaVerify, AcceptsKeysOf2048To8192Bits) {
  const auto accepted = [](Number published, int bits) {
    const int other_bits = bits - BN_num_bits(published.get());
    const PrivateKey key = rsa_key(std::move(published), other_bits);
    EXPECT_EQ(EVP_PKEY_get_bits(key.get()), bits);
    return rsa_verify(public_der(key), as_bytes("message"), sign(key, "message"));
  };
  EXPECT_FALSE(accepted(Number(BN_get_rfc3526_prime_1536(nullptr)), 2047));
  EXPECT_TRUE(accepted(Number(BN_get_rfc3526_prime_1536(nullptr)), 2048));
  EXPECT_TRUE(accepted(Number(BN_get_rfc3526_prime_6144(nullptr)), 8192));
  EXPECT_FALSE(accepted(Number(BN_get_rfc3526_prime_6144(nullptr)), 8193));
}

TEST(RsaVerify, AcceptsExponentsOf33Bits) {
  const auto accepted = [](std::uint64_t exponent) {
    const PrivateKey key = rsa_key(Number(BN_get_rfc3526_prime_1536(nullptr)), 512, exponent);
    return rsa_verify(public_der(key), as_bytes("message"), sign(key, "message"));
  };
  EXPECT_TRUE(accepted((1ULL << 31) - 1));  // primes, and so large that they always have inverses
  EXPECT_TRUE(accepted((1ULL << 32) + 15));
  EXPECT_FALSE(accepted((1ULL << 33) + 17));
}

TEST(EcdsaVerify, AcceptsTheThreeNistCurves) {
  for (const char* const curve : {"P-256", "P-384", "P-521"}) {
    const PrivateKey key = ec_key(curve);
    expect_only_the_whole_verifies(ecdsa_verify, public_der(key), sign(key, "message"));
    EXPECT_FALSE(ecdsa_verify(public_der(key), as_bytes("message"), sign(key, "message", EVP_sha512()))) << curve;
  }
}

TEST(EcdsaVerify, RefusesOtherCurves) {
  for (const char* const curve : {"secp256k1", "P-224", "brainpoolP256r1"}) {
    const PrivateKey key = ec_key(curve);
    EXPECT_FALSE(ecdsa_verify(public_der(key), as_bytes("message"), sign(key, "message"))) << curve;
  }
}

TEST(Secp256k1Verify, AcceptsACompressedPoint) {
  const PrivateKey key = ec_key("secp256k1");
  const Bytes point = compressed_point(key);
  ASSERT_EQ(point.size(), 33U);
  expect_only_the_whole_verifies(secp256k1_verify, point, sign(key, "message"));
}

TEST(Secp256k1Verify, AcceptsEitherOfTheTwoValuesOfS) {
  const PrivateKey key = ec_key("secp256k1");
  const Bytes signature = sign(key, "message");
  const unsigned char* in = signature.data();
  const EcSignature pair(d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(signature.size())));
  BIGNUM* order = nullptr;
  must(BN_hex2bn(&order, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141") > 0);
  const Number holder(order);
  BIGNUM* const other_s = BN_new();
  must(BN_sub(other_s, order, ECDSA_SIG_get0_s(pair.get())) == 1 &&
       ECDSA_SIG_set0(pair.get(), BN_dup(ECDSA_SIG_get0_r(pair.get())), other_s) == 1);
  Bytes mirrored(80);
  unsigned char* out = mirrored.data();
  mirrored.resize(static_cast<std::size_t>(i2d_ECDSA_SIG(pair.get(), &out)));
  ASSERT_NE(mirrored, signature);
  EXPECT_TRUE(secp256k1_verify(compressed_point(key), as_bytes("message"), signature));
  EXPECT_TRUE(secp256k1_verify(compressed_point(key), as_bytes("message"), mirrored));
}

TEST(Secp256k1Verify, RefusesAPointOfAnotherFormOrOffTheCurve) {
  const PrivateKey key = ec_key("secp256k1");
  const Bytes signature = sign(key, "message");
  Bytes point = compressed_point(key);
  point[0] = 0x04;
  EXPECT_FALSE(secp256k1_verify(point, as_bytes("message"), signature));
  Bytes off_the_curve(33);
  off_the_curve[0] = 0x02;
  off_the_curve[32] = 0x05;  // 5³ + 7 is no square
  EXPECT_FALSE(secp256k1_verify(off_the_curve, as_bytes("message"), signature));
}

TEST(ForeignSignatures, NeverVerifyWithAKeyOfAnotherType) {
  const PrivateKey rsa = rsa_key();
  const PrivateKey p256 = ec_key("P-256");
  const PrivateKey secp256k1 = ec_key("secp256k1");
  const ByteView message = as_bytes("message");
  EXPECT_FALSE(rsa_verify(public_der(p256), message, sign(p256, "message")));
  EXPECT_FALSE(ecdsa_verify(public_der(rsa), message, sign(rsa, "message")));
  EXPECT_FALSE(secp256k1_verify(public_der(secp256k1), message, sign(secp256k1, "message")));
  EXPECT_FALSE(secp256k1_verify(compressed_point(p256), message, sign(p256, "message")));
  EXPECT_FALSE(ed25519_verify(public_der(p256), message, sign(p256, "message")));
}

}  // namespace
}  // namespace p2p::crypto
