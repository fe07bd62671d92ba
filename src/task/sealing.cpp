#include "task/sealing.hpp"

#include "base/limits.hpp"

namespace p2p {

Awaitable<Bytes> seal_on(const Environment& environment, const KeyPair& keys, MessageKind kind, std::string payload) {
  if (payload.size() < limits::pool_threshold) co_return seal_message(keys, kind, payload);
  Bytes envelope;
  co_await environment.pool.run([&] { envelope = seal_message(keys, kind, payload); });
  co_return envelope;
}

Awaitable<OpenedMessage> open_on(const Environment& environment, ByteView envelope, PeerId from) {
  if (envelope.size() < limits::pool_threshold) co_return open_message(envelope, from).value();
  std::optional<OpenedMessage> message;
  co_await environment.pool.run([&] { message = open_message(envelope, from).value(); });
  co_return *std::move(message);
}

Awaitable<Bytes> open_on(const Environment& environment, ByteView envelope, PeerId from, MessageKind kind) {
  OpenedMessage message = co_await open_on(environment, envelope, from);
  if (message.kind != kind) fail(Errc::unverified, "a signed message of another kind than may come now");
  co_return std::move(message.payload);
}

}  // namespace p2p
