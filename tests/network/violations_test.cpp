// What a peer that has keys may not do to the muxer ends its own connection, with a reason; what is only useless ends nothing.

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "network/ping.hpp"
#include "support/each_muxer.hpp"
#include "support/raw_peer.hpp"

#include <gtest/gtest.h>
#include <deque>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

enum : std::uint8_t { data, window_update, ping_frame, go_away };
enum : std::uint16_t { syn = 1, ack = 2, fin = 4, rst = 8 };

Bytes yamux(std::uint8_t type, std::uint16_t flags, std::uint32_t stream, std::uint32_t length, std::uint8_t version = 0) {
  Bytes frame(12);
  frame[0] = version;
  frame[1] = type;
  store_u16(&frame[2], flags);
  store_u32(&frame[4], stream);
  store_u32(&frame[8], length);
  return frame;
}

enum : std::uint8_t { new_stream = 0, message = 2, close_stream = 4, reset_stream = 6, no_flag = 7 };

Bytes mplex(std::uint64_t stream, std::uint8_t flag, std::size_t length = 0) {
  Bytes frame;
  put_uvarint(frame, stream << 3 | flag);
  put_uvarint(frame, length);
  return frame;
}

template <class... Frames>
Bytes all(const Frames&... frames) {
  Bytes bytes;
  (append(bytes, frames), ...);
  return bytes;
}

Bytes repeated(const Bytes& frame, std::size_t times) {
  Bytes bytes;
  for (std::size_t i = 0; i < times; ++i) append(bytes, frame);
  return bytes;
}

struct Case {
  const char* name;
  std::string_view muxer;
  Bytes bytes;
  std::string_view reason;  // of the end; empty when the connection goes on
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class Violation : public testing::TestWithParam<Case> {};

TEST_P(Violation, EndsItsOwnConnectionAlone) {
  const Case& attack = GetParam();
  SimNetwork network;
  std::vector<std::string> reasons;
  AgentEvents events;
  events.disconnected = [&](const Connection& connection) { reasons.push_back(connection.reason()); };
  SimAgent listener(network, listening(), events);
  SimAgent honest(network, looking());
  RawPeer attacker(network, std::string(attack.muxer));
  network.run({&listener, &honest}, [&]() -> Awaitable<void> {
    const PeerId peer = (co_await honest.agent.connect(listener.agent.addresses()))->peer();
    Stream stream = co_await honest.agent.open_stream(peer, std::string(ping_protocol));
    co_await attacker.dial(listener.agent.addresses().front());
    co_await error_of(attacker.send_sealed(attack.bytes));  // it may be cut off in the middle
    co_await pause(network, milliseconds(500));
    if (attack.reason.empty()) {
      EXPECT_TRUE(reasons.empty()) << reasons.front();
    } else {
      EXPECT_EQ(reasons.size(), 1U);
      if (!reasons.empty()) {
        EXPECT_NE(reasons.front().find(attack.reason), std::string::npos) << reasons.front();
      }
    }
    co_await ping(stream, network.random());
    EXPECT_NE(honest.agent.connection_to(peer), nullptr);
  });
}

const std::vector<Case> yamux_cases{
    {"Version", yamux_protocol, yamux(data, syn, 1, 0, 1), "version"},
    {"Type", yamux_protocol, yamux(9, 0, 1, 0), "unknown type"},
    {"StreamZero", yamux_protocol, yamux(data, 0, 0, 1), "stream 0"},
    {"IdOfTheOtherSide", yamux_protocol, yamux(window_update, syn, 2, 0), "id of the other side"},
    {"OpenedTwice", yamux_protocol, all(yamux(window_update, syn, 1, 0), yamux(window_update, syn, 1, 0)), "opened twice"},
    {"DataAboveTheWindow", yamux_protocol, yamux(data, syn, 1, limits::yamux_initial_window + 1), "above the window"},
    {"DataBehindTheEnd", yamux_protocol, all(yamux(window_update, syn | fin, 1, 0), yamux(data, 0, 1, 1), Bytes(1)), "behind the end"},
    {"WindowAbove32Bits", yamux_protocol, yamux(window_update, syn, 1, UINT32_MAX), "window above 32 bits"},
    {"Goodbye", yamux_protocol, yamux(go_away, 0, 0, 0), "ended the yamux session"},
    {"EndsTwice", yamux_protocol, all(yamux(window_update, syn | fin, 1, 0), yamux(data, fin, 1, 0)), ""},
    {"ResetsOfUnknownStreams", yamux_protocol, all(yamux(data, rst, 77, 0), yamux(window_update, rst, 78, 0)), ""},
    {"DataOfUnknownStreams", yamux_protocol, all(yamux(data, 0, 77, 3), Bytes(3)), ""},
    {"EmptyFrames", yamux_protocol, all(yamux(window_update, syn, 1, 0), repeated(yamux(data, 0, 1, 0), 5000)), ""},
    {"StreamsByTheHundred", yamux_protocol,
     [] {
       Bytes bytes;
       for (std::uint32_t id = 1; id < 2000; id += 2) append(bytes, yamux(window_update, syn, id, 0));
       return bytes;
     }(),
     ""},
    {"StreamsThatAreResetAtOnce", yamux_protocol,
     [] {
       Bytes bytes;
       for (std::uint32_t id = 1; id < 4000; id += 2) append(bytes, all(yamux(window_update, syn, id, 0), yamux(data, rst, id, 0)));
       return bytes;
     }(),
     ""},
    {"OpenedAgainBehindAReset", yamux_protocol, repeated(all(yamux(window_update, syn, 1, 0), yamux(data, rst, 1, 0)), 2000), ""},
    {"StreamsByTheHundredThousandUnread", yamux_protocol,
     [] {
       Bytes bytes;
       for (std::uint32_t id = 1; id < 200'000; id += 2) append(bytes, yamux(window_update, syn, id, 0));
       return bytes;
     }(),
     "does not read them"},
    {"PingsByTheThousand", yamux_protocol, repeated(yamux(ping_frame, syn, 0, 7), 5000), ""},
    {"PingsByTheHundredThousandUnread", yamux_protocol, repeated(yamux(ping_frame, syn, 0, 7), 100'000), "does not read them"},
    {"PongsThatNobodyAskedFor", yamux_protocol, repeated(yamux(ping_frame, ack, 0, 7), 5000), ""},
};

const std::vector<Case> mplex_cases{
    {"Flag", mplex_protocol, mplex(0, no_flag), "unknown flag"},
    {"FrameAboveTheLimit", mplex_protocol, all(mplex(0, new_stream), mplex(0, message, limits::mplex_frame + 1)), "above its limit"},
    {"OpenedTwice", mplex_protocol, all(mplex(0, new_stream), mplex(0, new_stream)), "opened twice"},
    {"DataBehindTheEnd", mplex_protocol, all(mplex(0, new_stream), mplex(0, close_stream), mplex(0, message, 1), Bytes(1)),
     "behind the end"},
    {"NumberWithoutEnd", mplex_protocol, Bytes(16, 0xff), "varint"},
    {"EndsTwice", mplex_protocol, all(mplex(0, new_stream), mplex(0, close_stream), mplex(0, close_stream)), ""},
    {"ResetsOfUnknownStreams", mplex_protocol, all(mplex(77, reset_stream), mplex(77, reset_stream - 1)), ""},
    {"DataOfUnknownStreams", mplex_protocol, all(mplex(77, message, 3), Bytes(3)), ""},
    {"EmptyFrames", mplex_protocol, all(mplex(0, new_stream), repeated(mplex(0, message), 5000)), ""},
    {"StreamsByTheHundred", mplex_protocol,
     [] {
       Bytes bytes;
       for (std::uint64_t id = 0; id < 1000; ++id) append(bytes, mplex(id, new_stream));
       return bytes;
     }(),
     ""},
    {"StreamsThatAreResetAtOnce", mplex_protocol,
     [] {
       Bytes bytes;
       for (std::uint64_t id = 0; id < 2000; ++id) append(bytes, all(mplex(id, new_stream), mplex(id, reset_stream)));
       return bytes;
     }(),
     ""},
    {"OpenedAgainBehindAReset", mplex_protocol, repeated(all(mplex(0, new_stream), mplex(0, reset_stream)), 2000), ""},
};

const auto name_of_case = [](const testing::TestParamInfo<Case>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Yamux, Violation, testing::ValuesIn(yamux_cases), name_of_case);
INSTANTIATE_TEST_SUITE_P(Mplex, Violation, testing::ValuesIn(mplex_cases), name_of_case);

// A peer may take an id again once its stream has ended, and whoever still holds that one has nothing to do with the next.
class IdsUsedAgain : public testing::TestWithParam<std::string> {
 protected:
  Bytes opened() const { return over_yamux() ? yamux(window_update, syn, 1, 0) : mplex(0, new_stream); }
  Bytes finished() const { return over_yamux() ? yamux(data, fin, 1, 0) : mplex(0, close_stream); }
  Bytes was_reset() const { return over_yamux() ? yamux(data, rst, 1, 0) : mplex(0, reset_stream); }
  Bytes said(std::string_view text) const {
    const Bytes frame = over_yamux() ? yamux(data, 0, 1, static_cast<std::uint32_t>(text.size())) : mplex(0, message, text.size());
    return all(frame, as_bytes(text));
  }

 private:
  static bool over_yamux() { return GetParam() == yamux_protocol; }
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, IdsUsedAgain, each_muxer, name_of_muxer);

TEST_P(IdsUsedAgain, CarryNothingOfTheStreamBefore) {
  const std::string protocol = "/test/held/1.0.0";
  const Bytes output = multistream::Dialer({protocol}).take_output();
  const std::string proposal(as_text(output));
  for (const bool by_reset : {false, true}) {
    const std::deque<std::string> expected{by_reset ? "older" : "older, end", "newer, end"};
    SimNetwork network;
    Latch released(network.loop());
    std::deque<std::string> heard;
    std::string reason;
    SimAgent listener(network, listening(), {{}, {}, {}, [&](const Connection& connection) { reason = connection.reason(); }});
    listener.agent.handle(protocol, [&](Stream stream) -> Awaitable<void> {
      Stream held = std::move(stream);
      std::string& text = heard.emplace_back();
      held.close_write();
      if (heard.size() == 1) co_await released.wait();
      while (true) {
        const ByteView bytes = co_await held.read();
        if (bytes.empty()) break;
        text += as_text(bytes);
      }
      text += ", end";
    });
    RawPeer peer(network, GetParam());
    network.run({&listener}, [&]() -> Awaitable<void> {
      co_await peer.dial(listener.agent.addresses().front());
      co_await peer.send_sealed(all(opened(), said(proposal), said("old")));
      co_await pause(network, milliseconds(10));
      // The first stream is not read yet when it ends, and not given up when the second has begun.
      const Bytes ending = by_reset ? was_reset() : finished();
      co_await peer.send_sealed(all(said("er"), ending, said("late"), opened(), said(proposal), said("new")));
      co_await pause(network, milliseconds(10));
      released.open();
      co_await pause(network, milliseconds(10));
      co_await peer.send_sealed(all(said("er"), finished()));
      co_await pause(network, milliseconds(10));
      EXPECT_EQ(heard, expected);
      EXPECT_EQ(reason, "");
    });
  }
}

}  // namespace
}  // namespace p2p::test
