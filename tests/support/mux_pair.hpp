#pragma once
// Two muxer sessions joined in memory, each call to them checked against a model of what streams promise: what one side wrote arrives at
// the other, byte for byte and in order, until a reset; ends and resets are told once; nobody sends beyond a window. Whatever breaks that
// is thrown as a std::logic_error. Tests and the fuzzer drive the same pair.

#include "base/limits.hpp"
#include "wire/mux_session.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace p2p::test {

class MuxPair {
 public:
  enum Side : std::size_t { dialer, listener };
  static constexpr std::size_t all = SIZE_MAX;

  explicit MuxPair(std::string_view protocol)
      : windows_(protocol == yamux_protocol),
        ends_{{{make_mux_session(protocol, MuxSession::Role::dialer, to_listener_)},
               {make_mux_session(protocol, MuxSession::Role::listener, to_dialer_)}}} {}

  /// Time passes only by this.
  Time now{std::chrono::hours(1)};

  MuxSession& session(Side side) { return *ends_[side].session; }

  /// Nothing when the side has as many streams open as it may.
  std::optional<StreamId> open(Side side) {
    End& end = ends_[side];
    const Result<StreamId> id = end.session->open();
    const auto open = std::count_if(end.streams.begin(), end.streams.end(),
                                    [](const auto& entry) { return entry.second.opened_here && !entry.second.ended(); });
    if (!id) {
      demand(id.error().code == Errc::exhausted && static_cast<std::size_t>(open) == limits::streams_outbound, "a stream was refused");
      return std::nullopt;
    }
    demand(static_cast<std::size_t>(open) < limits::streams_outbound, "a stream was opened above the limit");
    add(side, *id, true);
    return *id;
  }

  /// Writes the stream's next `count` bytes and returns how many the session took.
  std::size_t send(Side side, StreamId id, std::size_t count) {
    Half& half = ends_[side].streams.at(id);
    const std::size_t sent = ends_[side].session->send(id, content(side, id, half.sent, count));
    half.sent += sent;
    const bool open = !half.ended() && !half.write_closed;
    demand(sent <= count && (open || sent == 0), "more was sent than may be");
    if (!windows_) demand(sent == (open ? count : 0), "mplex held something back");
    if (!open || !windows_) return sent;
    // The window may have grown by what the reader took, or beyond the first only if the reader knows a round trip time.
    Half* const reader = find(other(side), id);
    const std::uint64_t taken = reader == nullptr ? 0 : reader->consumed;
    demand(half.sent - taken <= (pinged_ ? limits::yamux_max_window : limits::yamux_initial_window), "a window was exceeded");
    return sent;
  }

  void close_write(Side side, StreamId id) {
    Half& half = ends_[side].streams.at(id);
    ends_[side].session->close_write(id);
    if (half.ended()) return;
    half.write_closed = true;
  }

  void reset(Side side, StreamId id) {
    Half& half = ends_[side].streams.at(id);
    ends_[side].session->reset(id);
    if (!half.ended()) half.reset_here = true;
  }

  /// The application takes up to `count` of the bytes that arrived.
  void consume(Side side, StreamId id, std::size_t count) {
    Half& half = ends_[side].streams.at(id);
    count = static_cast<std::size_t>(std::min<std::uint64_t>(count, half.received - half.consumed));
    half.consumed += count;
    ends_[side].session->consumed(id, count, now);
  }

  void ping(Side side) {
    pinged_ = true;
    ends_[side].session->ping(now);
  }

  /// Lets up to `count` of the bytes under way to `side` arrive.
  void deliver(Side side, std::size_t count = all) {
    End& end = ends_[side];
    Wire& wire = side == dialer ? to_dialer_ : to_listener_;
    Bytes input;
    const ByteView arrived = wire.under_way(count);
    input.reserve(end.unread.size() + arrived.size());  // exactly: a sanitizer sees a read behind it
    append(input, end.unread);
    append(input, arrived);
    wire.taken(arrived.size());
    ByteView rest(input);
    while (true) {
      const Result<std::optional<MuxEvent>> event = end.session->next(rest);
      demand(event.has_value(), "an honest peer was accused");
      if (!*event) break;
      on_event(side, **event);
    }
    end.unread.assign(rest.begin(), rest.end());
    demand(end.unread.size() < 18, "bytes were left unread that hold a frame");  // two varints of mplex
  }

  /// Delivers and consumes all there is until nothing moves, then checks that each stream carried what was written on it.
  void settle() {
    do {
      for (const Side side : {dialer, listener}) {
        deliver(side);
        for (const StreamId id : ends_[side].order) consume(side, id, all);
      }
    } while (to_dialer_.size() + to_listener_.size() > 0);
    for (const Side side : {dialer, listener}) {
      End& end = ends_[side];
      demand(end.unread.empty(), "half a frame was left over");
      demand(!end.session->congested(), "congested although all was read");
      std::size_t open = 0;
      for (const auto& [id, half] : end.streams) {
        const Half& there = *find(other(side), id);
        if (!half.ended()) ++open;
        if (half.any_reset() || there.any_reset()) {
          demand(half.ended() && there.ended(), "a reset did not end the stream on both sides");
        } else {
          demand(half.received == there.sent, "bytes were lost");
          demand(half.finished == there.write_closed, "an end was not told");
        }
      }
      demand(end.session->open_streams() == open, "the sessions count other streams than there are");
    }
  }

  /// Lets bytes say what happens, in what order; ends settled.
  void play(ByteView script) {
    std::uint64_t budget = 2 * 1024 * 1024;  // bytes written in all, to bound the time
    while (script.size() >= 3) {
      const Side side = script[0] % 2 == 0 ? dialer : listener;
      const std::size_t action = script[0] / 2 % 8;
      const std::size_t amount = std::size_t{script[1]} * script[1];
      const std::vector<StreamId>& order = ends_[side].order;
      const std::optional<StreamId> stream =
          order.empty() ? std::nullopt : std::optional(order[order.size() - 1 - script[2] % order.size()]);
      script = script.subspan(3);
      switch (action) {
        case 0: open(side); break;
        case 1: deliver(side, amount + 1); break;
        case 2: deliver(side); break;
        case 3:
          now += std::chrono::milliseconds(amount);
          if (amount % 2 == 0) ping(side);
          break;
        default:
          if (!stream) break;
          if (action == 4) budget -= send(side, *stream, static_cast<std::size_t>(std::min<std::uint64_t>(8 * amount + 1, budget)));
          if (action == 5) consume(side, *stream, 8 * amount + 1);
          if (action == 6) close_write(side, *stream);
          if (action == 7 && amount % 4 == 0) reset(side, *stream);
      }
    }
    settle();
  }

  std::uint64_t received(Side side, StreamId id) const { return ends_[side].streams.at(id).received; }
  bool finished(Side side, StreamId id) const { return ends_[side].streams.at(id).finished; }
  bool was_reset(Side side, StreamId id) const { return ends_[side].streams.at(id).reset_there; }
  std::size_t writable_events() const noexcept { return writable_events_; }
  /// What the other side calls the stream.
  StreamId there(StreamId id) const noexcept { return windows_ ? id : id ^ 1U; }
  static Side other(Side side) noexcept { return side == dialer ? listener : dialer; }

 private:
  /// A stream as one side knows it.
  struct Half {
    bool opened_here;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t consumed = 0;
    bool write_closed = false;
    bool finished = false;
    bool reset_here = false;
    bool reset_there = false;

    bool any_reset() const noexcept { return reset_here || reset_there; }
    bool ended() const noexcept { return any_reset() || (write_closed && finished); }
  };

  class Wire final : public ByteSink {
   public:
    void append(ByteView bytes) override { p2p::append(bytes_, bytes); }
    std::size_t size() const noexcept { return bytes_.size() - begin_; }
    ByteView under_way(std::size_t most) const { return ByteView(bytes_).subspan(begin_, std::min(most, size())); }
    void taken(std::size_t count) {
      begin_ += count;
      if (2 * begin_ < bytes_.size()) return;
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(std::exchange(begin_, 0)));
    }

   private:
    Bytes bytes_;
    std::size_t begin_ = 0;
  };

  struct End {
    std::unique_ptr<MuxSession> session;
    std::map<StreamId, Half> streams = {};
    std::vector<StreamId> order = {};  // as they came to be
    Bytes unread = {};
  };

  static void demand(bool holds, const char* otherwise) {
    if (!holds) throw std::logic_error(otherwise);
  }

  void add(Side side, StreamId id, bool opened_here) {
    demand(ends_[side].streams.emplace(id, Half{opened_here}).second, "a stream came to be twice");
    ends_[side].order.push_back(id);
  }

  /// The stream at `side`, which the other side calls `id`.
  Half* find(Side side, StreamId id) {
    const auto at = ends_[side].streams.find(there(id));
    return at == ends_[side].streams.end() ? nullptr : &at->second;
  }

  /// What `side` writes on a stream, from the given offset: runs of a table that no two streams begin at the same place.
  Bytes content(Side side, StreamId id, std::uint64_t offset, std::size_t count) const {
    static const Bytes table = [] {
      Bytes bytes(65521);
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>((i + 1) * 0x9e3779b97f4a7c15 >> 56);
      return bytes;
    }();
    std::uint64_t position = offset + (side == dialer ? 2 * id : 2 * there(id) + 1) * 7919;
    Bytes bytes;
    bytes.reserve(count);
    while (bytes.size() < count) {
      const ByteView run = ByteView(table).subspan(static_cast<std::size_t>(position % table.size()));
      append(bytes, run.first(std::min(run.size(), count - bytes.size())));
      position += run.size();
    }
    return bytes;
  }

  void on_event(Side side, const MuxEvent& event) {
    End& end = ends_[side];
    if (event.kind == MuxEvent::Kind::pong) return end.session->pong(now);
    Half* const writer = find(other(side), event.stream);
    demand(writer != nullptr, "an event for a stream that the other side does not know");
    if (event.kind == MuxEvent::Kind::opened) {
      demand(writer->opened_here, "opened by nobody");
      return add(side, event.stream, false);
    }
    demand(end.streams.count(event.stream) == 1, "an event for a stream that was not opened");
    Half& half = end.streams.at(event.stream);
    demand(!half.ended(), "an event for a stream that ended");
    switch (event.kind) {
      case MuxEvent::Kind::data:
        demand(!event.data.empty() && !half.finished && half.received + event.data.size() <= writer->sent, "more arrived than was sent");
        demand(equal(event.data, content(other(side), there(event.stream), half.received, event.data.size())),
               "other bytes than were sent");
        half.received += event.data.size();
        break;
      case MuxEvent::Kind::finished:
        demand(!half.finished && writer->write_closed && half.received == writer->sent, "an end that is none");
        half.finished = true;
        break;
      case MuxEvent::Kind::reset:
        demand(writer->reset_here, "a reset by nobody");
        half.reset_there = true;
        break;
      default: ++writable_events_;
    }
  }

  bool windows_;
  Wire to_dialer_;
  Wire to_listener_;
  std::array<End, 2> ends_;
  bool pinged_ = false;
  std::size_t writable_events_ = 0;
};

}  // namespace p2p::test
