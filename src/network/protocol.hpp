#pragma once
// How messages travel on a stream: a uvarint length, then that many bytes.

#include "network/stream.hpp"

#include <optional>

namespace p2p {

/// The next message, or nothing when the peer finished instead of beginning one. Memory grows with what has arrived, not with what the
/// length claims. Throws too_large (a length above `limit`), malformed, closed (the end came within a message).
Awaitable<std::optional<Bytes>> read_frame(Stream& stream, std::size_t limit);

Awaitable<void> write_frame(Stream& stream, ByteView message);

}  // namespace p2p
