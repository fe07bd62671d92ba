#pragma once
// mplex: streams without windows.
//
//   frame    uvarint (number << 3 | flag) ‖ uvarint length ‖ data of that many bytes, at most 1 MiB
//   flags    0 NewStream (data is a name)   1, 2 Message   3, 4 Close (of the sender's direction)   5, 6 Reset
//            the even one of each pair is sent by the side that opened the stream
//   streams  each side counts its own from 0: a stream is its number and who opened it
//
// https://github.com/libp2p/specs/blob/master/mplex/README.md. Frames for unknown streams are skipped: those of a stream that was reset may
// still be under way. Since nothing limits a sender, a stream whose reader falls behind stops the whole session from reading for a while
// (congested()) and is then reset by the connection.

#include "wire/mux_session.hpp"

#include <unordered_map>

namespace p2p {

class MplexSession final : public MuxSession {
 public:
  explicit MplexSession(ByteSink& out) : out_(out) {}

  Result<std::optional<MuxEvent>> next(ByteView& in) override;
  Result<StreamId> open() override;
  std::size_t send(StreamId stream, ByteView data) override;
  void consumed(StreamId stream, std::size_t count, Time now) override;
  void close_write(StreamId stream) override;
  void reset(StreamId stream) override;
  bool ping(Time) override { return false; }
  void pong(Time) override {}
  void go_away() override {}
  std::optional<StreamId> congested() const override { return congested_; }
  std::size_t open_streams() const override { return streams_.size(); }
  std::size_t outbound_streams() const override { return outbound_; }

 private:
  struct Stream {
    std::size_t unread = 0;
    bool write_closed = false;
    bool read_closed = false;
  };
  using Streams = std::unordered_map<StreamId, Stream>;

  void put(StreamId stream, std::uint8_t flag_of_opener, ByteView data);
  Result<void> read_header(std::uint64_t header, std::uint64_t length);
  Streams::iterator erase(Streams::iterator at);

  ByteSink& out_;
  Streams streams_;  // by number << 1 | (1 when we opened it)
  std::size_t inbound_ = 0;
  std::size_t outbound_ = 0;
  std::uint64_t next_number_ = 0;
  std::optional<StreamId> congested_;

  // The frame being read.
  StreamId frame_stream_ = 0;
  std::uint64_t data_left_ = 0;
  bool skip_data_ = false;
  bool tell_opened_ = false;
  bool tell_finished_ = false;
  bool tell_reset_ = false;
};

}  // namespace p2p
