#include "executors/process.hpp"

#include "base/limits.hpp"
#include "executors/utf8.hpp"
#include "task/message.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace p2p {
namespace {

namespace asio = boost::asio;

/// A descriptor until it is handed on.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int number() const noexcept { return number_; }
  int release() noexcept { return std::exchange(number_, -1); }

 private:
  int number_;
};

/// Above the standard streams, so that putting one of them in place overwrites no other, and not inherited.
Descriptor move_up(Descriptor descriptor) {
  if (descriptor.number() > STDERR_FILENO) return descriptor;
  return Descriptor(::fcntl(descriptor.number(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

struct PipeEnds {
  Descriptor read;
  Descriptor write;
};

PipeEnds make_pipe() {
  std::array<int, 2> ends{-1, -1};
#ifdef __APPLE__
  const bool made = ::pipe(ends.data()) == 0;
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#else
  const bool made = ::pipe2(ends.data(), O_CLOEXEC) == 0;
#endif
  const int error = errno;
  PipeEnds pipe{move_up(Descriptor(ends[0])), move_up(Descriptor(ends[1]))};
  if (!made || pipe.read.number() < 0 || pipe.write.number() < 0) {
    fail(Errc::exhausted, std::string("no pipe for a child process: ") + std::strerror(made ? errno : error));
  }
  return pipe;
}

/// write(), without the signal that comes of a pipe which nobody reads: what this program does with SIGPIPE is not ours to say.
ssize_t write_quietly(int to, std::string_view text) {
#ifdef __APPLE__
  return ::write(to, text.data(), text.size());  // after F_SETNOSIGPIPE
#else
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
  const ssize_t count = ::write(to, text.data(), text.size());
  const int error = errno;
  const timespec at_once{};
  if (count < 0 && error == EPIPE && sigismember(&before, SIGPIPE) == 0) sigtimedwait(&broken_pipe, nullptr, &at_once);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return count;
#endif
}

class SpawnActions {
 public:
  SpawnActions() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t* operator*() noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

class SpawnAttributes {
 public:
  SpawnAttributes() { posix_spawnattr_init(&attributes_); }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  posix_spawnattr_t* operator*() noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

/// posix_spawn() leaves them as they are.
std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  list.reserve(texts.size() + 1);
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

std::string why_not(int error) {
  if (error == ENOEXEC) return "it is no program; a script needs a first line such as #!/bin/sh";
  if (error == ENOENT) return "it, or what its first line names, is not there";
  return std::strerror(error);
}

/// Starts the child in a session of its own: that is a process group too, and no terminal can stop it.
pid_t spawn(const ChildStart& start, int input, int output, int errors) {
  SpawnActions actions;
  int error = posix_spawn_file_actions_adddup2(*actions, input, STDIN_FILENO);
  if (error == 0) error = posix_spawn_file_actions_adddup2(*actions, output, STDOUT_FILENO);
  if (error == 0) error = posix_spawn_file_actions_adddup2(*actions, errors, STDERR_FILENO);
  if (error == 0) error = posix_spawn_file_actions_addchdir_np(*actions, start.directory.c_str());
  int flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
#ifdef __APPLE__
  flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#else
  if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(*actions, STDERR_FILENO + 1);
#endif
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGKILL);
  sigdelset(&all, SIGSTOP);
  sigset_t none;
  sigemptyset(&none);
  SpawnAttributes attributes;
  if (error == 0) error = posix_spawnattr_setflags(*attributes, static_cast<short>(flags));
  if (error == 0) error = posix_spawnattr_setsigdefault(*attributes, &all);
  if (error == 0) error = posix_spawnattr_setsigmask(*attributes, &none);
  const std::vector<char*> arguments = pointers(start.arguments);
  const std::vector<char*> environment = pointers(start.environment);
  pid_t pid = -1;
  if (error == 0) error = posix_spawn(&pid, start.program.c_str(), *actions, *attributes, arguments.data(), environment.data());
  if (error != 0) {
    const bool passing = error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
    fail(passing ? Errc::exhausted : Errc::invalid, "could not start " + start.program + ": " + why_not(error));
  }
  return pid;
}

std::string signal_name(int number) {
  struct Name {
    int number;
    const char* name;
  };
  constexpr std::array names{Name{SIGABRT, "SIGABRT"}, Name{SIGALRM, "SIGALRM"}, Name{SIGBUS, "SIGBUS"},   Name{SIGFPE, "SIGFPE"},
                             Name{SIGHUP, "SIGHUP"},   Name{SIGILL, "SIGILL"},   Name{SIGINT, "SIGINT"},   Name{SIGKILL, "SIGKILL"},
                             Name{SIGPIPE, "SIGPIPE"}, Name{SIGQUIT, "SIGQUIT"}, Name{SIGSEGV, "SIGSEGV"}, Name{SIGSYS, "SIGSYS"},
                             Name{SIGTERM, "SIGTERM"}, Name{SIGTRAP, "SIGTRAP"}, Name{SIGUSR1, "SIGUSR1"}, Name{SIGUSR2, "SIGUSR2"},
                             Name{SIGXCPU, "SIGXCPU"}, Name{SIGXFSZ, "SIGXFSZ"}};
  const auto* const found = std::find_if(names.begin(), names.end(), [number](const Name& name) { return name.number == number; });
  return found == names.end() ? "signal " + std::to_string(number) : found->name;
}

}  // namespace

std::string ChildEnd::text() const {
  return by_signal ? "was ended by " + signal_name(number) : "ended with exit code " + std::to_string(number);
}

// Signals are watched for before there is a child, whose end can then not be missed.
ChildProcess::ChildProcess(const Environment& environment, const ChildStart& start)
    : environment_(environment),
      signals_(environment.loop, SIGCHLD),
      input_(environment.loop),
      output_{asio::posix::stream_descriptor(environment.loop), {}},
      errors_{asio::posix::stream_descriptor(environment.loop), {}},
      watching_(environment.loop) {
  PipeEnds in = make_pipe();
  PipeEnds out = make_pipe();
  PipeEnds err = make_pipe();
  input_.assign(in.write.number());
  in.write.release();
  input_.non_blocking(true);
#ifdef __APPLE__
  ::fcntl(input_.native_handle(), F_SETNOSIGPIPE, 1);
#endif
  output_.end.assign(out.read.number());
  out.read.release();
  errors_.end.assign(err.read.number());
  err.read.release();
  pid_ = spawn(start, in.read.number(), out.write.number(), err.write.number());
  watching_.spawn(watch());
}

ChildProcess::~ChildProcess() {
  if (reaped_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Awaitable<bool> ChildProcess::write(std::string_view text) {
  while (!text.empty() && input_.is_open()) {
    const ssize_t count = write_quietly(input_.native_handle(), text);
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      boost::system::error_code closed;
      co_await input_.async_wait(asio::posix::stream_descriptor::wait_write, asio::redirect_error(asio::use_awaitable, closed));
    } else if (errno != EINTR) {
      close_input();
    }
  }
  co_return text.empty();
}

void ChildProcess::close_input() noexcept {
  boost::system::error_code ignored;
  input_.close(ignored);
}

void ChildProcess::close_output() noexcept {
  boost::system::error_code ignored;
  output_.end.close(ignored);
}

Awaitable<std::size_t> ChildProcess::read(Pipe& pipe, ByteSpan into) {
  while (pipe.left != 0) {
    const std::size_t most = std::min(into.size(), pipe.left.value_or(into.size()));
    boost::system::error_code error;
    const std::size_t count =
        co_await pipe.end.async_read_some(asio::buffer(into.data(), most), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted && pipe.end.is_open()) continue;  // end_reading(): there may be something left
    if (error) break;
    if (pipe.left) *pipe.left -= std::min(count, *pipe.left);
    co_return count;
  }
  co_return 0;
}

void ChildProcess::end_reading(Pipe& pipe) {
  int left = 0;
  if (!pipe.end.is_open() || ::ioctl(pipe.end.native_handle(), FIONREAD, &left) != 0) left = 0;
  pipe.left = static_cast<std::size_t>(std::max(left, 0));
  boost::system::error_code ignored;
  pipe.end.cancel(ignored);
}

void ChildProcess::end_reading() {
  end_reading(output_);
  end_reading(errors_);
}

// Looks without reaping: as long as the child is a zombie its process group's number is nobody else's.
bool ChildProcess::has_ended() {
  if (end_) return true;
  siginfo_t info{};
  int looked = 0;
  do {
    looked = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  } while (looked != 0 && errno == EINTR);
  if (looked == 0 && info.si_pid != pid_) return false;
  const ChildEnd unknown{false, -1, stopped_};  // somebody else in this program waits for any child
  end_ = looked == 0 ? ChildEnd{info.si_code != CLD_EXITED, info.si_status, stopped_} : unknown;
  return true;
}

void ChildProcess::stop() {
  if (has_ended() || std::exchange(stopped_, true)) return;
  ::kill(-pid_, SIGTERM);
  force_ = environment_.clock.schedule(environment_.clock.now() + limits::stop_patience, [this] { kill(); });
}

void ChildProcess::kill() {
  if (has_ended()) return;
  stopped_ = true;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
}

Awaitable<void> ChildProcess::next_signal() {
  boost::system::error_code ignored;
  co_await signals_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

Awaitable<void> ChildProcess::watch() {
  while (!has_ended()) co_await next_signal();
  force_.reset();
  ::kill(-pid_, SIGKILL);
  close_input();
  drain_ = environment_.clock.schedule(environment_.clock.now() + limits::stop_patience, [this] { end_reading(); });
  // The child, and what of its group has become ours where orphans come to us (as process 1 of a container). All of it was killed.
  while (true) {
    const pid_t found = ::waitpid(-pid_, nullptr, WNOHANG);
    reaped_ = reaped_ || found == pid_;
    if (found > 0 || (found < 0 && errno == EINTR)) continue;
    if (found < 0) break;
    co_await next_signal();
  }
  reaped_ = true;
}

Awaitable<ChildEnd> ChildProcess::join() {
  co_await watching_.join();
  co_return *end_;
}

Awaitable<void> ErrorLines::collect(ChildProcess& child) {
  Bytes buffer(limits::error_line);
  while (const std::size_t count = co_await child.read_errors(buffer)) push(ByteView(buffer).first(count));
  finish();
}

void ErrorLines::push(ByteView bytes) {
  for (const std::uint8_t byte : bytes) {
    if (byte == '\n') {
      finish();
    } else if (line_.size() < limits::error_line) {
      line_ += static_cast<char>(byte);
    }
  }
}

void ErrorLines::finish() {
  line_.erase(line_.find_last_not_of(" \t\r") + 1);
  if (line_.empty()) return;
  const std::string text = repair_utf8(line_);
  last_ = cut_text(text, limits::error_line);
  line_.clear();
  log_.write(Logger::Level::info, name_ + ": " + last_);
}

}  // namespace p2p
