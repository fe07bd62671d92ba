#include "base/limits.hpp"
#include "support/heap.hpp"
#include "support/sim.hpp"
#include "wire/multistream.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string greeting_protocol = "/test/greeting/1.0.0";

/// The other side of a connection of ours, without ours above the muxer: it says what it likes in pieces that it chooses.
class RawPeer {
 public:
  RawPeer(SimNetwork& network, std::string muxer) : network_(network), host_(network.add_host()), muxers_(1, std::move(muxer)) {}

  SimHost& host() noexcept { return host_; }

  Awaitable<void> dial(Multiaddr address) {
    std::unique_ptr<ByteStream> channel = host_.dial(address);
    co_await channel->connect(seconds(1));
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
  /// Each byte in a record of its own, each record a while after the last.
  Awaitable<void> send_bytewise(StreamId stream, Bytes bytes) {
    for (const std::uint8_t byte : bytes) {
      session_->send(stream, ByteView(&byte, 1));
      co_await flush();
      co_await sleep_until(network_.clock(), network_.loop(), network_.clock().now() + milliseconds(1));
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

 private:
  void begin(Upgraded upgraded) {
    upgraded_.emplace(std::move(upgraded));
    session_ = make_mux_session(upgraded_->muxer, upgraded_->role, upgraded_->secure.writer);
    input_ = std::move(upgraded_->received);
  }
  Awaitable<void> flush() {
    Bytes flight = std::exchange(upgraded_->unsent, {});
    append(flight, upgraded_->secure.writer.take({}));
    co_await upgraded_->channel->write(flight);
  }
  Awaitable<void> read() {
    ByteSpan unread(input_);
    while (const std::optional<ByteView> record = upgraded_->secure.reader.next(unread).value()) append(plaintext_, *record);
    input_.erase(input_.begin(), input_.end() - static_cast<std::ptrdiff_t>(unread.size()));
    ByteView rest = plaintext_;
    while (const std::optional<MuxEvent> event = session_->next(rest).value()) {
      if (event->kind == MuxEvent::Kind::data) append(received_[event->stream], event->data);
    }
    plaintext_.erase(plaintext_.begin(), plaintext_.end() - static_cast<std::ptrdiff_t>(rest.size()));
    Bytes more(4096);
    more.resize(co_await upgraded_->channel->read_some(more));
    if (more.empty()) fail(Errc::closed, "the peer closed the connection");
    append(input_, more);
  }

  SimNetwork& network_;
  SimHost& host_;
  std::vector<std::string> muxers_;
  NoiseStatic static_{KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{9}), crypto::Key{9}};
  std::optional<Upgraded> upgraded_;
  std::unique_ptr<MuxSession> session_;
  Bytes input_;
  Bytes plaintext_;
  std::map<StreamId, Bytes> received_;
};

Bytes greeting() {
  Bytes bytes;
  multistream::put_message(bytes, multistream::header);
  multistream::put_message(bytes, greeting_protocol);
  append(bytes, as_bytes("hello"));
  return bytes;
}

class Negotiation : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Negotiation, testing::Values(std::string(yamux_protocol), std::string(mplex_protocol)),
                         [](const auto& one) { return std::string(muxer_name(one.param)); });

TEST_P(Negotiation, TakesAProposalThatComesByteByByte) {
  SimNetwork network;
  SimAgent listener(network, listening());
  listener.agent.handle(greeting_protocol, [](Stream stream) -> Awaitable<void> {
    std::string heard;
    while (heard.size() < 5) heard += as_text(co_await stream.read());
    co_await stream.write(as_bytes(heard));
    co_await stream.finish(seconds(1));
  });
  RawPeer raw(network, GetParam());
  network.run({&listener}, [&]() -> Awaitable<void> {
    co_await raw.dial(listener.agent.addresses().front());
    const StreamId stream = raw.session().open().value();
    co_await raw.send_bytewise(stream, greeting());
    EXPECT_EQ(co_await raw.stream_with(greeting()), stream);
  });
}

TEST_P(Negotiation, TakesAnAgreementThatComesByteByByte) {
  SimNetwork network;
  SimAgent dialer(network, looking());
  RawPeer raw(network, GetParam());
  const std::unique_ptr<Listener> listener = raw.host().listen(Multiaddr::tcp("0.0.0.0", 4001).value());
  network.run({&dialer}, [&]() -> Awaitable<void> {
    TaskGroup answering(network.loop());
    const auto answer = [&]() -> Awaitable<void> {
      co_await raw.accept(*listener);
      const StreamId stream = co_await raw.stream_with(greeting());
      co_await raw.send_bytewise(stream, greeting());
    };
    answering.spawn(answer());
    std::vector<Multiaddr> addresses(1, Multiaddr::tcp(raw.host().ip(), 4001).value());
    const PeerId peer = (co_await dialer.agent.connect(addresses))->peer();
    Stream stream = dialer.agent.open_stream_lazily(peer, greeting_protocol);
    co_await stream.write(as_bytes("hello"));
    std::string heard;
    while (heard.size() < 5) heard += as_text(co_await stream.read());
    EXPECT_EQ(heard, "hello");
    co_await answering.join();
  });
}

TEST(Yamux, KeepsABlockedWriterOnceHoweverOftenItsWindowGrows) {
  if (heap_in_use() == 0) GTEST_SKIP() << "the heap cannot be measured here";
  SimNetwork network;
  SimAgent listener(network, listening());
  listener.agent.handle(greeting_protocol, [](Stream stream) -> Awaitable<void> {
    co_await stream.write(Bytes(2 * (limits::write_buffer + limits::yamux_initial_window)));
  });
  RawPeer raw(network, std::string(yamux_protocol));
  network.run({&listener}, [&]() -> Awaitable<void> {
    co_await raw.dial(listener.agent.addresses().front());
    const StreamId stream = raw.session().open().value();
    raw.session().send(stream, greeting());
    const Bytes much{0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(stream), 0, 16, 0, 0};
    co_await raw.send_sealed(much);
    // The writer has more to write than the socket and the buffer before it take, and nobody reads.
    const Bytes little{0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(stream), 0, 0, 0, 1};
    std::size_t before = 0;
    for (std::size_t updates = 0; updates < 20'000; ++updates) {
      co_await raw.send_sealed(little);
      co_await sleep_until(network.clock(), network.loop(), network.clock().now() + 2 * network.latency);
      if (updates == 100) before = heap_in_use();
    }
    EXPECT_LT(heap_in_use(), before + 64 * 1024);
  });
}

}  // namespace
}  // namespace p2p::test
