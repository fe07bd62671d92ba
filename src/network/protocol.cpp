#include "network/protocol.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <array>

namespace p2p {

Awaitable<std::optional<Bytes>> read_frame(Stream& stream, std::size_t limit) {
  std::array<std::uint8_t, max_uvarint_size + 1> prefix;
  std::size_t known = 0;  // bytes of it; the length usually stands whole in what arrives first
  std::optional<Uvarint> length;
  ByteView arrived;
  while (!length) {
    arrived = co_await stream.read();
    if (arrived.empty()) {
      if (known == 0) co_return std::nullopt;
      fail(Errc::closed, "the stream ended within a message");
    }
    const std::size_t before = known;
    const ByteView more = arrived.first(std::min(arrived.size(), prefix.size() - known));
    std::copy(more.begin(), more.end(), prefix.begin() + static_cast<std::ptrdiff_t>(known));
    known += more.size();
    length = peek_uvarint(ByteView(prefix).first(known)).value();
    arrived = arrived.subspan(length ? length->size - before : arrived.size());
  }
  if (length->value > limit) fail(Errc::too_large, "a message above its limit");
  const auto size = static_cast<std::size_t>(length->value);
  Bytes message;
  MemoryCharge memory = stream.charge(0);
  while (true) {
    const std::size_t count = std::min(arrived.size(), size - message.size());
    const std::size_t known_size = message.size() + count;
    if (known_size > message.capacity()) message.reserve(std::min(size, 2 * known_size));  // twice what has come, and no more than will
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
  const MemoryCharge memory = stream.charge(message.size());
  Bytes framed;
  framed.reserve(max_uvarint_size + (message.size() <= limits::noise_write ? message.size() : 0));
  put_uvarint(framed, message.size());
  if (message.size() <= limits::noise_write) {
    append(framed, message);
    co_return co_await stream.write(framed);
  }
  co_await stream.write(framed);  // what leaves in pieces anyway is not copied first
  co_await stream.write(message);
}

}  // namespace p2p
