#include "task/provider.hpp"

#include "base/coding.hpp"
#include "identity/envelope.hpp"
#include "support/raw_peer.hpp"
#include "support/tasks.hpp"
#include "task/receipt.hpp"

#include <boost/json/serialize.hpp>

namespace p2p::test {
namespace {

INSTANTIATE_TEST_SUITE_P(EachMuxer, Tasks, each_muxer, name_of_muxer);

TEST_P(Tasks, AreAnsweredWithASignedResult) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const Answer answer = co_await manager.submit(peer(), task("Hello, P2P AI!"));
    EXPECT_EQ(answer.result.status, Status::completed);
    EXPECT_EQ(answer.result.text, "Processed: Hello, P2P AI!");
    EXPECT_EQ(answer.result.executor, "mock");
    EXPECT_EQ(answer.result.task_sha256, task_hash(as_bytes(answer.task_payload)));
    EXPECT_EQ(events.at(0).status, "completed");
  });
}

TEST_P(Tasks, OfTheArchitectureDocumentAreAcceptedAsTheyStand) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const std::string literal = R"({"task_id": "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b", "task_type": "inference",
                                    "input": {"prompt": "Hello, P2P AI!"}, "timestamp": "2026-01-17T10:30:00Z"})";
    EXPECT_EQ(co_await code_of(literal), "none");
  });
}

TEST_P(Tasks, StreamTheirOutputInOrder) {
  serve({milliseconds(100), 5});
  with_connection([&]() -> Awaitable<void> {
    std::string text;
    std::vector<std::string> states;
    const Answer answer = co_await manager.submit(peer(), task("grüße aus der ferne", true), [&](const Update& update) {
      if (update.text) text += *update.text;
      if (update.state) states.push_back(*update.state);
    });
    EXPECT_EQ(text, answer.result.text);
    EXPECT_EQ(text, "Processed: grüße aus der ferne");
    EXPECT_EQ(states, std::vector<std::string>{"running"});
    EXPECT_EQ(answer.result.run_ms, 100U);
  });
}

TEST_P(Tasks, StreamMegabytes) {
  serve({milliseconds(0), 3});
  with_connection([&]() -> Awaitable<void> {
    std::size_t updates = 0;
    const Answer answer = co_await manager.submit(peer(), task(std::string(1'000'000, 'x'), true), [&](const Update&) { ++updates; });
    EXPECT_EQ(answer.result.text->size(), 1'000'011U);
    EXPECT_GE(updates, 1'000'011U / limits::update_text);
  });
}

TEST_P(Tasks, WaitForTheirTurnAndAreToldSo) {
  serve({seconds(10), 1}, {1, 2});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    std::vector<std::string> told;
    const auto one = [&](std::string name) -> Awaitable<void> {
      // Named, since g++ 12 destroys a temporary with captures twice inside a co_await.
      const std::function<void(const Update&)> note = [&told, name](const Update& update) {
        if (update.state) told.push_back(name + " " + *update.state + (update.position ? " " + std::to_string(*update.position) : ""));
      };
      const Answer answer = co_await manager.submit(peer(), task(name, true), note);
      EXPECT_EQ(answer.result.status, Status::completed);
      told.push_back(name + " done after " + std::to_string(*answer.result.queued_ms));
    };
    for (const char* const name : {"a", "b", "c"}) {
      group.spawn(one(name));
      co_await pause(seconds(1));
    }
    const Answer busy = co_await manager.submit(peer(), task("d"));
    EXPECT_EQ(busy.result.status, Status::rejected);
    EXPECT_EQ(busy.result.error->code, "busy");
    EXPECT_GT(*busy.result.error->retry_after_ms, 0U);
    const Info info = co_await manager.info(peer());
    EXPECT_EQ(info.running, 1U);
    EXPECT_EQ(info.waiting, 2U);
    EXPECT_EQ(info.slots, 1U);
    EXPECT_EQ(info.capacity, 2U);
    co_await group.join();
    const std::vector<std::string> expected{"a running",  "b queued 0", "c queued 1",        "b running",         "a done after 0",
                                            "c queued 0", "c running",  "b done after 9000", "c done after 18000"};
    std::vector<std::string> sorted_told = told;
    std::vector<std::string> sorted_expected = expected;
    std::sort(sorted_told.begin(), sorted_told.end());
    std::sort(sorted_expected.begin(), sorted_expected.end());
    EXPECT_EQ(sorted_told, sorted_expected);
    EXPECT_EQ(provider->running(), 0U);
  });
}

TEST_P(Tasks, AreStoppedWhenTheirTimeIsOver) {
  serve({seconds(60), 6});
  with_connection([&]() -> Awaitable<void> {
    Task slow = task("slow", true);
    slow.timeout_ms = 25'000;
    const Time start = network.clock().now();
    const Answer answer = co_await manager.submit(peer(), slow);
    EXPECT_EQ(answer.result.status, Status::cancelled);
    EXPECT_EQ(answer.result.error->code, "deadline_exceeded");
    EXPECT_EQ(answer.result.text, "Proc");  // two of six pieces of 15 bytes, as they were streamed
    EXPECT_LT(network.clock().now() - start, seconds(26));
    EXPECT_EQ(provider->running(), 0U);
  });
}

TEST_P(Tasks, KeepToTheTimeThatPassesWhateverTheDateSays) {
  serve({.delay = seconds(5)});
  with_connection([&]() -> Awaitable<void> {
    for (const std::chrono::hours jump : {std::chrono::hours(365 * 24), std::chrono::hours(-24)}) {
      const Time start = network.clock().now();
      const Timer timer = network.clock().schedule(start + seconds(1), [&] { network.set_date(jump); });
      Task in_time = task();
      in_time.timeout_ms = 6000;
      const Answer answer = co_await manager.submit(peer(), std::move(in_time));
      EXPECT_EQ(answer.result.status, Status::completed);
      EXPECT_GE(network.clock().now() - start, seconds(5));
      EXPECT_EQ(answer.result.run_ms, 5000U);
      const Time again = network.clock().now();
      const Timer back = network.clock().schedule(again + seconds(1), [&] { network.set_date(-jump); });
      Task late = task();
      late.timeout_ms = 3000;
      const Answer cancelled = co_await manager.submit(peer(), std::move(late));
      EXPECT_EQ(cancelled.result.error->code, "deadline_exceeded");
      EXPECT_GE(network.clock().now() - again, seconds(3));
      EXPECT_LE(network.clock().now() - again, seconds(4));
    }
  });
}

TEST_P(Tasks, WhoseTimeIsOverWhileTheMachineSleepsAreCancelledWhenItResumes) {
  serve({.delay = seconds(5)});
  with_connection([&]() -> Awaitable<void> {
    const Timer timer = network.clock().schedule(network.clock().now() + seconds(1), [&] { network.suspend(std::chrono::hours(1)); });
    Task late = task();
    late.timeout_ms = 60'000;
    std::string message;
    const std::optional<Errc> error = co_await error_of(std::move(late), &message);
    EXPECT_TRUE(!error || *error == Errc::timed_out) << message;  // whichever of the two is awake first
    co_await pause(seconds(10));
    EXPECT_EQ(provider->running(), 0U);
    const Answer answer = co_await manager.submit(peer(), task());
    EXPECT_EQ(answer.result.status, Status::completed);
  });
}

TEST_P(Tasks, WhoseTimeIsOverInTheQueueAreCancelled) {
  serve({seconds(60), 1}, {1, 1});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto first = [&]() -> Awaitable<void> { co_await manager.submit(peer(), task("first")); };
    group.spawn(first());
    co_await pause(seconds(1));
    Task waiting = task("second");
    waiting.timeout_ms = 5'000;
    const Answer answer = co_await manager.submit(peer(), waiting);
    EXPECT_EQ(answer.result.status, Status::cancelled);
    EXPECT_EQ(answer.result.error->code, "deadline_exceeded");
    EXPECT_EQ(provider->waiting(), 0U);
    co_await group.join();
  });
}

TEST_P(Tasks, AreGivenUpByTheRequesterASecondAfterTheirTime) {
  provider_host.agent.handle(std::string(task_protocol), [](Stream stream) -> Awaitable<void> {
    while (!(co_await stream.read()).empty()) {
    }
  });
  with_connection([&]() -> Awaitable<void> {
    Task hopeless = task();
    hopeless.timeout_ms = 3'000;
    const Time start = network.clock().now();
    EXPECT_EQ(co_await error_of(hopeless), Errc::timed_out);
    EXPECT_GE(network.clock().now() - start, seconds(4));
    EXPECT_LT(network.clock().now() - start, seconds(5));
  });
}

TEST_P(Tasks, AreGivenUpAsSoonWhenThePeerDoesNotEvenSayWhetherItTakesAny) {
  RawPeer mute(network, GetParam());
  TaskManager asking(provider_host.agent);
  network.run({&provider_host}, [&]() -> Awaitable<void> {
    co_await mute.dial(provider_host.agent.addresses().front());
    TaskGroup group(network.loop());
    const auto live = [&]() -> Awaitable<void> {
      for (int i = 0; i < 8; ++i) {
        mute.session().open().value();  // something that shows life
        co_await mute.send_sealed({});
        co_await pause(seconds(1));
      }
    };
    group.spawn(live());
    co_await pause(milliseconds(10));
    Task hopeless = asking.make_task("hi");
    hopeless.timeout_ms = 1'000;
    const Time start = network.clock().now();
    std::optional<Errc> error;
    try {
      co_await asking.submit(mute.id(), std::move(hopeless));
    } catch (const boost::system::system_error& thrown) {
      error = static_cast<Errc>(thrown.code().value());
    }
    EXPECT_EQ(error, Errc::timed_out);
    EXPECT_EQ(network.clock().now() - start, seconds(1) + limits::result_margin);
    co_await group.join();
  });
}

TEST_P(Tasks, AreCancelledByAReset) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    {
      Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
      const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
      co_await write_frame(stream, envelope);
      co_await pause(seconds(1));
      EXPECT_EQ(provider->running(), 1U);
    }
    co_await pause(milliseconds(1));
    EXPECT_EQ(provider->running(), 0U);
    EXPECT_EQ(events.at(0).status, "lost");
  });
}

TEST_P(Tasks, AreCancelledWhenTheConnectionIsLost) {
  serve({seconds(60), 1}, {1, 4});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> { EXPECT_EQ(co_await error_of(task()), Errc::closed); };
    for (int i = 0; i < 3; ++i) group.spawn(one());
    co_await pause(seconds(1));
    EXPECT_EQ(provider->waiting(), 2U);
    requester.host.kill_connections();
    co_await group.join();
    co_await pause(milliseconds(1));
    EXPECT_EQ(provider->running(), 0U);
    EXPECT_EQ(provider->waiting(), 0U);
    // The survivor goes on serving.
    co_await requester.agent.connect(provider_host.agent.addresses());
    EXPECT_EQ(co_await error_of(task()), std::nullopt);
  });
}

TEST_P(Tasks, GoOnWhenTheRequesterClosesItsSide) {
  serve({seconds(1), 1});
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
    co_await write_frame(stream, envelope);
    stream.close_write();
    const std::optional<Bytes> answer = co_await read_frame(stream, limits::task_frame);
    EXPECT_EQ(parse_result(open_message(*answer, key_of(peer())).value().payload).value().status, Status::completed);
    EXPECT_FALSE(co_await read_frame(stream, limits::task_frame));
  });
}

TEST_P(Tasks, AreCancelledWhenARequesterThatClosedItsSideIsGone) {
  serve({seconds(100), 1});
  with_connection([&]() -> Awaitable<void> {
    for (const bool reset : {true, false}) {
      Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
      const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
      co_await write_frame(stream, envelope);
      stream.close_write();
      co_await pause(seconds(1));
      EXPECT_EQ(provider->running(), 1U);
      if (reset) {
        stream.reset();
      } else {
        requester.host.kill_connections();
      }
      co_await pause(milliseconds(10));
      EXPECT_EQ(provider->running(), 0U);
      EXPECT_EQ(events.back().status, "lost");
    }
  });
}

/// Others open more streams than a provider serves, do with each what the test says, and keep them.
class Places : public Tasks {
 protected:
  using Use = std::function<Awaitable<void>(Stream& stream, const Bytes& task_envelope)>;

  void expect_one_in_the_end(const Use& use) {
    serve();
    std::vector<std::unique_ptr<SimAgent>> crowd;
    for (std::size_t i = 0; i <= limits::task_streams / (limits::streams_outbound - 1); ++i) {
      crowd.push_back(std::make_unique<SimAgent>(network, looking({GetParam()})));
    }
    with_connection([&]() -> Awaitable<void> {
      std::vector<Stream> streams;
      for (const auto& one : crowd) {
        one->agent.start();
        co_await one->agent.connect(provider_host.agent.addresses());
        const Bytes envelope = seal_message(one->agent.identity(), MessageKind::task, task().to_json());
        for (std::size_t i = 1; i < limits::streams_outbound; ++i) {
          streams.push_back(co_await one->agent.open_stream(peer(), std::string(task_protocol)));
          co_await use(streams.back(), envelope);
        }
      }
      EXPECT_GT(streams.size(), limits::task_streams);
      const Answer answer = co_await manager.submit(peer(), task());
      EXPECT_EQ(answer.result.status, Status::completed);
      streams.clear();
      for (const auto& one : crowd) co_await one->agent.stop();
    });
  }
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Places, each_muxer, name_of_muxer);

TEST_P(Places, AreFoundHoweverManyStreamsOthersKeepOpen) {
  expect_one_in_the_end([](Stream&, const Bytes&) -> Awaitable<void> { co_return; });
}

TEST_P(Places, AreFoundHoweverManyStreamsAreKeptOpenBehindTheirResults) {
  expect_one_in_the_end([](Stream& stream, const Bytes& task_envelope) -> Awaitable<void> {
    co_await write_frame(stream, task_envelope);
    EXPECT_TRUE(co_await read_frame(stream, limits::task_frame));
  });
}

class PlacesOverMplex : public Places {};  // where no window holds what a peer does not read

INSTANTIATE_TEST_SUITE_P(Mplex, PlacesOverMplex, testing::Values(std::string(mplex_protocol)),
                         [](const auto&) { return std::string("mplex"); });

TEST_P(PlacesOverMplex, AreFoundHoweverManyAnswersOthersDoNotTake) {
  constexpr std::size_t of_each = 250;
  const std::string endless = "/endless";
  serve();
  const StreamHandler write_without_end = [](Stream taken) -> Awaitable<void> {
    Stream stream = std::move(taken);
    const Bytes block(64 * 1024);
    while (true) co_await stream.write(block);
  };
  provider_host.agent.handle(endless, write_without_end);
  Bytes refused;  // a task that is not even one
  const Bytes envelope = seal_message(KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{9}), MessageKind::task, "{");
  put_uvarint(refused, envelope.size());
  append(refused, envelope);
  std::vector<std::unique_ptr<RawPeer>> crowd;
  with_connection([&]() -> Awaitable<void> {
    for (std::size_t streams = 0; streams <= limits::task_streams; streams += of_each) {
      crowd.push_back(std::make_unique<RawPeer>(network, GetParam()));
      RawPeer& one = *crowd.back();
      co_await one.dial(provider_host.agent.addresses().front());
      std::vector<StreamId> opened;
      const auto open = [&](const std::string& protocol) {
        opened.push_back(one.session().open().value());
        one.session().send(opened.back(), multistream::Dialer({protocol}).take_output());
      };
      for (std::size_t i = 0; i < of_each; ++i) open(std::string(task_protocol));
      co_await one.send_sealed({});
      co_await pause(milliseconds(10));
      open(endless);  // nothing that comes behind this fits into the connection
      opened.pop_back();
      co_await one.send_sealed({});
      co_await pause(milliseconds(10));
      for (const StreamId stream : opened) one.session().send(stream, refused);
      co_await one.send_sealed({});
      co_await pause(milliseconds(10));
    }
    const Answer answer = co_await manager.submit(peer(), task());
    EXPECT_EQ(answer.result.status, Status::completed);
  });
}

TEST_P(Tasks, AreNotToldEachPlaceInTheQueueThatTheyHaveForAMoment) {
  constexpr unsigned many = 12;
  serve({.delay = seconds(100)}, {.slots = 1, .queue = many});
  std::vector<std::uint64_t> told;
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto wait = [&]() -> Awaitable<void> { EXPECT_EQ(co_await error_of(task()), Errc::closed); };
    group.spawn(wait());
    std::vector<Stream> before;
    for (unsigned i = 1; i < many; ++i) {
      before.push_back(co_await requester.agent.open_stream(peer(), std::string(task_protocol)));
      const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
      co_await write_frame(before.back(), envelope);
    }
    co_await pause(milliseconds(10));
    const std::function<void(const Update&)> on_update = [&](const Update& update) { told.push_back(update.position.value_or(99)); };
    const auto last = [&]() -> Awaitable<void> {
      try {
        co_await manager.submit(peer(), task("hi", true), on_update);
      } catch (const boost::system::system_error&) {
        // at the end of the test
      }
    };
    group.spawn(last());
    for (Stream& stream : before) {
      co_await pause(milliseconds(10));
      stream.reset();
    }
    co_await pause(milliseconds(10));
    EXPECT_EQ(told, std::vector<std::uint64_t>{many - 1});
    co_await pause(limits::position_pause);
    EXPECT_EQ(told, (std::vector<std::uint64_t>{many - 1, 0}));
    requester.agent.disconnect(peer());
    co_await group.join();
  });
}

TEST_P(Tasks, OfARequesterThatDoesNotReadGiveTheirSlotBack) {
  serve({milliseconds(640), 64}, {.slots = 1});
  with_connection([&]() -> Awaitable<void> {
    Task large = task(std::string(2 * 1024 * 1024, 'x'));
    large.stream = true;
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, large.to_json());
    Stream unread = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    co_await write_frame(unread, envelope);
    co_await pause(seconds(1));
    EXPECT_EQ(provider->running(), 1U);
    co_await pause(limits::message_wait);
    EXPECT_EQ(provider->running(), 0U);
    const Answer answer = co_await manager.submit(peer(), task());
    EXPECT_EQ(answer.result.status, Status::completed);
  });
}

TEST_P(Tasks, AreFollowedOnSoManyStreamsAtOnce) {
  serve({.delay = seconds(5)});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
    std::vector<Stream> streams;
    for (std::size_t i = 0; i < limits::task_followers; ++i) {
      streams.push_back(co_await requester.agent.open_stream(peer(), std::string(task_protocol)));
      co_await write_frame(streams.back(), envelope);
    }
    co_await pause(milliseconds(10));
    const std::optional<Bytes> surplus = co_await exchange(envelope);
    const TaskResult refused = parse_result(open_message(*surplus, key_of(peer())).value().payload).value();
    EXPECT_EQ(refused.error->code, "busy");
    EXPECT_GT(refused.error->retry_after_ms.value_or(0), 0U);
    for (Stream& stream : streams) {
      const std::optional<Bytes> answer = co_await read_frame(stream, limits::task_frame);
      EXPECT_EQ(parse_result(open_message(*answer, key_of(peer())).value().payload).value().status, Status::completed);
    }
  });
}

TEST_P(Tasks, AreRejectedWithTheRightCode) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const std::string id = "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b";
    const auto payload = [&](std::string type, std::string input, std::string more = "") {
      return R"({"task_id":")" + id + R"(","task_type":")" + type + R"(","input":)" + input + R"(,"timestamp":"2026-01-17T10:30:00Z")" +
             more + "}";
    };
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":1})")), "invalid_task");
    EXPECT_EQ(rejected_id, id);
    EXPECT_EQ(co_await code_of("{"), "invalid_task");
    EXPECT_EQ(rejected_id, nil_task_id);
    EXPECT_EQ(co_await code_of("[]"), "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a","x":)" + std::string(33, '[') + std::string(33, ']') + "}")),
              "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a","prompt":"b"})")), "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a","temperature":1e999})")), "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", "{\"prompt\":\"\xff\"}")), "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a"})", R"(,"timeout_ms":3e4)")), "invalid_task");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a"})", R"(,"recipient":")" + requester.agent.id().text() + "\"")),
              "wrong_recipient");
    EXPECT_EQ(co_await code_of(payload("painting", R"({"prompt":"a"})")), "unsupported_task_type");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a","model":"llama"})")), "unsupported_model");
    EXPECT_EQ(co_await code_of(payload("inference", R"({"prompt":"a","model":"mock"})")), "none");
    // The order of the checks: what is wrong first is said.
    EXPECT_EQ(co_await code_of(payload("painting", R"({"prompt":"a"})", R"(,"recipient":"nobody")")), "wrong_recipient");
    EXPECT_EQ(co_await code_of(payload("painting", R"({"model":"llama"})")), "unsupported_task_type");
  });
}

TEST_P(Tasks, ThatDoNotVerifyAreResetAndNeverAnswered) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const std::string payload = task().to_json();
    const KeyPair other = KeyPair::generate(network.random());
    Bytes tampered = seal_message(requester.agent.identity(), MessageKind::task, payload);
    tampered[tampered.size() / 2] ^= 1;
    EXPECT_FALSE(co_await exchange(tampered));
    EXPECT_FALSE(co_await exchange(seal_message(other, MessageKind::task, payload)));
    EXPECT_FALSE(co_await exchange(seal_message(requester.agent.identity(), MessageKind::result, payload)));
    const Bytes garbage{1, 2, 3};
    const Bytes nothing;
    EXPECT_FALSE(co_await exchange(garbage));
    EXPECT_FALSE(co_await exchange(nothing));
    EXPECT_EQ(provider->refused(), 5U);
    EXPECT_TRUE(events.empty());
    EXPECT_EQ(co_await error_of(task()), std::nullopt);
    const Answer answer = co_await manager.submit(peer(), task());
    EXPECT_FALSE(co_await exchange(answer.result_envelope));  // what it said itself
    EXPECT_FALSE(co_await exchange(seal_message(provider_host.agent.identity(), MessageKind::task, payload)));
    EXPECT_EQ(provider->refused(), 7U);
  });
}

TEST_P(Tasks, AboveTheFrameLimitAreResetBeforeTheyArrive) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    const Bytes length{0x81, 0x80, 0x80, 0x02};  // 4,194,305
    co_await stream.write(length);
    const auto read = [&]() -> Awaitable<void> { co_await read_frame(stream, 100); };
    EXPECT_THROW(co_await read(), boost::system::system_error);
    EXPECT_EQ(provider->refused(), 1U);
  });
}

TEST_P(Tasks, MayNotFollowEachOtherOnOneStream) {
  serve({seconds(10), 1});
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task().to_json());
    co_await write_frame(stream, envelope);
    co_await write_frame(stream, envelope);
    const auto read = [&]() -> Awaitable<void> { co_await read_frame(stream, limits::task_frame); };
    EXPECT_THROW(co_await read(), boost::system::system_error);
    co_await pause(milliseconds(1));
    EXPECT_EQ(provider->running(), 0U);
  });
}

TEST_P(Tasks, MayNotFollowARejectedOne) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    Task other = task();
    other.task_type = "painting";
    const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, other.to_json());
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    co_await write_frame(stream, envelope);
    co_await write_frame(stream, envelope);
    co_await pause(seconds(1));
    EXPECT_EQ(provider->refused(), 1U);
    const auto write = [&]() -> Awaitable<void> { co_await write_frame(stream, envelope); };
    EXPECT_EQ(co_await test::error_of(write()), Errc::closed);  // reset
  });
}

TEST_P(Tasks, AreRefusedFromTheMomentWhenTheRequesterMayNotAsk) {
  bool allowed = true;
  ProviderOptions options;
  options.may_ask = [&allowed](const PeerId&) { return allowed; };
  serve({}, options);
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    co_await pause(seconds(1));
    allowed = false;
    co_await write_frame(stream, seal_message(requester.agent.identity(), MessageKind::task, task().to_json()));
    const std::optional<Bytes> answer = co_await read_frame(stream, limits::task_frame);
    EXPECT_EQ(parse_result(open_message(*answer, key_of(peer())).value().payload).value().error->code, "not_allowed");
  });
}

TEST_P(Tasks, AreWaitedForHalfAMinute) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    const Time start = network.clock().now();
    const auto read = [&]() -> Awaitable<void> { co_await stream.read(); };
    EXPECT_THROW(co_await read(), boost::system::system_error);
    EXPECT_LT(network.clock().now() - start - limits::task_wait, milliseconds(1));
    Stream empty = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
    empty.close_write();
    EXPECT_TRUE((co_await empty.read()).empty());
  });
}

TEST_P(Tasks, AreRejectedWhenTheProviderGoesAway) {
  serve({seconds(5), 1}, {1, 4});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    std::vector<std::string> ends;
    const auto one = [&](std::string name) -> Awaitable<void> {
      const Answer answer = co_await manager.submit(peer(), task(name));
      ends.push_back(name + " " + std::string(name_of(answer.result.status)) +
                     (answer.result.error ? " " + answer.result.error->code : ""));
    };
    group.spawn(one("running"));
    co_await pause(seconds(1));
    group.spawn(one("queued"));
    co_await pause(seconds(1));
    const Time start = network.clock().now();
    group.spawn(provider->shut_down(seconds(10)));
    co_await pause(milliseconds(10));
    group.spawn(one("new"));
    co_await group.join();
    EXPECT_EQ(ends, (std::vector<std::string>{"queued rejected shutting_down", "new rejected shutting_down", "running completed"}));
    EXPECT_LT(network.clock().now() - start, milliseconds(3100));  // no longer than the task took
    provider.reset();
  });
}

TEST_P(Tasks, AreCancelledWhenTheGraceIsOver) {
  serve({seconds(60), 60});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> {
      const Answer answer = co_await manager.submit(peer(), task("0123456789", true));
      EXPECT_EQ(answer.result.status, Status::cancelled);
      EXPECT_EQ(answer.result.error->code, "cancelled");
      EXPECT_FALSE(answer.result.text->empty());
    };
    group.spawn(one());
    co_await pause(seconds(50));
    const Time start = network.clock().now();
    co_await provider->shut_down(seconds(3));
    EXPECT_GE(network.clock().now() - start, seconds(3));
    EXPECT_LT(network.clock().now() - start, milliseconds(3100));
    co_await group.join();
    provider.reset();
  });
}

TEST_P(Tasks, EndAtOnceWhenTheProviderIsHurried) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> {
      const Answer answer = co_await manager.submit(peer(), task());
      EXPECT_EQ(answer.result.status, Status::cancelled);
    };
    group.spawn(one());
    co_await pause(seconds(1));
    const Time start = network.clock().now();
    group.spawn(provider->shut_down(seconds(30)));
    co_await pause(seconds(1));
    provider->hurry();
    co_await group.join();
    EXPECT_LT(network.clock().now() - start, milliseconds(1100));
    provider.reset();
  });
}

TEST_P(Tasks, WhoseOutputDoesNotFitAResultFail) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    // JSON's escapes make a task of this prompt fit a frame, with "Processed: " in front of it the result does not.
    const Task large = task(std::string(limits::task_frame - 500, 'x'));
    const Answer answer = co_await manager.submit(peer(), large);
    EXPECT_EQ(answer.result.status, Status::failed);
    EXPECT_EQ(answer.result.error->code, "output_too_large");
    EXPECT_FALSE(answer.result.text);
    const Task too_large = task(std::string(limits::task_frame, 'x'));
    EXPECT_EQ(co_await error_of(too_large), Errc::invalid);
  });
}

/// Executors that do not behave.
class Faulty final : public Executor {
 public:
  std::string_view name() const override { return "faulty"; }
  std::vector<std::string> models() const override { return {"flawed"}; }
  Awaitable<Outcome> run(TaskRun& run) override {
    if (run.task().prompt() == "flood") {
      while (true) co_await run.write(std::string(1'000'000, 'x'));
    }
    if (run.task().prompt() == "bug") throw std::runtime_error("a plain exception");
    co_await run.write("half ");
    fail(Errc::closed, "the machine behind it broke");
  }
};

TEST_P(Tasks, ThatAnExecutorDoesNotFinishFailWithWhatThereIs) {
  Faulty faulty;
  provider = std::make_unique<Provider>(provider_host.agent, faulty);
  with_connection([&]() -> Awaitable<void> {
    Answer answer = co_await manager.submit(peer(), task("break", true));
    EXPECT_EQ(answer.result.status, Status::failed);
    EXPECT_EQ(answer.result.error->code, "executor_failed");
    EXPECT_EQ(answer.result.error->message, "the machine behind it broke");
    EXPECT_EQ(answer.result.text, "half ");
    answer = co_await manager.submit(peer(), task("flood"));
    EXPECT_EQ(answer.result.error->code, "output_too_large");
    answer = co_await manager.submit(peer(), task("bug"));
    EXPECT_EQ(answer.result.error->message, "a plain exception");
    Task with_model = task("break");
    with_model.input["model"] = "flawed";
    answer = co_await manager.submit(peer(), with_model);
    EXPECT_EQ(answer.result.error->code, "executor_failed");
    with_model.input["model"] = "faulty";
    answer = co_await manager.submit(peer(), with_model);
    EXPECT_EQ(answer.result.error->code, "unsupported_model");
  });
}

TEST_P(Tasks, CannotBeHadFromAnAgentThatServesNone) {
  with_connection([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await error_of(task()), Errc::unsupported);
    const std::uint64_t before = network.carried_from_dialers;
    EXPECT_EQ(co_await error_of(task(std::string(100'000, 'x'))), Errc::unsupported);
    EXPECT_LT(network.carried_from_dialers - before, 10'000U) << "it has the prompt";
    const auto ask = [&]() -> Awaitable<void> { co_await manager.info(peer()); };
    EXPECT_THROW(co_await ask(), boost::system::system_error);
  });
}

/// A provider that answers one task with frames of the test's choice, then closes.
class Liar : public Tasks {
 protected:
  using Answering = std::function<std::vector<Bytes>(const Task& task, const std::string& sha256, const KeyPair& keys)>;

  /// What the requester makes of it.
  std::optional<Errc> judge(Answering answering, bool stream = false) {
    return judge_answer_to(
        [this, answering](const Bytes& envelope) {
          const Bytes payload = open_message(envelope, key_of(requester.agent.id())).value().payload;
          return answering(*parse_task(payload).task, task_hash(payload), provider_host.agent.identity());
        },
        stream);
  }
  std::optional<Errc> judge_answer_to(std::function<std::vector<Bytes>(const Bytes& envelope)> answering, bool stream = false) {
    std::optional<Errc> verdict;
    provider_host.agent.handle(std::string(task_protocol), [answering](Stream incoming) -> Awaitable<void> {
      Stream served = std::move(incoming);
      const std::optional<Bytes> envelope = co_await read_frame(served, limits::task_frame);
      for (const Bytes& frame : answering(*envelope)) co_await write_frame(served, frame);
      co_await served.finish(seconds(5));
    });
    with_connection([&]() -> Awaitable<void> { verdict = co_await error_of(task("hi", stream), &message); });
    return verdict;
  }

  TaskResult honest(const Task& answered, const std::string& sha256) const {
    TaskResult result;
    result.task_id = answered.task_id;
    result.text = "ok";
    result.timestamp = answered.timestamp;
    result.recipient = requester.agent.id().text();
    result.task_sha256 = sha256;
    result.executor = "mock";
    return result;
  }
  static Bytes sealed(const KeyPair& keys, const TaskResult& result) { return seal_message(keys, MessageKind::result, result.to_json()); }
  static Bytes piece(const KeyPair& keys, const Task& answered, std::uint64_t seq, std::string text) {
    Update update;
    update.task_id = answered.task_id;
    update.seq = seq;
    update.text = std::move(text);
    return seal_message(keys, MessageKind::update, update.to_json());
  }

  std::string message;
};

INSTANTIATE_TEST_SUITE_P(Yamux, Liar, testing::Values(std::string(yamux_protocol)), [](const auto&) { return std::string("yamux"); });

TEST_P(Liar, IsBelievedWhenItTellsTheTruth) {
  EXPECT_EQ(judge(
                [this](const Task& task, const std::string& sha256, const KeyPair& keys) {
                  return std::vector<Bytes>{piece(keys, task, 0, "o"), piece(keys, task, 1, "k"), sealed(keys, honest(task, sha256))};
                },
                true),
            std::nullopt)
      << message;
}

TEST_P(Liar, IsBelievedWhenItsTypeOfTaskHasAnotherOutput) {
  Task classify = task();
  classify.task_type = "classify";
  classify.stream = true;
  std::string seen;
  provider_host.agent.handle(std::string(task_protocol), [this](Stream incoming) -> Awaitable<void> {
    Stream served = std::move(incoming);
    const std::optional<Bytes> envelope = co_await read_frame(served, limits::task_frame);
    const Bytes payload = open_message(*envelope, key_of(requester.agent.id())).value().payload;
    const KeyPair& keys = provider_host.agent.identity();
    Update update;
    update.task_id = parse_task(payload).task_id;
    update.data = boost::json::object{{"label", "ca"}};
    co_await write_frame(served, seal_message(keys, MessageKind::update, update.to_json()));
    TaskResult result = honest(*parse_task(payload).task, task_hash(payload));
    result.text.reset();
    result.output = boost::json::object{{"label", "cat"}};
    co_await write_frame(served, sealed(keys, result));
    co_await served.finish(seconds(5));
  });
  with_connection([&]() -> Awaitable<void> {
    const std::function<void(const Update&)> on_update = [&seen](const Update& update) {
      seen += boost::json::serialize(update.data.value());
    };
    const Answer answer = co_await manager.submit(peer(), classify, on_update);
    EXPECT_EQ(boost::json::serialize(answer.result.output.value()), R"({"label":"cat"})");
    EXPECT_TRUE(check_receipt(make_receipt(answer.task_envelope, answer.result_envelope)));
  });
  EXPECT_EQ(seen, R"({"label":"ca"})");
}

TEST_P(Liar, WhoTellsStatesOrNothingWithoutEndIsRefused) {
  EXPECT_EQ(judge(
                [this](const Task& task, const std::string& sha256, const KeyPair& keys) {
                  std::vector<Bytes> frames;
                  for (std::uint64_t seq = 0; seq <= limits::state_updates; ++seq) {
                    Update update;
                    update.task_id = task.task_id;
                    update.seq = seq;
                    if (seq % 2 == 0) update.state = "running";
                    if (seq % 2 == 1) update.text = "";
                    frames.push_back(seal_message(keys, MessageKind::update, update.to_json()));
                  }
                  TaskResult result = honest(task, sha256);
                  result.text = "";
                  frames.push_back(sealed(keys, result));
                  return frames;
                },
                true),
            Errc::unverified);
  EXPECT_NE(message.find("without end"), std::string::npos) << message;
}

TEST_P(Liar, WhoTellsAStateWithoutEndIsRefused) {
  EXPECT_EQ(judge(
                [](const Task& task, const std::string&, const KeyPair& keys) {
                  Update update;
                  update.task_id = task.task_id;
                  update.state = std::string(limits::update_state + 1, 'x');
                  return std::vector<Bytes>{seal_message(keys, MessageKind::update, update.to_json())};
                },
                true),
            Errc::unverified)
      << message;
}

TEST_P(Liar, WhoTakesMostOfATaskHasIt) {
  const Task large = task(std::string(2 * limits::yamux_initial_window, 'x'));
  provider_host.agent.handle(std::string(task_protocol), [](Stream incoming) -> Awaitable<void> {
    Stream served = std::move(incoming);
    for (std::size_t taken = 0; taken < limits::yamux_initial_window;) taken += (co_await served.read()).size();
    served.reset();
  });
  bool sent = false;
  with_connection([&]() -> Awaitable<void> {
    manager.trust(peer());
    const std::function<void(const std::string&)> on_sent = [&](const std::string&) { sent = true; };
    try {
      co_await manager.submit(peer(), large, {}, on_sent);
      ADD_FAILURE() << "answered";
    } catch (const boost::system::system_error& error) {
      EXPECT_TRUE(is(error, Errc::closed)) << message_of(error);
    }
  });
  EXPECT_TRUE(sent) << "whoever asks others next gives the prompt to one more";
}

TEST_P(Liar, WhoTellsMoreThanAResultHoldsIsRefused) {
  EXPECT_EQ(judge(
                [](const Task& task, const std::string&, const KeyPair& keys) {
                  std::vector<Bytes> frames;
                  for (std::size_t told = 0; told <= limits::task_frame; told += limits::update_text) {
                    frames.push_back(piece(keys, task, frames.size(), std::string(limits::update_text, 'x')));
                  }
                  return frames;
                },
                true),
            Errc::unverified);
  EXPECT_NE(message.find("more output than a result can hold"), std::string::npos) << message;
}

TEST_P(Liar, WhoReflectsOurTaskIsRefused) {
  EXPECT_EQ(judge_answer_to([](const Bytes& envelope) { return std::vector<Bytes>{envelope}; }, true), Errc::unverified) << message;
}

TEST_P(Liar, AboutTheHashIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string&, const KeyPair& keys) {
              return std::vector<Bytes>{sealed(keys, honest(task, task_hash({})))};
            }),
            Errc::unverified);
}

TEST_P(Liar, AboutTheTaskIdIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              TaskResult result = honest(task, sha256);
              result.task_id = "00000000-0000-4000-8000-000000000000";
              return std::vector<Bytes>{sealed(keys, result)};
            }),
            Errc::unverified);
}

TEST_P(Liar, AboutTheRecipientIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              TaskResult result = honest(task, sha256);
              result.recipient = provider_host.agent.id().text();
              return std::vector<Bytes>{sealed(keys, result)};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoIsBusyForEverEndsTheRetries) {
  provider_host.agent.handle(std::string(task_protocol), [this](Stream incoming) -> Awaitable<void> {
    Stream served = std::move(incoming);
    const std::optional<Bytes> envelope = co_await read_frame(served, limits::task_frame);
    const Bytes payload = open_message(*envelope, key_of(requester.agent.id())).value().payload;
    TaskResult busy = honest(*parse_task(payload).task, task_hash(payload));
    busy.status = Status::rejected;
    busy.text.reset();
    busy.error = TaskError{"busy", "come again", UINT64_MAX};
    co_await write_frame(served, sealed(provider_host.agent.identity(), busy));
    co_await served.finish(seconds(5));
  });
  with_connection([&]() -> Awaitable<void> {
    Task made = task();
    made.timeout_ms = 60'000;
    Retries retries;
    retries.times = 10;
    retries.on_retry = [](const std::string&) { ADD_FAILURE() << "tried again"; };
    const Answer answer = co_await manager.submit(peer(), made, {}, {}, retries);
    EXPECT_EQ(answer.result.error->code, "busy");
  });
}

TEST_P(Liar, WhoSignsWithAnotherKeyIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair&) {
              const KeyPair other = KeyPair::generate(network.random());
              return std::vector<Bytes>{sealed(other, honest(task, sha256))};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoseSignatureIsAlteredIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              Bytes frame = sealed(keys, honest(task, sha256));
              frame.back() ^= 1;
              return std::vector<Bytes>{frame};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoseUpdatesDoNotAddUpIsRefused) {
  EXPECT_EQ(judge(
                [this](const Task& task, const std::string& sha256, const KeyPair& keys) {
                  return std::vector<Bytes>{piece(keys, task, 0, "no"), sealed(keys, honest(task, sha256))};
                },
                true),
            Errc::unverified);
}

TEST_P(Liar, WhoLeavesOutAnUpdateIsRefused) {
  EXPECT_EQ(judge(
                [this](const Task& task, const std::string& sha256, const KeyPair& keys) {
                  return std::vector<Bytes>{piece(keys, task, 0, "o"), piece(keys, task, 2, "k"), sealed(keys, honest(task, sha256))};
                },
                true),
            Errc::unverified);
}

TEST_P(Liar, WhoStreamsUnaskedIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              return std::vector<Bytes>{piece(keys, task, 0, "ok"), sealed(keys, honest(task, sha256))};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoSendsMoreBehindTheResultIsRefused) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              return std::vector<Bytes>{sealed(keys, honest(task, sha256)), sealed(keys, honest(task, sha256))};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoAnswersWithATaskIsRefused) {
  EXPECT_EQ(judge([](const Task& task, const std::string&, const KeyPair& keys) {
              return std::vector<Bytes>{seal_message(keys, MessageKind::task, task.to_json())};
            }),
            Errc::unverified);
}

TEST_P(Liar, WhoSpeaksGarbageIsRefused) {
  EXPECT_EQ(judge([](const Task&, const std::string&, const KeyPair&) { return std::vector<Bytes>{Bytes(100, 0xff)}; }), Errc::unverified);
}

TEST_P(Liar, WhoClosesWithoutAResultIsAnError) {
  EXPECT_EQ(judge([](const Task&, const std::string&, const KeyPair&) { return std::vector<Bytes>(); }), Errc::closed);
}

TEST_P(Liar, MayRejectATaskThatItCouldNotRead) {
  EXPECT_EQ(judge([this](const Task& task, const std::string& sha256, const KeyPair& keys) {
              TaskResult result = honest(task, sha256);
              result.status = Status::rejected;
              result.text.reset();
              result.executor.clear();
              result.task_id = nil_task_id;
              result.error = TaskError{"a_code_of_tomorrow", "later", {}};
              return std::vector<Bytes>{sealed(keys, result)};
            }),
            std::nullopt)
      << message;
}

}  // namespace
}  // namespace p2p::test
