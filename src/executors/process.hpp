#pragma once
// A child process of an executor: a session and process group of its own, its standard streams in pipes, nothing else inherited. Whatever
// the order of events, no process of the group, no zombie and no descriptor is left when join() has returned. (A program that leaves its
// group on purpose is out of reach; it can hold up nothing.)

#include "network/transport.hpp"

#include <sys/types.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

struct ChildStart {
  std::string program;                   ///< a path
  std::vector<std::string> arguments;    ///< from argv[0] on
  std::vector<std::string> environment;  ///< NAME=value, and no others
  std::string directory;                 ///< to work in
};

struct ChildEnd {
  bool by_signal = false;
  int number = 0;        ///< exit code or signal
  bool stopped = false;  ///< stop() or kill() was called before it ended

  bool succeeded() const noexcept { return !by_signal && number == 0; }
  /// "ended with exit code 3", "was ended by SIGSEGV"
  std::string text() const;
};

class ChildProcess {
 public:
  /// Starts it, with default signal dispositions. Throws exhausted or invalid with a message that names the program. The environment
  /// outlives it.
  ChildProcess(const Environment& environment, const ChildStart& start);
  /// After join(); ends by force what is left when the loop itself is gone.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// All of `text`; false when the child does not read any more. One coroutine at a time.
  Awaitable<bool> write(std::string_view text);
  void close_input() noexcept;
  /// At least one byte of standard output or standard error, or 0 at the end: when nobody has it open any more, or limits::stop_patience
  /// after the child has ended and all that was written until then is read. One coroutine at a time for each.
  Awaitable<std::size_t> read_output(ByteSpan into) { return read(output_, into); }
  Awaitable<std::size_t> read_errors(ByteSpan into) { return read(errors_, into); }
  void close_output() noexcept;

  /// SIGTERM to the group, and SIGKILL limits::stop_patience later. Nothing when the child has ended.
  void stop();
  /// SIGKILL to the group.
  void kill();
  /// Waits until the child has ended. With the child ends its group.
  Awaitable<ChildEnd> join();

 private:
  struct Pipe {
    boost::asio::posix::stream_descriptor end;
    std::optional<std::size_t> left;  // bytes that are still read, once that is settled
  };

  Awaitable<std::size_t> read(Pipe& pipe, ByteSpan into);
  Awaitable<void> watch();
  Awaitable<void> next_signal();
  bool has_ended();
  void end_reading();
  static void end_reading(Pipe& pipe);

  const Environment environment_;
  boost::asio::signal_set signals_;
  boost::asio::posix::stream_descriptor input_;
  Pipe output_;
  Pipe errors_;
  pid_t pid_ = -1;
  std::optional<ChildEnd> end_;
  bool stopped_ = false;
  bool reaped_ = false;
  Timer force_;
  Timer drain_;
  TaskGroup watching_;
};

/// Standard error of a child: its lines go to the log, the last one is kept.
class ErrorLines {
 public:
  /// Lines are logged as "NAME: LINE". The logger outlives it.
  ErrorLines(Logger& log, std::string name) : log_(log), name_(std::move(name)) {}

  /// Reads to the end.
  Awaitable<void> collect(ChildProcess& child);
  /// `what`, with the last line that is not blank, if there is one.
  std::string explain(const std::string& what) const { return last_.empty() ? what : what + ": " + last_; }

 private:
  void push(ByteView bytes);
  void finish();

  Logger& log_;
  const std::string name_;
  std::string line_;  // at most limits::error_line bytes of it
  std::string last_;
};

}  // namespace p2p
