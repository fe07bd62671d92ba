// Several executors and several requesters at one provider: who gets what, in which order, and who is turned away.

#include "support/tasks.hpp"

namespace p2p::test {
namespace {

/// Says its name, when it is told to go on.
class Named final : public Executor {
 public:
  Named(std::string name, std::vector<std::string> models, bool command = false)
      : name_(std::move(name)), models_(std::move(models)), command_(command) {}

  std::string_view name() const override { return name_; }
  std::vector<std::string> models() const override { return models_; }
  bool named_only() const override { return command_; }
  std::optional<TaskError> unready() const override {
    if (is_ready) return std::nullopt;
    return TaskError{"busy", "its server is not up", 1'234};
  }
  std::size_t slots() const override { return slot_count; }
  void start() override { ++starts; }
  Awaitable<void> stop() override {
    ++stops;
    co_return;
  }
  Awaitable<Outcome> run(TaskRun& run) override {
    co_await run.write(name_);
    Outcome outcome;
    outcome.model = run.task().model();
    co_return outcome;
  }

  bool is_ready = true;
  std::size_t slot_count = 1;
  int starts = 0;
  int stops = 0;

 private:
  const std::string name_;
  const std::vector<std::string> models_;
  const bool command_;
};

class Sharing : public Tasks {
 protected:
  Awaitable<std::string> asked(std::string model, std::string type = std::string(inference)) {
    Task made = task();
    if (!model.empty()) made.input["model"] = model;
    made.task_type = type;
    const Answer answer = co_await manager.submit(peer(), made);
    co_return answer.result.error ? answer.result.error->code : *answer.result.text;
  }
};

INSTANTIATE_TEST_SUITE_P(WithYamux, Sharing, testing::Values(std::string(yamux_protocol)));

TEST_P(Sharing, ATaskGoesToTheExecutorThatOffersItsModel) {
  Named script("command", {"wc"}, true);
  Named models("openai", {"llama", "qwen"});
  Named other("second", {"phi"});
  Named painter("painter", {});
  serve_with({{"inference", script}, {"inference", models}, {"inference", other}, {"painting", painter}}, {2, 3});
  with_connection([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await asked("qwen"), "openai");
    EXPECT_EQ(co_await asked("phi"), "second");
    EXPECT_EQ(co_await asked("wc"), "command");
    EXPECT_EQ(co_await asked(""), "openai");  // the first that need not be named
    EXPECT_EQ(co_await asked("gpt"), "unsupported_model");
    EXPECT_EQ(co_await asked("openai"), "unsupported_model");
    EXPECT_EQ(co_await asked("", "painting"), "painter");
    EXPECT_EQ(co_await asked("painter", "painting"), "painter");  // without models, its own name
    EXPECT_EQ(co_await asked("llama", "painting"), "unsupported_model");
    EXPECT_EQ(co_await asked("", "music"), "unsupported_task_type");
    const Info info = co_await manager.info(peer());
    EXPECT_EQ(info.slots, 8U);
    EXPECT_EQ(info.capacity, 12U);
    EXPECT_EQ(info.executors.at(0).models, std::vector<std::string>{"wc"});
    EXPECT_EQ(info.executors.at(3).task_type, "painting");
    EXPECT_EQ(info.may_ask, true);
  });
  EXPECT_EQ(script.starts, 1);
  EXPECT_EQ(painter.stops, 1);
}

TEST_P(Sharing, ACommandAloneNeedNotBeNamed) {
  Named script("command", {"wc"}, true);
  serve_with({{"inference", script}});
  with_connection([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await asked(""), "command");
    EXPECT_EQ(co_await asked("wc"), "command");
    EXPECT_EQ(co_await asked("command"), "unsupported_model");
  });
}

TEST_P(Sharing, OfTwoCommandsOneHasToBeNamed) {
  Named one("command", {"wc"}, true);
  Named two("command", {"tr"}, true);
  serve_with({{"inference", one}, {"inference", two}});
  with_connection([&]() -> Awaitable<void> {
    const Answer answer = co_await manager.submit(peer(), task());
    EXPECT_EQ(answer.result.error->code, "unsupported_model");
    EXPECT_EQ(answer.result.error->message, "the task has to name one of these models: tr, wc");
    EXPECT_EQ(co_await asked("tr"), "command");
  });
}

TEST_P(Sharing, TwoThatClaimTheSameAreAnError) {
  Named one("command", {"wc"}, true);
  Named two("openai", {"llama", "wc"});
  const auto make = [&](std::string type) { serve_with({{"inference", one}, {std::move(type), two}}); };
  EXPECT_THROW(make("inference"), boost::system::system_error);
  make("counting");
  with_connection([]() -> Awaitable<void> { co_return; });
}

TEST_P(Sharing, AnExecutorWhoseServerIsNotUpIsBusy) {
  Named models("openai", {});
  models.is_ready = false;
  Named script("command", {"wc"}, true);
  serve_with({{"inference", models}, {"inference", script}});
  with_connection([&]() -> Awaitable<void> {
    Task made = task();
    made.input["model"] = "llama";
    const Answer answer = co_await manager.submit(peer(), made);
    EXPECT_EQ(answer.result.error->code, "busy");
    EXPECT_EQ(answer.result.error->retry_after_ms, 1'234U);
    EXPECT_EQ(co_await asked(""), "busy");
    EXPECT_EQ(co_await asked("wc"), "command");
  });
}

TEST_P(Sharing, MoreModelsThanInfoCanHoldAreLeftOutOfIt) {
  std::vector<std::string> names;
  for (int i = 0; i < 256; ++i) names.push_back(std::string(250, 'x') + std::to_string(i));
  Named many("openai", names);
  Named script("command", {"wc"}, true);
  serve_with({{"inference", many}, {"inference", script}});
  with_connection([&]() -> Awaitable<void> {
    const Info info = co_await manager.info(peer());
    EXPECT_GT(info.executors.at(0).models.size(), 0U);
    EXPECT_LT(info.executors.at(0).models.size(), 256U);
    EXPECT_EQ(info.executors.at(1).models.size(), 1U);
    EXPECT_EQ(co_await asked(names.back()), "openai");
  });
}

TEST_P(Sharing, StrangersAreAnsweredNotAllowed) {
  MockExecutor mock;
  ProviderOptions options;
  bool allowed = false;
  options.may_ask = [&](const PeerId&) { return allowed; };
  serve_with({{"inference", mock}}, options);
  with_connection([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await asked("llama"), "not_allowed");  // before all else
    EXPECT_EQ(co_await code_of("{"), "not_allowed");
    Info info = co_await manager.info(peer());
    EXPECT_EQ(info.may_ask, false);
    EXPECT_TRUE(info.executors.empty());
    EXPECT_EQ(info.slots + info.capacity + info.running + info.waiting, 0U);
    // A frame of 64 KiB is read, a larger one is not.
    const auto sized = [&](std::size_t frame) {
      const std::size_t rest = seal_message(requester.agent.identity(), MessageKind::task, std::string(60'000, ' ')).size() - 60'000;
      return std::string(frame - rest, ' ');
    };
    EXPECT_EQ(co_await code_of(sized(64 * 1024)), "not_allowed");
    EXPECT_EQ(co_await code_of(sized(64 * 1024 + 1)), "reset");
    allowed = true;
    EXPECT_EQ(co_await asked(""), "Processed: hi");
    info = co_await manager.info(peer());
    EXPECT_EQ(info.executors.size(), 1U);
  });
}

TEST_P(Sharing, ATaskAboveTheProvidersLimitIsTooLarge) {
  MockExecutor mock;
  ProviderOptions options;
  options.max_input = 1'000;
  serve_with({{"inference", mock}}, options);
  with_connection([&]() -> Awaitable<void> {
    Task made = task();
    made.recipient = peer().text();
    made.input["prompt"] = "";
    const std::size_t spare = options.max_input - made.to_json().size();
    EXPECT_EQ((co_await manager.submit(peer(), task(std::string(spare, 'x')))).result.status, Status::completed);
    const Answer answer = co_await manager.submit(peer(), task(std::string(spare + 1, 'x')));
    EXPECT_EQ(answer.result.error->code, "too_large");
  });
}

TEST_P(Sharing, NoTaskRunsLongerThanTheProviderAllows) {
  MockExecutor slow({seconds(60), 1});
  ProviderOptions options;
  options.max_time = seconds(5);
  serve_with({{"inference", slow}}, options);
  with_connection([&]() -> Awaitable<void> {
    for (const std::optional<std::uint64_t> timeout : {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(30'000)}) {
      Task made = task();
      made.timeout_ms = timeout;
      const Answer answer = co_await manager.submit(peer(), made);
      EXPECT_EQ(answer.result.error->code, "deadline_exceeded");
      EXPECT_EQ(answer.result.run_ms, 5'000U);
    }
  });
}

/// Does not hear that it is to stop.
class Stubborn final : public Executor {
 public:
  std::string_view name() const override { return "stubborn"; }
  Awaitable<Outcome> run(TaskRun& run) override {
    const Environment& environment = run.environment();
    co_await run.write("early");
    co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + seconds(10));
    co_await run.write(" late");
    co_return Outcome();
  }
};

TEST_P(Sharing, ADeadlineIsToldInTimeWhateverTheExecutorDoes) {
  Stubborn stubborn;
  serve_with({{"inference", stubborn}});
  with_connection([&]() -> Awaitable<void> {
    Task made = task("hi", true);
    made.timeout_ms = 2'000;
    const Answer answer = co_await manager.submit(peer(), made);
    EXPECT_EQ(answer.result.error->code, "deadline_exceeded");
    EXPECT_EQ(answer.result.text, "early");
    EXPECT_EQ(answer.result.run_ms, 2'300U);
    EXPECT_EQ(provider->running(), 1U);  // it has its slot until it ends
    co_await pause(seconds(8));
    EXPECT_EQ(provider->running(), 0U);
  });
}

/// Two requesters at one provider.
class Crowd : public Sharing {
 protected:
  Crowd() : rival(network, looking({GetParam()})), rivals(rival.agent) {}

  void crowd(ProviderOptions options, std::function<Awaitable<void>()> work) {
    slow = std::make_unique<MockExecutor>(MockOptions{seconds(10), 1});
    serve_with({{"inference", *slow}}, options);
    network.run({&requester, &rival, &provider_host}, [&]() -> Awaitable<void> {
      co_await requester.agent.connect(provider_host.agent.addresses());
      co_await rival.agent.connect(provider_host.agent.addresses());
      TaskGroup asking(network.loop());
      group = &asking;
      co_await work();
      co_await asking.join();
      co_await provider->shut_down(seconds(0));
    });
  }
  /// A task by the first requester or its rival, which notes its end under a name.
  Awaitable<void> ask(bool by_rival, std::string name) { return ask(by_rival ? rivals : manager, std::move(name)); }
  Awaitable<void> ask(TaskManager& asking, std::string name) {
    group->spawn(note(asking, std::move(name)));
    co_await pause(milliseconds(10));
  }
  Awaitable<void> note(TaskManager& asking, std::string name) {
    const Answer answer = co_await asking.submit(peer(), asking.make_task(name));
    ends.push_back(name + (answer.result.error ? " " + answer.result.error->code : ""));
  }
  bool ended(const std::string& how) const { return std::find(ends.begin(), ends.end(), how) != ends.end(); }

  SimAgent rival;
  TaskManager rivals;
  std::unique_ptr<MockExecutor> slow;
  TaskGroup* group = nullptr;
  std::vector<std::string> ends;
};

INSTANTIATE_TEST_SUITE_P(WithYamux, Crowd, testing::Values(std::string(yamux_protocol)));

TEST_P(Crowd, ARequesterAloneMayHaveTheWholeQueueAndANewcomerGetsHalfOfIt) {
  crowd({1, 4}, [&]() -> Awaitable<void> {
    for (int i = 0; i < 5; ++i) co_await ask(false, "a" + std::to_string(i));  // one runs, four wait
    co_await ask(false, "a5");
    EXPECT_TRUE(ended("a5 busy"));
    co_await ask(true, "b0");  // takes the place of a4
    EXPECT_TRUE(ended("a4 busy"));
    co_await ask(true, "b1");  // and of a3
    EXPECT_TRUE(ended("a3 busy"));
    co_await ask(true, "b2");  // half is half
    EXPECT_TRUE(ended("b2 busy"));
    co_await ask(false, "a6");
    EXPECT_TRUE(ended("a6 busy"));
    EXPECT_EQ(provider->waiting(), 4U);
    co_await group->join();
    EXPECT_EQ(std::vector<std::string>(ends.end() - 5, ends.end()), (std::vector<std::string>{"a0", "b0", "a1", "b1", "a2"}));
  });
}

TEST_P(Crowd, AHostWithManyKeysHasNoMoreThanOneWithASingleKey) {
  crowd({2, 4}, [&]() -> Awaitable<void> {
    std::vector<std::unique_ptr<Agent>> keys;
    std::vector<std::unique_ptr<TaskManager>> managers;
    for (int i = 0; i < 7; ++i) {
      keys.push_back(std::make_unique<Agent>(rival.host.environment(), KeyPair::generate(network.random()), looking({GetParam()})));
      managers.push_back(std::make_unique<TaskManager>(*keys.back()));
      keys.back()->start();
      co_await keys.back()->connect(provider_host.agent.addresses());
      co_await ask(*managers.back(), "b" + std::to_string(i));  // two run, four wait, and the last one is too many
    }
    EXPECT_EQ(ends, std::vector<std::string>{"b6 busy"});
    co_await ask(false, "a0");
    co_await ask(false, "a1");
    co_await ask(false, "a2");
    EXPECT_EQ(ends, (std::vector<std::string>{"b6 busy", "b5 busy", "b4 busy", "a2 busy"}));
    co_await group->join();
    // The first two slots that become free are for whose host has none.
    EXPECT_EQ(std::vector<std::string>(ends.begin() + 4, ends.end()), (std::vector<std::string>{"b0", "b1", "a0", "b2", "a1", "b3"}));
    for (const auto& key : keys) co_await key->stop();
  });
}

TEST_P(Crowd, NobodyHasMoreThanHalfOfTheSlotsWhileOthersWait) {
  crowd({4, 16}, [&]() -> Awaitable<void> {
    for (int i = 0; i < 8; ++i) co_await ask(false, "a" + std::to_string(i));  // four run
    for (int i = 0; i < 3; ++i) co_await ask(true, "b" + std::to_string(i));
    EXPECT_EQ(provider->running(), 4U);
    co_await group->join();
    // The first two slots that a's tasks leave go to b, then everyone has half.
    EXPECT_EQ(std::vector<std::string>(ends.begin() + 4, ends.begin() + 8), (std::vector<std::string>{"b0", "b1", "a4", "a5"}));
  });
}

/// Keeps what it is told to keep, or doesn't.
class Shelf final : public ReceiptKeeper {
 public:
  bool full(std::uint64_t bytes) const override { return bytes > room; }
  Awaitable<bool> look_again(Time) override {
    if (made) room = *std::exchange(made, std::nullopt);
    co_return true;
  }
  Awaitable<void> keep(ReceiptName name, Bytes receipt) override {
    if (is_broken) fail(Errc::exhausted, "no space left on the device");
    kept.push_back(std::move(receipt));
    requesters.push_back(name.requester);
    co_return;
  }
  std::uint64_t room = std::uint64_t{1} << 30;
  std::optional<std::uint64_t> made = {};  // room, since it looked
  bool is_broken = false;
  std::vector<Bytes> kept;
  std::vector<PeerId> requesters;
};

TEST_P(Sharing, AResultIsSentWhenItsReceiptIsKept) {
  Shelf shelf;
  MockExecutor mock({milliseconds(10), 1});
  ProviderOptions options;
  options.receipts = &shelf;
  serve_with({{"inference", mock}}, options);
  with_connection([&]() -> Awaitable<void> {
    Answer answer = co_await manager.submit(peer(), task());
    EXPECT_EQ(shelf.kept.at(0), make_receipt(answer.task_envelope, answer.result_envelope));
    EXPECT_EQ(shelf.requesters.at(0), requester.agent.id());
    EXPECT_EQ(co_await asked("llama"), "unsupported_model");  // nothing ran
    shelf.is_broken = true;
    answer = co_await manager.submit(peer(), task("hi", true));
    EXPECT_EQ(answer.result.status, Status::failed);
    EXPECT_EQ(answer.result.error->code, "executor_failed");
    EXPECT_NE(answer.result.error->message.find("no space left"), std::string::npos);
    EXPECT_FALSE(answer.result.text);
    shelf.is_broken = false;
    shelf.room = receipt_size_limit(answer.task_envelope.size()) + 10;  // for one, not for two
    TaskGroup group(network.loop());
    std::vector<std::string> ends;
    const auto ask = [&]() -> Awaitable<void> { ends.push_back(co_await asked("")); };
    group.spawn(ask());
    group.spawn(ask());
    co_await group.join();
    EXPECT_EQ(std::count(ends.begin(), ends.end(), "busy"), 1);
    EXPECT_EQ(shelf.kept.size(), 2U);
    shelf.room = 0;
    EXPECT_EQ(co_await asked(""), "busy");
    shelf.made = std::uint64_t{1} << 30;
    EXPECT_EQ(co_await asked(""), "Processed: hi");
  });
}

TEST_P(Sharing, TwoHundredTasksCancelledAtRandomMomentsLeaveNothingBehind) {
  serve({seconds(2), 8}, {3, 64});
  with_connection([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    std::size_t finished = 0;
    const auto one = [&](Duration patience, bool stream) -> Awaitable<void> {
      Stream opened = co_await requester.agent.open_stream(peer(), std::string(task_protocol));
      const Timer timer = opened.deadline(patience, "changed my mind");
      const Bytes envelope = seal_message(requester.agent.identity(), MessageKind::task, task("some words", stream).to_json());
      try {
        co_await write_frame(opened, envelope);
        while (co_await read_frame(opened, limits::task_frame)) {
        }
        ++finished;
      } catch (const boost::system::system_error&) {
      }
    };
    std::array<std::uint8_t, 2> dice{};
    for (int i = 0; i < 200; ++i) {
      network.random().fill(dice);
      group.spawn(one(milliseconds(dice[0] * 20), dice[1] % 2 == 0));
      co_await pause(milliseconds(dice[1]));
    }
    co_await group.join();
    co_await pause(milliseconds(10));
    EXPECT_GT(finished, 0U);
    EXPECT_LT(finished, 200U);
    EXPECT_EQ(provider->running(), 0U);
    EXPECT_EQ(provider->waiting(), 0U);
    EXPECT_EQ(events.size(), 200U);
    EXPECT_EQ(co_await asked(""), "Processed: hi");  // the slots are all there
  });
}

}  // namespace
}  // namespace p2p::test
