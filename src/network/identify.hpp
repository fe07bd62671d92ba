#pragma once
// Identify on a stream: who asks opens it and reads; who is asked writes and closes.

#include "network/connection.hpp"
#include "wire/identify.hpp"

namespace p2p {

/// Reads the answer on a stream of identify_protocol, or what is pushed on one of identify_push_protocol, into `known`. Throws timed_out,
/// malformed, too_large, closed, unverified (it names another key than the connection's).
Awaitable<void> receive_identify(Stream& stream, Identify& known);

/// Answers on a stream of identify_protocol.
Awaitable<void> answer_identify(Stream stream, const Identify& own);

}  // namespace p2p
