#include "executors/command.hpp"

#include "support/children.hpp"
#include "support/heap.hpp"
#include "support/paths.hpp"
#include "support/random.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace p2p::test {
namespace {

const std::string r = "\xef\xbf\xbd";

class Command : public ChildrenTest {
 protected:
  CommandExecutor unruly_command(std::vector<std::string> actions, std::size_t output_limit = limits::command_output) {
    return CommandExecutor("unruly", unruly(std::move(actions)), output_limit);
  }
  /// A run that is stopped when its output ends with `mark`.
  static void stop_at(RecordedRun& run, std::string mark) {
    run.on_write = [&run, mark = std::move(mark)](const std::string& output) {
      if (output.ends_with(mark)) run.stop();
    };
  }
};

std::vector<std::string> lines_of(const std::string& text, const std::string& kind) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    if (line.starts_with(kind + " ")) found.push_back(line.substr(kind.size() + 1));
    at = end + 1;
  }
  return found;
}

/// An environment variable of this process, as it was before at the end.
class Variable {
 public:
  Variable(std::string name, const std::optional<std::string>& value) : name_(std::move(name)) {
    if (const char* const before = std::getenv(name_.c_str())) before_ = before;
    set(value);
  }
  ~Variable() { set(before_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const std::optional<std::string>& value) const {
    if (value) {
      setenv(name_.c_str(), value->c_str(), 1);
    } else {
      unsetenv(name_.c_str());
    }
  }

  const std::string name_;
  std::optional<std::string> before_;
};

TEST_F(Command, IsAModelOfItsNameThatMustBeAskedForByIt) {
  const CommandExecutor command = unruly_command({}, 1234);
  EXPECT_EQ(command.name(), "command");
  EXPECT_EQ(command.models(), std::vector<std::string>{"unruly"});
  EXPECT_TRUE(command.named_only());
  EXPECT_EQ(command.slots(), 1U);
  EXPECT_EQ(command.output_limit(), 1234U);
}

TEST_F(Command, GetsThePromptAsItsInputAndGivesItsOutput) {
  CommandExecutor command = unruly_command({"cat"});
  RecordedRun task_run(environment(), task("caf\xc3\xa9\nand tea"));
  const Outcome outcome = run(command, task_run);
  EXPECT_EQ(outcome.status, Status::completed);
  EXPECT_EQ(outcome.model, "unruly");
  EXPECT_EQ(task_run.output, "caf\xc3\xa9\nand tea");
  expect_nothing_left();
}

TEST_F(Command, TakesMoreThanAPipeHoldsInBothDirections) {
  std::string prompt;
  while (prompt.size() < 1'000'000) prompt += "\xe2\x82\xac uro";
  CommandExecutor command = unruly_command({"cat"});
  RecordedRun task_run(environment(), task(prompt));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  EXPECT_TRUE(task_run.output == prompt);
  for (const std::string& piece : task_run.pieces) EXPECT_EQ(cut_text(piece, piece.size()), piece);
  expect_nothing_left();
}

TEST_F(Command, StreamsItsOutputAsItAppears) {
  CommandExecutor command = unruly_command({"until-usr1", "say=more"});
  RecordedRun task_run(environment(), task(""));
  task_run.on_write = [](const std::string& output) {  // it goes on only once this has come
    if (output.ends_with("\n")) kill(pids_in(output).at(0), SIGUSR1);
  };
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  EXPECT_EQ(task_run.pieces.size(), 2U);
  EXPECT_TRUE(task_run.output.ends_with("\nmore"));
  expect_nothing_left();
}

TEST_F(Command, GetsTheEnvironmentThatIsPromisedAndNothingElse) {
  const Variable secret("P2P_TEST_SECRET", "key");
  const Variable path("PATH", "/usr/bin:/bin");
  const Variable home("HOME", "/nowhere");
  const Variable lang("LANG", "de_DE.UTF-8");
  const Variable tmpdir("TMPDIR", "/tmp");
  const int inherited = dup2(STDOUT_FILENO, 211);  // without FD_CLOEXEC
  ASSERT_EQ(inherited, 211);
  signal(SIGUSR2, SIG_IGN);
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);

  CommandExecutor command = unruly_command({"report", "say=a b", "say= *$HOME"});
  RecordedRun task_run(environment(), task(""));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
  signal(SIGUSR2, SIG_DFL);
  close(inherited);

  const std::string& output = task_run.output;
  EXPECT_EQ(lines_of(output, "argument"), (std::vector<std::string>{unruly_program, "report", "say=a b", "say= *$HOME"}));
  EXPECT_EQ(lines_of(output, "descriptor"), (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_EQ(lines_of(output, "entry"), std::vector<std::string>());
  EXPECT_EQ(lines_of(output, "mode"), std::vector<std::string>{std::to_string(0700)});
  EXPECT_EQ(lines_of(output, "ignored"), std::vector<std::string>());
  EXPECT_EQ(lines_of(output, "blocked"), std::vector<std::string>());
  EXPECT_NE(output.find("leads its group\n"), std::string::npos);
  std::vector<std::string> variables = lines_of(output, "variable");
  ASSERT_EQ(variables.size(), 8U) << output;
  EXPECT_EQ(variables[0], "PATH=/usr/bin:/bin");
  EXPECT_EQ(variables[1], "HOME=/nowhere");
  EXPECT_EQ(variables[2], "LANG=de_DE.UTF-8");
  EXPECT_EQ(variables[3], "TMPDIR=/tmp");
  EXPECT_EQ(variables[4], "P2P_TASK_ID=" + task_run.task().task_id);
  EXPECT_EQ(variables[5], "P2P_TASK_TYPE=inference");
  EXPECT_EQ(variables[6], "P2P_REQUESTER=" + task_run.requester().text());
  EXPECT_TRUE(variables[7].starts_with("P2P_TASK_FILE=/"));
  expect_nothing_left();
}

TEST_F(Command, HasNothingOfThePromptInItsArgumentsOrEnvironment) {
  const std::string prompt = "--spellbound; $(touch quill) `touch quill` | \"parchment\" \\ \n -rf";
  CommandExecutor command = unruly_command({"report", "say=read: ", "cat"});
  RecordedRun task_run(environment(), task(prompt));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  const std::string end = "read: " + prompt;
  ASSERT_TRUE(task_run.output.ends_with(end)) << task_run.output;
  const std::string report = task_run.output.substr(0, task_run.output.size() - end.size());
  EXPECT_EQ(lines_of(report, "argument"), (std::vector<std::string>{unruly_program, "report", "say=read: ", "cat"}));
  EXPECT_EQ(lines_of(report, "variable").size(), 8U) << report;  // those that are promised
  EXPECT_EQ(lines_of(report, "entry"), std::vector<std::string>());
  for (const char* const part : {"spellbound", "quill", "parchment", " -rf"}) EXPECT_EQ(report.find(part), std::string::npos) << part;
  expect_nothing_left();
}

TEST_F(Command, HasSensibleVariablesWhereTheAgentHasNone) {
  const Variable path("PATH", std::nullopt);
  const Variable home("HOME", std::nullopt);
  const Variable lang("LANG", std::nullopt);
  const Variable tmpdir("TMPDIR", std::nullopt);
  const Program program = find_program({"sh"});
  ASSERT_EQ(program.environment.size(), 4U);
  EXPECT_NE(program.environment[0].find("/usr/bin"), std::string::npos);
  EXPECT_TRUE(program.environment[1].starts_with("HOME=/"));
  EXPECT_EQ(program.environment[2], "LANG=C.UTF-8");
  EXPECT_EQ(program.environment[3], "TMPDIR=/tmp");
}

TEST_F(Command, FindsTheWholeInputInAFileThatNobodyElseCanRead) {
  Task whole = task("");
  whole.input =
      boost::json::parse(R"({"messages":[{"role":"system","content":"short"},{"role":"user","content":"Hi"}],"seed":7})").as_object();
  CommandExecutor command = unruly_command({"cat", "say=|", "task-file"});
  RecordedRun task_run(environment(), whole);
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  EXPECT_EQ(task_run.output, "Hi|" + std::to_string(0600) + " " + std::to_string(0700) + " " + boost::json::serialize(whole.input));
  expect_nothing_left();
}

TEST_F(Command, LeavesNothingInItsDirectory) {
  CommandExecutor command = unruly_command({"litter"});
  RecordedRun task_run(environment(), task(""));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  expect_nothing_left();
}

TEST_F(Command, FailsWithItsExitCodeItsLastWordsAndWhatItHadWritten) {
  CommandExecutor command = unruly_command({"say=part", "error=first", "error=the last words", "error=  ", "exit=3"});
  RecordedRun task_run(environment(), task(""));
  const Outcome outcome = run(command, task_run);
  EXPECT_EQ(outcome.status, Status::failed);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, "executor_failed");
  EXPECT_EQ(outcome.error->message, "unruly ended with exit code 3: the last words");
  EXPECT_EQ(task_run.output, "part");
  EXPECT_TRUE(log.has("unruly: first"));
  expect_nothing_left();
}

TEST_F(Command, FailsWithTheNameOfTheSignalThatEndedIt) {
  CommandExecutor command = unruly_command({"say=part", "die=" + std::to_string(SIGSEGV)});
  RecordedRun task_run(environment(), task(""));
  const Outcome outcome = run(command, task_run);
  EXPECT_EQ(outcome.status, Status::failed);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->message, "unruly was ended by SIGSEGV");
  EXPECT_EQ(task_run.output, "part");
  expect_nothing_left();
}

TEST_F(Command, DoesNotFailOfWhatItComplainsOf) {
  CommandExecutor command = unruly_command({"error=by the way", "say=fine"});
  RecordedRun task_run(environment(), task(""));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  EXPECT_TRUE(log.has("unruly: by the way"));
}

TEST_F(Command, HasItsComplaintsCutAndRepaired) {
  CommandExecutor command = unruly_command({"error-bytes=1000000", "exit=1"});
  RecordedRun task_run(environment(), task(""));
  const Outcome cut = run(command, task_run);
  EXPECT_EQ(cut.error->message, "unruly ended with exit code 1: " + std::string(limits::error_line, 'x'));
  CommandExecutor foreign = unruly_command({"error=caf\xe9", "exit=1"});
  const Outcome repaired = run(foreign, task_run);
  EXPECT_EQ(repaired.error->message, "unruly ended with exit code 1: caf" + r);
}

TEST_F(Command, HasHalfACharacterReplacedWhenItDies) {
  CommandExecutor command = unruly_command({"half", "die=" + std::to_string(SIGKILL)});
  RecordedRun task_run(environment(), task(""));
  const Outcome outcome = run(command, task_run);
  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_EQ(outcome.error->message, "unruly was ended by SIGKILL");
  EXPECT_EQ(task_run.output, "caf" + r);
  expect_nothing_left();
}

TEST_F(Command, NeedNotReadItsInput) {
  for (const std::vector<std::string>& actions : {std::vector<std::string>{"say=done"}, {"close-input", "say=done"}}) {
    CommandExecutor command = unruly_command(actions);
    RecordedRun task_run(environment(), task(std::string(1'000'000, 'x')));
    EXPECT_EQ(run(command, task_run).status, Status::completed);
    EXPECT_EQ(task_run.output, "done");
    expect_nothing_left();
  }
}

TEST_F(Command, CanBeStoppedWhileItDoesNotReadItsInput) {
  CommandExecutor command = unruly_command({"say=here", "sleep"});
  RecordedRun task_run(environment(), task(std::string(1'000'000, 'x')));
  stop_at(task_run, "here");
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  expect_nothing_left();
}

TEST_F(Command, IsStoppedWithAllItsChildren) {
  CommandExecutor command = unruly_command({"tree", "pid", "say=all", "sleep"});
  RecordedRun task_run(environment(), task(""));
  stop_at(task_run, "all");
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  const std::vector<int> pids = pids_in(task_run.output);
  EXPECT_EQ(pids.size(), 5U);
  for (const int pid : pids) EXPECT_TRUE(ends(pid)) << pid;
  EXPECT_EQ(kill(-pids.back(), 0), -1);
  EXPECT_EQ(errno, ESRCH);
  expect_nothing_left();
}

#ifdef __linux__
TEST_F(Command, IsStoppedWithAllItsChildrenWhereOrphansAreNotOurs) {
  prctl(PR_SET_CHILD_SUBREAPER, 0);
  CommandExecutor command = unruly_command({"tree", "pid", "say=all", "sleep"});
  RecordedRun task_run(environment(), task(""));
  stop_at(task_run, "all");
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  const std::vector<int> pids = pids_in(task_run.output);
  EXPECT_EQ(pids.size(), 5U);
  for (const int pid : pids) EXPECT_TRUE(ends(pid)) << pid;
  expect_nothing_left();
}
#endif

TEST_F(Command, IsKilledWhenItDoesNotHearThatItIsToStop) {
  hurry();
  CommandExecutor command = unruly_command({"ignore-term", "tree", "say=all", "sleep"});
  RecordedRun task_run(environment(), task(""));
  stop_at(task_run, "all");
  const Time begun = environment().clock.now();
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  EXPECT_GE(environment().clock.now() - begun, limits::stop_patience);
  expect_nothing_left();
}

TEST_F(Command, IsStoppedHoweverFastItForks) {
  hurry();
  for (const bool hears : {true, false}) {
    CommandExecutor command = unruly_command({hears ? "say=" : "ignore-term", "forks", "pid", "say=all", "sleep"});
    RecordedRun task_run(environment(), task(""));
    stop_at(task_run, "all");
    EXPECT_EQ(run(command, task_run).status, Status::cancelled);
    const std::vector<int> pids = pids_in(task_run.output);
    EXPECT_EQ(pids.size(), 1U);
    EXPECT_EQ(kill(-pids.back(), 0), -1);
    EXPECT_EQ(errno, ESRCH);
    expect_nothing_left();
  }
}

TEST_F(Command, IsNotStartedForATaskThatIsStoppedAlready) {
  CommandExecutor command = unruly_command({"say=here"});
  RecordedRun task_run(environment(), task(""));
  task_run.stop();
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  EXPECT_EQ(task_run.output, "");
  expect_nothing_left();
}

TEST_F(Command, MayWriteAsMuchAsItsLimitAndNotOneByteMore) {
  CommandExecutor command = unruly_command({"bytes=100000"}, 100'000);
  RecordedRun enough(environment(), task(""), command.output_limit());
  EXPECT_EQ(run(command, enough).status, Status::completed);
  EXPECT_EQ(enough.output.size(), 100'000U);
  RecordedRun short_of_one(environment(), task(""), command.output_limit() - 1);
  try {
    run(command, short_of_one);
    ADD_FAILURE() << "not refused";
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::too_large));
  }
  expect_nothing_left();
}

TEST_F(Command, IsEndedWithItsChildrenWhenItFloodsItsOutput) {
  hurry();
  CommandExecutor command = unruly_command({"ignore-term", "tree", "flood"});
  RecordedRun task_run(environment(), task(""), command.output_limit());
  EXPECT_THROW(run(command, task_run), boost::system::system_error);
  EXPECT_LE(task_run.output.size(), command.output_limit());
  expect_nothing_left();
}

TEST_F(Command, IsCancelledEvenIfItFloodsItsOutputInsteadOfStopping) {
  hurry();
  CommandExecutor command = unruly_command({"ignore-term", "flood"});
  RecordedRun task_run(environment(), task(""), command.output_limit());
  task_run.on_write = [&task_run](const std::string&) { task_run.stop(); };
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  expect_nothing_left();
}

TEST_F(Command, IsWaitedForAfterItClosedItsOutput) {
  CommandExecutor command = unruly_command({"say=text", "close-output", "until-usr1=2", "exit=4"});
  RecordedRun task_run(environment(), task(""));
  log.on_line = [](const std::string& line) {  // "unruly: pid 123"
    if (line.starts_with("unruly: pid ")) kill(std::atoi(line.c_str() + 12), SIGUSR1);
  };
  const Outcome outcome = run(command, task_run);
  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_TRUE(outcome.error->message.starts_with("unruly ended with exit code 4"));
  EXPECT_EQ(task_run.output, "text");
  expect_nothing_left();
}

TEST_F(Command, CanBeStoppedAfterItClosedItsOutput) {
  CommandExecutor command = unruly_command({"close-output", "error=closed", "sleep"});
  RecordedRun task_run(environment(), task(""));
  log.on_line = [&task_run](const std::string&) { task_run.stop(); };
  EXPECT_EQ(run(command, task_run).status, Status::cancelled);
  expect_nothing_left();
}

TEST_F(Command, TakesAGrandchildThatHoldsItsOutputWithIt) {
  CommandExecutor command = unruly_command({"linger", "say=done"});
  RecordedRun task_run(environment(), task(""));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  const std::vector<int> pids = pids_in(task_run.output);
  ASSERT_EQ(pids.size(), 1U);
  EXPECT_TRUE(ends(pids[0]));
  EXPECT_TRUE(task_run.output.ends_with("done"));
  expect_nothing_left();
}

TEST_F(Command, IsNotHeldUpForLongByADescendantThatLeftItsGroup) {
  hurry();
  CommandExecutor command = unruly_command({"escape", "say=done"});
  RecordedRun task_run(environment(), task(""));
  EXPECT_EQ(run(command, task_run).status, Status::completed);
  EXPECT_TRUE(task_run.output.ends_with("done"));
  const std::vector<int> pids = pids_in(task_run.output);
  ASSERT_EQ(pids.size(), 1U);
  EXPECT_EQ(kill(pids[0], SIGKILL), 0);
  EXPECT_TRUE(ends(pids[0]));
  waitpid(pids[0], nullptr, 0);  // where orphans are ours
  expect_nothing_left();
}

/// A run whose first piece takes longer than anybody waits for a command that has ended.
class SlowRun final : public TaskRun {
 public:
  explicit SlowRun(RecordedRun& run) : run_(run) {}

  const Task& task() const override { return run_.task(); }
  const PeerId& requester() const override { return run_.requester(); }
  const Environment& environment() const override { return run_.environment(); }
  Awaitable<void> write(std::string_view text) override {
    const bool first = run_.output.empty();
    co_await run_.write(text);
    if (first) co_await sleep_until(environment().clock, environment().loop, environment().clock.now() + 3 * limits::stop_patience);
  }
  bool stopped() const override { return run_.stopped(); }
  void on_stop(std::function<void()> call) override { run_.on_stop(std::move(call)); }

 private:
  RecordedRun& run_;
};

TEST_F(Command, LosesNothingToASlowRequesterEvenIfADescendantHoldsItsOutput) {
  hurry();
  CommandExecutor command = unruly_command({"escape", "bytes=60000"});
  RecordedRun task_run(environment(), task(""));
  SlowRun slow(task_run);
  const auto work = [&]() -> Awaitable<void> {
    const Outcome outcome = co_await command.run(slow);
    EXPECT_EQ(outcome.status, Status::completed);
  };
  run(work());
  EXPECT_TRUE(task_run.output.ends_with(std::string(60000, 'x')));
  const std::vector<int> pids = pids_in(task_run.output);
  ASSERT_EQ(pids.size(), 1U);
  EXPECT_EQ(kill(pids[0], SIGKILL), 0);
  EXPECT_TRUE(ends(pids[0]));
  waitpid(pids[0], nullptr, 0);
  expect_nothing_left();
}

TEST_F(Command, SaysWhyItCouldNotBeStarted) {
  Program broken = unruly({});
  broken.path = "/dev/null/nothing";
  CommandExecutor command("unruly", broken);
  RecordedRun task_run(environment(), task(""));
  try {
    run(command, task_run);
    ADD_FAILURE() << "started";
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(message_of(error).starts_with("could not start /dev/null/nothing: ")) << message_of(error);
  }
  expect_nothing_left();
  Program homeless = unruly({});
  homeless.temporary = "/dev/null";
  CommandExecutor nowhere("unruly", homeless);
  EXPECT_THROW(run(nowhere, task_run), boost::system::system_error);
  expect_nothing_left();
}

/// The limit of descriptors, as it was before at the end.
class DescriptorLimit {
 public:
  DescriptorLimit() { ::getrlimit(RLIMIT_NOFILE, &before_); }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  void set(int limit) const {
    rlimit lower = before_;
    lower.rlim_cur = static_cast<rlim_t>(limit);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  }

 private:
  rlimit before_{};
};

TEST_F(Command, SaysSoHoweverManyDescriptorsItLacksAndRunsWhenThereAreSomeAgain) {
  if (is_sanitized()) GTEST_SKIP() << "UndefinedBehaviorSanitizer needs descriptors of its own to look at an object";
  CommandExecutor command = unruly_command({"cat"});
  const int free = ::dup(0);
  ASSERT_GE(free, 0);
  ::close(free);
  int lacking = 0;
  for (bool ran = false; !ran; ++lacking) {
    ASSERT_LT(lacking, 64);
    RecordedRun task_run(environment(), task("hello"));
    std::string message;
    {
      const DescriptorLimit limit;
      limit.set(free + lacking);
      try {
        run(command, task_run);
        ran = true;
      } catch (const boost::system::system_error& error) {
        EXPECT_TRUE(is(error, Errc::exhausted)) << message_of(error);
        message = message_of(error);
      }
    }
    expect_nothing_left();
    if (ran) {
      EXPECT_EQ(task_run.output, "hello");
    } else {
      EXPECT_NE(message.find(std::strerror(EMFILE)), std::string::npos) << message;
    }
  }
  EXPECT_GT(lacking, 4);
}

// Stopped at any moment, each of them, several at a time: before the program runs, while it forks, floods, ends or does not listen.
TEST_F(Command, LeavesNothingAfterTwoHundredRunsStoppedAtRandom) {
  hurry();
  SeededRandom random(4);
  std::vector<CommandExecutor> commands;
  commands.reserve(5);
  commands.push_back(unruly_command({"tree", "sleep"}));
  commands.push_back(unruly_command({"ignore-term", "tree", "sleep"}));
  commands.push_back(unruly_command({"flood"}));
  commands.push_back(unruly_command({"cat", "linger", "say=done"}));
  commands.push_back(unruly_command({"close-output", "close-input", "sleep"}));
  std::size_t cancelled = 0;
  std::size_t ended = 0;
  const auto one = [&](std::size_t number, Duration delay) -> Awaitable<void> {
    RecordedRun task_run(environment(), task("prompt"));
    const Timer timer = environment().clock.schedule(environment().clock.now() + delay, [&task_run] { task_run.stop(); });
    bool threw = false;
    Outcome outcome;
    try {
      outcome = co_await commands[number % commands.size()].run(task_run);
    } catch (const boost::system::system_error& error) {
      threw = is(error, Errc::too_large);
      EXPECT_TRUE(threw) << message_of(error);
    }
    ++(!threw && outcome.status == Status::cancelled ? cancelled : ended);
  };
  const auto all = [&]() -> Awaitable<void> {
    for (std::size_t batch = 0; batch < 20; ++batch) {
      TaskGroup group(environment().loop);
      for (std::size_t i = 0; i < 10; ++i) {
        group.spawn(one(batch * 10 + i, std::chrono::microseconds(random.bytes(1).at(0)) * 40 * 100));  // up to 25 ms
      }
      co_await group.join();
    }
  };
  run(all());
  EXPECT_EQ(cancelled + ended, 200U);
  EXPECT_GT(cancelled, 100U);
  expect_nothing_left();
}

}  // namespace
}  // namespace p2p::test
