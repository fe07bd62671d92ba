#include "base/limits.hpp"
#include "network/ping.hpp"
#include "support/each_muxer.hpp"
#include "support/heap.hpp"
#include "support/raw_peer.hpp"
#include "wire/multistream.hpp"

namespace p2p::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string greeting_protocol = "/test/greeting/1.0.0";

Bytes greeting() {
  Bytes bytes;
  multistream::put_message(bytes, multistream::header);
  multistream::put_message(bytes, greeting_protocol);
  append(bytes, as_bytes("hello"));
  return bytes;
}

class Negotiation : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Negotiation, each_muxer, name_of_muxer);

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

// All in one flight: those that have said what they are for are not held up by one another.
TEST_P(Negotiation, TakesMoreStreamsAtOnceThanMayBeUndecided) {
  SimNetwork network;
  SimAgent listener(network, listening({GetParam()}));
  SimAgent dialer(network, looking({GetParam()}));
  listener.agent.handle(greeting_protocol, [](Stream stream) -> Awaitable<void> {
    Stream served = std::move(stream);
    co_await served.write(as_bytes("hello"));
    co_await served.finish(seconds(1));
  });
  network.run({&listener, &dialer}, [&]() -> Awaitable<void> {
    co_await dialer.agent.connect(listener.agent.addresses());
    co_await dialer.agent.identify(listener.agent.id());
    std::vector<Stream> streams;
    for (std::size_t i = 0; i < limits::negotiating_streams + 100; ++i) {
      streams.push_back(dialer.agent.open_stream_lazily(listener.agent.id(), greeting_protocol));
    }
    for (Stream& stream : streams) {
      std::string heard;
      while (heard.size() < 5) heard += as_text(co_await stream.read());
      EXPECT_EQ(heard, "hello");
    }
  });
}

TEST_P(Negotiation, DropsTheLastOfTooManyStreamsThatAreUndecided) {
  SimNetwork network;
  SimAgent listener(network, listening({GetParam()}));
  RawPeer raw(network, GetParam());
  network.run({&listener}, [&]() -> Awaitable<void> {
    co_await raw.dial(listener.agent.addresses().front());
    Bytes header;
    multistream::put_message(header, multistream::header);
    std::vector<StreamId> opened;
    for (std::size_t i = 0; i < limits::negotiating_streams; ++i) {
      opened.push_back(raw.session().open().value());
      raw.session().send(opened.back(), header);
    }
    co_await raw.send_sealed({});
    co_await pause(network, milliseconds(1));
    std::set<StreamId> surplus;
    for (int i = 0; i < 20; ++i) {
      const StreamId stream = raw.session().open().value();
      raw.session().send(stream, header);
      surplus.insert(stream);
    }
    co_await raw.send_sealed({});
    EXPECT_EQ(co_await raw.resets(surplus.size()), surplus);
    // The first ones go on.
    Bytes proposal;
    multistream::put_message(proposal, ping_protocol);
    raw.session().send(opened.front(), proposal);
    co_await raw.send_sealed({});
    Bytes agreed = header;
    append(agreed, proposal);
    EXPECT_EQ(co_await raw.stream_with(agreed), opened.front());
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
      co_await pause(network, 2 * network.latency);
      if (updates == 100) before = heap_in_use();
    }
    EXPECT_LT(heap_in_use(), before + 64 * 1024);
  });
}

}  // namespace
}  // namespace p2p::test
