#pragma once
// What the executors that run programs share: the program as a user names it, and what it is given to live in.

#include "network/transport.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace p2p {

struct Program {
  std::string path;                      ///< absolute
  std::vector<std::string> arguments;    ///< as typed, the program's own name first
  std::vector<std::string> environment;  ///< PATH, HOME, LANG and TMPDIR: the agent's, or a default where it has none
  std::string temporary;                 ///< directory for temporary files
};

/// The program that `arguments` begin with, found in PATH unless it has a slash. Throws invalid, saying what to do, when it is not there or
/// not executable.
Program find_program(std::vector<std::string> arguments);
/// The last part of a path: "/usr/bin/wc" is "wc".
std::string file_name(std::string_view path);

/// Words between blanks, with POSIX quotes ('…', "…", backslash) and nothing expanded. Throws invalid.
std::vector<std::string> split_words(std::string_view text);

/// A name that an executor can offer as its model. Throws invalid.
void check_executor_name(std::string_view name);

/// A temporary directory that nobody else can enter, with an empty one in it to work in.
class Workplace {
 public:
  /// In the directory `temporary`. Throws exhausted.
  explicit Workplace(const std::string& temporary);
  /// Removes it if remove() did not.
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  std::string directory() const;
  /// Makes a file beside the working directory and returns its path. Throws exhausted.
  std::string add_file(const std::string& name, std::string_view content);
  /// Removes all of it, whatever was left there, away from the loop.
  Awaitable<void> remove(const Environment& environment);

 private:
  std::string root_;
  std::vector<std::string> files_;  // beside the working directory
};

}  // namespace p2p
