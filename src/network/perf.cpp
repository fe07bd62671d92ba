#include "network/perf.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <array>
#include <memory>

namespace p2p {
namespace {

Awaitable<void> write_zeros(Stream& stream, std::uint64_t count) {
  const Bytes block(static_cast<std::size_t>(std::min<std::uint64_t>(count, limits::stream_write)));
  while (count > 0) {
    const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(count, block.size()));
    co_await stream.write(ByteView(block).first(size));
    count -= size;
  }
  stream.close_write();
}

Awaitable<void> serve(Stream stream) {
  const Timer timer = stream.deadline(limits::perf_time, "the measurement took too long");
  std::array<std::uint8_t, 8> request;
  std::size_t known = 0;
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
    const std::size_t count = std::min(bytes.size(), request.size() - known);
    std::copy_n(bytes.begin(), count, request.begin() + static_cast<std::ptrdiff_t>(known));
    known += count;
  }
  if (known < request.size()) fail(Errc::malformed, "a perf request without its length");
  co_await write_zeros(stream, load_u64(request.data()));
}

Awaitable<void> serve_if_free(Stream stream, std::shared_ptr<bool> busy) {
  if (*busy) fail(Errc::exhausted, "another measurement is under way");
  *busy = true;
  const struct Done {
    bool& busy;
    ~Done() { busy = false; }
  } done{*busy};
  co_await serve(std::move(stream));
}

}  // namespace

Awaitable<void> perf(Stream& stream, std::uint64_t up, std::uint64_t down) {
  const Timer timer = stream.deadline(limits::perf_time, "the measurement took too long");
  std::array<std::uint8_t, 8> request;
  store_u64(request.data(), down);
  co_await stream.write(request);
  co_await write_zeros(stream, up);
  std::uint64_t received = 0;
  while (received <= down) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) break;
    received += bytes.size();
  }
  if (received != down) fail(Errc::unverified, "the peer sent another number of bytes than it was asked for");
}

StreamHandler perf_handler() {
  return [busy = std::make_shared<bool>(false)](Stream stream) { return serve_if_free(std::move(stream), busy); };
}

}  // namespace p2p
