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

Bytes counted(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + (i >> 8));
  return bytes;
}

TEST(Bytes, AreAppendedWholeAroundEachNumberOfPieces) {
  const Bytes all = counted(3 * copy_piece + 1);
  for (const std::size_t pieces : {1U, 2U, 3U}) {
    for (const std::size_t size : {pieces * copy_piece - 1, pieces * copy_piece, pieces * copy_piece + 1}) {
      const ByteView part = ByteView(all).first(size);
      Bytes to{42};
      append(to, part);
      ASSERT_EQ(to.size(), 1 + size);
      EXPECT_EQ(to.front(), 42);
      EXPECT_TRUE(equal(ByteView(to).subspan(1), part)) << size;
    }
  }
}

TEST(Bytes, AskForMemoryOnceForAllPieces) {
  const Bytes all = counted(10 * copy_piece);
  Bytes to;
  append(to, all);
  EXPECT_EQ(to.capacity(), all.size());
  append(to, all);
  append(to, Bytes(copy_piece + 1));
  EXPECT_EQ(to.capacity(), 4 * all.size()) << "it grows by its own size at least, so that a byte is moved less than twice";
}

TEST(Bytes, MoveToAFrontThatOverlapsThem) {
  const Bytes all = counted(2 * copy_piece + 500);
  for (const std::size_t gap : {std::size_t{0}, std::size_t{1}, copy_piece - 1, copy_piece, copy_piece + 1, all.size()}) {
    Bytes room(gap);
    room.insert(room.end(), all.begin(), all.end());
    move_to_front(room.data(), ByteView(room).subspan(gap));
    EXPECT_TRUE(equal(ByteView(room).first(all.size()), all)) << gap;
  }
}

}  // namespace
}  // namespace p2p
