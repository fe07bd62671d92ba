#pragma once
// What the commands say and how they end: JSON lines or text on standard output, one sentence on standard error, exit codes, logs.

#include "network/transport.hpp"

#include <boost/json/object.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace p2p::cli {

/// How a command ends. The README lists them for users.
enum class Exit : int {
  done = 0,
  bug = 1,
  usage = 2,
  no_peer = 3,
  connection = 4,
  not_completed = 5,
  timeout = 6,
  unverified = 7,
  interrupted = 130,
};

/// Ends a command with a sentence that says what to do next.
class Failure : public std::runtime_error {
 public:
  /// `told`: standard output has the whole story already, and no error event is needed.
  Failure(Exit exit_code, const std::string& message, bool is_told = false) : std::runtime_error(message), exit(exit_code), told(is_told) {}
  Exit exit;
  bool told;
};

/// What went wrong and what to do next.
std::string with_advice(const boost::system::system_error& error);
/// What an error of the library means for a command.
Failure failure_of(const boost::system::system_error& error);
/// The same for an attempt to connect, in which only another peer's answer is told apart from no connection.
Failure connect_failure_of(const boost::system::system_error& error);

/// Peers may not paint the terminal: control characters become \xNN, those that turn the direction of text \uNNNN. `lines`: line feeds and
/// tabs stay. `json`: as JSON spells them, in a line of it, which stays the same JSON.
enum class Escape { all, lines, json };
std::string escaped(std::string_view text, Escape how = Escape::all);

class Console {
 public:
  explicit Console(bool json);

  /// An event, as a line of JSON; nothing without --json.
  void event(const boost::json::object& event) const;
  /// A line for people; nothing with --json.
  void line(std::string_view text) const;
  /// A task's output, as it is; escaped when it goes to a terminal. Nothing with --json.
  void output(std::string_view text) const;
  /// Throws Failure when something of all that was said on standard output, by any console, could not be written.
  static void check_written();
  /// The user has asked the program to end: finish() does not wait for ever.
  static void hurry() noexcept;
  /// Returns when all that was said is written; behind hurry(), also when nobody takes anything for a second.
  static void finish();
  /// False while nobody takes what is said on standard output: who says more for ever leaves it out.
  static bool has_room();
  /// A line on standard error for somebody at a terminal, dimmed; nothing elsewhere or with --json.
  void remark(std::string_view text) const;
  /// The sentence on standard error, and with --json the error event on standard output.
  void failure(const Failure& failure) const;
  std::string bold(std::string_view text) const;
  std::string dim(std::string_view text) const;

 private:
  const bool json_;
  const bool terminal_;
  const bool colours_;
};

/// Logs to standard error. `level` is trace, debug, info, warn, error or off; throws Failure for another.
std::unique_ptr<Logger> make_logger(const std::string& level);

/// Whether somebody at a terminal reads standard output, or standard error.
bool output_is_terminal();
bool errors_are_terminal();

/// `number` with at most three digits behind the point, as JSON and people read milliseconds.
double milliseconds_of(Duration duration);

}  // namespace p2p::cli
