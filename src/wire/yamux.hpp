#pragma once
// yamux: streams with windows.
//
//   frame    version u8 = 0 ‖ type u8 ‖ flags u16 ‖ stream u32 ‖ length u32 ‖ body (Data alone)       big-endian
//   types    0 Data (length of the body)   1 WindowUpdate (credit)   2 Ping (opaque)   3 GoAway (0 normal, 1 protocol error, 2 internal)
//   flags    1 SYN   2 ACK   4 FIN   8 RST                                 on Data and WindowUpdate; SYN and ACK on Ping
//   streams  odd for the dialer of the connection, even for the listener; 0 is the session itself
//   window   262,144 bytes a stream and direction at first, more by WindowUpdate
//
// https://github.com/hashicorp/yamux/blob/master/spec.md. Beside the frames of live streams come late ones of streams that are gone: they
// are skipped. All else that the grammar forbids ends the session with GoAway 1.

#include "base/limits.hpp"
#include "wire/mux_session.hpp"

#include <unordered_map>

namespace p2p {

class YamuxSession final : public MuxSession {
 public:
  YamuxSession(Role role, ByteSink& out) : next_id_(role == Role::dialer ? 1 : 2), out_(out) {}

  Result<std::optional<MuxEvent>> next(ByteView& in) override;
  Result<StreamId> open() override;
  std::size_t send(StreamId stream, ByteView data) override;
  void consumed(StreamId stream, std::size_t count, Time now) override;
  void close_write(StreamId stream) override;
  void reset(StreamId stream) override;
  bool ping(Time now) override;
  void pong(Time now) override;
  void go_away() override;
  std::optional<StreamId> congested() const override { return std::nullopt; }
  std::size_t open_streams() const override { return streams_.size(); }
  std::size_t outbound_streams() const override { return outbound_; }

 private:
  struct Stream {
    std::uint32_t send_window = limits::yamux_initial_window;
    std::uint32_t receive_window = limits::yamux_initial_window;  // what the peer may still send
    std::uint32_t window_size = limits::yamux_initial_window;     // what receive_window is filled up to
    std::uint32_t consumed = 0;                                   // since the last update
    Time updated{};
    bool write_closed = false;
    bool read_closed = false;
  };
  using Streams = std::unordered_map<std::uint32_t, Stream>;

  bool ours(std::uint32_t id) const noexcept { return id % 2 == next_id_ % 2; }
  Stream* find(StreamId stream);
  void put(std::uint8_t type, std::uint16_t flags, std::uint32_t id, std::uint32_t length);
  Error broken(const char* reason);
  Result<void> read_header(ByteView header);
  Result<void> read_stream_frame(std::uint8_t type, std::uint16_t flags, std::uint32_t id, std::uint32_t length);
  void erase(Streams::iterator at);

  std::uint32_t next_id_;
  ByteSink& out_;
  Streams streams_;
  std::size_t inbound_ = 0;       // of streams_, opened by the peer
  std::size_t outbound_ = 0;      // of streams_, opened by us
  std::size_t extra_window_ = 0;  // of all streams, beyond the initial windows

  // The frame being read: its events still to be told, in this order.
  std::uint32_t frame_id_ = 0;
  std::uint32_t body_left_ = 0;
  bool tell_opened_ = false;
  bool tell_writable_ = false;
  bool tell_pong_ = false;
  bool tell_finished_ = false;
  bool tell_reset_ = false;

  Time ping_sent_{};
  std::uint32_t ping_opaque_ = 0;
  std::optional<Duration> round_trip_;
};

}  // namespace p2p
