#pragma once
// A secured, multiplexed connection to one peer: reads records, lets the muxer say what they mean, serves the streams that the peer opens,
// and gathers what several streams write into one flight.

#include "network/memory.hpp"
#include "network/ping.hpp"
#include "network/stream.hpp"
#include "network/transport.hpp"
#include "wire/multistream.hpp"
#include "wire/mux_session.hpp"
#include "wire/noise.hpp"

#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

namespace p2p {

/// Serves one inbound stream of a protocol. What it throws resets the stream.
using StreamHandler = std::function<Awaitable<void>(Stream)>;
using StreamHandlers = std::map<std::string, StreamHandler, std::less<>>;

/// A connection whose two sides have proven who they are and agreed on a muxer, as upgrade.hpp makes it.
struct Upgraded {
  std::unique_ptr<ByteStream> channel;
  NoiseSession secure;
  MuxSession::Role role;
  std::string muxer;
  Bytes received;            ///< ciphertext that is read already
  Bytes received_plaintext;  ///< before that: plaintext of a record that held more than the negotiation
  Bytes unsent;              ///< handshake bytes that leave with the first frames
};

/// Bytes that crossed the wire and other figures.
struct ConnectionCounters {
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

class Connection {
 public:
  /// `handlers` outlives the connection and may change meanwhile; `memory`, where there is one, outlives it too.
  Connection(const Environment& environment, const StreamHandlers& handlers, Upgraded upgraded, MemoryBudget* memory = nullptr);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Reads. Returns when the connection has ended and every handler of its streams with it. Once, for each connection that is made.
  Awaitable<void> run();

  /// A stream on which the peer agreed to speak `protocol`. Throws unsupported, exhausted, closed, timed_out: behind limits::negotiation,
  /// or already at `deadline`.
  Awaitable<Stream> open_stream(std::string protocol, Time deadline = Time::max());
  /// The same without waiting for the agreement, which the first read() checks; what is written meanwhile travels with the proposal. For
  /// protocols that the peer is known to speak.
  Stream open_stream_lazily(std::string protocol);

  /// The time of a round trip of libp2p's ping. Throws unsupported, exhausted, timed_out, unverified, closed.
  Awaitable<Duration> ping() { return pings_.measure(); }

  /// Sends what is waiting, says goodbye and ends the connection; streams wake with closed.
  void close(std::string reason = "closed by this side");
  /// Ends the connection at once.
  void abort(Error reason);

  const PeerId& peer() const noexcept { return peer_key_->id(); }
  const Multiaddr& remote_address() const { return channel_->remote_address(); }
  /// scarce_part() of the remote IP address.
  const std::string& host() const noexcept { return host_; }
  const std::string& muxer() const noexcept { return muxer_; }
  bool ended() const noexcept { return failure_.has_value(); }
  /// Whether a stream is open, those of pings aside, which some peers keep open.
  bool in_use() const noexcept;
  /// Why it ended, for people.
  const std::string& reason() const noexcept { return reason_; }
  const ConnectionCounters& counters() const noexcept { return counters_; }
  /// When the peer was heard last.
  Time heard() const noexcept { return heard_; }
  /// Bytes that it and its streams hold, about.
  std::size_t memory_held() const noexcept { return memory_->held(); }
  /// Bytes that are kept elsewhere on account of the peer, which count with them.
  MemoryCharge charge(std::size_t bytes) { return buffers_.further(bytes); }

 private:
  friend class Stream;

  Awaitable<void> read_loop();
  Awaitable<void> write_loop();
  Awaitable<void> relieve_congestion();
  void make_room();
  void process(ByteView plaintext);
  void on_event(const MuxEvent& event);
  Awaitable<void> serve(Stream stream);
  Stream begin_stream(StreamId id);
  /// Both directions of the stream have ended.
  void forget(Stream::State& state);
  void flush_soon();
  /// Of what nothing hangs on: with what is written next, or by itself a moment later.
  void flush_lazily();
  /// Counts the buffers that the connection itself holds.
  void count_memory();
  Awaitable<void> thin_out();
  /// An idle connection keeps no buffers.
  void free_output();
  void check_life_at(Time when);
  /// Pings a peer that has been silent, and ends the connection with one that stays it, or that does not finish a record.
  void check_life();
  /// False when nothing could be sent.
  bool send_ping();
  void make_room_for_ping();
  void end(Error failure, std::string reason);
  void close_soon();

  const Environment environment_;
  const StreamHandlers& handlers_;
  std::unique_ptr<ByteStream> channel_;
  NoiseWriter writer_;
  NoiseReader reader_;
  const std::shared_ptr<const Verifier> peer_key_;
  const std::string host_;
  const std::string muxer_;
  std::unique_ptr<MuxSession> session_;
  const std::shared_ptr<MemoryAccount> memory_;
  MemoryCharge buffers_;

  Bytes input_;  // received, [input_begin_, input_end_) not processed yet; a shared buffer's size, or just that
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;
  Bytes partial_;  // plaintext of a frame's header that is not whole yet
  Bytes first_plaintext_;
  Bytes unsent_;

  std::unordered_map<StreamId, std::shared_ptr<Stream::State>> streams_;
  std::vector<std::shared_ptr<Stream::State>> blocked_;  // writers that wait for the output buffer
  std::size_t negotiating_ = 0;
  bool thinning_ = false;
  std::size_t owed_ = 0;  // bytes of what waits to be written that answer the peer's frames
  Bytes batch_;           // being written
  std::optional<Time> writing_since_;
  Event output_;                      // there is something to write, or nothing ever again
  Time heard_{};                      // when the peer gave a sign of life last
  std::optional<Time> asked_;         // when a silent peer was pinged that has not been heard since
  std::optional<Time> record_begun_;  // when the first bytes came of a record that is not whole yet
  Time life_check_due_{};
  Timer life_check_;
  Alarm relieved_;        // the stream that stopped the reading was read, or waited for long enough
  Event behind_read_;     // what was read in one go has woken whom it concerns
  bool closing_ = false;  // the writer ends when all is written
  std::optional<Error> failure_;
  std::string reason_;
  Timer close_timer_;
  Timer lazy_flush_;  // until what nothing hangs on is written by itself
  TaskGroup group_;
  Pings pings_;  // the life of the peer is asked by them, too, where the muxer has no pings
  ConnectionCounters counters_;
};

}  // namespace p2p
