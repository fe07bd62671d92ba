#pragma once
// What the fuzz targets of both muxers share: raw bytes are read by a session with streams open.

#include "../tests/support/mux_session.hpp"
#include "require.hpp"

#include <utility>

namespace p2p::fuzz {

/// What a session hears and answers does not depend on how its input is cut, and it answers with no more bytes than it got, but for a
/// goodbye.
inline void mux_input(std::string_view protocol, MuxSession::Role role, ByteView input) {
  const auto outcome = [&](std::size_t piece) {
    test::Collected out;
    const auto session = make_mux_session(protocol, role, out);
    session->send(session->open().value(), as_bytes("hello"));
    session->close_write(session->open().value());
    session->reset(session->open().value());
    session->ping(Time(std::chrono::seconds(1)));
    out.take();
    std::string heard = test::hear(*session, input, [piece] { return piece; });
    return std::pair(std::move(heard), out.take());
  };
  const auto whole = outcome(test::in_one_piece);
  require(whole == outcome(1));
  require(whole.second.size() <= input.size() + 12);
}

}  // namespace p2p::fuzz
