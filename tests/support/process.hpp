#pragma once
// A child process with its standard streams in pipes, for tests of the program itself. Waits have a limit only so that a broken test ends.

#include <sys/types.h>
#include <string>
#include <vector>

namespace p2p::test {

class Process {
 public:
  /// Starts `arguments[0]` with the environment variables given, PATH, HOME, those of coverage and of sanitizers, and no others.
  explicit Process(std::vector<std::string> arguments, std::vector<std::string> environment = {}, const std::string& input = "");
  /// Kills it if it is still there.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// The next line of standard output without its line feed; empty at the end.
  std::string line();
  /// The first line that contains `text`; empty at the end.
  std::string line_with(const std::string& text);
  pid_t pid() const noexcept { return pid_; }
  void signal(int number);
  void close_output();
  /// Its exit code, or 128 and the signal that ended it; standard output and error are in `output` and `errors` then.
  int wait();

  std::string output;
  std::string errors;
  bool dumped_core = false;  ///< after wait()

 private:
  bool read_more();

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::size_t lines_read_ = 0;  // bytes of output that line() gave
};

}  // namespace p2p::test
