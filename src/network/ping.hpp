#pragma once
// Ping: 32 random bytes there and back, as often as one likes on one stream.
// https://github.com/libp2p/specs/blob/master/ping/ping.md

#include "network/connection.hpp"

namespace p2p {

inline constexpr std::string_view ping_protocol = "/ipfs/ping/1.0.0";
inline constexpr std::size_t ping_size = 32;

/// One round trip on a stream of ping_protocol. Throws timed_out (limits::ping_wait), unverified (other bytes came back), closed.
Awaitable<Duration> ping(Stream& stream, Random& random);

/// Echoes until the peer closes.
Awaitable<void> serve_ping(Stream stream);

}  // namespace p2p
