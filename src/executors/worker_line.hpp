#pragma once
// What a worker writes, taken apart as it comes. worker.hpp has the grammar.

#include "base/error.hpp"
#include "task/executor.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace p2p {

/// Bytes in, cut anywhere; lines out. Holds at most what was pushed and one line.
class WorkerLines {
 public:
  void push(std::string_view bytes) { input_ += bytes; }
  /// The next line, without its end; nothing yet when it takes more bytes. Errors: too_large, a line above limits::worker_line; there is no
  /// next one then.
  Result<std::optional<std::string>> next();

 private:
  std::string input_;
  std::size_t line_ = 0;     // where the line that is not taken yet begins
  std::size_t scanned_ = 0;  // up to where it was searched for its end
};

/// What a line says of a task: some output, or how the task ended, or both in this order.
struct WorkerLine {
  std::optional<std::uint64_t> id;  ///< nothing when it is none that a task can have
  std::optional<std::string> text;
  std::optional<Outcome> end;
};

/// Errors: malformed.
Result<WorkerLine> parse_worker_line(std::string_view line);

}  // namespace p2p
