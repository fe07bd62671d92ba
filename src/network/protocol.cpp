#include "network/protocol.hpp"

#include "base/coding.hpp"

#include <algorithm>

namespace p2p {

Awaitable<std::optional<Bytes>> read_frame(Stream& stream, std::size_t limit) {
  Bytes prefix;
  std::optional<Uvarint> length;
  ByteView arrived;
  while (!length) {
    arrived = co_await stream.read();
    if (arrived.empty()) {
      if (prefix.empty()) co_return std::nullopt;
      fail(Errc::closed, "the stream ended within a message");
    }
    // The length usually stands whole in what arrived first.
    const std::size_t before = prefix.size();
    append(prefix, arrived.first(std::min(arrived.size(), max_uvarint_size + 1)));
    length = peek_uvarint(prefix).value();
    arrived = arrived.subspan(length ? length->size - before : arrived.size());
  }
  if (length->value > limit) fail(Errc::too_large, "a message above its limit");
  const auto size = static_cast<std::size_t>(length->value);
  Bytes message;
  MemoryCharge memory = stream.charge(0);
  while (true) {
    const std::size_t count = std::min(arrived.size(), size - message.size());
    append(message, arrived.first(count));
    memory.set(message.capacity());
    if (message.size() == size) {
      stream.unread(arrived.size() - count);
      co_return message;
    }
    arrived = co_await stream.read();
    if (arrived.empty()) fail(Errc::closed, "the stream ended within a message");
  }
}

Awaitable<void> write_frame(Stream& stream, ByteView message) {
  Bytes framed;
  framed.reserve(max_uvarint_size + message.size());
  put_uvarint(framed, message.size());
  append(framed, message);
  const MemoryCharge memory = stream.charge(framed.size());
  co_await stream.write(framed);
}

}  // namespace p2p
