#pragma once
// Standard output and standard error. Whoever does not read them holds up nobody: a pipe that is not drained, a terminal that was stopped.

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace p2p::cli {

/// One of the two. What there is room for is written at once; the rest waits, and a thread writes it when there is.
class Output {
 public:
  static Output& standard();
  static Output& errors();
  ~Output();

  /// Never waits. The bound is what a command says in all; one that goes on for ever asks has_room() first.
  void say(std::string_view text);
  /// Whether less than limits::output_waiting bytes wait.
  bool has_room();
  /// Whoever uses the program has asked it to end: finish() does not wait for ever.
  void hurry() noexcept { hurried_ = true; }
  /// Returns when all is written; behind hurry(), also when nobody takes anything for a second.
  void finish();
  /// errno of what could not be written, or 0. Whoever closes a pipe wants no more: that is none.
  int error();

 private:
  explicit Output(int descriptor);
  void write_or_wait();
  /// Once poll() has said that there is room. False when no more can be written, ever.
  bool write_some();
  void write_waiting();
  void stop_thread();
  /// What waits is not written any more.
  void drop();

  int descriptor_;
  std::mutex mutex_;
  std::string waiting_;
  std::size_t written_ = 0;  // of it
  bool stopping_ = false;
  bool running_ = false;  // the thread
  bool hurried_ = false;
  int error_ = 0;
  std::thread thread_;
};

}  // namespace p2p::cli
