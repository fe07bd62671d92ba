#include "support/children.hpp"

#include "support/paths.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

namespace p2p::test {
namespace {

namespace fs = std::filesystem;

/// So that orphans become children of this process, and none escapes its look.
void adopt_orphans() {
#ifdef __linux__
  prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
}

Environment with_clock(const Environment& real, Clock& clock) {
  return {real.loop, clock, real.random, real.transport, real.multicast, real.pool, real.log};
}

}  // namespace

bool LineLog::has(std::string_view text) const {
  return std::any_of(lines.begin(), lines.end(), [text](const std::string& line) { return line.find(text) != std::string::npos; });
}

ChildrenTest::ChildrenTest() : system_(&log), clock_(system_.environment().clock), environment_(with_clock(system_.environment(), clock_)) {
  adopt_orphans();
  // What is opened with the first signal set and the first work of the pool stays open. All of its threads work at once here, so that none
  // is still starting when descriptors are counted: sanitizers open files then.
  const boost::asio::signal_set signals(environment_.loop, SIGCHLD);
  const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  std::latch all_there(threads);
  const std::function<void()> meet = [&all_there] { all_there.arrive_and_wait(); };
  const auto meet_all = [&]() -> Awaitable<void> {
    TaskGroup group(environment_.loop);
    for (unsigned i = 0; i < threads; ++i) group.spawn(environment_.pool.run(meet));
    co_await group.join();
  };
  system_.run(meet_all());
  descriptors_ = open_descriptors();
}

Program ChildrenTest::program(std::vector<std::string> arguments) const {
  Program found = find_program(std::move(arguments));
  found.temporary = temporary_.path();
  return found;
}

Program ChildrenTest::unruly(std::vector<std::string> actions) const {
  actions.insert(actions.begin(), unruly_program);
  return program(std::move(actions));
}

Task ChildrenTest::task(std::string prompt) {
  Task task;
  task.task_id = "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b";
  task.input["prompt"] = prompt;
  return task;
}

Outcome ChildrenTest::run(Executor& executor, RecordedRun& task_run) {
  Outcome outcome;
  const auto work = [&]() -> Awaitable<void> { outcome = co_await executor.run(task_run); };
  system_.run(work());
  return outcome;
}

void ChildrenTest::expect_nothing_left() const {
  errno = 0;
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(names_in(temporary_.path()), std::vector<std::string>());
  EXPECT_EQ(open_descriptors(), descriptors_);
}

bool ends(int pid) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (kill(pid, 0) == 0) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(stat, line);
    const std::size_t name_end = line.rfind(") ");
    if (name_end != std::string::npos && (line[name_end + 2] == 'Z' || line[name_end + 2] == 'X')) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

std::vector<int> pids_in(const std::string& text) {
  std::vector<int> pids;
  for (std::size_t at = text.find("pid "); at != std::string::npos; at = text.find("pid ", at + 1)) {
    if (at == 0 || text[at - 1] == '\n') pids.push_back(std::atoi(text.c_str() + at + 4));
  }
  return pids;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  if (fs::exists("/proc/self/fd")) {
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) count += entry.path().empty() ? 0 : 1;
    return count;
  }
  for (int descriptor = 0; descriptor < 4096; ++descriptor) count += fcntl(descriptor, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace p2p::test
