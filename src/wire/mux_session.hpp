#pragma once
// What yamux and mplex have in common: many streams over one ordered byte channel. A session is a machine without I/O: it is given received
// bytes and says what they mean; it is told what to send and appends frames to a sink. It keeps the protocol's state of each stream and no
// data: received bytes are handed on as views into the input.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/sink.hpp"
#include "base/time.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace p2p {

/// Names a stream within its session. Not the number on the wire.
using StreamId = std::uint64_t;

struct MuxEvent {
  enum class Kind : std::uint8_t {
    opened,    ///< the peer opened the stream
    data,      ///< `data` arrived on it; may be part of a frame
    finished,  ///< the peer will send no more
    reset,     ///< the peer ended it in both directions
    writable,  ///< more may be sent on it
    pong,      ///< the answer to ping()
  };
  Kind kind;
  StreamId stream;
  ByteView data;  ///< a view into the input
};

class MuxSession {
 public:
  enum class Role : std::uint8_t { dialer, listener };

  virtual ~MuxSession() = default;

  /// The next event in `in`, whose consumed bytes are chopped off the front; nothing when more bytes are needed, and what is left of `in`
  /// then (part of a header) is to be given again with more behind it. An error ends the session: what is to be said to the peer is in the
  /// sink. Errors: malformed and too_large (the peer broke the protocol), closed (it said goodbye).
  virtual Result<std::optional<MuxEvent>> next(ByteView& in) = 0;

  /// Errors: exhausted (limits::streams_outbound are open, or the session's numbers are used up).
  virtual Result<StreamId> open() = 0;
  /// Sends as much of `data` as may be sent now and returns how much that was; the rest after `writable`.
  virtual std::size_t send(StreamId stream, ByteView data) = 0;
  /// The application took `count` received bytes: credit for the peer.
  virtual void consumed(StreamId stream, std::size_t count, Time now) = 0;
  /// No more will be sent on the stream. Nothing if that was said before or the stream is gone.
  virtual void close_write(StreamId stream) = 0;
  virtual void reset(StreamId stream) = 0;
  /// Asks for a pong. False where the protocol has none.
  virtual bool ping(Time now) = 0;
  /// A pong event was delivered at `now`: the round trip time is known.
  virtual void pong(Time now) = 0;
  /// Says that the session ends in good order, where the protocol has that.
  virtual void go_away() = 0;

  /// A stream whose unread data stops the whole session from reading (mplex has no windows), if there is one.
  virtual std::optional<StreamId> congested() const = 0;
  virtual std::size_t open_streams() const = 0;
  /// Those of them that open() made.
  virtual std::size_t outbound_streams() const = 0;
};

inline constexpr std::string_view yamux_protocol = "/yamux/1.0.0";
inline constexpr std::string_view mplex_protocol = "/mplex/6.7.0";

/// `out` outlives the session. `protocol` is one of the two above.
std::unique_ptr<MuxSession> make_mux_session(std::string_view protocol, MuxSession::Role role, ByteSink& out);

}  // namespace p2p
