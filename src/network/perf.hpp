#pragma once
// libp2p's perf: how fast bytes go either way.
//
//   client   uint64, big-endian: bytes that it wants back ‖ as many bytes as it likes ‖ end of its side
//   server   reads to that end, then writes as many bytes as were asked for ‖ end of its side
//
// https://github.com/libp2p/specs/blob/master/perf/perf.md

#include "network/connection.hpp"

namespace p2p {

inline constexpr std::string_view perf_protocol = "/perf/1.0.0";

/// On a new stream of perf_protocol: sends `up` bytes, then takes `down` bytes. Returns when the peer has ended its side. Throws unverified
/// (another number of bytes came back), closed.
Awaitable<void> perf(Stream& stream, std::uint64_t up, std::uint64_t down);

/// Serves requests, one at a time whoever asks, each for limits::perf_time at most: they take all the bandwidth there is.
StreamHandler perf_handler();

}  // namespace p2p
