#include "network/ping.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <array>

namespace p2p {

Awaitable<Duration> ping(Stream& stream, Random& random) {
  std::array<std::uint8_t, ping_size> sent;
  random.fill(sent);
  const Timer timer = stream.deadline(limits::ping_wait, "the peer did not answer the ping");
  const Time start = stream.clock().now();
  co_await stream.write(sent);
  for (std::size_t received = 0; received < sent.size();) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) fail(Errc::closed, "the peer closed the ping stream");
    if (bytes.size() > sent.size() - received || !equal(bytes, ByteView(sent).subspan(received, bytes.size()))) {
      fail(Errc::unverified, "the peer answered the ping with other bytes");
    }
    received += bytes.size();
  }
  co_return stream.clock().now() - start;
}

Awaitable<void> serve_ping(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
    co_await stream.write(bytes);
  }
  stream.close_write();
}

}  // namespace p2p
