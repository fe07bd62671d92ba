#include "wire/yamux.hpp"

#include "base/coding.hpp"
#include "support/hex.hpp"
#include "support/mux_session.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::hear;
using test::hex;

constexpr Time start{std::chrono::hours(1)};
constexpr std::chrono::milliseconds rtt{10};

enum Type : std::uint8_t { data, window_update, ping, go_away };
enum Flag : std::uint16_t { none = 0, syn = 1, ack = 2, fin = 4, rst = 8 };

Bytes frame(std::uint8_t type, unsigned flags, std::uint32_t stream, std::uint32_t length, std::uint8_t version = 0) {
  Bytes bytes(12);
  bytes[0] = version;
  bytes[1] = type;
  store_u16(&bytes[2], static_cast<std::uint16_t>(flags));
  store_u32(&bytes[4], stream);
  store_u32(&bytes[8], length);
  return bytes;
}

Bytes data_frame(unsigned flags, std::uint32_t stream, std::string_view body) {
  Bytes bytes = frame(data, flags, stream, static_cast<std::uint32_t>(body.size()));
  append(bytes, as_bytes(body));
  return bytes;
}

Bytes data_frame(unsigned flags, std::uint32_t stream, std::size_t size) { return data_frame(flags, stream, std::string(size, 'x')); }

Bytes operator+(Bytes a, const Bytes& b) {
  append(a, b);
  return a;
}

// A session and what it wrote. Being the listener, it numbers its own streams 2, 4, … and its peer's 1, 3, ….
struct Listener {
  test::Collected out;
  YamuxSession session{MuxSession::Role::listener, out};

  std::string hears(const Bytes& input) { return hear(session, input); }
  /// The same, for tests that are not about what was answered.
  std::string hears_only(const Bytes& input) {
    std::string heard = hears(input);
    out.take();
    return heard;
  }
};

const std::string goodbye_for_an_error = to_hex(frame(go_away, none, 0, 1));

TEST(Yamux, ReadsTheFramesOfOtherImplementations) {
  Listener peer;
  EXPECT_EQ(peer.session.open().value(), 2U);
  peer.out.take();
  EXPECT_EQ(peer.hears(hex("00000001000000010000000568656c6c6f")), "opened 1, data 1 hello");
  EXPECT_EQ(peer.out.take_hex(), "000100020000000100000000");  // the stream is acknowledged at once
  EXPECT_EQ(peer.hears(hex("000000000000000100000005776f726c64")), "data 1 world");
  EXPECT_EQ(peer.hears(hex("000100000000000100040000")), "writable 1");
  EXPECT_EQ(peer.hears(hex("000100020000000200000000")), "");
  EXPECT_EQ(peer.hears(hex("000000060000000200000000")), "finished 2");
  EXPECT_EQ(peer.hears(hex("000000040000000100000000")), "finished 1");                                  // rust
  EXPECT_EQ(peer.hears(hex("000100010000000300000000")), "opened 3");                                    // go and js
  EXPECT_EQ(peer.hears(hex("000100040000000300000000")), "finished 3");                                  // go and js
  EXPECT_EQ(peer.hears(hex("000000010000000500000000 000000080000000500000000")), "opened 5, reset 5");  // rust
  EXPECT_EQ(peer.hears(hex("000100010000000700000000 000100080000000700001001")), "opened 7, reset 7");  // go, with its error code
  EXPECT_EQ(peer.hears(hex("000000010000000900000026132f6d756c746973747265616d2f312e302e300a112f697066732f70696e672f312e302e300a")),
            "opened 9, data 9 \x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n");
  peer.out.take();
  EXPECT_EQ(peer.hears(hex("00020001000000000000002a")), "");
  EXPECT_EQ(peer.out.take_hex(), "00020002000000000000002a");
  EXPECT_EQ(peer.session.open_streams(), 4U);  // 1, 2, 3 and 9, whose other direction is open
}

TEST(Yamux, WritesTheFramesThatOtherImplementationsRead) {
  test::Collected out;
  YamuxSession session(MuxSession::Role::dialer, out);
  EXPECT_EQ(session.open().value(), 1U);
  EXPECT_EQ(out.take_hex(), "000100010000000100000000");
  EXPECT_EQ(session.send(1, as_bytes("world")), 5U);
  EXPECT_EQ(out.take_hex(), "000000000000000100000005776f726c64");
  session.close_write(1);
  EXPECT_EQ(out.take_hex(), "000000040000000100000000");
  session.reset(1);
  EXPECT_EQ(out.take_hex(), "000000080000000100000000");
  session.ping(start);
  EXPECT_EQ(out.take_hex(), "000200010000000000000001");
  session.go_away();
  EXPECT_EQ(out.take_hex(), "000300000000000000000000");
}

TEST(Yamux, DeliversTheBodyBeforeTheEndThatItsFrameTells) {
  Listener peer;
  EXPECT_EQ(peer.hears(data_frame(syn | fin, 1, "all")), "opened 1, data 1 all, finished 1");
  EXPECT_EQ(peer.hears(data_frame(syn, 3, "a") + data_frame(rst, 3, "b")), "opened 3, data 3 ab, reset 3");
  EXPECT_EQ(peer.hears(data_frame(syn | fin, 5, "") + data_frame(rst, 5, "")), "opened 5, finished 5, reset 5");
  EXPECT_EQ(peer.hears(data_frame(syn | rst, 7, "x")), "");
  EXPECT_EQ(peer.hears(frame(window_update, syn, 9, 1000)), "opened 9, writable 9");
  EXPECT_EQ(peer.session.open_streams(), 2U);
}

TEST(Yamux, TellsTheSameHoweverTheInputIsSplit) {
  const Bytes input = data_frame(syn, 1, "hello") + frame(window_update, none, 1, 7) + frame(ping, syn, 0, 9) +
                      data_frame(syn | fin, 3, "x") + data_frame(none, 5, "unknown") + data_frame(none, 1, 3000) +
                      frame(window_update, syn, 5, 0) + data_frame(fin, 1, "end") + frame(window_update, rst, 5, 2) +
                      data_frame(none, 5, "late") + frame(data, 0, 0, 0);
  Listener whole;
  const std::string heard = whole.hears(input);
  EXPECT_TRUE(heard.ends_with("reset 5, malformed")) << heard;
  const Bytes said = whole.out.take();
  Listener bytewise;
  EXPECT_EQ(hear(bytewise.session, input, [] { return 1U; }), heard);
  EXPECT_EQ(bytewise.out.take(), said);
  test::SeededRandom random;
  for (int round = 0; round < 200; ++round) {
    Listener split;
    EXPECT_EQ(hear(split.session, input, [&random] { return 1 + random.below(40); }), heard);
    EXPECT_EQ(split.out.take(), said);
  }
}

TEST(Yamux, WaitsForTheRestOfAHeader) {
  const Bytes header = frame(window_update, syn, 1, 0);
  for (std::size_t size = 0; size < header.size(); ++size) {
    Listener peer;
    ByteView in = ByteView(header).first(size);
    const auto event = peer.session.next(in);
    ASSERT_TRUE(event.has_value());
    EXPECT_FALSE(event->has_value());
    EXPECT_EQ(in.size(), size) << "an incomplete header is the caller's to keep";
  }
}

TEST(Yamux, EndsTheSessionWithAGoodbyeWhenTheProtocolIsBroken) {
  const Bytes begin = data_frame(syn, 1, "hello");
  const struct {
    const char* what;
    Bytes input;
  } cases[] = {
      {"another version", frame(data, syn, 3, 0, 1)},
      {"an unknown type", frame(4, none, 1, 0)},
      {"data on stream 0", frame(data, none, 0, 0)},
      {"a window update on stream 0", frame(window_update, syn, 0, 0)},
      {"a stream with a number of ours", frame(window_update, syn, 2, 0)},
      {"a stream with a number of ours, by data", frame(data, syn, 4, 0)},
      {"a stream opened twice", frame(window_update, syn, 1, 0)},
      {"a stream opened twice, by data", frame(data, syn, 1, 0)},
      {"data above the window", frame(data, none, 1, limits::yamux_initial_window - 5 + 1)},
      {"data above the window of a new stream", frame(data, syn, 3, limits::yamux_initial_window + 1)},
      {"data above the window that a small frame has used",
       data_frame(none, 1, limits::yamux_initial_window - 5) + frame(data, none, 1, 1)},
      {"a window above 32 bits", frame(window_update, none, 1, UINT32_MAX - limits::yamux_initial_window + 1)},
      {"a window above 32 bits by two updates", frame(window_update, none, 1, 1U << 31) + frame(window_update, none, 1, 1U << 31)},
      {"data behind the end", data_frame(fin, 1, "") + data_frame(none, 1, "x")},
      {"data behind the end that a body's frame told", data_frame(fin, 1, "x") + data_frame(fin, 1, "x")},
      {"data above any window on a stream that is gone", frame(data, none, 99, limits::yamux_max_window + 1)},
  };
  for (const auto& broken : cases) {
    Listener peer;
    ASSERT_EQ(peer.hears_only(begin), "opened 1, data 1 hello");
    const std::string heard = peer.hears(broken.input);
    EXPECT_TRUE(heard.ends_with("malformed")) << broken.what << ": " << heard.substr(0, 100);
    EXPECT_TRUE(peer.out.take_hex().ends_with(goodbye_for_an_error)) << broken.what;
  }
}

TEST(Yamux, RefusesNumbersOfTheDialerAtTheDialer) {
  test::Collected out;
  YamuxSession session(MuxSession::Role::dialer, out);
  EXPECT_EQ(hear(session, frame(window_update, syn, 2, 0)), "opened 2");
  out.take();
  EXPECT_EQ(hear(session, frame(window_update, syn, 3, 0)), "malformed");
  EXPECT_EQ(out.take_hex(), goodbye_for_an_error);
}

TEST(Yamux, AcceptsWhatIsJustAllowed) {
  Listener peer;
  peer.hears_only(frame(window_update, syn, 1, 0));
  EXPECT_EQ(peer.hears(frame(window_update, none, 1, UINT32_MAX - limits::yamux_initial_window)), "writable 1");
  EXPECT_EQ(peer.hears(data_frame(none, 1, limits::yamux_initial_window)).size(),
            std::string("data 1 ").size() + limits::yamux_initial_window);
  EXPECT_EQ(peer.hears(data_frame(fin, 1, "") + data_frame(none, 1, "") + data_frame(fin, 1, "")), "finished 1");
  EXPECT_EQ(peer.hears(data_frame(none, 99, limits::yamux_max_window)), "");
  EXPECT_EQ(peer.out.take(), Bytes());
}

TEST(Yamux, TakesAGoodbyeAsTheEnd) {
  for (const std::uint32_t code : {0U, 1U, 2U}) {
    Listener peer;
    peer.hears_only(data_frame(syn, 1, "hello"));
    EXPECT_EQ(peer.hears(frame(go_away, none, 0, code) + data_frame(none, 1, "late")), "closed");
    EXPECT_EQ(peer.out.take(), Bytes());
  }
}

TEST(Yamux, SkipsFramesOfStreamsThatAreGone) {
  Listener peer;
  peer.hears_only(data_frame(syn, 1, "hello"));
  peer.session.reset(1);
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(data, rst, 1, 0)));
  EXPECT_EQ(
      peer.hears(data_frame(none, 1, 1000) + frame(window_update, none, 1, UINT32_MAX) + data_frame(fin, 1, "x") + data_frame(rst, 1, "")),
      "");
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.session.send(1, as_bytes("x")), 0U);
  peer.session.close_write(1);
  peer.session.reset(1);
  peer.session.consumed(1, 5, start);
  EXPECT_EQ(peer.out.take(), Bytes());
}

// Whichever way its stream has ended, what comes late for it is skipped, and a peer that takes its id again begins another one.
TEST(Yamux, KeepsNothingOfAStreamThatHasEndedForTheNextOneOfItsId) {
  const struct {
    const char* what;
    void (*end)(Listener&);
  } endings[] = {
      {"both sides, this one last",
       [](Listener& peer) {
         EXPECT_EQ(peer.hears(data_frame(fin, 1, "")), "finished 1");
         peer.session.close_write(1);
       }},
      {"both sides, the other one last",
       [](Listener& peer) {
         peer.session.close_write(1);
         EXPECT_EQ(peer.hears(data_frame(fin, 1, "")), "finished 1");
       }},
      {"a reset of the other side", [](Listener& peer) { EXPECT_EQ(peer.hears(data_frame(rst, 1, "")), "reset 1"); }},
      {"a reset of this side", [](Listener& peer) { peer.session.reset(1); }},
  };
  constexpr std::uint32_t window = limits::yamux_initial_window;
  for (const auto& ending : endings) {
    SCOPED_TRACE(ending.what);
    Listener peer;
    // Both windows are used up, and the reader is a byte away from giving credit.
    peer.hears_only(data_frame(syn, 1, window));
    EXPECT_EQ(peer.session.send(1, Bytes(window)), window);
    peer.session.consumed(1, window / 2 - 1, start);
    ending.end(peer);
    peer.out.take();
    EXPECT_EQ(peer.session.open_streams(), 0U);
    EXPECT_EQ(peer.hears(data_frame(none, 1, "late") + frame(window_update, none, 1, 1000) + data_frame(fin, 1, "late") +
                         data_frame(rst, 1, "late")),
              "");
    EXPECT_EQ(peer.out.take(), Bytes());
    EXPECT_EQ(peer.hears(frame(window_update, syn, 1, 0)), "opened 1");
    EXPECT_EQ(peer.out.take(), frame(window_update, ack, 1, 0));
    EXPECT_EQ(peer.session.open_streams(), 1U);
    peer.session.consumed(1, 1, start);
    EXPECT_EQ(peer.out.take(), Bytes());
    EXPECT_EQ(peer.session.send(1, Bytes(window + 1)), window);
    peer.out.take();
    EXPECT_EQ(peer.hears(data_frame(none, 1, "new")), "data 1 new");
    EXPECT_EQ(peer.hears(data_frame(none, 1, window - 3)).size(), std::string("data 1 ").size() + window - 3);
    peer.session.close_write(1);
    EXPECT_EQ(peer.out.take(), frame(data, fin, 1, 0));
    EXPECT_EQ(peer.hears(data_frame(fin, 1, "")), "finished 1");
    EXPECT_EQ(peer.session.open_streams(), 0U);
    EXPECT_EQ(peer.hears(frame(window_update, syn, 1, 0) + frame(data, none, 1, window + 1)), "opened 1, malformed");
  }
}

TEST(Yamux, TellsStreamsOfOneIdOneAfterAnother) {
  const Bytes input = data_frame(fin, 1, "old") + data_frame(none, 1, "late") + data_frame(syn, 1, "new") + data_frame(rst, 1, "er") +
                      data_frame(syn | fin, 1, "last");
  for (const std::size_t piece : {test::in_one_piece, std::size_t{1}}) {
    Listener peer;
    peer.hears_only(frame(window_update, syn, 1, 0));
    peer.session.close_write(1);
    EXPECT_EQ(hear(peer.session, input, [piece] { return piece; }),
              "data 1 old, finished 1, opened 1, data 1 newer, reset 1, opened 1, data 1 last, finished 1");
    EXPECT_EQ(peer.session.open_streams(), 1U);
  }
}

TEST(Yamux, SkipsTheRestOfABodyWhoseStreamIsResetMeanwhile) {
  for (const Flag flag : {none, fin, rst}) {
    Listener peer;
    peer.hears_only(frame(window_update, syn, 1, 0));
    const Bytes input = data_frame(flag, 1, "hello");
    EXPECT_EQ(peer.hears(Bytes(input.begin(), input.end() - 2)), "data 1 hel");
    peer.session.reset(1);
    EXPECT_EQ(peer.hears(Bytes(input.end() - 2, input.end()) + data_frame(syn, 3, "next")), "opened 3, data 3 next");
  }
}

TEST(Yamux, TellsNoResetOfAStreamThatTheSameFrameEnded) {
  Listener peer;
  peer.hears_only(frame(window_update, syn, 1, 0));
  peer.session.close_write(1);
  EXPECT_EQ(peer.hears(data_frame(fin | rst, 1, "x") + frame(window_update, syn, 3, 0)), "data 1 x, finished 1, opened 3");
}

TEST(Yamux, AnswersPingsAndIgnoresPongsNobodyAskedFor) {
  Listener peer;
  EXPECT_EQ(peer.hears(frame(ping, syn, 0, UINT32_MAX)), "");
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(ping, ack, 0, UINT32_MAX)));
  EXPECT_EQ(peer.hears(frame(ping, ack, 0, 0) + frame(ping, ack, 0, 1)), "");
  peer.session.ping(start);
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(ping, syn, 0, 1)));
  EXPECT_EQ(peer.hears(frame(ping, ack, 0, 2)), "");
  EXPECT_TRUE(peer.hears(frame(ping, ack, 0, 1)).starts_with("pong"));
  peer.session.pong(start + rtt);
  EXPECT_EQ(peer.hears(frame(ping, ack, 0, 1)), "");
}

TEST(Yamux, ResetsStreamsThatThePeerOpensBeyondTheLimit) {
  Listener peer;
  for (std::uint32_t i = 0; i < limits::streams_inbound; ++i) {
    EXPECT_EQ(peer.hears_only(frame(window_update, syn, 2 * i + 1, 0)), "opened " + std::to_string(2 * i + 1));
  }
  EXPECT_EQ(peer.hears(data_frame(syn, 601, "hello") + data_frame(none, 601, "still")), "");
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(window_update, rst, 601, 0)));
  EXPECT_EQ(peer.session.open_streams(), limits::streams_inbound);
  EXPECT_TRUE(peer.session.open().has_value());  // our own are counted apart
  peer.out.take();
  // Room again once one has ended, in whatever way.
  EXPECT_EQ(peer.hears(frame(window_update, rst, 1, 0) + frame(window_update, syn, 603, 0)), "reset 1, opened 603");
  peer.session.reset(3);
  EXPECT_EQ(peer.hears(frame(window_update, syn, 605, 0)), "opened 605");
  peer.session.close_write(5);
  EXPECT_EQ(peer.hears(frame(window_update, fin, 5, 0) + frame(window_update, syn, 607, 0)), "finished 5, opened 607");
}

TEST(Yamux, OpensNoMoreStreamsThanTheLimit) {
  Listener peer;
  for (std::uint32_t i = 0; i < limits::streams_outbound; ++i) EXPECT_EQ(peer.session.open().value(), 2 * i + 2);
  peer.out.take();
  EXPECT_EQ(peer.session.open().error().code, Errc::exhausted);
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.hears(frame(window_update, syn, 1, 0)), "opened 1");  // the peer's are counted apart
  peer.session.reset(4);
  EXPECT_EQ(peer.session.open().value(), 2 * limits::streams_outbound + 2);
  EXPECT_EQ(peer.session.open().error().code, Errc::exhausted);
}

TEST(Yamux, SendsNoFurtherThanTheWindow) {
  Listener peer;
  const StreamId stream = peer.session.open().value();
  peer.out.take();
  const Bytes bytes(limits::yamux_initial_window + 1, 'x');
  EXPECT_EQ(peer.session.send(stream, bytes), limits::yamux_initial_window);
  EXPECT_EQ(peer.session.send(stream, bytes), 0U);
  peer.out.take();
  EXPECT_EQ(peer.hears(frame(window_update, none, 2, 3)), "writable 2");
  EXPECT_EQ(peer.session.send(stream, as_bytes("hello")), 3U);
  EXPECT_EQ(peer.out.take_hex(), to_hex(data_frame(none, 2, "hel")));
  EXPECT_EQ(peer.hears(frame(window_update, none, 2, 0)), "");
}

TEST(Yamux, CutsDataIntoFramesOfTheSizeThatSuitsPeers) {
  Listener peer;
  const StreamId stream = peer.session.open().value();
  peer.out.take();
  peer.session.send(stream, Bytes(2 * limits::mux_write + 1, 'x'));
  EXPECT_EQ(peer.out.take(), data_frame(none, 2, limits::mux_write) + data_frame(none, 2, limits::mux_write) + data_frame(none, 2, "x"));
}

TEST(Yamux, SaysAnEndOnce) {
  Listener peer;
  peer.hears_only(frame(window_update, syn, 1, 0));
  peer.session.close_write(1);
  peer.session.close_write(1);
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(data, fin, 1, 0)));
  EXPECT_EQ(peer.session.send(1, as_bytes("x")), 0U);
  EXPECT_EQ(peer.out.take(), Bytes());
  EXPECT_EQ(peer.session.open_streams(), 1U);
  EXPECT_EQ(peer.hears(data_frame(none, 1, "still") + data_frame(fin, 1, "")), "data 1 still, finished 1");
  EXPECT_EQ(peer.session.open_streams(), 0U);
}

TEST(Yamux, GivesCreditForWhatWasConsumedFromHalfAWindowOn) {
  Listener peer;
  peer.hears_only(data_frame(syn, 1, limits::yamux_initial_window));
  const std::size_t half = limits::yamux_initial_window / 2;
  peer.session.consumed(1, half - 1, start);
  EXPECT_EQ(peer.out.take(), Bytes());
  peer.session.consumed(1, 1, start);
  EXPECT_EQ(peer.out.take_hex(), to_hex(frame(window_update, none, 1, half)));
  EXPECT_EQ(peer.hears(data_frame(none, 1, half)).size(), std::string("data 1 ").size() + half);
  EXPECT_EQ(peer.hears(frame(data, none, 1, 1)), "malformed");
}

TEST(Yamux, GivesNoCreditForAStreamThatEnded) {
  Listener peer;
  peer.hears_only(data_frame(syn | fin, 1, limits::yamux_initial_window));
  peer.session.consumed(1, limits::yamux_initial_window, start);
  EXPECT_EQ(peer.out.take(), Bytes());
}

// A session that knows its round trip time, and a stream whose reader keeps up.
struct FastReader : Listener {
  Time now = start;

  FastReader() {
    session.ping(now);
    now += rtt;
    hears(frame(ping, ack, 0, 1));
    session.pong(now);
    out.take();
  }

  /// Lets the reader take half of `window`, `pause` after it took the last half, and returns the credit given.
  std::uint32_t takes_half(std::uint32_t id, std::uint32_t window, Duration pause) {
    now += pause;
    hears(data_frame(none, id, window / 2));
    session.consumed(id, window / 2, now);
    const Bytes said = out.take();
    EXPECT_EQ(to_hex(ByteView(said).first(8)), to_hex(ByteView(frame(window_update, none, id, 0)).first(8)));
    return load_u32(&said[8]);
  }

  /// Opens a stream and takes from it until its window does not grow any more; returns the window.
  std::uint32_t grows_to(std::uint32_t id) {
    hears_only(frame(window_update, syn, id, 0));
    std::uint32_t window = limits::yamux_initial_window;
    takes_half(id, window, rtt);
    while (true) {
      const std::uint32_t grown = takes_half(id, window, rtt) - window / 2;
      if (grown == 0) return window;
      window += grown;
    }
  }
};

TEST(Yamux, DoublesTheWindowOfAReaderWhomItSlows) {
  FastReader reader;
  reader.hears_only(frame(window_update, syn, 1, 0));
  std::uint32_t window = limits::yamux_initial_window;
  reader.takes_half(1, window, rtt);
  EXPECT_EQ(reader.takes_half(1, window, 4 * rtt), window / 2) << "four round trips are not fast";
  EXPECT_EQ(reader.takes_half(1, window, 4 * rtt - std::chrono::nanoseconds(1)), window / 2 + window);
  window *= 2;
  EXPECT_EQ(reader.hears(data_frame(none, 1, window) + frame(data, none, 1, 1)).size(), std::string("data 1 , malformed").size() + window);
}

TEST(Yamux, KeepsTheWindowWhileNoRoundTripTimeIsKnown) {
  Listener peer;
  peer.hears_only(frame(window_update, syn, 1, 0));
  const std::uint32_t half = limits::yamux_initial_window / 2;
  for (int i = 0; i < 4; ++i) {
    peer.hears(data_frame(none, 1, half));
    peer.session.consumed(1, half, start);
    EXPECT_EQ(peer.out.take_hex(), to_hex(frame(window_update, none, 1, half)));
  }
}

TEST(Yamux, LetsAWindowGrowToItsLimitAndAllOfThemToTheConnections) {
  FastReader reader;
  const std::uint32_t extra = limits::yamux_max_window - limits::yamux_initial_window;
  std::size_t left = limits::connection_window;
  std::uint32_t id = 1;
  for (; left >= extra; left -= extra, id += 2) EXPECT_EQ(reader.grows_to(id), limits::yamux_max_window);
  EXPECT_EQ(reader.grows_to(id), limits::yamux_initial_window + left);
  EXPECT_EQ(reader.grows_to(id + 2), limits::yamux_initial_window);
  // A stream that ends gives its share back.
  reader.session.reset(1);
  reader.out.take();
  EXPECT_EQ(reader.grows_to(id + 4), limits::yamux_max_window);
}

TEST(Yamux, GivesAStreamNotTheWindowThatTheOneBeforeOfItsIdGrewTo) {
  FastReader reader;
  EXPECT_EQ(reader.grows_to(1), limits::yamux_max_window);
  EXPECT_EQ(reader.hears(data_frame(rst, 1, "") + frame(window_update, syn, 1, 0)), "reset 1, opened 1");
  EXPECT_EQ(reader.hears(frame(data, none, 1, limits::yamux_initial_window + 1)), "malformed");
}

}  // namespace
}  // namespace p2p
