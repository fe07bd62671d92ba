// What the keys of an identity and of a connection leave behind in memory: nothing.

#include "crypto/curve25519.hpp"
#include "identity/key_file.hpp"
#include "support/memory.hpp"
#include "support/temporary.hpp"
#include "wire/noise.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <unistd.h>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace p2p {
namespace {

using crypto::SecretKey;
using test::Needle;

class SecretsInMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::can_search_memory()) GTEST_SKIP() << "memory can't be looked through here";
  }

  SecretKey fresh() {
    SecretKey secret;
    random.fill(secret);
    return secret;
  }

  /// Looks for what `work` left on the stack, which nobody else uses meanwhile.
  static void while_its_stack_stays(const std::function<void()>& work, const std::function<void()>& look) {
    std::promise<void> done;
    std::promise<void> looked;
    std::thread worker([&] {
      work();
      done.set_value();
      looked.get_future().wait();
    });
    done.get_future().wait();
    look();
    looked.set_value();
    worker.join();
  }

  crypto::SystemRandom random;
};

TEST_F(SecretsInMemory, AreFoundThere) {
  std::optional<SecretKey> secret = fresh();
  const Needle needle(*secret);
  EXPECT_EQ(needle.copies(), 1U);
  const auto other = std::make_unique<std::array<std::uint8_t, 40>>();
  std::copy(secret->begin(), secret->end(), other->begin() + 3);
  EXPECT_EQ(needle.copies(), 2U);
  crypto::wipe(*other);
  secret.reset();
  EXPECT_EQ(needle.copies(), 0U);
}

TEST_F(SecretsInMemory, AreNowhereElseWhenMoved) {
  auto first = std::make_unique<SecretKey>(fresh());
  const Needle needle(*first);
  auto second = std::make_unique<SecretKey>(std::move(*first));
  EXPECT_EQ(needle.copies(), 1U);
  *first = std::move(*second);
  EXPECT_EQ(needle.copies(), 1U);
  first.reset();
  EXPECT_EQ(needle.copies(), 0U);
}

TEST_F(SecretsInMemory, OfAnyLengthAreGoneWithTheirText) {
  for (const std::size_t size : {12U, 200U}) {  // a string would keep the one within itself
    Bytes bytes(size);
    random.fill(bytes);
    const Needle needle(bytes);
    std::optional<crypto::SecretText> text(std::in_place, as_text(bytes));
    crypto::wipe(bytes);
    EXPECT_EQ(needle.copies(), 1U);
    text->append(std::string(1000, 'x'));  // to another place
    std::optional<crypto::SecretText> other = text;
    EXPECT_EQ(needle.copies(), 2U);
    text.reset();
    other = crypto::SecretText("another");
    EXPECT_EQ(needle.copies(), 0U);
  }
}

TEST_F(SecretsInMemory, OfAnIdentityAreWithItsOwnerAlone) {
  const test::TemporaryDirectory directory;
  const std::string path = directory.file("key");
  load_or_create_key(path, random);  // made, written and read
  crypto::Secret<68> content;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(read(file, content.data(), content.size()), 68);
  close(file);
  const Needle seed(ByteView(content).subspan(4, 32));
  content = {};
  EXPECT_EQ(seed.copies(), 0U);
  auto keys = std::make_unique<KeyPair>(load_or_create_key(path, random));
  EXPECT_EQ(seed.copies(), 1U);
  keys->sign(as_bytes("something"));
  auto moved = std::make_unique<KeyPair>(std::move(*keys));
  EXPECT_EQ(seed.copies(), 1U);
  EXPECT_EQ(KeyPair::decode(moved->encode()).value().peer_id(), moved->peer_id());
  EXPECT_EQ(seed.copies(), 1U);
  keys.reset();
  moved.reset();
  EXPECT_EQ(seed.copies(), 0U);
}

TEST_F(SecretsInMemory, OfASignatureAndOfAnAgreementAreLeftBehindByNeitherLibrary) {
  for (const crypto::Curve25519* const curve : {&crypto::libsodium(), crypto::lib25519()}) {
    if (curve == nullptr) continue;  // not installed here
    const Bytes message(100, 'm');
    crypto::Secret<64> secret;
    std::vector<Needle> parts;
    {
      const SecretKey seed = fresh();
      const crypto::Key public_key = crypto::ed25519_public(seed);
      std::copy(public_key.begin(), public_key.end(), std::copy(seed.begin(), seed.end(), secret.data()));
      crypto::Secret<64> expanded;
      SHA512(seed.data(), seed.size(), expanded.data());
      parts.emplace_back(ByteView(expanded.data(), 32));
      Bytes hashed(expanded.data() + 32, expanded.data() + 64);
      append(hashed, message);
      crypto::Secret<64> wide;
      SHA512(hashed.data(), hashed.size(), wide.data());
      crypto::wipe(hashed);
      SecretKey nonce;
      crypto_core_ed25519_scalar_reduce(nonce.data(), wide.data());
      parts.emplace_back(nonce);
      const crypto::Signature signature = curve->sign(secret, message);
      SecretKey rest;  // which with the nonce gives the signature
      crypto_core_ed25519_scalar_sub(rest.data(), signature.data() + 32, nonce.data());
      parts.emplace_back(rest);
    }
    sodium_stackzero(16 * 1024);  // what the lines above left there
    crypto::Signature signature;
    while_its_stack_stays([&] { signature = curve->sign(secret, message); },
                          [&] {
                            for (const Needle& part : parts) EXPECT_EQ(part.copies(), 0U) << curve->library;
                          });
    EXPECT_TRUE(curve->verify(ByteView(secret).subspan(32), message, signature));

    const SecretKey own = fresh();
    const Needle needle(own);
    const auto in_its_owner_alone = [&] { EXPECT_EQ(needle.copies(), 1U) << curve->library; };
    crypto::Key public_key;
    while_its_stack_stays([&] { public_key = curve->x25519_public(own); }, in_its_owner_alone);
    while_its_stack_stays([&] { static_cast<void>(curve->x25519(own, public_key).value()); }, in_its_owner_alone);
  }
}

TEST_F(SecretsInMemory, OfAConnectionEndWithIt) {
  const KeyPair one = KeyPair::generate(random);
  const KeyPair two = KeyPair::generate(random);
  std::vector<Needle> statics;
  std::vector<Needle> ephemerals;
  std::vector<Needle> transport;
  const auto noted = [this](std::vector<Needle>& list) {
    SecretKey secret = fresh();
    list.emplace_back(secret);
    return secret;
  };
  auto static_one = std::make_unique<NoiseStatic>(one, noted(statics));
  auto static_two = std::make_unique<NoiseStatic>(two, noted(statics));
  std::optional<NoiseHandshake> initiator;
  initiator.emplace(NoiseHandshake::Role::initiator, NoiseHandshake::Parameters{*static_one, noted(ephemerals), {}, two.peer_id()});
  std::optional<NoiseHandshake> responder;
  responder.emplace(NoiseHandshake::Role::responder, NoiseHandshake::Parameters{*static_two, noted(ephemerals), {}, std::nullopt});
  for (const Needle& secret : statics) EXPECT_EQ(secret.copies(), 1U);
  for (const Needle& secret : ephemerals) EXPECT_EQ(secret.copies(), 1U);
  while (!responder->done()) {
    const Bytes there = initiator->take_output();
    ByteView unread = there;
    responder->receive(unread).value();
    const Bytes back = responder->take_output();
    unread = back;
    initiator->receive(unread).value();
  }
  const Needle chaining_key(initiator->chaining_key());
  EXPECT_EQ(chaining_key.copies(), 2U);  // one on each side
  {
    SecretKey keys[2];
    crypto::hkdf2(initiator->chaining_key(), {}, keys[0], keys[1]);
    for (const SecretKey& key : keys) transport.emplace_back(key);
  }
  for (const Needle& secret : transport) EXPECT_EQ(secret.copies(), 0U);

  std::optional<NoiseSession> here = initiator->finish();
  std::optional<NoiseSession> there = responder->finish();
  initiator.reset();
  responder.reset();
  for (const Needle& secret : ephemerals) EXPECT_EQ(secret.copies(), 0U);
  EXPECT_EQ(chaining_key.copies(), 0U);
  here->writer.append(as_bytes("hello"));
  Bytes sealed = here->writer.take({});
  ByteSpan in(sealed);
  EXPECT_EQ(as_text(there->reader.next(in).value().value()), "hello");
  for (const Needle& secret : transport) EXPECT_GE(secret.copies(), 2U);  // in the library's contexts
  here.reset();
  there.reset();
  static_one.reset();
  static_two.reset();
  for (const std::vector<Needle>* const list : {&statics, &ephemerals, &transport}) {
    for (const Needle& secret : *list) EXPECT_EQ(secret.copies(), 0U);
  }
}

}  // namespace
}  // namespace p2p
