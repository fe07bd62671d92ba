#include "network/perf.hpp"

#include "base/limits.hpp"
#include "support/sim.hpp"

#include <gtest/gtest.h>

namespace p2p::test {
namespace {

using std::chrono::milliseconds;

class Perf : public testing::Test {
 protected:
  void measured(std::function<Awaitable<void>()> work) {
    network.run({&dialer, &listener}, [&]() -> Awaitable<void> {
      co_await dialer.agent.connect(listener.agent.addresses());
      co_await work();
    });
  }
  Stream stream() { return dialer.agent.open_stream_lazily(listener.agent.id(), std::string(perf_protocol)); }

  SimNetwork network;
  SimAgent dialer{network, looking()};
  SimAgent listener{network, listening()};
};

TEST_F(Perf, SendsWhatItIsToldAndTakesWhatItAskedFor) {
  listener.agent.handle(std::string(perf_protocol), perf_handler());
  measured([&]() -> Awaitable<void> {
    for (const auto& [up, down] : {std::pair<std::uint64_t, std::uint64_t>{0, 0}, {1, 1'000'000}, {1'000'000, 0}}) {
      Stream measuring = stream();
      co_await perf(measuring, up, down);
    }
  });
}

TEST_F(Perf, SpeaksTheSpecificationsLayout) {
  listener.agent.handle(std::string(perf_protocol), perf_handler());
  measured([&]() -> Awaitable<void> {
    Stream asking = stream();
    const Bytes request{0, 0, 0, 0, 0, 0, 0, 3, 'u', 'p'};
    co_await asking.write(request);
    asking.close_write();
    Bytes answer;
    while (true) {
      const ByteView bytes = co_await asking.read();
      if (bytes.empty()) break;
      append(answer, bytes);
    }
    EXPECT_EQ(answer, Bytes(3));
  });
}

TEST_F(Perf, RefusesARequestWithoutItsLength) {
  listener.agent.handle(std::string(perf_protocol), perf_handler());
  measured([&]() -> Awaitable<void> {
    Stream asking = stream();
    co_await asking.write(as_bytes("1234567"));
    asking.close_write();
    const auto read = [&]() -> Awaitable<void> { co_await asking.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
  });
}

TEST_F(Perf, IsServedOneAtATime) {
  listener.agent.handle(std::string(perf_protocol), perf_handler());
  measured([&]() -> Awaitable<void> {
    Stream first = stream();
    co_await first.write(as_bytes(std::string(8, '\0')));
    co_await pause(network, milliseconds(10));
    Stream second = stream();
    EXPECT_EQ(co_await error_of(perf(second, 0, 1)), Errc::closed);
    first.close_write();
    co_await pause(network, milliseconds(10));
    Stream third = stream();
    EXPECT_EQ(co_await error_of(perf(third, 0, 1)), Errc());
    first.reset();
  });
}

TEST_F(Perf, RefusesAnAnswerOfAnotherSize) {
  listener.agent.handle(std::string(perf_protocol), [](Stream answering) -> Awaitable<void> {
    co_await answering.write(as_bytes("four"));
    co_await answering.finish(limits::close_wait);
  });
  measured([&]() -> Awaitable<void> {
    Stream asking = stream();
    EXPECT_EQ(co_await error_of(perf(asking, 0, 5)), Errc::unverified);
  });
}

TEST_F(Perf, EndsAMeasurementThatTakesTooLong) {
  listener.agent.handle(std::string(perf_protocol), perf_handler());
  measured([&]() -> Awaitable<void> {
    Stream asking = stream();
    co_await asking.write(as_bytes("12345678"));
    const Time start = network.clock().now();
    const auto read = [&]() -> Awaitable<void> { co_await asking.read(); };
    EXPECT_EQ(co_await error_of(read()), Errc::closed);
    EXPECT_GE(network.clock().now() - start, limits::perf_time);
  });
}

}  // namespace
}  // namespace p2p::test
