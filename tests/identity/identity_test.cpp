#include "identity/identity.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "crypto/crypto.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <unordered_set>

namespace p2p {
namespace {

using test::hex;

// libp2p/specs, peer-ids/peer-ids.md
constexpr const char* ed25519_private =
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce2"
    "7e";
constexpr const char* ed25519_public = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
constexpr const char* ed25519_id = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
constexpr const char* secp256k1_private = "0802122053dadf1d5a164d6b4acdb15e24aa4c5b1d3461bdbd42abedb0a4404d56ced8fb";
constexpr const char* secp256k1_public = "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99";
constexpr const char* ecdsa_private =
    "08031279307702010104203e5b1fe9712e6c314942a750bd67485de3c1efe85b1bfb520ae8f9ae3dfa4a4ca00a06082a8648ce3d030107a14403420004de3d300fa36a"
    "e0e8"
    "f5d530899d83abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9f77c409e62";
constexpr const char* ecdsa_public =
    "0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5d530899d83abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8d"
    "a305"
    "25e71d6851510c098e5c47c646a597fb4dcec034e9f77c409e62";

PublicKey public_key(const char* encoded) { return PublicKey::decode(hex(encoded)).value(); }

struct KeyVector {
  PublicKey::Type type;
  const char* public_key;
  const char* multihash;
  const char* text;
};

const KeyVector key_vectors[] = {
    {PublicKey::Type::ed25519, ed25519_public, "0024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e", ed25519_id},
    {PublicKey::Type::secp256k1, secp256k1_public, "002508021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99",
     "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY"},
    {PublicKey::Type::ecdsa, ecdsa_public, "122068362c312e155f4f7290b67f5cd094a22a0a4fbf20efd8c287934419350d36f7",
     "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk"},
};

TEST(PublicKey, GivesThePeerIdOfTheSpecification) {
  for (const KeyVector& vector : key_vectors) {
    const PublicKey key = public_key(vector.public_key);
    EXPECT_EQ(key.type(), vector.type);
    EXPECT_EQ(to_hex(key.encoded()), vector.public_key);
    EXPECT_EQ(to_hex(PeerId(key).bytes()), vector.multihash);
    EXPECT_EQ(PeerId(key).text(), vector.text);
  }
}

TEST(PublicKey, IsInsideThePeerIdWhereItIsShort) {
  for (const KeyVector& vector : key_vectors) {
    const PublicKey key = public_key(vector.public_key);
    const std::optional<PublicKey> inside = PeerId(key).public_key();
    ASSERT_EQ(inside.has_value(), vector.type != PublicKey::Type::ecdsa);
    if (inside) {
      EXPECT_EQ(*inside, key);
    }
  }
  EXPECT_FALSE(PeerId().public_key());
  EXPECT_FALSE(PeerId::from_bytes(hex("0003080112")).value().public_key());
}

TEST(PublicKey, EncodesItsTypeEvenWhenThatIsZero) {
  EXPECT_EQ(to_hex(PublicKey(PublicKey::Type::rsa, hex("abcd")).encoded()), "08001202abcd");
}

TEST(PublicKey, IsDecodedFromItsCanonicalFormAlone) {
  const std::string data = std::string(ed25519_public).substr(4);  // field 2
  const std::vector<std::string> others = {
      "",
      "08",
      "0801",                  // no data
      data,                    // no type
      data + "0801",           // the other order
      "0801" + data + "1800",  // an unknown field
      "0801" + data + "0801",  // a repeated one
      "0800"
      "0801" +
          data,                         //
      "088100" + data,                  // a longer varint
      "0804" + data,                    // an unknown type
      "08ffffffffffffffffff01" + data,  // a negative one
      "0801"
      "12a000" +
          data.substr(4),  // a longer length
      "0801"
      "121f" +
          data.substr(4, 62),  // 31 bytes
      "0801"
      "1221" +
          data.substr(4) + "00",  // 33 bytes
      "0802"
      "1220" +
          data.substr(4),  // secp256k1 of 32 bytes
      "0802"
      "1222" +
          data.substr(4) + "0000",  // and of 34
  };
  for (const std::string& encoded : others) {
    const Result<PublicKey> key = PublicKey::decode(hex(encoded));
    ASSERT_TRUE(key.has_error()) << encoded;
    EXPECT_EQ(key.error().code, Errc::malformed) << encoded;
  }
}

TEST(PublicKey, IsMalformedAtEveryTruncation) {
  for (const KeyVector& vector : key_vectors) {
    const Bytes whole = hex(vector.public_key);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_TRUE(PublicKey::decode(cut).has_error()) << size;
    }
  }
}

TEST(PublicKey, OfAPeerThatSendsNonsenseIsRefusedInSilence) {
  testing::internal::CaptureStderr();
  EXPECT_TRUE(PublicKey::decode({}).has_error());
  EXPECT_TRUE(PublicKey::decode(hex("0801")).has_error());
  EXPECT_TRUE(KeyPair::decode({}).has_error());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(PublicKey, IsRefusedAboveItsLimit) {
  const auto encoded = [](std::size_t size) {
    const PublicKey key(PublicKey::Type::rsa, Bytes(size - 5));  // type, field number and a length of two bytes
    return Bytes(key.encoded().begin(), key.encoded().end());
  };
  ASSERT_EQ(encoded(limits::public_key).size(), limits::public_key);
  EXPECT_TRUE(PublicKey::decode(encoded(limits::public_key)).has_value());
  EXPECT_EQ(PublicKey::decode(encoded(limits::public_key + 1)).error().code, Errc::too_large);
}

TEST(PublicKey, VerifiesWhatItsKeyPairSigned) {
  const KeyPair pair = KeyPair::decode(hex(ed25519_private)).value();
  const auto signature = pair.sign(as_bytes("message"));
  EXPECT_TRUE(Verifier(pair.public_key()).verify(as_bytes("message"), signature));
  EXPECT_FALSE(Verifier(pair.public_key()).verify(as_bytes("Message"), signature));
  EXPECT_FALSE(Verifier(public_key(secp256k1_public)).verify(as_bytes("message"), signature));
  EXPECT_FALSE(Verifier(public_key(ecdsa_public)).verify(as_bytes("message"), signature));
}

TEST(PublicKey, VerifiesForeignSignatures) {
  // Made once by OpenSSL with the private keys of the specification.
  const std::string secp256k1_signature =
      "30450220537d5a08bfcd1c87b5f4bdb65197494e96200daa4b3ebafd11405c8d7a2c38fd0221008a90d8aec41af58724d403b976ead728bd09e22f26ff3b1bfdf11e"
      "174d4b986b";
  const std::string ecdsa_signature =
      "3046022100bb90881f468979be69a02dce19c7c552044b0abbbfa6bddb4ff6851666a72aea02210099d3752b074211c7ae5eb07ad2a3b88e7977935fea4294b01556"
      "c316203b1538";
  EXPECT_TRUE(Verifier(public_key(secp256k1_public)).verify(as_bytes("message"), hex(secp256k1_signature)));
  EXPECT_TRUE(Verifier(public_key(ecdsa_public)).verify(as_bytes("message"), hex(ecdsa_signature)));
  EXPECT_FALSE(Verifier(public_key(ecdsa_public)).verify(as_bytes("message"), hex(secp256k1_signature)));
}

struct TextVector {
  const char* base58;
  const char* cid;
};

// peer-ids.md and go-multiaddr's tests; the second form is a CIDv1 in base32 (b) or base36 (k).
const TextVector text_vectors[] = {
    {ed25519_id, "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"},
    {ed25519_id, "k51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe"},
    {"16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY", "bafzaajiiaijcca3xo7uzjzcsyilaj6i54cj44qk7kqzpoao5rti2pjx6udtdbp6kte"},
    {"16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY", "kzwfwjn5ji4put13uvtwtc7azzwk42cq2o8ctfnxa6q8n90e72o3pjqbrp3lpcp"},
    {"QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk", "bafzbeidigywdclqvl5hxfefwp5onbffcfife7pza57mmfb4tiqmtkdjw64"},
    {"QmaeANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG", "bafzbeifwzcumbiyql7bhv7fe7mixg6i7aohegq75k234m63bnw6dbicmzu"},
    {"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"},
    {"QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC", "bafzbeigvf25ytwc3akrijfecaotc74udrhcxzh2cx3we5qqnw5vgrei4bm"},
    {"QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC", "k2k4r8oqamigqdo6o7hsbfwd45y70oyynp98usk7zmyfrzpqxh1pohl7"},
    {"12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV", "bafzaajaiaejcalj543iwv2d7pkjt7ykvefrkfu7qjfi6sduakhso4lay6abn2d5u"},
    {"12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV", "k51qzi5uqu5dhb6l8spkdx7yxafegfkee5by8h7lmjh2ehc2sgg34z7c15vzqs"},
};

TEST(PeerId, IsReadInEachFormAndWrittenInBase58) {
  for (const TextVector& vector : text_vectors) {
    EXPECT_EQ(PeerId::from_text(vector.base58).value().text(), vector.base58);
    EXPECT_EQ(PeerId::from_text(vector.cid).value().text(), vector.base58);
    const PeerId id = PeerId::from_text(vector.base58).value();
    EXPECT_EQ(PeerId::from_bytes(id.bytes()).value(), id);
  }
}

TEST(PeerId, OfAnRsaKeyIsItsSha256) {
  EXPECT_EQ(PeerId::from_text("QmaeANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG").value(),
            PeerId::from_bytes(hex("1220b6c8a8c0a3105fc27afca4fb1173791f038e4343fd56b7c67b616dbc30a04ccd")).value());
}

TEST(PeerId, IsReadFromTheSpecificationsMultibaseLetters) {
  EXPECT_EQ(PeerId::from_text("BAFZAAJAIAEJCAHWR5D5OFRFBIS4L5D6UWR57HU5TJODRYPFM6YAQ6DSC2R2PZYT6").value().text(), ed25519_id);
  EXPECT_EQ(PeerId::from_text("uAXIAJAgBEiAe0ej64sShRLi-j9S0e_PTs0uHHDys9gEPDkLUdPzifg").value().text(), ed25519_id);
}

TEST(PeerId, IsRefusedAsTextThatIsNone) {
  for (const std::string_view text : {
           "",
           "1",
           "Qm",
           "11",
           "b",
           "k",
           "z",
           "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p",    // one character short
           "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pqq",  // one too many
           "QmxoHT6iViN5xAjoz1VZ553cL31U9F94ht3QvWR1FrEbZY",         // a digest longer than SHA-256
           "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgD",
           "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk ",
           "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgD0",
           "bafybeidigywdclqvl5hxfefwp5onbffcfife7pza57mmfb4tiqmtkdjw64",  // a CID of dag-pb, not of a key
           "bafzbeidigywdclqvl5hxfefwp5onbffcfife7pza57mmfb4tiqmtkdjw6",
           "zQmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk",  // a multihash behind a multibase letter, which only CIDs have
           "tcp",
           "z",
           "not a peer",
       }) {
    EXPECT_TRUE(PeerId::from_text(text).has_error()) << text;
  }
  EXPECT_EQ(PeerId::from_text(std::string(limits::base_text + 1, '1')).error().code, Errc::too_large);
}

TEST(PeerId, IsRefusedAsBytesThatAreNone) {
  const std::string digest(64, 'a');
  for (const std::string& bytes : {
           std::string(), std::string("00"), std::string("12"), std::string("0000"), std::string("1200"),
           "1220" + digest.substr(2),         // SHA-256, a byte short
           "1220" + digest + "aa",            // a byte too many
           "121f" + digest.substr(2),         // of another length
           "1221" + digest + "aa",            //
           "1320" + digest, "1620" + digest,  // SHA-512 and SHA3-256
           "92002000" + digest,               // a varint that is not minimal
           "12a000" + digest,                 //
       }) {
    const Result<PeerId> id = PeerId::from_bytes(hex(bytes));
    ASSERT_TRUE(id.has_error()) << bytes;
    EXPECT_EQ(id.error().code, Errc::malformed) << bytes;
  }
}

TEST(PeerId, HoldsAKeyOfAtMost42Bytes) {
  Bytes longest = hex("002a");
  longest.resize(44, 'k');
  EXPECT_EQ(to_hex(PeerId::from_bytes(longest).value().bytes()), to_hex(longest));
  Bytes longer = hex("002b");
  longer.resize(45, 'k');
  EXPECT_EQ(PeerId::from_bytes(longer).error().code, Errc::too_large);
  // A key whose encoding takes 42 bytes is put in, one of 43 is hashed.
  EXPECT_EQ(PeerId(PublicKey(PublicKey::Type::rsa, Bytes(38))).bytes().size(), 44U);
  EXPECT_EQ(PeerId(PublicKey(PublicKey::Type::rsa, Bytes(39))).bytes().size(), 34U);
}

TEST(PeerId, OfNobodyIsEmpty) {
  const PeerId nobody;
  EXPECT_TRUE(nobody.empty());
  EXPECT_EQ(nobody.text(), "");
  EXPECT_EQ(nobody, PeerId());
  EXPECT_NE(nobody, PeerId::from_text(ed25519_id).value());
}

TEST(PeerId, HasAShortTextForPeople) { EXPECT_EQ(PeerId::from_text(ed25519_id).value().short_text(), "…o7R3pq"); }

TEST(PeerId, IsOrderedAndHashedByItsBytes) {
  const PeerId a = PeerId::from_bytes(hex("000161")).value();
  const PeerId b = PeerId::from_bytes(hex("000162")).value();
  const PeerId c = PeerId::from_bytes(hex("00026162")).value();
  EXPECT_LT(a, b);
  EXPECT_LT(b, c);
  const std::unordered_set<PeerId> ids{a, b, c, a, PeerId()};
  EXPECT_EQ(ids.size(), 4U);
  EXPECT_TRUE(ids.contains(PeerId::from_bytes(hex("000162")).value()));
}

TEST(KeyPair, IsThatOfTheSpecification) {
  const KeyPair pair = KeyPair::decode(hex(ed25519_private)).value();
  EXPECT_EQ(to_hex(pair.public_key().encoded()), ed25519_public);
  EXPECT_EQ(pair.peer_id().text(), ed25519_id);
}

TEST(KeyPair, OfTheZeroSeedIsTheOldPerfServers) {
  const KeyPair pair(std::array<std::uint8_t, KeyPair::seed_size>{});
  EXPECT_EQ(to_hex(pair.public_key().encoded()), "080112203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
  EXPECT_EQ(pair.peer_id().text(), "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
}

TEST(KeyPair, IsReadFromTheOlderFormOf96Bytes) {
  const std::string whole = ed25519_private;
  const std::string half = whole.substr(whole.size() - 64);
  EXPECT_EQ(KeyPair::decode(hex("08011260" + whole.substr(8) + half)).value().peer_id().text(), ed25519_id);
}

TEST(KeyPair, IsRefusedWhenItsHalvesDoNotBelongTogether) {
  const std::string whole = ed25519_private;
  const std::string half = whole.substr(whole.size() - 64);
  const std::string other(64, 'a');
  for (const std::string& encoded : {
           whole.substr(0, whole.size() - 64) + other,
           "08011260" + whole.substr(8) + other,
           "08011260" + whole.substr(8, 64) + other + half,
           "08011220" + whole.substr(8, 64),     // the seed alone
           "0801123f" + whole.substr(8, 126),    // a byte short
           "08011241" + whole.substr(8) + "00",  // a byte too many
           std::string("08011200"),
           std::string("0801"),
           std::string(),
           std::string("ff"),
       }) {
    const Result<KeyPair> pair = KeyPair::decode(hex(encoded));
    ASSERT_TRUE(pair.has_error()) << encoded;
    EXPECT_EQ(pair.error().code, Errc::malformed) << encoded;
  }
}

TEST(KeyPair, OfAnotherTypeIsUnsupported) {
  EXPECT_EQ(KeyPair::decode(hex(secp256k1_private)).error().code, Errc::unsupported);
  EXPECT_EQ(KeyPair::decode(hex(ecdsa_private)).error().code, Errc::unsupported);
}

TEST(KeyPair, IsMadeOfTheRandomnessHandedIn) {
  test::SeededRandom one(1);
  test::SeededRandom same(1);
  test::SeededRandom two(2);
  const PeerId id = KeyPair::generate(one).peer_id();
  EXPECT_EQ(KeyPair::generate(same).peer_id(), id);
  EXPECT_NE(KeyPair::generate(two).peer_id(), id);
  EXPECT_NE(KeyPair::generate(one).peer_id(), id);
}

TEST(KeyPair, SignsTheSameWhenMoved) {
  KeyPair pair = KeyPair::decode(hex(ed25519_private)).value();
  const auto before = pair.sign(as_bytes("message"));
  const KeyPair moved = std::move(pair);
  EXPECT_EQ(moved.sign(as_bytes("message")), before);
  EXPECT_EQ(moved.peer_id().text(), ed25519_id);
}

}  // namespace
}  // namespace p2p
