#include "http/sse.hpp"
#include "base/limits.hpp"

#include <gtest/gtest.h>

namespace p2p::http {
namespace {

/// Every event of `pieces`, as "type|data" lines, or what was wrong.
std::string told(const std::vector<std::string_view>& pieces) {
  EventParser parser;
  std::string all;
  for (const std::string_view piece : pieces) {
    parser.push(piece);
    while (true) {
      const auto event = parser.next();
      if (!event) return all + "error";
      if (!*event) break;
      all += (*event)->type + "|" + (*event)->data + "\n";
    }
  }
  return all;
}

// Every kind of line end, a comment, a field of several lines, a character of four bytes, and what is to be ignored.
const std::string stream =
    "\xef\xbb\xbf"
    "data: one\r\n\r\n"
    ": a comment\rdata:two\rdata\rdata:  three \r\r"
    "event: error\nid: 7\nretry: 5\ndata: {\"x\": \"\xf0\x9f\x98\x80\"}\n\n"
    "event: without data\n\n"
    "unknown: field\ndata\n\n"
    "data: not ended\n";
const std::string events = "|one\n|two\n\n three \nerror|{\"x\": \"\xf0\x9f\x98\x80\"}\n|\n";

TEST(EventParser, GivesTheEventsOfAStream) { EXPECT_EQ(told({stream}), events); }

TEST(EventParser, DoesNotMindWhereTheStreamIsCut) {
  for (std::size_t first = 0; first <= stream.size(); ++first) {
    for (std::size_t second = first; second <= stream.size(); ++second) {
      const std::string_view view(stream);
      ASSERT_EQ(told({view.substr(0, first), view.substr(first, second - first), view.substr(second)}), events) << first << " " << second;
    }
  }
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < stream.size(); ++i) bytes.push_back(std::string_view(stream).substr(i, 1));
  EXPECT_EQ(told(bytes), events);
}

TEST(EventParser, TakesAMarkAtTheBeginningAlone) {
  EXPECT_EQ(told({"\xef\xbb\xbf\xef\xbb\xbf"
                  "data: x\n\ndata: y\n\n"}),
            "|y\n");
  EXPECT_EQ(told({"data: x\n\n\xef\xbb\xbf"
                  "data: y\n\n"}),
            "|x\n");
}

TEST(EventParser, TakesAnEventAtTheLimitAndNoneBeyond) {
  const std::string largest = "data:" + std::string(limits::event_line - 5, 'x');
  EXPECT_EQ(told({largest, "\n\n"}).size(), largest.size() - 5 + 2);
  EXPECT_EQ(told({largest + "x"}), "error");
  EXPECT_EQ(told({largest + "x\n\n"}), "error");
  EXPECT_EQ(told({largest, "x"}), "error");
}

TEST(EventParser, CountsAllLinesOfAnEvent) {
  const std::string half = "data:" + std::string(limits::event_line / 2, 'x') + "\n";
  EXPECT_EQ(told({half, half}), "error");
  EXPECT_EQ(told({half + half}), "error");
  EXPECT_EQ(told({half, "\n", half, "\n"}).size(), 2 * (limits::event_line / 2 + 2));
}

TEST(EventParser, IgnoresCommentsWithoutEnd) {
  EventParser parser;
  const std::string comment = ":" + std::string(1000, ' ') + "\n";
  for (int i = 0; i < 5000; ++i) {
    parser.push(comment);
    const auto event = parser.next();
    ASSERT_TRUE(event && !*event);
  }
}

}  // namespace
}  // namespace p2p::http
