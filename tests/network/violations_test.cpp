// What a peer that has keys may not do to the muxer ends its own connection, with a reason; what is only useless ends nothing.

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "network/ping.hpp"
#include "support/raw_peer.hpp"

#include <gtest/gtest.h>

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
    {"StreamsByTheHundredThousandUnread", yamux_protocol,
     [] {
       Bytes bytes;
       for (std::uint32_t id = 1; id < 200'000; id += 2) append(bytes, yamux(window_update, syn, id, 0));
       return bytes;
     }(),
     "does not read them"},
    {"PingsByTheThousand", yamux_protocol, repeated(yamux(ping_frame, syn, 0, 7), 5000), ""},
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
};

const auto name_of_case = [](const testing::TestParamInfo<Case>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Yamux, Violation, testing::ValuesIn(yamux_cases), name_of_case);
INSTANTIATE_TEST_SUITE_P(Mplex, Violation, testing::ValuesIn(mplex_cases), name_of_case);

}  // namespace
}  // namespace p2p::test
