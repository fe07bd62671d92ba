#include "wire/yamux.hpp"

#include "base/coding.hpp"

#include <algorithm>
#include <array>

namespace p2p {
namespace {

constexpr std::size_t header_size = 12;
static_assert(header_size + limits::mux_write == limits::noise_write);
enum : std::uint8_t { type_data, type_window_update, type_ping, type_go_away };
enum : std::uint16_t { flag_syn = 1, flag_ack = 2, flag_fin = 4, flag_rst = 8 };
constexpr std::uint32_t protocol_error = 1;
constexpr std::uint32_t last_id = 0xfffffff0;

}  // namespace

void YamuxSession::put(std::uint8_t type, std::uint16_t flags, std::uint32_t id, std::uint32_t length) {
  std::array<std::uint8_t, header_size> header{0, type};
  store_u16(&header[2], flags);
  store_u32(&header[4], id);
  store_u32(&header[8], length);
  out_.append(header);
}

Error YamuxSession::broken(const char* reason) {
  put(type_go_away, 0, 0, protocol_error);
  return Error{Errc::malformed, reason};
}

YamuxSession::Stream* YamuxSession::find(StreamId stream) {
  const auto at = streams_.find(static_cast<std::uint32_t>(stream));
  return at == streams_.end() ? nullptr : &at->second;
}

void YamuxSession::erase(Streams::iterator at) {
  --(ours(at->first) ? outbound_ : inbound_);
  extra_window_ -= at->second.window_size - limits::yamux_initial_window;
  streams_.erase(at);
}

Result<std::optional<MuxEvent>> YamuxSession::next(ByteView& in) {
  using Kind = MuxEvent::Kind;
  const auto tell = [this](bool& flag, Kind kind) {
    flag = false;
    return std::optional(MuxEvent{kind, frame_id_, {}});
  };
  while (true) {
    if (tell_opened_) return tell(tell_opened_, Kind::opened);
    if (tell_writable_) return tell(tell_writable_, Kind::writable);
    if (tell_pong_) return tell(tell_pong_, Kind::pong);
    if (body_left_ > 0) {
      if (in.empty()) return std::optional<MuxEvent>();
      const ByteView data = in.first(std::min<std::size_t>(in.size(), body_left_));
      in = in.subspan(data.size());
      body_left_ -= static_cast<std::uint32_t>(data.size());
      if (find(frame_id_) == nullptr) continue;  // late, for a stream that is gone
      return std::optional(MuxEvent{Kind::data, frame_id_, data});
    }
    if (tell_finished_) {
      const auto at = streams_.find(frame_id_);
      if (at == streams_.end()) {
        tell_finished_ = false;
        continue;
      }
      at->second.read_closed = true;
      if (at->second.write_closed) erase(at);
      return tell(tell_finished_, Kind::finished);
    }
    if (tell_reset_) {
      if (const auto at = streams_.find(frame_id_); at != streams_.end()) {
        erase(at);
        return tell(tell_reset_, Kind::reset);
      }
      tell_reset_ = false;
    }
    if (in.size() < header_size) return std::optional<MuxEvent>();
    TRY(read_header(in.first(header_size)));
    in = in.subspan(header_size);
  }
}

Result<void> YamuxSession::read_header(ByteView header) {
  const std::uint8_t type = header[1];
  const std::uint16_t flags = load_u16(&header[2]);
  const std::uint32_t id = load_u32(&header[4]);
  const std::uint32_t length = load_u32(&header[8]);
  if (header[0] != 0) return broken("yamux frame of an unknown version");
  switch (type) {
    case type_data:
    case type_window_update:
      if (id == 0) return broken("yamux frame for stream 0");
      return read_stream_frame(type, flags, id, length);
    case type_ping:
      if ((flags & flag_syn) != 0) {
        put(type_ping, flag_ack, 0, length);
      } else if (length == ping_opaque_ && ping_sent_ != Time{}) {
        tell_pong_ = true;
      }
      return {};
    case type_go_away:
      if (length != 0) return Error{Errc::closed, "the peer ended the yamux session because of an error"};
      return Error{Errc::closed, "the peer ended the yamux session"};
    default: return broken("yamux frame of an unknown type");
  }
}

Result<void> YamuxSession::read_stream_frame(std::uint8_t type, std::uint16_t flags, std::uint32_t id, std::uint32_t length) {
  Stream* stream = find(id);
  if ((flags & flag_syn) != 0) {
    if (ours(id)) return broken("yamux stream opened with an id of the other side");
    if (stream != nullptr) return broken("yamux stream opened twice");
    if (inbound_ == limits::streams_inbound) {
      put(type_window_update, flag_rst, id, 0);
    } else if ((flags & flag_rst) == 0) {
      stream = &streams_[id];
      ++inbound_;
      put(type_window_update, flag_ack, id, 0);  // at once: go stalls at 256 streams without it
    }
  }
  frame_id_ = id;
  tell_opened_ = (flags & flag_syn) != 0 && stream != nullptr;
  if (type == type_data) {
    if (stream != nullptr) {
      if (length > stream->receive_window) return broken("yamux data above the window");
      if (length > 0 && stream->read_closed) return broken("yamux data behind the end of a stream");
      stream->receive_window -= length;
    } else if (length > limits::yamux_max_window) {
      return broken("yamux data above any window");
    }
    body_left_ = length;
  } else if (stream != nullptr && (flags & flag_rst) == 0) {
    if (stream->send_window + std::uint64_t{length} > UINT32_MAX) return broken("yamux window above 32 bits");
    tell_writable_ = length > 0;
    stream->send_window += length;
  }
  tell_finished_ = (flags & flag_fin) != 0 && stream != nullptr && !stream->read_closed;
  tell_reset_ = (flags & flag_rst) != 0 && stream != nullptr;
  return {};
}

Result<StreamId> YamuxSession::open() {
  if (outbound_ == limits::streams_outbound) return Error{Errc::exhausted, "too many streams are open on the connection"};
  if (next_id_ >= last_id) return Error{Errc::exhausted, "the connection's stream numbers are used up"};
  const std::uint32_t id = next_id_;
  next_id_ += 2;
  streams_.emplace(id, Stream());
  ++outbound_;
  put(type_window_update, flag_syn, id, 0);
  return StreamId{id};
}

std::size_t YamuxSession::send(StreamId id, ByteView data) {
  Stream* const stream = find(id);
  if (stream == nullptr || stream->write_closed) return 0;
  const std::size_t total = std::min<std::size_t>(data.size(), stream->send_window);
  for (ByteView rest = data.first(total); !rest.empty();) {
    const ByteView body = rest.first(std::min(rest.size(), limits::mux_write));
    put(type_data, 0, static_cast<std::uint32_t>(id), static_cast<std::uint32_t>(body.size()));
    out_.append(body);
    rest = rest.subspan(body.size());
  }
  stream->send_window -= static_cast<std::uint32_t>(total);
  return total;
}

void YamuxSession::consumed(StreamId id, std::size_t count, Time now) {
  Stream* const stream = find(id);
  if (stream == nullptr || stream->read_closed) return;
  stream->consumed += static_cast<std::uint32_t>(count);
  if (stream->consumed < stream->window_size / 2) return;
  // A reader that took half a window within four round trips is slowed by the window: give it twice as much.
  std::uint32_t grown = 0;
  if (round_trip_ && now - stream->updated < 4 * *round_trip_) {
    const std::size_t budget = limits::connection_window - std::min(limits::connection_window, extra_window_);
    grown =
        static_cast<std::uint32_t>(std::min<std::size_t>({stream->window_size, limits::yamux_max_window - stream->window_size, budget}));
  }
  stream->window_size += grown;
  extra_window_ += grown;
  const std::uint32_t credit = stream->consumed + grown;
  stream->receive_window += credit;
  stream->consumed = 0;
  stream->updated = now;
  put(type_window_update, 0, static_cast<std::uint32_t>(id), credit);
}

void YamuxSession::close_write(StreamId id) {
  const auto at = streams_.find(static_cast<std::uint32_t>(id));
  if (at == streams_.end() || at->second.write_closed) return;
  at->second.write_closed = true;
  put(type_data, flag_fin, at->first, 0);  // never on a frame with a body: js drops the body
  if (at->second.read_closed) erase(at);
}

void YamuxSession::reset(StreamId id) {
  const auto at = streams_.find(static_cast<std::uint32_t>(id));
  if (at == streams_.end()) return;
  put(type_data, flag_rst, at->first, 0);
  erase(at);
}

bool YamuxSession::ping(Time now) {
  ping_sent_ = now;
  put(type_ping, flag_syn, 0, ++ping_opaque_);
  return true;
}

void YamuxSession::pong(Time now) {
  round_trip_ = now - ping_sent_;
  ping_sent_ = {};
}

void YamuxSession::go_away() { put(type_go_away, 0, 0, 0); }

}  // namespace p2p
