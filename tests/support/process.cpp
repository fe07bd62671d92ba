#include "support/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace p2p::test {
namespace {

constexpr int patience_ms = 60'000;

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  for (const int end : ends) fcntl(end, F_SETFD, FD_CLOEXEC);
  return ends;
}

}  // namespace

Process::Process(std::vector<std::string> arguments, std::vector<std::string> environment, const std::string& input) {
  // Coverage is measured by the third, and what the sanitizers find ends the program by the others.
  for (const std::string name : {"PATH=", "HOME=", "LLVM_PROFILE_FILE=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS="}) {
    const auto is_it = [&name](const std::string& variable) { return variable.starts_with(name); };
    const char* const value = std::getenv(name.substr(0, name.size() - 1).c_str());
    if (value != nullptr && std::none_of(environment.begin(), environment.end(), is_it)) environment.push_back(name + value);
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  envp.push_back(nullptr);
  const std::array<int, 2> in = make_pipe();
  const std::array<int, 2> out = make_pipe();
  const std::array<int, 2> err = make_pipe();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("no process");
  if (pid_ == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (int other = STDERR_FILENO + 1; other < 1024; ++other) ::close(other);  // a socket of the test's would stay open there
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGHUP, SIG_DFL);
    ::signal(SIGINT, SIG_DFL);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  for (std::size_t sent = 0; sent < input.size();) {  // less than a pipe holds
    const ssize_t count = ::write(in[1], input.data() + sent, input.size() - sent);
    if (count <= 0) break;
    sent += static_cast<std::size_t>(count);
  }
  ::close(in[1]);
  out_ = out[0];
  err_ = err[0];
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const auto& [end, text] : {std::pair(out_, &output), std::pair(err_, &errors)}) {
    std::array<char, 65536> buffer{};
    if (end >= 0) fcntl(end, F_SETFL, O_NONBLOCK);  // some other process may hold the pipe
    for (ssize_t count = 0; end >= 0 && (count = ::read(end, buffer.data(), buffer.size())) > 0;) {
      text->append(buffer.data(), static_cast<std::size_t>(count));
    }
  }
  // What all programs of a run of tests have said, to be looked through when it is over.
  if (const char* const log = std::getenv("P2P_TEST_LOG")) std::ofstream(log, std::ios::app | std::ios::binary) << output + errors + "\n";
  for (const int end : {out_, err_}) {
    if (end >= 0) ::close(end);
  }
}

bool Process::read_more() {
  std::array<pollfd, 2> ends{{{out_, POLLIN, 0}, {err_, POLLIN, 0}}};
  while (true) {
    const int ready = poll(ends.data(), ends.size(), patience_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) throw std::runtime_error("the process said nothing for too long; so far: " + output + errors);
    break;
  }
  std::array<char, 65536> buffer{};
  for (int* const end : {&out_, &err_}) {
    const pollfd& polled = ends[end == &out_ ? 0 : 1];
    if (*end < 0 || polled.revents == 0) continue;
    const ssize_t count = ::read(*end, buffer.data(), buffer.size());
    if (count > 0) {
      (end == &out_ ? output : errors).append(buffer.data(), static_cast<std::size_t>(count));
    } else {
      ::close(*end);
      *end = -1;
    }
  }
  return out_ >= 0 || err_ >= 0;
}

std::string Process::line() {
  while (true) {
    const std::size_t end = output.find('\n', lines_read_);
    if (end != std::string::npos) {
      const std::string text = output.substr(lines_read_, end - lines_read_);
      lines_read_ = end + 1;
      return text;
    }
    if (out_ < 0 || !read_more()) return {};
  }
}

std::string Process::line_with(const std::string& text) {
  while (true) {
    const std::string found = line();
    if (found.empty() || found.find(text) != std::string::npos) return found;
  }
}

void Process::signal(int number) { kill(pid_, number); }

void Process::close_output() {
  if (out_ >= 0) ::close(out_);
  out_ = -1;
}

int Process::wait() {
  while ((out_ >= 0 || err_ >= 0) && read_more()) {
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  dumped_core = WIFSIGNALED(status) && WCOREDUMP(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace p2p::test
