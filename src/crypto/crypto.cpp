#include "crypto/crypto.hpp"
#include "crypto/curve25519.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#else
#include <sys/random.h>
#include <sys/resource.h>
#endif
#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace p2p::crypto {
namespace {

// The libraries and the system fail only when memory or the machine's randomness is gone; nothing that a peer sends leads here.
void must(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "fatal: %s failed\n", what);
  std::abort();
}

const EVP_CIPHER* chacha20_poly1305() {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  must(cipher != nullptr, "fetching ChaCha20-Poly1305");
  return cipher;
}

const EVP_MD* sha256_md() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  must(md != nullptr, "fetching SHA-256");
  return md;
}

template <class T, void (*free_function)(T*)>
struct Free {
  void operator()(T* object) const noexcept { free_function(object); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Free<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX, EVP_MD_CTX_free>>;

std::array<std::uint8_t, 12> nonce_of(std::uint64_t counter) noexcept {
  std::array<std::uint8_t, 12> nonce{};
  for (std::size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<std::uint8_t>(counter >> (8 * i));
  return nonce;
}

void begin(EVP_MD_CTX* context) { must(EVP_DigestInit_ex2(context, sha256_md(), nullptr) == 1, "SHA-256"); }

/// One for all digests of a thread. It keeps what it gave last until the next one begins.
EVP_MD_CTX* digest_context() {
  thread_local const DigestContext context(EVP_MD_CTX_new());
  return context.get();
}

void digest(std::initializer_list<ByteView> parts, std::uint8_t* out) {
  EVP_MD_CTX* const context = digest_context();
  begin(context);
  for (const ByteView part : parts) must(EVP_DigestUpdate(context, part.data(), part.size()) == 1, "SHA-256");
  must(EVP_DigestFinal_ex(context, out, nullptr) == 1, "SHA-256");
}

/// `out` may be the key.
void hmac(const SecretKey& key, ByteView a, ByteView b, SecretKey& out) {
  // HMAC by hand over the digest: two blocks of padding. OpenSSL 3 deprecates its direct call and takes 2 us to set up the other one.
  Secret<64> inner;
  Secret<64> outer;
  for (std::size_t i = 0; i < inner.size(); ++i) {
    const std::uint8_t byte = i < key.size() ? key.data()[i] : 0;
    inner.data()[i] = byte ^ 0x36;
    outer.data()[i] = byte ^ 0x5c;
  }
  digest({inner, a, b}, out.data());
  digest({outer, out}, out.data());
}

ForeignKey decode_key(ByteView der) {
  const unsigned char* at = der.data();
  ForeignKey key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())), EVP_PKEY_free);
  if (key == nullptr) return key;
  // OpenSSL reads more than one encoding of a key, and each would be another PeerId.
  unsigned char* encoded = nullptr;
  const int size = i2d_PUBKEY(key.get(), &encoded);
  if (size < 0 || !equal({encoded, static_cast<std::size_t>(size)}, der)) key.reset();
  OPENSSL_free(encoded);
  return key;
}

}  // namespace

void initialise() noexcept {
  static const bool done = (must(sodium_init() >= 0, "sodium_init"), true);
  (void)done;
}

void SystemRandom::fill(ByteSpan out) noexcept {
  constexpr std::size_t most = 256;  // at a time
  for (; !out.empty(); out = out.subspan(std::min(most, out.size()))) {
    must(getentropy(out.data(), std::min(most, out.size())) == 0, "getentropy");
  }
}

void wipe(ByteSpan secret) noexcept { sodium_memzero(secret.data(), secret.size()); }

Digest sha256(ByteView data) { return sha256({data}); }

void forbid_core_dumps() noexcept {
#ifdef __linux__
  must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "forbidding core dumps");
#else
  const rlimit none{};
  must(setrlimit(RLIMIT_CORE, &none) == 0, "forbidding core dumps");
#endif
}

Digest sha256(std::initializer_list<ByteView> parts) {
  Digest result;
  digest(parts, result.data());
  return result;
}

void hkdf2(const SecretKey& chaining_key, ByteView input, SecretKey& first, SecretKey& second) {
  static constexpr std::array<std::uint8_t, 1> one{1};
  static constexpr std::array<std::uint8_t, 1> two{2};
  SecretKey temporary;
  hmac(chaining_key, input, {}, temporary);
  hmac(temporary, one, {}, first);
  hmac(temporary, first, two, second);
  begin(digest_context());
}

namespace {

// A public exponent as long as the modulus makes a check take a hundred times as long.
bool has_small_exponent(EVP_PKEY* key) noexcept {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &number) != 1) return false;
  const bool small = BN_is_odd(number) && !BN_is_one(number) && BN_num_bits(number) <= 33;
  BN_free(number);
  return small;
}

}  // namespace

ForeignKey rsa_key(ByteView der) noexcept {
  ForeignKey key = decode_key(der);
  if (key == nullptr || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return nullptr;
  const int bits = EVP_PKEY_get_bits(key.get());
  return bits >= 2048 && bits <= 8192 && has_small_exponent(key.get()) ? key : nullptr;
}

ForeignKey ecdsa_key(ByteView der) noexcept {
  ForeignKey key = decode_key(der);
  if (key == nullptr || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC) return nullptr;
  // A hybrid point is an uncompressed one in another guise.
  char form[32] = {};
  if (EVP_PKEY_get_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, form, sizeof form, nullptr) != 1 ||
      std::string_view(form) == "hybrid")
    return nullptr;
  char curve[32] = {};
  if (EVP_PKEY_get_group_name(key.get(), curve, sizeof curve, nullptr) != 1) return nullptr;
  const std::string_view name = curve;
  return name == "prime256v1" || name == "secp384r1" || name == "secp521r1" ? key : nullptr;
}

ForeignKey secp256k1_key(ByteView point) noexcept {
  if (point.size() != 33) return nullptr;
  // SubjectPublicKeyInfo { id-ecPublicKey, secp256k1 } around the compressed point: RFC 5480.
  Bytes der = {0x30, 0x36, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
               0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a, 0x03, 0x22, 0x00};
  append(der, point);
  return decode_key(der);
}

bool verify(const ForeignKey& key, ByteView message, ByteView signature) noexcept {
  if (key == nullptr) return false;
  const DigestContext context(EVP_MD_CTX_new());
  return EVP_DigestVerifyInit(context.get(), nullptr, sha256_md(), nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
}

struct Aead::Contexts {
  CipherContext seal{EVP_CIPHER_CTX_new()};
};

// One context serves both directions of use: a key is used either to seal or to open, and changing the direction costs nothing but the
// flag.
Aead::Aead(const SecretKey& key) : contexts_(std::make_unique<Contexts>()) {
  must(EVP_CipherInit_ex2(contexts_->seal.get(), chacha20_poly1305(), key.data(), nullptr, 1, nullptr) == 1, "ChaCha20-Poly1305");
}
Aead::Aead(Aead&&) noexcept = default;
Aead& Aead::operator=(Aead&&) noexcept = default;
Aead::~Aead() = default;

void Aead::seal(std::uint64_t counter, ByteView associated_data, ByteSpan text_and_tag) {
  EVP_CIPHER_CTX* const context = contexts_->seal.get();
  const std::array<std::uint8_t, 12> nonce = nonce_of(counter);
  const ByteSpan text = text_and_tag.first(text_and_tag.size() - tag_size);
  int size = 0;
  bool done = EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), 1, nullptr) == 1;
  if (!associated_data.empty()) {
    done = done && EVP_CipherUpdate(context, nullptr, &size, associated_data.data(), static_cast<int>(associated_data.size())) == 1;
  }
  if (!text.empty()) done = done && EVP_CipherUpdate(context, text.data(), &size, text.data(), static_cast<int>(text.size())) == 1;
  done = done && EVP_CipherFinal_ex(context, text_and_tag.data() + text.size(), &size) == 1;
  done = done && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, tag_size, text_and_tag.data() + text.size()) == 1;
  must(done, "sealing");
}

bool Aead::open(std::uint64_t counter, ByteView associated_data, ByteSpan text_and_tag) {
  if (text_and_tag.size() < tag_size) return false;
  EVP_CIPHER_CTX* const context = contexts_->seal.get();
  const std::array<std::uint8_t, 12> nonce = nonce_of(counter);
  const ByteSpan text = text_and_tag.first(text_and_tag.size() - tag_size);
  std::array<std::uint8_t, tag_size> tag;
  std::copy_n(text_and_tag.data() + text.size(), tag_size, tag.data());
  int size = 0;
  bool done = EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), 0, nullptr) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, tag_size, tag.data()) == 1;
  if (!associated_data.empty()) {
    done = done && EVP_CipherUpdate(context, nullptr, &size, associated_data.data(), static_cast<int>(associated_data.size())) == 1;
  }
  if (!text.empty()) done = done && EVP_CipherUpdate(context, text.data(), &size, text.data(), static_cast<int>(text.size())) == 1;
  std::uint8_t none[16];
  done = done && EVP_CipherFinal_ex(context, none, &size) == 1;
  if (!done) wipe(text);
  return done;
}

}  // namespace p2p::crypto
