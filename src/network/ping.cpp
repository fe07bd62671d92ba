#include "network/ping.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <array>
#include <exception>

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

struct Pings::UnderWay {
  explicit UnderWay(const Loop& loop) : over(loop) {}
  Latch over;
  Duration time{};
  std::exception_ptr failure;
};

Awaitable<Duration> Pings::measure() {
  const std::shared_ptr<UnderWay> ping = under_way_ != nullptr ? under_way_ : start(Behind::keep);
  co_await ping->over.wait();
  if (ping->failure) std::rethrow_exception(ping->failure);
  co_return ping->time;
}

bool Pings::begin() {
  if (under_way_ != nullptr) return true;
  try {
    start(Behind::close);
    return true;
  } catch (const boost::system::system_error&) {
    return false;  // no stream can be opened now
  }
}

std::shared_ptr<Pings::UnderWay> Pings::start(Behind behind) {
  const Time now = environment_.clock.now();
  if (stream_ && (now >= stream_until_ || stream_->ended())) end_stream();
  if (stream_) {
    behind = Behind::keep;  // as whoever opened it wants it
  } else {
    stream_.emplace(open_());
    stream_until_ = now + limits::ping_stream;
  }
  auto ping = std::make_shared<UnderWay>(environment_.loop);
  under_way_ = ping;
  group_.spawn(run(ping, behind));  // which may be over already behind this
  return ping;
}

Awaitable<void> Pings::run(std::shared_ptr<UnderWay> ping, Behind behind) {
  try {
    ping->time = co_await p2p::ping(*stream_, environment_.random);
  } catch (const boost::system::system_error&) {
    ping->failure = std::current_exception();
    behind = Behind::close;
  }
  under_way_.reset();
  ping->over.open();
  if (behind == Behind::close) end_stream();
}

void Pings::end_stream() {
  group_.spawn(finish(std::move(*stream_)));
  stream_.reset();
}

// The next ping does not wait until the peer closes this one's stream.
Awaitable<void> Pings::finish(Stream stream) {
  try {
    co_await stream.finish(limits::close_wait);
  } catch (const boost::system::system_error&) {
    // it was reset
  }
}

}  // namespace p2p
