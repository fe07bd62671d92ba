#include "wire/mplex.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/mux_session.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::hear;
using test::hex;

// As their sender says them: the even ones where it opened the stream.
enum Flag : std::uint8_t {
  new_stream,
  message_receiver,
  message_initiator,
  close_receiver,
  close_initiator,
  reset_receiver,
  reset_initiator,
};

Bytes header(std::uint64_t number, unsigned flag, std::uint64_t length) {
  Bytes bytes;
  put_uvarint(bytes, number << 3 | flag);
  put_uvarint(bytes, length);
  return bytes;
}

Bytes frame(std::uint64_t number, unsigned flag, std::string_view body = {}) {
  Bytes bytes = header(number, flag, body.size());
  append(bytes, as_bytes(body));
  return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
  append(a, b);
  return a;
}

// A session and what it wrote. It calls stream n of its peer 2n and its own 2n + 1.
struct Peer {
  test::Collected out;
  MplexSession session{out};

  std::string hears(const Bytes& input) { return hear(session, input); }
};

constexpr StreamId theirs(std::uint64_t number) { return 2 * number; }

TEST(Mplex, ReadsTheFramesOfTheSpecification) {
  Peer peer;
  EXPECT_EQ(peer.session.open().value(), 1U);
  EXPECT_EQ(peer.out.take_hex(), "000130");
  EXPECT_EQ(peer.hears(hex("000130")), "opened 0");
  EXPECT_EQ(peer.hears(hex("020568656c6c6f")), "data 0 hello");
  EXPECT_EQ(peer.hears(hex("0105776f726c64")), "data 1 world");
  EXPECT_EQ(peer.hears(hex("0400")), "finished 0");
  EXPECT_EQ(peer.hears(hex("0300")), "finished 1");
  EXPECT_EQ(peer.hears(hex("80400431303234")), "opened 2048");
  EXPECT_EQ(peer.hears(hex("8801 00 8e0100")), "opened 34, reset 34");  // 17, with an empty name
  EXPECT_EQ(peer.hears(hex("2800") + hex("2a8040") + Bytes(8192, 'x')), "opened 10, data 10 " + std::string(8192, 'x'));
  EXPECT_EQ(peer.session.open_streams(), 4U);  // 0 and 1, whose other direction is open, 5 and 1024
  EXPECT_EQ(peer.out.take(), Bytes());
}

TEST(Mplex, WritesTheFramesOfTheSpecification) {
  Peer peer;
  EXPECT_EQ(peer.session.open().value(), 1U);
  EXPECT_EQ(peer.hears(hex("0000")), "opened 0");
  EXPECT_EQ(peer.out.take_hex(), "000130");
  peer.session.send(1, as_bytes("hello"));
  EXPECT_EQ(peer.out.take_hex(), "020568656c6c6f");
  peer.session.send(0, as_bytes("world"));
  EXPECT_EQ(peer.out.take_hex(), "0105776f726c64");
  peer.session.close_write(1);
  EXPECT_EQ(peer.out.take_hex(), "0400");
  peer.session.close_write(0);
  EXPECT_EQ(peer.out.take_hex(), "0300");
  for (std::uint64_t number = 1; number <= 17; ++number) {
    const StreamId own = peer.session.open().value();
    peer.out.take();
    peer.session.reset(own);
    EXPECT_EQ(peer.out.take(), frame(number, reset_initiator));
  }
  EXPECT_EQ(peer.hears(hex("880100")), "opened 34");
  peer.session.reset(34);
  EXPECT_EQ(peer.out.take_hex(), "8d0100");
}

TEST(Mplex, NamesAStreamByItsNumber) {
  Peer peer;
  for (int number = 0; number < 1024; ++number) peer.session.reset(peer.session.open().value());
  peer.out.take();
  peer.session.open().value();
  EXPECT_EQ(peer.out.take_hex(), "80400431303234");
}

TEST(Mplex, TellsTheSameHoweverTheInputIsSplit) {
  const Bytes input = frame(0, new_stream, "a name") + frame(0, message_initiator, "hello") + frame(7, message_initiator, "unknown") +
                      frame(300, new_stream) + frame(0, message_initiator, std::string(3000, 'x')) + frame(300, close_initiator, "body") +
                      frame(0, reset_initiator, "body") + frame(0, message_initiator, "late") + frame(300, 7);
  Peer whole;
  const std::string heard = whole.hears(input);
  EXPECT_EQ(heard, "opened 0, data 0 hello, opened 600, data 0 " + std::string(3000, 'x') + ", finished 600, reset 0, malformed");
  Peer bytewise;
  EXPECT_EQ(hear(bytewise.session, input, [] { return 1U; }), heard);
  test::SeededRandom random;
  for (int round = 0; round < 200; ++round) {
    Peer split;
    EXPECT_EQ(hear(split.session, input, [&random] { return 1 + random.below(40); }), heard);
  }
}

TEST(Mplex, WaitsForTheRestOfAHeader) {
  const Bytes whole = header(1024, message_initiator, 300);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Peer peer;
    ByteView in = ByteView(whole).first(size);
    const auto event = peer.session.next(in);
    ASSERT_TRUE(event.has_value());
    EXPECT_FALSE(event->has_value());
    EXPECT_EQ(in.size(), size) << "an incomplete header is the caller's to keep";
  }
}

TEST(Mplex, EndsTheSessionWhenTheProtocolIsBroken) {
  const Bytes begin = frame(0, new_stream);
  const struct {
    const char* what;
    Bytes input;
    const char* heard;
  } cases[] = {
      {"an unknown flag", frame(0, 7), "malformed"},
      {"data above the limit", header(0, message_initiator, limits::mplex_frame + 1), "too large"},
      {"data above the limit for an unknown stream", header(9, message_receiver, limits::mplex_frame + 1), "too large"},
      {"a name above the limit", header(1, new_stream, limits::mplex_frame + 1), "too large"},
      {"a length of 63 bits", hex("02 ffffffffffffffff7f"), "too large"},
      {"a length of 64 bits", hex("02 ffffffffffffffffff01"), "malformed"},
      {"a header of 64 bits", hex("82808080808080808001 00"), "malformed"},
      {"a header that is not minimal", hex("8200 00"), "malformed"},
      {"a length that is not minimal", hex("02 8500"), "malformed"},
      {"a stream opened twice", frame(0, new_stream), "malformed"},
      {"data behind the end", frame(0, close_initiator) + frame(0, message_initiator, "x"), "finished 0, malformed"},
  };
  for (const auto& broken : cases) {
    Peer peer;
    ASSERT_EQ(peer.hears(begin), "opened 0");
    EXPECT_EQ(peer.hears(broken.input), broken.heard) << broken.what;
    EXPECT_EQ(peer.out.take(), Bytes()) << broken.what;  // mplex has no goodbye
  }
}

TEST(Mplex, AcceptsFramesUpToTheirLimit) {
  Peer peer;
  EXPECT_EQ(peer.hears(frame(0, new_stream, std::string(limits::mplex_frame, 'n'))), "opened 0");
  EXPECT_EQ(peer.hears(hex("02 808040")), "");
  EXPECT_EQ(peer.hears(Bytes(limits::mplex_frame, 'x')), "data 0 " + std::string(limits::mplex_frame, 'x'));
  EXPECT_EQ(peer.hears(hex("faffffffffffffff7f 00")), "");  // the largest number there can be
  EXPECT_EQ(peer.hears(frame(0, message_initiator) + frame(0, close_initiator) + frame(0, close_initiator)), "finished 0");
}

TEST(Mplex, SkipsFramesOfUnknownStreams) {
  Peer peer;
  const StreamId own = peer.session.open().value();
  peer.session.reset(own);
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(0, new_stream, "0") + frame(0, reset_initiator)));
  for (const unsigned flag : {message_receiver, message_initiator, close_receiver, close_initiator, reset_receiver, reset_initiator}) {
    EXPECT_EQ(peer.hears(frame(0, flag, "late") + frame(9, flag, "never there")), "") << flag;
  }
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.session.send(own, as_bytes("x")), 0U);
  peer.session.close_write(own);
  peer.session.reset(own);
  peer.session.consumed(own, 1, Time());
  EXPECT_EQ(peer.out.take(), Bytes());
}

// Whichever way its stream has ended, what comes late for it is skipped, and a peer that takes its number again begins another one.
TEST(Mplex, KeepsNothingOfAStreamThatHasEndedForTheNextOneOfItsNumber) {
  const struct {
    const char* what;
    void (*end)(Peer&);
  } endings[] = {
      {"both sides, this one last",
       [](Peer& peer) {
         EXPECT_EQ(peer.hears(frame(0, close_initiator)), "finished 0");
         peer.session.close_write(0);
       }},
      {"both sides, the other one last",
       [](Peer& peer) {
         peer.session.close_write(0);
         EXPECT_EQ(peer.hears(frame(0, close_initiator)), "finished 0");
       }},
      {"a reset of the other side", [](Peer& peer) { EXPECT_EQ(peer.hears(frame(0, reset_initiator)), "reset 0"); }},
      {"a reset of this side", [](Peer& peer) { peer.session.reset(0); }},
  };
  for (const auto& ending : endings) {
    SCOPED_TRACE(ending.what);
    Peer peer;
    peer.hears(frame(0, new_stream) + frame(0, message_initiator, std::string(limits::mplex_buffer, 'x')));
    EXPECT_EQ(peer.session.congested(), std::nullopt);  // and would be with a byte more
    ending.end(peer);
    peer.out.take();
    EXPECT_EQ(peer.session.open_streams(), 0U);
    EXPECT_EQ(peer.hears(frame(0, message_initiator, "late") + frame(0, close_initiator, "late") + frame(0, reset_initiator, "late")), "");
    EXPECT_EQ(peer.out.take(), Bytes());
    EXPECT_EQ(peer.hears(frame(0, new_stream) + frame(0, message_initiator, "new")), "opened 0, data 0 new");
    EXPECT_EQ(peer.session.open_streams(), 1U);
    peer.hears(frame(0, message_initiator, std::string(limits::mplex_buffer - 3, 'x')));
    EXPECT_EQ(peer.session.congested(), std::nullopt);
    EXPECT_EQ(peer.session.send(0, as_bytes("hello")), 5U);
    EXPECT_EQ(peer.out.take(), frame(0, message_receiver, "hello"));
    peer.session.close_write(0);
    EXPECT_EQ(peer.out.take(), frame(0, close_receiver));
    EXPECT_EQ(peer.hears(frame(0, close_initiator)), "finished 0");
    EXPECT_EQ(peer.session.open_streams(), 0U);
  }
}

TEST(Mplex, TellsStreamsOfOneNumberOneAfterAnother) {
  const Bytes input = frame(0, message_initiator, "old") + frame(0, close_initiator) + frame(0, message_initiator, "late") +
                      frame(0, new_stream, "a name") + frame(0, message_initiator, "new") + frame(0, reset_initiator) +
                      frame(0, new_stream) + frame(0, message_initiator, "last") + frame(0, close_initiator);
  for (const std::size_t piece : {test::in_one_piece, std::size_t{1}}) {
    Peer peer;
    peer.hears(frame(0, new_stream));
    peer.session.close_write(0);
    EXPECT_EQ(hear(peer.session, input, [piece] { return piece; }),
              "data 0 old, finished 0, opened 0, data 0 new, reset 0, opened 0, data 0 last, finished 0");
    EXPECT_EQ(peer.session.open_streams(), 1U);
  }
}

TEST(Mplex, TellsStreamsOfTheSameNumberApartByWhoOpenedThem) {
  Peer peer;
  EXPECT_EQ(peer.session.open().value(), 1U);
  EXPECT_EQ(peer.hears(frame(0, new_stream) + frame(0, message_receiver, "yours") + frame(0, message_initiator, "mine")),
            "opened 0, data 1 yours, data 0 mine");
  EXPECT_EQ(peer.hears(frame(0, close_receiver) + frame(0, message_initiator, "still")), "finished 1, data 0 still");
  EXPECT_EQ(peer.hears(frame(0, reset_initiator) + frame(0, reset_receiver)), "reset 0, reset 1");
}

TEST(Mplex, SkipsTheRestOfABodyWhoseStreamIsResetMeanwhile) {
  Peer peer;
  const Bytes input = frame(0, new_stream) + frame(0, message_initiator, "hello");
  EXPECT_EQ(peer.hears(Bytes(input.begin(), input.end() - 2)), "opened 0, data 0 hel");
  peer.session.reset(0);
  EXPECT_EQ(peer.hears(Bytes(input.end() - 2, input.end()) + frame(1, new_stream)), "opened 2");
}

TEST(Mplex, ResetsStreamsThatThePeerOpensBeyondTheLimit) {
  Peer peer;
  for (std::uint64_t number = 0; number < limits::streams_inbound; ++number) {
    EXPECT_EQ(peer.hears(frame(number, new_stream)), "opened " + std::to_string(theirs(number)));
  }
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.hears(frame(300, new_stream, "a name") + frame(300, message_initiator, "hello")), "");
  EXPECT_EQ(peer.out.take(), frame(300, reset_receiver));
  EXPECT_EQ(peer.session.open_streams(), limits::streams_inbound);
  EXPECT_TRUE(peer.session.open().has_value());  // our own are counted apart
  // Room again once one has ended, in whatever way.
  EXPECT_EQ(peer.hears(frame(0, reset_initiator) + frame(301, new_stream)), "reset 0, opened 602");
  peer.session.reset(theirs(1));
  EXPECT_EQ(peer.hears(frame(302, new_stream)), "opened 604");
  peer.session.close_write(theirs(2));
  EXPECT_EQ(peer.hears(frame(2, close_initiator) + frame(303, new_stream)), "finished 4, opened 606");
}

TEST(Mplex, OpensNoMoreStreamsThanTheLimit) {
  Peer peer;
  for (std::uint64_t number = 0; number < limits::streams_outbound; ++number) EXPECT_EQ(peer.session.open().value(), 2 * number + 1);
  peer.out.take();
  EXPECT_EQ(peer.session.open().error().code, Errc::exhausted);
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.hears(frame(0, new_stream)), "opened 0");  // the peer's are counted apart
  peer.session.reset(3);
  EXPECT_EQ(peer.session.open().value(), 2 * limits::streams_outbound + 1);
  EXPECT_EQ(peer.session.open().error().code, Errc::exhausted);
}

TEST(Mplex, CutsDataIntoFramesOfTheSizeThatSuitsPeers) {
  Peer peer;
  const StreamId own = peer.session.open().value();
  peer.out.take();
  EXPECT_EQ(peer.session.send(own, Bytes(2 * limits::mux_write + 1, 'x')), 2 * limits::mux_write + 1);
  const Bytes full = frame(0, message_initiator, std::string(limits::mux_write, 'x'));
  EXPECT_EQ(peer.out.take(), full + full + frame(0, message_initiator, "x"));
}

TEST(Mplex, SaysAnEndOnce) {
  Peer peer;
  const StreamId own = peer.session.open().value();
  peer.out.take();
  peer.session.close_write(own);
  peer.session.close_write(own);
  EXPECT_EQ(peer.out.take(), frame(0, close_initiator));
  EXPECT_EQ(peer.session.send(own, as_bytes("x")), 0U);
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.hears(frame(0, message_receiver, "still") + frame(0, close_receiver)), "data 1 still, finished 1");
  EXPECT_EQ(peer.session.open_streams(), 0U);
}

TEST(Mplex, IsCongestedByAStreamWhoseReaderFallsBehind) {
  Peer peer;
  peer.hears(frame(0, new_stream) + frame(1, new_stream));
  peer.hears(frame(0, message_initiator, std::string(limits::mplex_buffer, 'x')));
  EXPECT_EQ(peer.session.congested(), std::nullopt);
  peer.hears(frame(0, message_initiator, "x"));
  EXPECT_EQ(peer.session.congested(), theirs(0));
  peer.session.consumed(theirs(1), 1, Time());  // of no help
  peer.session.consumed(theirs(0), limits::mplex_buffer / 2, Time());
  EXPECT_EQ(peer.session.congested(), theirs(0));
  peer.session.consumed(theirs(0), 1, Time());
  EXPECT_EQ(peer.session.congested(), std::nullopt);
}

TEST(Mplex, IsCongestedByOneStreamAtATime) {
  Peer peer;
  peer.hears(frame(0, new_stream) + frame(1, new_stream));
  const std::string full(limits::mplex_frame, 'x');
  for (const std::uint64_t number : {0U, 1U}) peer.hears(frame(number, message_initiator, full) + frame(number, message_initiator, "x"));
  EXPECT_EQ(peer.session.congested(), theirs(0));
  peer.session.consumed(theirs(0), limits::mplex_frame, Time());
  peer.hears(frame(1, message_initiator, "x"));
  EXPECT_EQ(peer.session.congested(), theirs(1));
}

TEST(Mplex, IsNotCongestedByAStreamThatIsGone) {
  for (const auto& end : {frame(0, reset_initiator), Bytes()}) {
    Peer peer;
    peer.hears(frame(0, new_stream) + frame(0, message_initiator, std::string(limits::mplex_buffer, 'x')) +
               frame(0, message_initiator, "x"));
    EXPECT_EQ(peer.session.congested(), theirs(0));
    if (end.empty()) peer.session.reset(theirs(0));
    peer.hears(end);
    EXPECT_EQ(peer.session.congested(), std::nullopt);
  }
}

TEST(Mplex, HasNeitherPingsNorGoodbyes) {
  Peer peer;
  peer.session.ping(Time());
  peer.session.go_away();
  EXPECT_EQ(peer.out.take(), Bytes());
}

}  // namespace
}  // namespace p2p
