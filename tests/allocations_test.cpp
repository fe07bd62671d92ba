// A connection that has warmed up asks for no memory, neither for what it sends nor for what it receives. Over the machine's own TCP: the
// network in memory allocates for itself.

#include "support/allocations.hpp"
#include "network/agent.hpp"
#include "network/system.hpp"
#include "support/each_muxer.hpp"

namespace p2p::test {
namespace {

constexpr std::size_t before = 500;
constexpr std::size_t windows = 5;
constexpr std::size_t counted = 100;

#ifdef __GLIBC__
#define NEEDS_COUNT() ASSERT_GT(allocations(), 0U)
#else
#define NEEDS_COUNT() GTEST_SKIP() << "nobody counts them here"
#endif

class Frames : public testing::TestWithParam<std::string> {
 protected:
  /// Allocations while `exchange` is repeated so many times, behind some that do not count, on a stream whose other end answers as `serve`
  /// does. The fewest of several: now and then somebody looks whether the connection lives.
  template <class Exchange>
  std::size_t allocations_of(StreamHandler serve, Exchange exchange) {
    listener.handle(protocol, std::move(serve));
    std::size_t fewest = static_cast<std::size_t>(-1);
    const auto work = [&]() -> Awaitable<void> {
      listener.start();
      dialer.start();
      co_await dialer.connect(listener.addresses());
      Stream stream = co_await dialer.open_stream(listener.id(), protocol);
      for (std::size_t i = 0; i < before; ++i) co_await exchange(stream);
      for (std::size_t window = 0; window < windows; ++window) {
        const std::size_t so_far = allocations();
        for (std::size_t i = 0; i < counted; ++i) co_await exchange(stream);
        fewest = std::min(fewest, allocations() - so_far);
      }
      stream.reset();
      co_await dialer.stop();
      co_await listener.stop();
    };
    system.run(work());
    return fewest;
  }

  AgentOptions options(std::vector<Multiaddr> listen) const {
    AgentOptions chosen;
    chosen.listen = std::move(listen);
    chosen.muxers = {GetParam()};
    chosen.mdns = false;
    return chosen;
  }

  static constexpr const char* protocol = "/test/frames/1.0.0";
  System system;
  Agent listener{system.environment(), KeyPair(crypto::Key{1}), options({Multiaddr::tcp("127.0.0.1", 0).value()})};
  Agent dialer{system.environment(), KeyPair(crypto::Key{2}), options({})};
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Frames, each_muxer, name_of_muxer);

Awaitable<void> echo(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) co_return;
    co_await stream.write(bytes);
  }
}

Awaitable<void> take(Stream stream) {
  while (true) {
    const ByteView bytes = co_await stream.read();
    if (bytes.empty()) co_return;
  }
}

TEST_P(Frames, ThatAreAnsweredAllocateNothing) {
  NEEDS_COUNT();
  const Bytes sent(300, 1);
  const auto exchange = [&](Stream& stream) -> Awaitable<void> {
    co_await stream.write(sent);
    for (std::size_t received = 0; received < sent.size();) received += (co_await stream.read()).size();
  };
  EXPECT_EQ(allocations_of(echo, exchange), 0U);
}

// But where the beginning of a record waits for its rest, that has memory of its size.
TEST_P(Frames, OfLongMessagesAllocateNothing) {
  NEEDS_COUNT();
  const Bytes sent(64 * 1024, 1);
  EXPECT_LE(allocations_of(take, [&](Stream& stream) { return stream.write(sent); }), counted / 10);
}

}  // namespace
}  // namespace p2p::test
