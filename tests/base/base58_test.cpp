#include "base/base58.hpp"

#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <utility>

namespace p2p {
namespace {

using test::hex;

// draft-msporny-base58-03, section 5, and the edges.
const std::pair<const char*, const char*> vectors[] = {
    {"", ""},
    {"00", "1"},
    {"0000", "11"},
    {"39", "z"},
    {"3a", "21"},
    {"0000287fb4cd", "11233QC4"},
    {"48656c6c6f20576f726c6421", "2NEpo7TZRRrLZSi2U"},
    {"54686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a7920646f672e",
     "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z"},
};

TEST(Base58, AgreesWithItsVectorsBothWays) {
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(base58_encode(hex(bytes)), text);
    EXPECT_EQ(to_hex(base58_decode(text).value()), bytes);
  }
}

TEST(Base58, GivesBackWhateverWasEncoded) {
  test::SeededRandom random;
  for (std::size_t size = 0; size <= 90; ++size) {
    Bytes bytes = random.bytes(size);
    for (std::size_t zeros = 0; zeros < size; zeros += 7) bytes[zeros / 7] = 0;
    EXPECT_EQ(base58_decode(base58_encode(bytes)).value(), bytes);
  }
}

TEST(Base58, RefusesCharactersOutsideTheAlphabet) {
  for (const std::string_view text :
       {std::string_view("0"), std::string_view("O"), std::string_view("I"), std::string_view("l"), std::string_view("2 "),
        std::string_view("+"), std::string_view("2\0", 2), std::string_view("\xc3\xa4")}) {
    EXPECT_EQ(base58_decode(text).error().code, Errc::malformed) << text;
  }
}

TEST(Base58, RefusesTextAboveItsLimit) {
  EXPECT_TRUE(base58_decode(std::string(limits::base_text, 'z')).has_value());
  EXPECT_EQ(base58_decode(std::string(limits::base_text + 1, 'z')).error().code, Errc::too_large);
  EXPECT_EQ(base58_decode(std::string(limits::base_text + 1, '1')).error().code, Errc::too_large);
}

TEST(Multibase, ReadsEachBase) {
  // multiformats/multibase, tests/basic.csv and two_leading_zeros.csv
  const std::string plain = to_hex(as_bytes("yes mani !"));
  EXPECT_EQ(to_hex(multibase_decode("z7paNL19xttacUY").value()), plain);
  EXPECT_EQ(to_hex(multibase_decode("bpfsxgidnmfxgsibb").value()), plain);
  EXPECT_EQ(to_hex(multibase_decode("BPFSXGIDNMFXGSIBB").value()), plain);
  EXPECT_EQ(to_hex(multibase_decode("k2lcpzo5yikidynfl").value()), plain);
  EXPECT_EQ(to_hex(multibase_decode("ueWVzIG1hbmkgIQ").value()), plain);
  const std::string zeros = "0000" + plain;
  EXPECT_EQ(to_hex(multibase_decode("z117paNL19xttacUY").value()), zeros);
  EXPECT_EQ(to_hex(multibase_decode("baaahszltebwwc3tjeaqq").value()), zeros);
  EXPECT_EQ(to_hex(multibase_decode("k002lcpzo5yikidynfl").value()), zeros);
  EXPECT_EQ(to_hex(multibase_decode("uAAB5ZXMgbWFuaSAh").value()), zeros);
}

TEST(Multibase, ReadsTheCharactersThatBase64urlHasOfItsOwn) {
  EXPECT_EQ(to_hex(multibase_decode("u-_-_").value()), "fbffbf");
  EXPECT_EQ(multibase_decode("u+/+/").error().code, Errc::malformed);
}

TEST(Multibase, RefusesWhatNoEncoderWrites) {
  for (const char* const text : {
           "",
           "x00",
           "7paNL19xttacUY",  // no or an unknown prefix
           "bPFSXGIDNMFXGSIBB",
           "Bpfsxgidnmfxgsibb",
           "k2LCPZO5YIKIDYNFL",  // the wrong case
           "ba",
           "bab1",
           "b1",  // half a byte; outside the alphabet
           "baaahszltebwwc3tjeaqr",
           "ueWVzIG1hbmkgIR",  // bits left over that are not zero
           "u=",
           "ueWVzIG1hbmkgIQ==",
           "be=",
           "uA",  // padding; half a byte
           "z0",
           "k-",
       }) {
    const Result<Bytes> decoded = multibase_decode(text);
    ASSERT_TRUE(decoded.has_error()) << text;
    EXPECT_EQ(decoded.error().code, Errc::malformed) << text;
  }
}

TEST(Multibase, RefusesTextAboveItsLimit) {
  for (const char prefix : {'z', 'k', 'b', 'u'}) {
    const char digit = prefix == 'k' ? 'a' : prefix == 'z' ? '2' : 'A' + (prefix == 'b' ? 'a' - 'A' : 0);
    EXPECT_TRUE(multibase_decode(prefix + std::string(limits::base_text, digit)).has_value()) << prefix;
    EXPECT_EQ(multibase_decode(prefix + std::string(limits::base_text + 1, digit)).error().code, Errc::too_large) << prefix;
  }
  EXPECT_TRUE(multibase_decode("B" + std::string(limits::base_text, 'A')).has_value());
  EXPECT_EQ(multibase_decode("B" + std::string(limits::base_text + 1, 'A')).error().code, Errc::too_large);
}

}  // namespace
}  // namespace p2p
