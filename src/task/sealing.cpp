#include "task/sealing.hpp"

#include "base/limits.hpp"
#include "network/protocol.hpp"

namespace p2p {

Awaitable<Bytes> seal_on(const Environment& environment, const KeyPair& keys, MessageKind kind, std::string payload) {
  if (payload.size() < limits::pool_threshold) co_return seal_message(keys, kind, payload);
  Bytes envelope;
  co_await environment.pool.run([&] { envelope = seal_message(keys, kind, payload); });
  co_return envelope;
}

Awaitable<OpenedMessage> open_on(const Environment& environment, ByteView envelope, std::shared_ptr<const Verifier> from) {
  if (envelope.size() < limits::pool_threshold) co_return open_message(envelope, *from).value();
  std::optional<OpenedMessage> message;
  co_await environment.pool.run([&] { message = open_message(envelope, *from).value(); });
  co_return *std::move(message);
}

Awaitable<Bytes> open_on(const Environment& environment, ByteView envelope, std::shared_ptr<const Verifier> from, MessageKind kind) {
  OpenedMessage message = co_await open_on(environment, envelope, std::move(from));
  if (message.kind != kind) fail(Errc::unverified, "a signed message of another kind than may come now");
  co_return std::move(message.payload);
}

Awaitable<void> answer_info(Agent& agent, Stream stream, Info info) {
  info.agent = agent_version;
  info.timestamp = format_timestamp(agent.environment().clock.date());
  info.recipient = stream.peer().text();
  const Bytes envelope = co_await seal_on(agent.environment(), agent.identity(), MessageKind::info, info.to_json());
  co_await write_frame(stream, envelope);
  co_await stream.finish(limits::close_wait);
}

}  // namespace p2p
