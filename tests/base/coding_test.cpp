#include "base/coding.hpp"

#include "support/hex.hpp"

#include <gtest/gtest.h>
#include <limits>
#include <utility>

namespace p2p {
namespace {

using test::hex;

const std::pair<std::uint64_t, const char*> vectors[] = {
    {0, "00"},
    {1, "01"},
    {127, "7f"},
    {128, "8001"},
    {255, "ff01"},
    {300, "ac02"},
    {16383, "ff7f"},
    {16384, "808001"},
    {2097151, "ffff7f"},
    {0xffffffff, "ffffffff0f"},
    {(1ULL << 53) - 1, "ffffffffffffff0f"},
    {(1ULL << 63) - 1, "ffffffffffffffff7f"},
};

TEST(Uvarint, IsWrittenAsTheSpecificationSays) {
  for (const auto& [value, encoded] : vectors) {
    Bytes out = hex("aa");
    put_uvarint(out, value);
    EXPECT_EQ(to_hex(out), std::string("aa") + encoded);
    EXPECT_EQ(uvarint_size(value), out.size() - 1);
  }
}

TEST(Uvarint, IsReadFromTheFront) {
  for (const auto& [value, encoded] : vectors) {
    Bytes in = hex(encoded);
    const std::size_t size = in.size();
    in.push_back(0xff);
    const std::optional<Uvarint> read = peek_uvarint(in).value();
    ASSERT_TRUE(read) << encoded;
    EXPECT_EQ(read->value, value);
    EXPECT_EQ(read->size, size);
  }
}

TEST(Uvarint, IsNothingYetWhileBytesAreToCome) {
  for (const auto& [value, encoded] : vectors) {
    const Bytes whole = hex(encoded);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Result<std::optional<Uvarint>> read = peek_uvarint(ByteView(whole).first(size));
      ASSERT_TRUE(read.has_value()) << encoded;
      EXPECT_FALSE(read->has_value()) << encoded;
    }
  }
}

TEST(Uvarint, IsRefusedWhenNotMinimalOrTooLong) {
  for (const char* const bad :
       {"8000", "8100", "ff8000", "ffffffffffffffffff", "ffffffffffffffffff01", "80808080808080808001", "808080808080808000"}) {
    const Result<std::optional<Uvarint>> read = peek_uvarint(hex(bad));
    ASSERT_TRUE(read.has_error()) << bad;
    EXPECT_EQ(read.error().code, Errc::malformed) << bad;
  }
}

TEST(Integers, AreBigEndian) {
  Bytes out;
  put_u16(out, 0x0102);
  EXPECT_EQ(to_hex(out), "0102");
  std::uint8_t raw[4];
  store_u16(raw, 0xfffe);
  EXPECT_EQ(to_hex({raw, 2}), "fffe");
  EXPECT_EQ(load_u16(raw), 0xfffe);
  store_u32(raw, 0xfedcba98);
  EXPECT_EQ(to_hex(raw), "fedcba98");
  EXPECT_EQ(load_u32(raw), 0xfedcba98);
}

TEST(Reader, TakesValuesOffTheFront) {
  const Bytes in = hex("0102 ac02 03616263 ff");
  Reader reader(in);
  EXPECT_EQ(reader.u16().value(), 0x0102);
  EXPECT_EQ(reader.uvarint().value(), 300U);
  EXPECT_EQ(as_text(reader.length_prefixed(3).value()), "abc");
  EXPECT_FALSE(reader.empty());
  EXPECT_EQ(to_hex(reader.rest()), "ff");
  EXPECT_EQ(to_hex(reader.bytes(1).value()), "ff");
  EXPECT_TRUE(reader.empty());
  EXPECT_TRUE(reader.bytes(0).has_value());
}

TEST(Reader, NeverReadsPastTheEnd) {
  const Bytes one = hex("81");
  EXPECT_EQ(Reader(one).u16().error().code, Errc::malformed);
  EXPECT_EQ(Reader(one).uvarint().error().code, Errc::malformed);
  EXPECT_EQ(Reader(one).bytes(2).error().code, Errc::malformed);
  EXPECT_EQ(Reader(one).bytes(std::numeric_limits<std::size_t>::max()).error().code, Errc::malformed);
  const Bytes short_by_one = hex("036162");
  EXPECT_EQ(Reader(short_by_one).length_prefixed(3).error().code, Errc::malformed);
}

TEST(Reader, ChecksALengthAgainstTheLimitBeforeTheBytes) {
  const Bytes in = hex("0461626364");
  EXPECT_TRUE(Reader(in).length_prefixed(4).has_value());
  EXPECT_EQ(Reader(in).length_prefixed(3).error().code, Errc::too_large);
  const Bytes huge = hex("ffffffffffffffff7f");
  EXPECT_EQ(Reader(huge).length_prefixed(100).error().code, Errc::too_large);
}

}  // namespace
}  // namespace p2p
