#include "network/identify.hpp"

#include "base/limits.hpp"
#include "network/protocol.hpp"

namespace p2p {

Awaitable<void> receive_identify(Stream& stream, Identify& known) {
  const Timer timer = stream.deadline(limits::identify_wait, "the peer did not finish its identify message in time");
  MemoryCharge held = stream.charge(0);
  for (std::size_t messages = 0; messages < limits::identify_messages; ++messages) {
    const std::optional<Bytes> message = co_await read_frame(stream, limits::identify_message);
    if (!message) break;
    known.merge(*message).value();
    held.set(known.memory());
    if (known.public_key && PeerId(*known.public_key) != stream.peer()) {
      fail(Errc::unverified, "the peer's identify message names another key than its connection");
    }
  }
  stream.close_write();
}

Awaitable<void> answer_identify(Stream stream, const Identify& own) {
  co_await stream.write(own.encode());
  co_await stream.finish(limits::identify_wait);
}

}  // namespace p2p
