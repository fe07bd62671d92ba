#include "wire/mplex.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace p2p {
namespace {

enum : std::uint8_t { flag_new_stream = 0, flag_message = 2, flag_close = 4, flag_reset = 6 };  // as the stream's opener sends them
constexpr std::uint64_t last_number = (1U << 28) - 1;                                           // js counts in 32 bits, with the flag

constexpr StreamId stream_id(std::uint64_t number, bool ours) noexcept { return number << 1 | (ours ? 1U : 0U); }
constexpr bool ours(StreamId stream) noexcept { return (stream & 1) != 0; }

}  // namespace

void MplexSession::put(StreamId stream, std::uint8_t flag_of_opener, ByteView data) {
  const std::uint64_t flag = ours(stream) ? flag_of_opener : flag_of_opener - 1U;
  std::array<std::uint8_t, 2 * max_uvarint_size> header;
  std::uint8_t* const end = store_uvarint(store_uvarint(header.data(), (stream >> 1) << 3 | flag), data.size());
  out_.append({header.data(), end});
  out_.append(data);
}

MplexSession::Streams::iterator MplexSession::erase(Streams::iterator at) {
  --(ours(at->first) ? outbound_ : inbound_);
  if (congested_ == at->first) congested_.reset();
  return streams_.erase(at);
}

Result<std::optional<MuxEvent>> MplexSession::next(ByteView& in) {
  using Kind = MuxEvent::Kind;
  while (true) {
    if (data_left_ > 0) {
      if (in.empty()) return std::optional<MuxEvent>();
      const ByteView data = in.first(static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), data_left_)));
      in = in.subspan(data.size());
      data_left_ -= data.size();
      const auto at = streams_.find(frame_stream_);
      if (skip_data_ || at == streams_.end()) continue;
      at->second.unread += data.size();
      if (at->second.unread > limits::mplex_buffer && !congested_) congested_ = frame_stream_;
      return std::optional(MuxEvent{Kind::data, frame_stream_, data});
    }
    if (tell_opened_) {
      tell_opened_ = false;
      return std::optional(MuxEvent{Kind::opened, frame_stream_, {}});
    }
    if (tell_finished_ || tell_reset_) {
      const Kind kind = tell_reset_ ? Kind::reset : Kind::finished;
      tell_finished_ = tell_reset_ = false;
      const auto at = streams_.find(frame_stream_);
      if (at != streams_.end()) {
        at->second.read_closed = true;
        if (kind == Kind::reset || at->second.write_closed) erase(at);
        return std::optional(MuxEvent{kind, frame_stream_, {}});
      }
    }
    TRY_ASSIGN(const std::optional<Uvarint> header, peek_uvarint(in));
    if (!header) return std::optional<MuxEvent>();
    TRY_ASSIGN(const std::optional<Uvarint> length, peek_uvarint(in.subspan(header->size)));
    if (!length) return std::optional<MuxEvent>();
    in = in.subspan(header->size + length->size);
    TRY(read_header(header->value, length->value));
  }
}

Result<void> MplexSession::read_header(std::uint64_t header, std::uint64_t length) {
  if (length > limits::mplex_frame) return Error{Errc::too_large, "mplex frame above its limit"};
  const auto flag = static_cast<std::uint8_t>(header & 7);
  if (flag == 7) return Error{Errc::malformed, "mplex frame with an unknown flag"};
  const bool from_opener = flag % 2 == 0;
  frame_stream_ = stream_id(header >> 3, !from_opener);
  data_left_ = length;
  skip_data_ = true;
  const auto at = streams_.find(frame_stream_);
  switch (flag + (from_opener ? 0 : 1)) {
    case flag_new_stream:
      if (at != streams_.end()) return Error{Errc::malformed, "mplex stream opened twice"};
      if (inbound_ == limits::streams_inbound) {
        put(frame_stream_, flag_reset, {});
        return {};
      }
      streams_.emplace(frame_stream_, Stream());
      ++inbound_;
      tell_opened_ = true;
      return {};
    case flag_message:
      if (at != streams_.end() && at->second.read_closed) return Error{Errc::malformed, "mplex data behind the end of a stream"};
      skip_data_ = at == streams_.end();
      return {};
    case flag_close: tell_finished_ = at != streams_.end() && !at->second.read_closed; return {};
    default: tell_reset_ = at != streams_.end(); return {};
  }
}

Result<StreamId> MplexSession::open() {
  if (outbound_ == limits::streams_outbound) return Error{Errc::exhausted, "too many streams are open on the connection"};
  if (next_number_ == last_number) return Error{Errc::exhausted, "the connection's stream numbers are used up"};
  const StreamId stream = stream_id(next_number_, true);
  streams_.emplace(stream, Stream());
  ++outbound_;
  put(stream, flag_new_stream, as_bytes(std::to_string(next_number_++)));
  return stream;
}

std::size_t MplexSession::send(StreamId stream, ByteView data) {
  const auto at = streams_.find(stream);
  if (at == streams_.end() || at->second.write_closed) return 0;
  for (ByteView rest = data; !rest.empty();) {
    const ByteView part = rest.first(std::min(rest.size(), limits::mux_write));
    put(stream, flag_message, part);
    rest = rest.subspan(part.size());
  }
  return data.size();
}

void MplexSession::consumed(StreamId stream, std::size_t count, Time) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  at->second.unread -= std::min(count, at->second.unread);
  if (congested_ == stream && at->second.unread <= limits::mplex_buffer / 2) congested_.reset();
}

void MplexSession::close_write(StreamId stream) {
  const auto at = streams_.find(stream);
  if (at == streams_.end() || at->second.write_closed) return;
  at->second.write_closed = true;
  put(stream, flag_close, {});
  if (at->second.read_closed) erase(at);
}

void MplexSession::reset(StreamId stream) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  put(stream, flag_reset, {});
  erase(at);
}

}  // namespace p2p
