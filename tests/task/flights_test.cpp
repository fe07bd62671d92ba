// How often a task goes back and forth, counted in virtual time, in which nothing else costs any.

#include "support/tasks.hpp"

namespace p2p::test {
namespace {

class Flights : public Tasks {
 protected:
  /// From before the dial to after the result.
  Duration connect_and_ask(bool trusted) {
    serve();
    Duration took{};
    network.run({&requester, &provider_host}, [&]() -> Awaitable<void> {
      const Time start = network.clock().now();
      co_await requester.agent.connect(provider_host.agent.addresses());
      if (trusted) manager.trust(peer());
      const Answer answer = co_await manager.submit(peer(), task());
      took = network.clock().now() - start;
      EXPECT_EQ(answer.result.text, "Processed: hi");
      co_await provider->shut_down(seconds(0));
    });
    return took;
  }
  Duration round_trip() const { return 2 * network.latency; }
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Flights, each_muxer, name_of_muxer);

TEST_P(Flights, OfAFirstTaskAreTwoRoundTripsBehindTcps) { EXPECT_EQ(connect_and_ask(true), 3 * round_trip()); }

TEST_P(Flights, OfATaskForAPeerThatIsNotKnownToTakeAnyAreOneMore) { EXPECT_EQ(connect_and_ask(false), 4 * round_trip()); }

TEST_P(Flights, OfATaskForAPeerThatHasSaidWhatItSpeaksAreOneRoundTrip) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    co_await requester.agent.identify(peer());
    const Time start = network.clock().now();
    co_await manager.submit(peer(), task());
    EXPECT_EQ(network.clock().now() - start, round_trip());
  });
}

TEST_P(Flights, OfAnInfoAreOneRoundTripAndMakeThePeerKnown) {
  serve();
  network.run({&requester, &provider_host}, [&]() -> Awaitable<void> {
    co_await requester.agent.connect(provider_host.agent.addresses());
    Time start = network.clock().now();
    co_await manager.info(peer());
    EXPECT_EQ(network.clock().now() - start, round_trip());
    start = network.clock().now();
    co_await manager.submit(peer(), task());
    EXPECT_EQ(network.clock().now() - start, round_trip());
    co_await provider->shut_down(seconds(0));
  });
}

// What leaves at once is one call to the system, too: virtual time would not show whether a flight was written in pieces.
TEST_P(Flights, OfATaskAreAWriteEach) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    co_await manager.info(peer());
    co_await pause(milliseconds(10));
    network.writes_of_dialers = network.writes_of_listeners = 0;
    for (int i = 0; i < 10; ++i) {
      co_await manager.submit(peer(), task());
      co_await pause(limits::lazy_write / 2);
    }
    EXPECT_EQ(network.writes_of_dialers, 10U);  // the end of a task's stream leaves with the next task
    EXPECT_EQ(network.writes_of_listeners, 10U);
    co_await pause(limits::lazy_write);
    EXPECT_EQ(network.writes_of_dialers, 11U);  // and the last one's by itself
    EXPECT_EQ(network.writes_of_listeners, 10U);
  });
}

// Of each side the last one is an answer to what the other's second one asks.
TEST_P(Flights, OfAFirstTaskAreAWriteEach) {
  network.reads = SimNetwork::Reads::all;
  serve();
  network.run({&requester, &provider_host}, [&]() -> Awaitable<void> {
    manager.trust(peer());
    network.writes_of_dialers = network.writes_of_listeners = 0;
    co_await requester.agent.connect(provider_host.agent.addresses());
    co_await manager.submit(peer(), task());
    EXPECT_EQ(network.writes_of_dialers, 3U);    // up to Noise's message 1; from message 3 to the task; who this is
    EXPECT_EQ(network.writes_of_listeners, 3U);  // up to message 2; who that is?; who this is, and the result
    co_await provider->shut_down(seconds(0));
  });
}

// Work of other connections that is ready already is no reason to answer ahead of one's own.
TEST_P(Flights, OfTasksThatManyRequestersSendAtOnceAreAWriteEach) {
  constexpr std::size_t many = 40;
  serve({}, {.slots = many});
  struct Member {
    explicit Member(SimNetwork& network) : host(network, looking({GetParam()})), manager(host.agent) {}
    SimAgent host;
    TaskManager manager;
  };
  std::vector<std::unique_ptr<Member>> crowd;
  std::vector<SimAgent*> hosts{&provider_host};
  while (crowd.size() < many) {
    crowd.push_back(std::make_unique<Member>(network));
    hosts.push_back(&crowd.back()->host);
  }
  network.run(hosts, [&]() -> Awaitable<void> {
    for (const auto& member : crowd) {
      co_await member->host.agent.connect(provider_host.agent.addresses());
      co_await member->manager.info(peer());
    }
    co_await pause(milliseconds(10));
    network.writes_of_listeners = 0;
    TaskGroup asking(network.loop());
    for (const auto& member : crowd) asking.spawn(discard(member->manager.submit(peer(), member->manager.make_task("hi"))));
    provider_host.host.unplug();
    co_await pause(milliseconds(10));
    provider_host.host.plug_in();  // all of them are there to be read in the same instant
    co_await asking.join();
    EXPECT_EQ(network.writes_of_listeners, many);
    co_await provider->shut_down(seconds(0));
  });
}

TEST_P(Flights, EndWithWhyWhenAPeerThatTheUserNamedTakesNoTasks) {
  with_connection([&]() -> Awaitable<void> {
    manager.trust(peer());
    EXPECT_EQ(co_await error_of(task()), Errc::unsupported);
    EXPECT_EQ(co_await error_of(task(std::string(100'000, 'x'))), Errc::unsupported);
  });
}

}  // namespace
}  // namespace p2p::test
