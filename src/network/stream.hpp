#pragma once
// A stream of a connection, as protocols use it: bytes in, bytes out, half-close and reset.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "identity/identity.hpp"
#include "network/async.hpp"
#include "network/clock.hpp"
#include "network/memory.hpp"
#include "wire/multiaddr.hpp"

#include <memory>
#include <optional>
#include <string>

namespace p2p {

class Connection;
namespace multistream {
class Listener;
}

/// Held by whoever uses the stream. One coroutine reads and one writes at a time. Destroying it before both directions have ended resets
/// the stream. It may outlive its connection; everything then throws.
class Stream {
 public:
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&&) = delete;
  ~Stream();

  /// What has arrived, at least one byte; nothing when the peer has finished. The view holds until the next read(). Throws closed when the
  /// stream was reset or its connection ended (bytes that arrived before that are delivered first), or the reason given to reset(). It is
  /// awaited where it is called.
  Awaitable<ByteView> read();
  /// The last `count` bytes of the view that read() gave are given again by the next one.
  void unread(std::size_t count) noexcept;

  /// Returns when all of `bytes` is on its way; waits while the peer or the socket takes no more. Throws as read() does.
  Awaitable<void> write(ByteView bytes);

  /// No more will be written.
  void close_write();
  /// The same for the last word of a stream, on which no answer hangs. If the peer has ended its side already, it is sent with what the
  /// connection writes next, or by itself limits::lazy_write later.
  void close_write_lazily();
  /// Ends both directions at once. Whoever waits on this stream here wakes with `reason`.
  void reset(Error reason = {Errc::cancelled, "the stream was reset"});
  /// Behind a read() that gave nothing: returns when this side has closed, too. Throws as read() does when the stream was reset or its
  /// connection ended before that.
  Awaitable<void> wait_end();
  /// Closes the write side, then takes what the peer still sends until it closes too, or until `patience` is over: a stream that is reset
  /// right behind its last bytes may lose them in the peer's hands.
  Awaitable<void> finish(Duration patience);

  /// Whoever is the other side of the connection, proven by its handshake.
  const PeerId& peer() const noexcept { return peer_key()->id(); }
  /// Its key, which checks what it signs, and may outlive the stream.
  const std::shared_ptr<const Verifier>& peer_key() const noexcept;
  /// Whether the stream ended because its connection did, and not by a reset of its own.
  bool connection_ended() const noexcept;
  /// Whether the peer has ended it, in one way or the other: it sends no more.
  bool ended() const noexcept;
  /// Where its connection goes to; nothing when that has ended.
  std::optional<Multiaddr> remote_address() const;
  /// What the peer's host has few of (Connection::host()); empty when the stream has ended.
  std::string host() const;
  Clock& clock() const noexcept;

  /// Bytes that are kept for the stream's sake beyond what it holds itself, counted for its connection.
  [[nodiscard]] MemoryCharge charge(std::size_t bytes) const;

  /// While the guard lives, the stream is reset with a timed_out error when the time comes.
  [[nodiscard]] Timer deadline(Duration patience, const char* reason);

  struct State;

 private:
  friend class Connection;
  explicit Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}
  /// Finishes the negotiation that was begun when the stream was opened.
  Awaitable<void> agree();
  /// Answers the peer's proposals until there is an agreement, or the peer has finished without one.
  Awaitable<void> accept(multistream::Listener& negotiation);
  /// One read for either; `partial` keeps a message that is not whole. False when the peer has finished.
  template <class Negotiation>
  Awaitable<Result<bool>> negotiate(Negotiation& negotiation, Bytes& partial);
  Awaitable<ByteView> read_arrived();
  /// What close_write() does but for sending it. Null when there is nothing to send.
  Connection* end_write();
  /// The same behind the end of the negotiation.
  Awaitable<ByteView> read_agreed();

  // Shared with the connection, which hands it what arrives; whichever of the two goes last frees it.
  std::shared_ptr<State> state_;
};

}  // namespace p2p
