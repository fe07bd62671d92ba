#include "cli/output.hpp"

#include "base/limits.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace p2p::cli {
namespace {

constexpr std::size_t kept_written = 64 * 1024;  // bytes of what is written already that stand before what waits
constexpr int look_again = 50;                   // ms, whether the thread is to stop
constexpr int patience = 1000;                   // ms, behind hurry()

/// A terminal by another name, so that a write to it takes what there is room for and does not wait with the rest. The descriptor that we
/// were given is not changed: other programs have it, too.
int without_waiting(int descriptor) {
  char name[PATH_MAX];
  if (isatty(descriptor) == 0 || ttyname_r(descriptor, name, sizeof name) != 0) return descriptor;
  const int own = open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  return own < 0 ? descriptor : own;
}

}  // namespace

Output& Output::standard() {
  static Output output(STDOUT_FILENO);
  return output;
}

Output& Output::errors() {
  static Output output(STDERR_FILENO);
  return output;
}

Output::Output(int descriptor) : descriptor_(without_waiting(descriptor)) {}
Output::~Output() { stop_thread(); }

bool Output::write_some() {
  const std::size_t count = std::min<std::size_t>(waiting_.size() - written_, PIPE_BUF);  // for which a pipe has room
  const ssize_t written = write(descriptor_, waiting_.data() + written_, count);
  if (written >= 0) {
    written_ += static_cast<std::size_t>(written);
    if (written_ >= kept_written) waiting_.erase(0, std::exchange(written_, 0));
    if (written_ < waiting_.size()) return true;
  } else if (errno == EINTR || errno == EAGAIN) {
    return true;
  } else if (errno != EPIPE) {
    error_ = errno;
  }
  drop();
  return written >= 0;
}

void Output::say(std::string_view text) {
  const std::lock_guard lock(mutex_);
  waiting_ += text;
  write_or_wait();
}

// What there is room for now, and the rest by a thread.
void Output::write_or_wait() {
  if (running_) return;
  while (!waiting_.empty()) {
    pollfd room{descriptor_, POLLOUT, 0};
    if (poll(&room, 1, 0) > 0 && write_some()) continue;
    if (waiting_.empty()) return;
    if (thread_.joinable()) thread_.join();  // it has ended
    running_ = true;
    try {
      thread_ = std::thread([this] { write_waiting(); });
    } catch (const std::system_error&) {  // there is none to be had; it is tried again with the next call
      running_ = false;
    }
    return;
  }
}

void Output::write_waiting() {
  std::unique_lock lock(mutex_);
  while (!waiting_.empty() && !stopping_) {
    lock.unlock();
    pollfd room{descriptor_, POLLOUT, 0};
    const int ready = poll(&room, 1, look_again);
    lock.lock();
    if (ready > 0) write_some();
  }
  running_ = false;
}

bool Output::has_room() {
  const std::lock_guard lock(mutex_);
  write_or_wait();
  return waiting_.size() - written_ < limits::output_waiting;
}

void Output::stop_thread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  stopping_ = false;
}

void Output::finish() {
  stop_thread();
  while (!waiting_.empty()) {
    pollfd room{descriptor_, POLLOUT, 0};
    const int ready = poll(&room, 1, hurried_ ? patience : -1);
    if (ready > 0) {
      write_some();
    } else if (ready == 0 || errno != EINTR) {
      error_ = ready == 0 ? EINTR : errno;
      drop();
    }
  }
}

void Output::drop() {
  waiting_ = std::string();
  written_ = 0;
}

int Output::error() {
  const std::lock_guard lock(mutex_);
  return error_;
}

}  // namespace p2p::cli
