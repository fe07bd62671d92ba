#pragma once
// Signing and verifying messages on the loop, or on the worker pool when they are large enough to hold it up.

#include "network/agent.hpp"
#include "task/message.hpp"

namespace p2p {

/// As seal_message(). `keys` outlives the call.
Awaitable<Bytes> seal_on(const Environment& environment, const KeyPair& keys, MessageKind kind, std::string payload);
/// As open_message(). `from` is a stream's peer_key(). Throws malformed, unverified.
Awaitable<OpenedMessage> open_on(const Environment& environment, ByteView envelope, std::shared_ptr<const Verifier> from);
/// The payload of a message of the one kind that may come now. Throws unverified too for another.
Awaitable<Bytes> open_on(const Environment& environment, ByteView envelope, std::shared_ptr<const Verifier> from, MessageKind kind);

/// Answers on a stream of info_protocol: `info`, with who says it to whom and when filled in.
Awaitable<void> answer_info(Agent& agent, Stream stream, Info info);

}  // namespace p2p
