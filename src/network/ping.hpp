#pragma once
// Ping: 32 random bytes there and back, as often as one likes on one stream.
// https://github.com/libp2p/specs/blob/master/ping/ping.md

#include "network/stream.hpp"
#include "network/transport.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace p2p {

inline constexpr std::string_view ping_protocol = "/ipfs/ping/1.0.0";
inline constexpr std::size_t ping_size = 32;

/// One round trip on a stream of ping_protocol. Throws timed_out (limits::ping_wait), unverified (other bytes came back), closed.
Awaitable<Duration> ping(Stream& stream, Random& random);

/// Echoes until the peer closes.
Awaitable<void> serve_ping(Stream stream);

/// The pings that one side of a connection sends: one after another on one stream, since a peer need not answer on more (rust resets the
/// older one).
class Pings {
 public:
  /// `open` opens a stream of ping_protocol. `group` runs the pings, and is joined before this goes away.
  Pings(const Environment& environment, TaskGroup& group, std::function<Stream()> open)
      : environment_(environment), group_(group), open_(std::move(open)) {}

  /// A round trip: that of the ping which is under way, or of a new one. Throws as ping() and `open` do.
  Awaitable<Duration> measure();
  /// Begins one unless one is under way, and ends the stream behind it if it was opened for it. False when none could be sent.
  bool begin();

 private:
  struct UnderWay;
  enum class Behind { keep, close };

  /// Throws what `open` throws.
  std::shared_ptr<UnderWay> start(Behind behind);
  Awaitable<void> run(std::shared_ptr<UnderWay> ping, Behind behind);
  void end_stream();
  Awaitable<void> finish(Stream stream);

  const Environment& environment_;
  TaskGroup& group_;
  std::function<Stream()> open_;
  std::shared_ptr<UnderWay> under_way_;
  std::optional<Stream> stream_;
  Time stream_until_{};  // then the next ping opens another
};

}  // namespace p2p
