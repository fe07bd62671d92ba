// The same task again: connections that break, results that are remembered, requesters that try again.

#include "support/tasks.hpp"
#include "task/result_memory.hpp"

namespace p2p::test {
namespace {

class Again : public Tasks {
 protected:
  struct Heard {
    std::string text;
    std::vector<std::string> states;
    Bytes result;  // envelope
  };

  Bytes sealed(const Task& task) const { return seal_message(requester.agent.identity(), MessageKind::task, task.to_json()); }
  Task lingering(std::string prompt = "hi", bool stream = false) {
    Task made = task(std::move(prompt), stream);
    made.linger_ms = 10'000;
    return made;
  }

  Awaitable<Stream> open() { co_return co_await requester.agent.open_stream(peer(), std::string(task_protocol)); }
  /// Everything that comes on a stream to its end.
  Awaitable<Heard> listen(Stream& stream) {
    Heard heard;
    while (const std::optional<Bytes> envelope = co_await read_frame(stream, limits::task_frame)) {
      const OpenedMessage message = open_message(*envelope, key_of(peer())).value();
      if (message.kind == MessageKind::result) {
        heard.result = *envelope;
      } else {
        const Update update = parse_update(message.payload).value();
        heard.text += update.text.value_or("");
        if (update.state) heard.states.push_back(*update.state);
      }
    }
    co_return heard;
  }
  Awaitable<Heard> ask(Bytes envelope) {
    Stream stream = co_await open();
    co_await write_frame(stream, envelope);
    const Heard heard = co_await listen(stream);
    co_return heard;
  }
  TaskResult result_of(const Heard& heard) const {
    return parse_result(open_message(heard.result, key_of(peer())).value().payload).value();
  }
  Awaitable<void> reconnect() {
    requester.host.kill_connections();
    co_await pause(milliseconds(10));
    co_await requester.agent.connect(provider_host.agent.addresses());
  }
};

INSTANTIATE_TEST_SUITE_P(EachMuxer, Again, each_muxer, name_of_muxer);

/// Where a stream's window keeps a result from being told.
class Untold : public Again {};
INSTANTIATE_TEST_SUITE_P(WithYamux, Untold, testing::Values(std::string(yamux_protocol)), name_of_muxer);

TEST_P(Again, ALargeResultIsReadAgainAwayFromTheLoop) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task(std::string(2 * limits::pool_threshold, 'x'), true));
    const Heard first = co_await ask(envelope);
    const std::uint64_t before = provider_host.host.pooled;
    const Heard again = co_await ask(envelope);
    EXPECT_EQ(again.text, first.text);
    EXPECT_EQ(again.result, first.result);
    EXPECT_EQ(provider_host.host.pooled - before, 4U);  // the task, what was answered before, and two updates
  });
}

TEST_P(Again, AFinishedTaskGetsItsResultByteForByteWithoutRunning) {
  serve({seconds(1), 2});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task("grüße", true));
    const Heard first = co_await ask(envelope);
    const Heard second = co_await ask(envelope);
    EXPECT_EQ(first.result, second.result);
    EXPECT_EQ(second.text, "Processed: grüße");
    EXPECT_TRUE(second.states.empty());  // it does not run
    EXPECT_EQ(events.size(), 1U);
  });
}

TEST_P(Again, AFinishedTaskIsRememberedWhateverBecomesOfTheDate) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task());
    const Heard first = co_await ask(envelope);
    for (const std::chrono::hours jump : {std::chrono::hours(-24), std::chrono::hours(366 * 24), std::chrono::hours(-2 * 366 * 24)}) {
      network.set_date(jump);
      const Heard again = co_await ask(envelope);
      EXPECT_EQ(again.result, first.result);
    }
    EXPECT_EQ(events.size(), 1U);
    co_await pause(limits::results_kept_for);
    co_await ask(envelope);
    EXPECT_EQ(events.size(), 2U);
  });
}

TEST_P(Untold, AResultIsToldAgainOnSoManyStreamsAtOnce) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task(std::string(3 * limits::yamux_initial_window, 'x'), true));
    const Heard first = co_await ask(envelope);
    std::vector<Stream> unread;
    for (std::size_t i = 0; i < limits::task_followers; ++i) {
      unread.push_back(co_await open());
      co_await write_frame(unread.back(), envelope);
    }
    co_await pause(milliseconds(10));
    const Heard surplus = co_await ask(envelope);
    EXPECT_EQ(result_of(surplus).error->code, "busy");
    for (Stream& stream : unread) {
      const Heard again = co_await listen(stream);
      EXPECT_EQ(again.text, first.text);
      EXPECT_EQ(again.result, first.result);
    }
    unread.clear();
    const Heard again = co_await ask(envelope);
    EXPECT_EQ(again.result, first.result);
    EXPECT_EQ(events.size(), 2U);  // it ran once, and was refused once
  });
}

TEST_P(Untold, AResultThatIsMadeAnewIsNotTakenForTheOneThatIsStillTold) {
  ProviderOptions forgetful;
  forgetful.memory.results = 1;
  serve({}, forgetful);
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task(std::string(3 * limits::yamux_initial_window, 'x'), true));
    const Heard first = co_await ask(envelope);
    Stream unread = co_await open();
    co_await write_frame(unread, envelope);
    co_await pause(seconds(2));
    co_await ask(sealed(task()));  // whose result takes the place of the first
    const Heard anew = co_await ask(envelope);
    EXPECT_NE(anew.result, first.result);
    const Heard again = co_await ask(envelope);
    EXPECT_EQ(again.result, anew.result);
    EXPECT_EQ(again.text, first.text);
    const Heard old = co_await listen(unread);
    EXPECT_EQ(old.result, first.result);
    EXPECT_EQ(events.size(), 3U);
  });
}

/// Says what is no text.
class Garbled final : public Executor {
 public:
  std::string_view name() const override { return "garbled"; }
  Awaitable<Outcome> run(TaskRun&) override {
    Outcome outcome;
    outcome.status = Status::failed;
    outcome.error = TaskError{"executor_failed", "\xff", {}};
    co_return outcome;
  }
};

TEST_P(Again, AResultThatCannotBeReadIsToldAgainAllTheSame) {
  Garbled garbled;
  serve_with({{"inference", garbled}});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task("hi", true));
    const Heard first = co_await ask(envelope);
    const Heard again = co_await ask(envelope);
    EXPECT_EQ(again.result, first.result);
    EXPECT_NE(provider_host.host.log.back().find("cannot be read"), std::string::npos) << provider_host.host.log.back();
    EXPECT_EQ(events.size(), 1U);
  });
}

TEST_P(Again, WhoLeavesWhileARememberedResultIsSentLeavesItForOthers) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task(std::string(1'000'000, 'a'), true));
    const Heard first = co_await ask(envelope);
    for (const bool connection_lost : {false, true}) {
      Stream stream = co_await open();
      co_await write_frame(stream, envelope);
      co_await stream.read();
      if (connection_lost) co_await reconnect();
    }
    const Heard again = co_await ask(envelope);
    EXPECT_EQ(first.result, again.result);
    EXPECT_EQ(events.size(), 1U);
  });
}

TEST_P(Again, OtherBytesUnderTheSameIdAreAConflict) {
  serve({seconds(1), 1});
  with_connection([&]() -> Awaitable<void> {
    Task made = task("one");
    TaskGroup group(network.loop());
    const auto first = [&]() -> Awaitable<void> { EXPECT_EQ(result_of(co_await ask(sealed(made))).status, Status::completed); };
    group.spawn(first());
    co_await pause(milliseconds(500));
    Task other = made;
    other.input["prompt"] = "two";
    Heard heard = co_await ask(sealed(other));  // while it runs
    EXPECT_EQ(result_of(heard).error->code, "task_id_conflict");
    co_await group.join();
    heard = co_await ask(sealed(other));  // and when it is remembered
    EXPECT_EQ(result_of(heard).error->code, "task_id_conflict");
    other.input["model"] = "llama";
    heard = co_await ask(sealed(other));  // what is wrong first is said
    EXPECT_EQ(result_of(heard).error->code, "unsupported_model");
    heard = co_await ask(sealed(made));
    EXPECT_EQ(result_of(heard).status, Status::completed);
  });
}

TEST_P(Again, ARunningTaskIsJoinedWithItsOutputFromTheStart) {
  serve({seconds(10), 10});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task("0123456789", true));
    TaskGroup group(network.loop());
    Heard first;
    const auto one = [&]() -> Awaitable<void> { first = co_await ask(envelope); };
    group.spawn(one());
    co_await pause(seconds(5));
    const Heard second = co_await ask(envelope);
    co_await group.join();
    EXPECT_EQ(first.result, second.result);
    EXPECT_EQ(second.text, "Processed: 0123456789");
    EXPECT_EQ(second.states, std::vector<std::string>{"running"});
    EXPECT_EQ(events.size(), 1U);
  });
}

TEST_P(Again, ATaskThatIsWaitedForOutlivesTheResetOfTheOtherStream) {
  serve({seconds(10), 1});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task());
    TaskGroup group(network.loop());
    Heard heard;
    const auto waiting = [&]() -> Awaitable<void> { heard = co_await ask(envelope); };
    {
      Stream stream = co_await open();
      co_await write_frame(stream, envelope);
      co_await pause(seconds(1));
      group.spawn(waiting());
      co_await pause(seconds(1));
    }
    co_await group.join();
    EXPECT_EQ(result_of(heard).status, Status::completed);
    EXPECT_EQ(events.size(), 1U);
  });
}

TEST_P(Again, ALingeringTaskGoesOnWithoutItsConnection) {
  serve({seconds(5), 5});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(lingering("hi", true));
    TaskGroup group(network.loop());
    const auto lost = [&]() -> Awaitable<void> {
      try {
        co_await ask(envelope);
        ADD_FAILURE() << "the connection was to break";
      } catch (const boost::system::system_error&) {
      }
    };
    group.spawn(lost());
    co_await pause(seconds(2));
    co_await reconnect();
    co_await group.join();
    EXPECT_EQ(provider->running(), 1U);
    const Heard heard = co_await ask(envelope);
    EXPECT_EQ(heard.text, "Processed: hi");
    EXPECT_EQ(result_of(heard).status, Status::completed);
    EXPECT_EQ(events.size(), 1U);
    EXPECT_EQ(events.at(0).status, "completed");
  });
}

TEST_P(Again, ALingeringTaskEndsWhenNobodyComesBack) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await open();
    const Bytes envelope = sealed(lingering());
    co_await write_frame(stream, envelope);
    co_await pause(seconds(1));
    co_await reconnect();
    co_await pause(milliseconds(9'900));
    EXPECT_EQ(provider->running(), 1U);
    co_await pause(milliseconds(200));
    EXPECT_EQ(provider->running(), 0U);
    EXPECT_EQ(events.at(0).status, "lost");
  });
}

TEST_P(Again, AResetCancelsALingeringTaskAtOnce) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(lingering());
    {
      Stream stream = co_await open();
      co_await write_frame(stream, envelope);
      co_await pause(seconds(1));
    }
    co_await pause(milliseconds(1));
    EXPECT_EQ(provider->running(), 0U);
    // What was cancelled is not remembered: the same again is run again.
    Stream stream = co_await open();
    co_await write_frame(stream, envelope);
    co_await pause(seconds(1));
    EXPECT_EQ(provider->running(), 1U);
  });
}

TEST_P(Again, ClosingTheConnectionOnPurposeCancelsALingeringTask) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    Stream stream = co_await open();
    const Bytes envelope = sealed(lingering());
    co_await write_frame(stream, envelope);
    co_await pause(seconds(1));
    requester.agent.disconnect(peer());
    co_await pause(milliseconds(1));
    EXPECT_EQ(provider->running(), 0U);
  });
}

TEST_P(Again, ARepetitionDoesNotBeginTheTaskTimeAnew) {
  serve({seconds(60), 1});
  with_connection([&]() -> Awaitable<void> {
    Task slow = lingering();
    slow.timeout_ms = 5'000;
    const Bytes envelope = sealed(slow);
    {
      Stream stream = co_await open();
      co_await write_frame(stream, envelope);
      co_await pause(seconds(3));
      co_await reconnect();
    }
    const Time start = network.clock().now();
    const Heard heard = co_await ask(envelope);
    EXPECT_EQ(result_of(heard).error->code, "deadline_exceeded");
    EXPECT_LT(network.clock().now() - start, milliseconds(2'100));
  });
}

TEST_P(Again, AFailureIsRememberedAndACancellationIsNot) {
  serve({seconds(2), 1}, {1, 0, milliseconds(1'000)});
  with_connection([&]() -> Awaitable<void> {
    const Bytes envelope = sealed(task());
    EXPECT_EQ(result_of(co_await ask(envelope)).error->code, "deadline_exceeded");
    EXPECT_EQ(result_of(co_await ask(envelope)).error->code, "deadline_exceeded");
    EXPECT_EQ(events.size(), 2U);
  });
}

/// Takes its time.
class SlowKeeper final : public ReceiptKeeper {
 public:
  explicit SlowKeeper(SimNetwork& network) : network_(network) {}
  bool full(std::uint64_t) const override { return false; }
  Awaitable<bool> look_again(Time) override { co_return false; }
  Awaitable<void> keep(ReceiptName, Bytes) override {
    ++kept;
    co_await pause(network_, seconds(2));
  }
  unsigned kept = 0;

 private:
  SimNetwork& network_;
};

TEST_P(Again, ATaskThatHasRunIsNotRunAgainWhileItsReceiptIsWritten) {
  SlowKeeper keeper(network);
  ProviderOptions options;
  options.receipts = &keeper;
  serve({seconds(1), 1}, options);
  with_connection([&]() -> Awaitable<void> {
    for (const bool cancelled : {false, true}) {
      const Bytes envelope = sealed(task());
      {
        Stream stream = co_await open();
        co_await write_frame(stream, envelope);
        co_await pause(seconds(2));
        if (!cancelled) co_await reconnect();
      }
      EXPECT_EQ(result_of(co_await ask(envelope)).status, Status::completed);
    }
    EXPECT_EQ(keeper.kept, 2U);
    EXPECT_EQ(events.size(), 2U);
  });
}

TEST_P(Again, TheRequesterRetriesOverANewConnection) {
  serve({seconds(10), 10});
  with_connection([&]() -> Awaitable<void> {
    std::string text;
    std::vector<std::string> problems;
    const std::function<void(const Update&)> note = [&](const Update& update) { text += update.text.value_or(""); };
    Retries retries;
    retries.times = 3;
    retries.addresses = provider_host.agent.addresses();
    retries.on_retry = [&](const std::string& why) { problems.push_back(why); };
    TaskGroup group(network.loop());
    const auto breaking = [&]() -> Awaitable<void> {
      for (int i = 0; i < 2; ++i) {
        co_await pause(seconds(3));
        requester.host.kill_connections();
      }
    };
    group.spawn(breaking());
    const Answer answer = co_await manager.submit(peer(), task("0123456789", true), note, {}, retries);
    co_await group.join();
    EXPECT_EQ(answer.result.status, Status::completed);
    EXPECT_EQ(text, "Processed: 0123456789");
    EXPECT_EQ(problems.size(), 2U);
    EXPECT_EQ(events.size(), 1U);
    EXPECT_EQ(answer.result.run_ms, 10'000U);
  });
}

TEST_P(Again, ATaskWhoseTimeIsOverIsNotSentOnceMore) {
  std::size_t tasks = 0;
  Latch end(network.loop());
  provider_host.agent.handle(std::string(task_protocol), [&](Stream stream) -> Awaitable<void> {
    ++tasks;
    const Stream held = std::move(stream);
    co_await end.wait();
  });
  with_connection([&]() -> Awaitable<void> {
    Retries retries;
    retries.times = 5;
    Task hopeless = task();
    hopeless.timeout_ms = 2'000;
    std::optional<Errc> error;
    try {
      co_await manager.submit(peer(), hopeless, {}, {}, retries);
    } catch (const boost::system::system_error& thrown) {
      error = static_cast<Errc>(thrown.code().value());
    }
    EXPECT_EQ(error, Errc::timed_out);
    EXPECT_EQ(tasks, 1U);
    end.open();
  });
}

TEST_P(Again, OneRetryFindsAProviderThatWasFoundByMdns) {
  serve({seconds(10), 10});
  with_connection([&]() -> Awaitable<void> {
    co_await requester.agent.next_discovered(network.clock().now() + seconds(5));
    Retries retries;
    retries.times = 1;
    TaskGroup group(network.loop());
    const auto breaking = [&]() -> Awaitable<void> {
      co_await pause(seconds(3));
      requester.host.kill_connections();
    };
    group.spawn(breaking());
    const Answer answer = co_await manager.submit(peer(), task("0123456789"), {}, {}, retries);
    co_await group.join();
    EXPECT_EQ(answer.result.status, Status::completed);
    EXPECT_EQ(answer.result.run_ms, 10'000U);
  });
}

TEST_P(Again, RetriesDialWhatDiscoveryFoundOnceASecond) {
  serve({seconds(10), 10});
  with_connection([&]() -> Awaitable<void> {
    co_await requester.agent.next_discovered(network.clock().now() + seconds(5));
    const std::vector<Time>& dials = requester.host.dials;
    const std::size_t before = dials.size();
    Retries retries;
    retries.times = 5;
    TaskGroup group(network.loop());
    const auto breaking = [&]() -> Awaitable<void> {
      co_await pause(seconds(3));
      provider_host.host.close_listeners();
      requester.host.kill_connections();
    };
    group.spawn(breaking());
    EXPECT_EQ(co_await test::error_of(discard(manager.submit(peer(), task("0123456789"), {}, {}, retries))), Errc::unreachable);
    co_await group.join();
    EXPECT_EQ(dials.size() - before, retries.times);
    for (std::size_t i = before + 1; i < dials.size(); ++i) EXPECT_GE(dials[i] - dials[i - 1], limits::mdns_news);
  });
}

/// Says something else at each run.
class Fickle final : public Executor {
 public:
  explicit Fickle(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  std::string_view name() const override { return "fickle"; }
  std::size_t slots() const override { return 1; }
  Awaitable<Outcome> run(TaskRun& run) override {
    const std::string text = texts_.at(std::min(runs_++, texts_.size() - 1));
    co_await run.write(text);
    Alarm end(run.environment().clock, run.environment().loop);
    end.set(run.environment().clock.now() + seconds(10));
    run.on_stop([&end] { end.notify(); });
    co_await end.wait();
    run.on_stop(nullptr);
    Outcome outcome;
    if (run.stopped()) outcome.status = Status::cancelled;
    co_return outcome;
  }

 private:
  const std::vector<std::string> texts_;
  std::size_t runs_ = 0;
};

TEST_P(Again, OutputThatContradictsWhatAnEarlierRunSaidIsRefused) {
  Fickle fickle({"once upon", "twice", "once upon", "once", "once upon", "once upon a time"});
  std::string text;
  const std::function<void(const Update&)> note = [&](const Update& update) { text += update.text.value_or(""); };
  with_connection([&]() -> Awaitable<void> {
    for (const std::string& problem : {std::string("its output is another"), std::string("its output is shorter"), std::string()}) {
      // A provider that starts anew in the middle of a run knows nothing of it.
      const auto start = [&] { serve_with({{std::string(inference), fickle}}); };
      start();
      text.clear();
      Retries retries;
      retries.times = 10;
      retries.addresses = provider_host.agent.addresses();
      TaskGroup group(network.loop());
      const auto breaking = [&]() -> Awaitable<void> {
        co_await pause(seconds(3));
        requester.host.unplug();
        requester.host.kill_connections();
        co_await provider->shut_down(seconds(0));
        provider.reset();
        start();
        requester.host.plug_in();
      };
      group.spawn(breaking());
      std::string message;
      const Errc error = co_await test::error_of(discard(manager.submit(peer(), task("hi", true), note, {}, retries)), &message);
      co_await group.join();
      EXPECT_EQ(error, problem.empty() ? Errc{} : Errc::unverified) << message;
      EXPECT_NE(message.find(problem), std::string::npos) << message;
      EXPECT_EQ(text, problem.empty() ? "once upon a time" : "once upon");
      co_await provider->shut_down(seconds(0));
      provider.reset();
    }
  });
}

TEST_P(Again, TheRequesterWaitsAsLongAsABusyProviderSays) {
  serve({seconds(2), 1}, {1, 0});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto first = [&]() -> Awaitable<void> { co_await manager.submit(peer(), task("first")); };
    group.spawn(first());
    co_await pause(milliseconds(100));
    Retries retries;
    const Answer busy = co_await manager.submit(peer(), task("second"), {}, {}, retries);
    EXPECT_EQ(busy.result.error->code, "busy");
    retries.times = 5;
    unsigned tries = 0;
    retries.on_retry = [&](const std::string&) { ++tries; };
    const Answer answer = co_await manager.submit(peer(), task("third"), {}, {}, retries);
    EXPECT_EQ(answer.result.status, Status::completed);
    EXPECT_EQ(tries, 2U);  // of a second each
    co_await group.join();
  });
}

TEST_P(Again, RetriesEndWithTheTimeOfTheTask) {
  serve();
  with_connection([&]() -> Awaitable<void> {
    Task made = task();
    made.timeout_ms = 8'000;
    Retries retries;
    retries.times = 1'000;
    retries.addresses = provider_host.agent.addresses();
    provider_host.host.unplug();
    requester.host.kill_connections();
    co_await pause(milliseconds(10));
    const Time start = network.clock().now();
    bool failed = false;
    try {
      co_await manager.submit(peer(), made, {}, {}, retries);
    } catch (const boost::system::system_error&) {
      failed = true;
    }
    EXPECT_TRUE(failed);
    EXPECT_LE(network.clock().now() - start, seconds(9));
  });
}

std::shared_ptr<const Bytes> shared(Bytes bytes) { return std::make_shared<const Bytes>(std::move(bytes)); }

TEST(ResultMemory, IsBoundedInNumberBytesAndAge) {
  ResultMemory memory({2, 10, seconds(10)});
  const Time start{};
  memory.add("a", {"hash a", shared(Bytes(4))}, start);
  memory.add("b", {"hash b", shared(Bytes(4))}, start + seconds(1));
  EXPECT_EQ(memory.find("a", start + seconds(1))->task_sha256, "hash a");
  memory.add("c", {"hash c", shared(Bytes(2))}, start + seconds(2));  // one too many
  EXPECT_EQ(memory.find("a", start + seconds(2)), nullptr);
  EXPECT_NE(memory.find("b", start + seconds(2)), nullptr);
  memory.add("d", {"hash d", shared(Bytes(9))}, start + seconds(3));  // too many bytes
  EXPECT_EQ(memory.find("b", start + seconds(3)), nullptr);
  EXPECT_EQ(memory.find("c", start + seconds(3)), nullptr);
  EXPECT_EQ(memory.bytes(), 9U);
  memory.add("e", {"hash e", shared(Bytes(11))}, start + seconds(3));  // never fits, and drives nothing out
  EXPECT_EQ(memory.find("e", start + seconds(3)), nullptr);
  EXPECT_NE(memory.find("d", start + seconds(12)), nullptr);
  EXPECT_EQ(memory.find("d", start + seconds(13)), nullptr);
  EXPECT_EQ(memory.bytes(), 0U);
  memory.add("f", {"one", shared(Bytes(10))}, start + seconds(20));
  memory.add("f", {"two", shared(Bytes(1))}, start + seconds(21));
  EXPECT_EQ(memory.find("f", start + seconds(21))->task_sha256, "two");
  EXPECT_EQ(memory.bytes(), 1U);
  EXPECT_EQ(memory.size(), 1U);
}

}  // namespace
}  // namespace p2p::test
