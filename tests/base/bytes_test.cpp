#include "base/bytes.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

TEST(Bytes, ArePrintedAsLowerCaseHexadecimal) {
  EXPECT_EQ(to_hex({}), "");
  EXPECT_EQ(to_hex(Bytes{0x00, 0x0f, 0xa5, 0xff}), "000fa5ff");
}

TEST(Bytes, AndTextAreTheSameMemory) {
  const std::string text("a\0\xff", 3);
  const ByteView view = as_bytes(text);
  EXPECT_EQ(static_cast<const void*>(view.data()), static_cast<const void*>(text.data()));
  EXPECT_EQ(to_hex(view), "6100ff");
  EXPECT_EQ(as_text(view), text);
  EXPECT_EQ(to_bytes(text), (Bytes{'a', 0, 0xff}));
}

TEST(Bytes, AreEqualWhenSizeAndContentAre) {
  EXPECT_TRUE(equal({}, {}));
  EXPECT_TRUE(equal(Bytes{1, 2}, Bytes{1, 2}));
  EXPECT_FALSE(equal(Bytes{1, 2}, Bytes{1, 3}));
  EXPECT_FALSE(equal(Bytes{1, 2}, Bytes{1}));
  EXPECT_FALSE(equal({}, Bytes{0}));
}

TEST(Bytes, AreAppendedBehindWhatIsThere) {
  Bytes to{1};
  append(to, Bytes{2, 3});
  append(to, {});
  EXPECT_EQ(to, (Bytes{1, 2, 3}));
}

}  // namespace
}  // namespace p2p
