#include "executors/worker.hpp"

#include "support/children.hpp"
#include "support/paths.hpp"
#include "support/random.hpp"

#include <boost/json/parse.hpp>
#include <csignal>
#include <cstdlib>
#include <set>
#include <utility>

namespace p2p::test {
namespace {

class Worker : public ChildrenTest {
 protected:
  /// Runs `work` between the start and the stop of a worker, behind which nothing is left.
  template <class Work>
  void with(Program program, Work work) {
    WorkerExecutor worker(environment(), "unruly", std::move(program));
    const auto whole = [&]() -> Awaitable<void> {
      worker.start();
      co_await work(worker);
      co_await worker.stop();
    };
    run(whole());
    expect_nothing_left();
  }
  template <class Work>
  void with(Work work) {
    with(unruly({"worker"}), std::move(work));
  }

  struct Result {
    Outcome outcome;
    std::string output;
  };
  Awaitable<Result> ask(WorkerExecutor& worker, std::string prompt) {
    RecordedRun task_run(environment(), task(std::move(prompt)));
    Result result;
    result.outcome = co_await worker.run(task_run);
    result.output = task_run.output;
    co_return result;
  }
  /// The same, stopped as soon as it writes anything.
  Awaitable<Result> ask_and_stop(WorkerExecutor& worker, std::string prompt) {
    RecordedRun task_run(environment(), task(std::move(prompt)));
    task_run.on_write = [&task_run](const std::string&) { task_run.stop(); };
    Result result;
    result.outcome = co_await worker.run(task_run);
    result.output = task_run.output;
    co_return result;
  }
  /// The same, stopped at once.
  Awaitable<Outcome> ask_and_stop_at_once(WorkerExecutor& worker, std::string prompt) {
    RecordedRun task_run(environment(), task(std::move(prompt)));
    const Timer timer = environment().clock.schedule(environment().clock.now(), [&task_run] { task_run.stop(); });
    co_return co_await worker.run(task_run);
  }
  std::size_t count_in_log(std::string_view text) const {
    std::size_t count = 0;
    for (const std::string& line : log.lines) count += line.find(text) != std::string::npos ? 1 : 0;
    return count;
  }
  /// Waits until so many lines of the log have the text.
  Awaitable<void> logged(std::string text, std::size_t count = 1) {
    Event line(environment().loop);
    log.on_line = [&line](const std::string&) { line.notify(); };
    while (count_in_log(text) < count) co_await line.wait();
    log.on_line = nullptr;
  }
};

TEST_F(Worker, IsAModelOfItsNameThatMustBeAskedForByIt) {
  const WorkerExecutor worker(environment(), "unruly", unruly({"worker"}), 1234);
  EXPECT_EQ(worker.name(), "worker");
  EXPECT_EQ(worker.models(), std::vector<std::string>{"unruly"});
  EXPECT_TRUE(worker.named_only());
  EXPECT_EQ(worker.slots(), 1U);
  EXPECT_EQ(worker.output_limit(), 1234U);
  EXPECT_FALSE(worker.unready());
}

TEST_F(Worker, AnswersOneTaskAfterTheOtherInOneProcess) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result first = co_await ask(worker, "pid");
    const Result second = co_await ask(worker, "pid");
    EXPECT_EQ(first.outcome.status, Status::completed);
    EXPECT_EQ(first.outcome.model, "unruly");
    EXPECT_FALSE(first.output.empty());
    EXPECT_EQ(first.output, second.output);
    EXPECT_FALSE(worker.unready());
  });
  EXPECT_EQ(log.lines, std::vector<std::string>());
}

TEST_F(Worker, TellsWhatTheWorkerSaysOfItsAnswer) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result result = co_await ask(worker, "whole");
    EXPECT_EQ(result.output, "one two");
    EXPECT_EQ(result.outcome.model, "real");
    EXPECT_EQ(result.outcome.finish_reason, "length");
    EXPECT_EQ(result.outcome.usage.value_or(Usage{}).prompt_tokens, 3U);
    EXPECT_EQ(result.outcome.usage.value_or(Usage{}).completion_tokens, 4U);
  });
}

TEST_F(Worker, GetsTheWholeInputAndWhoAsks) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result result = co_await ask(worker, "line");
    const boost::json::object line = boost::json::parse(result.output).as_object();
    EXPECT_EQ(line.at("id"), 1);
    EXPECT_EQ(line.at("input"), boost::json::value(task("line").input));
    EXPECT_EQ(line.at("task_id"), "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b");
    EXPECT_EQ(line.at("task_type"), "inference");
    EXPECT_EQ(line.at("requester"), "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq");
  });
}

TEST_F(Worker, TakesALineOfSeveralMebibytes) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const std::string prompt = "line=" + std::string(1'500'000, 'y');
    const Result result = co_await ask(worker, prompt);
    EXPECT_EQ(result.outcome.status, Status::completed);
    EXPECT_NE(result.output.find(prompt), std::string::npos);
  });
}

TEST_F(Worker, HasAProcessForEachTaskThatRunsAtOnce) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    std::vector<RecordedRun*> running;
    const auto one = [&]() -> Awaitable<void> {
      RecordedRun task_run(environment(), task("until-cancel"));
      task_run.on_write = [&](const std::string&) {
        running.push_back(&task_run);
        if (running.size() < 3) return;
        for (RecordedRun* const each : running) each->stop();
      };
      const Outcome outcome = co_await worker.run(task_run);
      EXPECT_EQ(outcome.status, Status::cancelled);
    };
    TaskGroup group(environment().loop);
    for (int i = 0; i < 3; ++i) group.spawn(one());
    co_await group.join();
    EXPECT_EQ(running.size(), 3U);
  });
}

TEST_F(Worker, KeepsAWorkerThatEndsACancelledTask) {
  for (const char* const answer : {"until-cancel=done", "until-cancel=error"}) {
    with([this, answer](WorkerExecutor& worker) -> Awaitable<void> {
      const Result before = co_await ask(worker, "pid");
      const Result stopped = co_await ask_and_stop(worker, answer);
      EXPECT_EQ(stopped.outcome.status, Status::cancelled);
      EXPECT_FALSE(stopped.outcome.error);
      EXPECT_EQ(stopped.output, "begun");
      const Result after = co_await ask(worker, "pid");
      EXPECT_EQ(before.output, after.output);
    });
  }
}

TEST_F(Worker, StartsAnotherProcessWhenACancelledTaskDoesNotEnd) {
  hurry();
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result before = co_await ask(worker, "pid");
    const Time begun = environment().clock.now();
    const Result stopped = co_await ask_and_stop(worker, "hang");
    EXPECT_EQ(stopped.outcome.status, Status::cancelled);
    EXPECT_GE(environment().clock.now() - begun, limits::stop_patience);
    EXPECT_FALSE(worker.unready());  // it is started again at once
    EXPECT_TRUE(ends(std::atoi(before.output.c_str())));
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.outcome.status, Status::completed);
    EXPECT_NE(before.output, after.output);
  });
}

TEST_F(Worker, PaysAPauseForAnotherProcessWhenNoTaskHasSucceeded) {
  hurry();
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await ask_and_stop(worker, "hang");
    co_await ask_and_stop(worker, "hang");
    co_await ask(worker, "pid");
    co_await ask_and_stop(worker, "hang");
  });
  EXPECT_EQ(count_in_log("cancelled; it is started again in 100 ms"), 1U);
  EXPECT_EQ(count_in_log("cancelled; it is started again in 200 ms"), 1U);
  EXPECT_EQ(count_in_log("it is started again"), 3U);
}

TEST_F(Worker, GoesOnLoadingWhenItsTaskIsCancelledMeanwhile) {
  hurry(10);
  with(unruly({"until-usr1=2", "worker"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    const std::string mark = "unruly: pid ";
    co_await logged(mark);
    const std::string pid = log.lines.front().substr(mark.size());
    for (int i = 0; i < 3; ++i) {
      const Outcome outcome = co_await ask_and_stop_at_once(worker, "until-cancel");
      EXPECT_EQ(outcome.status, Status::cancelled);
    }
    const Timer loaded = environment().clock.schedule(environment().clock.now() + 2 * limits::stop_patience,
                                                      [&pid] { ::kill(std::atoi(pid.c_str()), SIGUSR1); });
    const Result next = co_await ask(worker, "pid");
    EXPECT_EQ(next.output, pid);
  });
  EXPECT_EQ(log.lines.size(), 1U);
}

TEST_F(Worker, HasToEndACancelledTaskSoonOnceItHasLoaded) {
  hurry();
  with(unruly({"until-usr1=2", "worker"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await logged("unruly: pid ");
    const Outcome outcome = co_await ask_and_stop_at_once(worker, "hang");
    EXPECT_EQ(outcome.status, Status::cancelled);
    const Time loaded = environment().clock.now();
    ::kill(std::atoi(log.lines.front().substr(12).c_str()), SIGUSR1);
    co_await logged("did not end a task that was cancelled");
    EXPECT_GE(environment().clock.now() - loaded, limits::stop_patience);
    EXPECT_LT(environment().clock.now() - loaded, limits::worker_load / 2);
  });
}

TEST_F(Worker, IsEndedWhenItLoadsForTooLong) {
  hurry(400);
  with(unruly({"ignore-term", "error=up", "sleep"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await logged("up");
    const Time begun = environment().clock.now();
    const Outcome outcome = co_await ask_and_stop_at_once(worker, "pid");
    EXPECT_EQ(outcome.status, Status::cancelled);
    EXPECT_LT(environment().clock.now() - begun, limits::worker_load / 2);
    co_await logged("did not end a task that was cancelled");
    EXPECT_GE(environment().clock.now() - begun, limits::worker_load / 2);
  });
}

TEST_F(Worker, LeavesNothingWhenItIsStoppedWhileItLoadsForACancelledTask) {
  hurry();
  const Time begun = environment().clock.now();
  with(unruly({"ignore-term", "error=up", "sleep"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await logged("up");
    const Outcome outcome = co_await ask_and_stop_at_once(worker, "pid");
    EXPECT_EQ(outcome.status, Status::cancelled);
  });
  EXPECT_LT(environment().clock.now() - begun, limits::worker_load / 2);
}

TEST_F(Worker, IsNotAskedForATaskThatIsStoppedAlready) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    RecordedRun task_run(environment(), task("pid"));
    task_run.stop();
    const Outcome outcome = co_await worker.run(task_run);
    EXPECT_EQ(outcome.status, Status::cancelled);
    EXPECT_EQ(task_run.output, "");
  });
}

TEST_F(Worker, FailsATaskDuringWhichItDiesWithItsLastWords) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result dead = co_await ask(worker, "die=3");
    EXPECT_EQ(dead.outcome.status, Status::failed);
    const TaskError error = dead.outcome.error.value_or(TaskError{});
    EXPECT_EQ(error.code, "executor_failed");
    EXPECT_EQ(error.message, "unruly ended with exit code 3: the last words");
    EXPECT_EQ(dead.output, "some");
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.outcome.status, Status::completed);
  });
  EXPECT_TRUE(log.has("unruly: first line"));
}

TEST_F(Worker, FailsATaskOfWhichItSaysSoAndGoesOn) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result before = co_await ask(worker, "pid");
    const Result failed = co_await ask(worker, "error=no such voice");
    EXPECT_EQ(failed.outcome.status, Status::failed);
    const TaskError error = failed.outcome.error.value_or(TaskError{});
    EXPECT_EQ(error.code, "executor_failed");
    EXPECT_EQ(error.message, "no such voice");
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(before.output, after.output);
  });
}

TEST_F(Worker, IsStartedAgainWithGrowingPausesUntilATaskSucceeds) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    for (const char* const prompt : {"die=1", "die=1", "die=1", "die-after=1"}) co_await ask(worker, prompt);
    co_await logged("started again", 4);
  });
  EXPECT_EQ(count_in_log("it is started again in 100 ms"), 2U);
  EXPECT_EQ(count_in_log("it is started again in 200 ms"), 1U);
  EXPECT_EQ(count_in_log("it is started again in 400 ms"), 1U);
}

TEST_F(Worker, IsBusyWhileItWaitsToBeStartedAgain) {
  with(unruly({"error=up", "exit=1"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await logged("started again", 3);
    const TaskError unready = worker.unready().value_or(TaskError{});
    EXPECT_EQ(unready.code, "busy");
    EXPECT_GE(unready.retry_after_ms.value_or(0), 1U);
    EXPECT_LE(unready.retry_after_ms.value_or(0), 400U);
  });
  EXPECT_TRUE(log.has("unruly ended with exit code 1: up; it is started again in 400 ms"));
}

TEST_F(Worker, LetsATaskWaitForItsRestartUnlessItIsStopped) {
  with(unruly({"exit=1"}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    co_await logged("started again");
    RecordedRun task_run(environment(), task("pid"));
    const Timer timer = environment().clock.schedule(environment().clock.now(), [&task_run] { task_run.stop(); });
    const Outcome outcome = co_await worker.run(task_run);
    EXPECT_EQ(outcome.status, Status::cancelled);
    const Result later = co_await ask(worker, "pid");
    EXPECT_EQ(later.outcome.status, Status::failed);
    EXPECT_EQ(later.outcome.error.value_or(TaskError{}).message, "unruly ended with exit code 1");
  });
}

TEST_F(Worker, IsEndedWhenItWritesWhatItMayNot) {
  hurry();
  const std::pair<const char*, const char*> cases[] = {
      {"write=hello", "not as it should be"},
      {"write=", "not as it should be"},
      {"write=[I]", "not as it should be"},
      {"write={'id':I,'id':I,'text':'x'}", "not as it should be"},
      {"write={'id':I,'text':'\xff'}", "not as it should be"},
      {"write={'id':9999,'text':'x'}", "about a task that it does not have"},
      {"write={'id':'I','text':'x'}", "about a task that it does not have"},
      {"write={'text':'x'}", "about a task that it does not have"},
      {"write={'id':I}", "neither"},
      {"write={'id':I,'done':false}", "neither"},
      {"write={'id':I,'text':5}", "neither"},
      {"endless", "a line of more than"},
  };
  with([&](WorkerExecutor& worker) -> Awaitable<void> {
    for (const auto& [prompt, complaint] : cases) {
      const Result before = co_await ask(worker, "pid");
      const std::string asked = prompt;
      const Result result = co_await ask(worker, asked);
      EXPECT_EQ(result.outcome.status, Status::failed) << prompt;
      const std::string message = result.outcome.error.value_or(TaskError{}).message;
      EXPECT_NE(message.find(complaint), std::string::npos) << prompt << ": " << message;
      EXPECT_TRUE(ends(std::atoi(before.output.c_str())));
    }
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.outcome.status, Status::completed);
  });
}

TEST_F(Worker, IsEndedWhenItSaysSomethingWithoutATask) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result before = co_await ask(worker, "pid");
    const Result twice = co_await ask(worker, "twice");
    EXPECT_EQ(twice.outcome.status, Status::completed);
    co_await logged("about a task that it does not have");
    const Result after = co_await ask(worker, "pid");
    EXPECT_NE(before.output, after.output);
  });
}

TEST_F(Worker, MayWriteALineOfTheLimitAndNotOneByteMore) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result enough = co_await ask(worker, "long=" + std::to_string(limits::worker_line));
    EXPECT_EQ(enough.outcome.status, Status::completed);
    EXPECT_GT(enough.output.size(), limits::worker_line - 100);
    const Result more = co_await ask(worker, "long=" + std::to_string(limits::worker_line + 1));
    EXPECT_EQ(more.outcome.status, Status::failed);
    EXPECT_EQ(more.output, "");
  });
}

TEST_F(Worker, IsEndedWhenItDoesNotReadItsTasks) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result closed = co_await ask(worker, "close-input");
    EXPECT_EQ(closed.outcome.status, Status::completed);
    const Result next = co_await ask(worker, "pid");
    EXPECT_EQ(next.outcome.status, Status::failed);
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.outcome.status, Status::completed);
  });
}

TEST_F(Worker, IsEndedWhenItClosesItsOutputAndLivesOn) {
  hurry();
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result result = co_await ask(worker, "close-output");
    EXPECT_EQ(result.outcome.status, Status::failed);
  });
}

TEST_F(Worker, LetsATaskBeCancelledWhileItsProcessIsBeingEnded) {
  hurry();
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    RecordedRun task_run(environment(), task("close-output"));
    // Sooner than it is ended by force.
    const Timer timer =
        environment().clock.schedule(environment().clock.now() + limits::stop_patience / 2, [&task_run] { task_run.stop(); });
    const Outcome outcome = co_await worker.run(task_run);
    EXPECT_EQ(outcome.status, Status::cancelled);
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.outcome.status, Status::completed);
  });
}

TEST_F(Worker, IsToldToEndATaskWhoseOutputIsTooLarge) {
  with([this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result before = co_await ask(worker, "pid");
    RecordedRun task_run(environment(), task("until-cancel"), 4);  // "begun" has five letters
    bool refused = false;
    try {
      co_await worker.run(task_run);
    } catch (const boost::system::system_error& error) {
      refused = is(error, Errc::too_large);
    }
    EXPECT_TRUE(refused);
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(after.output, before.output);
  });
}

TEST_F(Worker, LeavesNothingWhenItIsStoppedWhateverItDoes) {
  hurry();
  for (const std::vector<std::string>& actions : {std::vector<std::string>{"worker"},
                                                  {"ignore-term", "tree", "sleep"},
                                                  {"linger", "exit=1"},
                                                  {"close-output", "ignore-term", "sleep"},
                                                  {"flood"}}) {
    with(unruly(actions), [](WorkerExecutor&) -> Awaitable<void> { co_return; });
  }
  with(unruly({"ignore-term", "error=up", "sleep"}), [this](WorkerExecutor&) -> Awaitable<void> { co_await logged("up"); });
}

TEST_F(Worker, SaysWhyItCouldNotBeStarted) {
  Program broken = unruly({"worker"});
  broken.path = "/dev/null/nothing";
  with(broken, [this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result result = co_await ask(worker, "pid");
    EXPECT_EQ(result.outcome.status, Status::failed);
    const std::string message = result.outcome.error.value_or(TaskError{}).message;
    EXPECT_TRUE(message.starts_with("could not start /dev/null/nothing: ")) << message;
  });
}

TEST_F(Worker, LeavesNothingAfterTwoHundredTasksStoppedAtRandom) {
  hurry();
  SeededRandom random(5);
  const std::vector<std::string> prompts{"until-cancel", "hang", "pid", "die=1", "write=x"};
  std::size_t ended = 0;
  with([&](WorkerExecutor& worker) -> Awaitable<void> {
    const auto one = [&](std::size_t number, Duration delay) -> Awaitable<void> {
      RecordedRun task_run(environment(), task(prompts[number % prompts.size()]));
      const Timer timer = environment().clock.schedule(environment().clock.now() + delay, [&task_run] { task_run.stop(); });
      co_await worker.run(task_run);
      ++ended;
    };
    for (std::size_t batch = 0; batch < 40; ++batch) {
      TaskGroup group(environment().loop);
      for (std::size_t i = 0; i < 5; ++i) {
        group.spawn(one(batch * 5 + i, std::chrono::microseconds(random.bytes(1).at(0)) * 40 * 40));  // up to 10 ms
      }
      co_await group.join();
    }
    const Result result = co_await ask(worker, "pid");
    EXPECT_EQ(result.outcome.status, Status::completed);
  });
  EXPECT_EQ(ended, 200U);
}

// Workers written with examples/p2p_agent.py.
class PythonWorker : public Worker {
 protected:
  void SetUp() override {
    try {
      python_ = find_program({"python3"}).path;
    } catch (const boost::system::system_error&) {
      GTEST_SKIP() << "there is no python3";
    }
  }
  Program python(const std::string& body) const {
    return program({python_, "-c",
                    "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, '" + std::string(examples_folder) +
                        "'); import p2p_agent\n" + body});
  }

 private:
  std::string python_;
};

TEST_F(PythonWorker, GivesAWordAtATimeInItsExample) {
  with(program({examples_folder + std::string("/p2p_agent.py")}), [this](WorkerExecutor& worker) -> Awaitable<void> {
    RecordedRun task_run(environment(), task("caf\xc3\xa9 au lait"));
    const Outcome outcome = co_await worker.run(task_run);
    EXPECT_EQ(outcome.status, Status::completed);
    EXPECT_EQ(outcome.finish_reason, "stop");
    EXPECT_EQ(task_run.output, "CAF\xc3\x89 AU LAIT");
    EXPECT_EQ(task_run.pieces.size(), 3U);
  });
}

TEST_F(PythonWorker, HearsACancelBetweenTwoPiecesAndIsThenReadyForMore) {
  const Program counter = python(R"(
import itertools, os
def answer(prompt):
    try:
        if prompt == 'pid': yield str(os.getpid())
        else: yield from map(str, itertools.count())
    finally:
        print('closed', file=sys.stderr, flush=True)
p2p_agent.worker(answer)
)");
  with(counter, [this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result before = co_await ask(worker, "pid");
    const Result stopped = co_await ask_and_stop(worker, "count");
    EXPECT_EQ(stopped.outcome.status, Status::cancelled);
    const Result after = co_await ask(worker, "pid");
    EXPECT_EQ(before.output, after.output);
    co_await logged("closed", 3);
  });
}

TEST_F(PythonWorker, TellsOfExceptionsAndKeepsWhatItPrintsOutOfTheProtocol) {
  const Program printer = python(R"(
def answer(input):
    print('a stray line', flush=True)
    if 'messages' in input: raise ValueError('no messages here')
    yield 'half a pair: \ud83d'
    yield ''
    return {'finish_reason': 'length', 'usage': {'prompt_tokens': 1, 'completion_tokens': 2}}
p2p_agent.worker(answer, whole_input=True)
)");
  with(printer, [this](WorkerExecutor& worker) -> Awaitable<void> {
    const Result fine = co_await ask(worker, "text");
    EXPECT_EQ(fine.output, "half a pair: ?");
    EXPECT_EQ(fine.outcome.finish_reason, "length");
    EXPECT_EQ(fine.outcome.usage.value_or(Usage{}).completion_tokens, 2U);
    Task messages = task("");
    messages.input = boost::json::parse(R"({"messages":[{"role":"user","content":"Hi"}]})").as_object();
    RecordedRun task_run(environment(), messages);
    const Outcome outcome = co_await worker.run(task_run);
    EXPECT_EQ(outcome.status, Status::failed);
    EXPECT_EQ(outcome.error.value_or(TaskError{}).message, "ValueError: no messages here");
    co_await logged("unruly: a stray line", 2);
  });
}

}  // namespace
}  // namespace p2p::test
