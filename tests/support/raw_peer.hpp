#pragma once
// A peer without our connection, for tests of what ours makes of another one.

#include "network/upgrade.hpp"
#include "support/sim.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2p::test {

/// The other side of a connection of ours, without ours above the muxer: it says what it likes in pieces that it chooses.
class RawPeer {
 public:
  RawPeer(SimNetwork& network, std::string muxer) : network_(network), host_(network.add_host()), muxers_(1, std::move(muxer)) {}

  SimHost& host() noexcept { return host_; }
  PeerId id() const { return identity_.peer_id(); }

  Awaitable<void> dial(Multiaddr address) {
    std::unique_ptr<ByteStream> channel = host_.dial(address);
    co_await channel->connect(std::chrono::seconds(1));
    const UpgradeOptions options{static_, muxers_};
    begin(co_await upgrade_dialer(host_.environment(), options, std::move(channel), std::nullopt));
  }
  Awaitable<void> accept(Listener& listener) {
    std::unique_ptr<ByteStream> channel = co_await listener.accept();
    const UpgradeOptions options{static_, muxers_};
    begin(co_await upgrade_listener(host_.environment(), options, std::move(channel)));
  }

  MuxSession& session() noexcept { return *session_; }
  /// What the session knows nothing of, in a record of its own.
  Awaitable<void> send_sealed(Bytes frames) {
    upgraded_->secure.writer.append(frames);
    co_await flush();
  }
  /// A record that holds `frames`, in pieces of so many bytes, each a while after the last.
  Awaitable<void> send_slowly(Bytes frames, std::size_t piece, Duration pause) {
    co_await flush();  // ends the handshake
    upgraded_->secure.writer.append(frames);
    const Bytes record = upgraded_->secure.writer.take({});
    for (ByteView rest = record; !rest.empty(); rest = rest.subspan(std::min(piece, rest.size()))) {
      co_await upgraded_->channel->write(rest.first(std::min(piece, rest.size())));
      co_await test::pause(network_, pause);
    }
  }
  /// Each byte in a record of its own, each record a while after the last.
  Awaitable<void> send_bytewise(StreamId stream, Bytes bytes) {
    for (const std::uint8_t byte : bytes) {
      session_->send(stream, ByteView(&byte, 1));
      co_await flush();
      co_await pause(network_, std::chrono::milliseconds(1));
    }
  }
  /// The stream on which the peer has sent exactly `bytes` so far.
  Awaitable<StreamId> stream_with(Bytes bytes) {
    while (true) {
      for (const auto& [stream, received] : received_) {
        if (received == bytes) co_return stream;
      }
      co_await read();
    }
  }
  /// Until so many streams have been reset; which ones.
  Awaitable<std::set<StreamId>> resets(std::size_t count) {
    while (reset_.size() < count) co_await read();
    co_return reset_;
  }
  /// Says again on each stream what comes there, a proposal too, which makes it an agreement, and closes none. Throws closed at the end.
  Awaitable<void> echo_everything() {
    while (true) {
      for (auto& [stream, received] : received_) {
        const Bytes bytes = std::exchange(received, {});
        if (!bytes.empty()) session_->send(stream, bytes);
      }
      co_await flush();
      co_await read();
    }
  }

 private:
  void begin(Upgraded upgraded) {
    upgraded_.emplace(std::move(upgraded));
    session_ = make_mux_session(upgraded_->muxer, upgraded_->role, upgraded_->secure.writer);
    input_ = std::move(upgraded_->received);
    process();
  }
  Awaitable<void> flush() {
    Bytes flight = std::exchange(upgraded_->unsent, {});
    append(flight, upgraded_->secure.writer.take({}));
    co_await upgraded_->channel->write(flight);
  }
  Awaitable<void> read() {
    Bytes more(4096);
    more.resize(co_await upgraded_->channel->read_some(more));
    if (more.empty()) fail(Errc::closed, "the peer closed the connection");
    append(input_, more);
    process();
  }
  void process() {
    ByteSpan unread(input_);
    while (const std::optional<ByteView> record = upgraded_->secure.reader.next(unread).value()) append(plaintext_, *record);
    input_.erase(input_.begin(), input_.end() - static_cast<std::ptrdiff_t>(unread.size()));
    ByteView rest = plaintext_;
    while (const std::optional<MuxEvent> event = session_->next(rest).value()) {
      if (event->kind == MuxEvent::Kind::data) append(received_[event->stream], event->data);
      if (event->kind == MuxEvent::Kind::reset) reset_.insert(event->stream);
    }
    plaintext_.erase(plaintext_.begin(), plaintext_.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }

  SimNetwork& network_;
  SimHost& host_;
  std::vector<std::string> muxers_;
  KeyPair identity_{std::array<std::uint8_t, KeyPair::seed_size>{9}};
  NoiseStatic static_{identity_, crypto::Key{9}};
  std::optional<Upgraded> upgraded_;
  std::unique_ptr<MuxSession> session_;
  Bytes input_;
  Bytes plaintext_;
  std::map<StreamId, Bytes> received_;
  std::set<StreamId> reset_;
};

}  // namespace p2p::test
