#include "cli/console.hpp"

#include "base/limits.hpp"
#include "cli/output.hpp"
#include "cli/pace.hpp"
#include "cli/units.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace p2p::cli {
namespace {

class ErrorsSink final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    Output::errors().say({line.data(), line.size()});
  }
  void flush_() override {}
};

class SpdLogger final : public Logger {
 public:
  explicit SpdLogger(spdlog::level::level_enum level) : logger_("p2p-agent", std::make_shared<ErrorsSink>()) {
    logger_.set_level(level);
    logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  }

  bool wants(Level level) const noexcept override { return logger_.should_log(of(level)); }
  void write(Level level, std::string_view message) override {
    if (!wants(level) || !has_room(level)) return;
    if (const std::uint64_t count = pace_.left_out()) logger_.warn("{} messages were left out: more than anybody reads", count);
    logger_.log(of(level), "{}", escaped(message));
  }

 private:
  // What is wrong here is told always, and everything to whoever looks for something; but nothing that nobody takes.
  bool has_room(Level level) {
    if (!Output::errors().has_room()) return pace_.leave_out();
    return level == Level::error || wants(Level::debug) || pace_.admit(std::chrono::steady_clock::now());
  }

  static spdlog::level::level_enum of(Level level) noexcept {
    switch (level) {
      case Level::debug: return spdlog::level::debug;
      case Level::info: return spdlog::level::info;
      case Level::warn: return spdlog::level::warn;
      case Level::error: return spdlog::level::err;
    }
    return spdlog::level::err;
  }

  spdlog::logger logger_;
  Pace pace_{limits::log_pace, limits::log_burst};
};

std::string_view reason_of(Exit exit) {
  switch (exit) {
    case Exit::usage: return "usage";
    case Exit::no_peer: return "no_peer";
    case Exit::connection: return "connect";
    case Exit::timeout: return "timeout";
    case Exit::not_completed: return "not_completed";
    case Exit::unverified: return "verify";
    case Exit::interrupted: return "interrupted";
    default: return "bug";
  }
}

// As Boost.JSON writes it, but numbers of up to three decimals as people read them: 0.146 and not 1.46E-1.
void write_json(std::string& out, const boost::json::value& value) {
  if (const boost::json::object* const object = value.if_object()) {
    out += '{';
    for (const auto& [key, member] : *object) {
      if (out.back() != '{') out += ',';
      out += boost::json::serialize(boost::json::string_view(key)) + ':';
      write_json(out, member);
    }
    out += '}';
  } else if (const double* const number = value.if_double()) {
    char digits[64];
    std::snprintf(digits, sizeof digits, "%.3f", *number);
    out += std::strtod(digits, nullptr) == *number ? std::string(digits) : boost::json::serialize(value);
  } else {
    out += boost::json::serialize(value);
  }
}

}  // namespace

std::string with_advice(const boost::system::system_error& error) {
  std::string message = message_of(error);
  if (error.code().category() != error_category()) return message + "; check that the peer is still there and try again";
  switch (static_cast<Errc>(error.code().value())) {
    case Errc::unreachable: return message + "; check that `p2p-agent serve` runs there and that no firewall is in between";
    case Errc::unverified: return message + "; check the address and do not trust what answers there";
    case Errc::unsupported: return message + "; check that it is a libp2p node with Noise and one of the muxers asked for";
    case Errc::timed_out: return message + "; try again, with more time or another peer";
    case Errc::malformed:
    case Errc::too_large:
    case Errc::closed: return message + "; try again, or ask another peer";
    case Errc::exhausted: return message + "; try again later";
    default: return message;  // these say it themselves
  }
}

Failure connect_failure_of(const boost::system::system_error& error) {
  return {is(error, Errc::unverified) ? Exit::unverified : Exit::connection, with_advice(error)};
}

Failure failure_of(const boost::system::system_error& error) {
  const std::string message = with_advice(error);
  if (error.code().category() != error_category()) return {Exit::connection, message};
  switch (static_cast<Errc>(error.code().value())) {
    case Errc::invalid: return {Exit::usage, message};
    case Errc::no_peer:
    case Errc::unsupported: return {Exit::no_peer, message};
    case Errc::timed_out: return {Exit::timeout, message};
    case Errc::unverified: return {Exit::unverified, message};
    default: return {Exit::connection, message};
  }
}

namespace {

// 0 behind the end.
unsigned byte_at(std::string_view text, std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; }

// A character that acts on a terminal instead of being shown, at the beginning of `text`: how many bytes it takes, 0 for any other.
std::size_t acting(std::string_view text) {
  const auto byte = [text](std::size_t i) { return byte_at(text, i); };
  if (byte(0) < 0x20 || byte(0) == 0x7f) return 1;
  if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) < 0xa0) return 2;  // C1 controls
  if (byte(0) != 0xe2) return 0;
  // What turns the direction of others' text, U+202A to U+202E and U+2066 to U+2069.
  const bool turns = (byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) || (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9);
  return turns ? 3 : 0;
}

}  // namespace

std::string escaped(std::string_view text, Escape how) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = how == Escape::lines && (text[0] == '\n' || text[0] == '\t') ? 0 : acting(text);
    if (size == 0) {
      out += text[0];
    } else {
      const unsigned character = size == 3 ? 0x2000U | (byte_at(text, 1) & 0x3f) << 6 | (byte_at(text, 2) & 0x3f) : byte_at(text, size - 1);
      char digits[8];
      std::snprintf(digits, sizeof digits, size == 3 || how == Escape::json ? "\\u%04x" : "\\x%02x", character);
      out += digits;
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

void Console::check_written() {
  Output::standard().finish();
  const int error = Output::standard().error();
  if (error != 0) throw Failure(Exit::usage, std::string("not all of the output could be written: ") + std::strerror(error));
}

void Console::hurry() noexcept {
  Output::standard().hurry();
  Output::errors().hurry();
}

void Console::finish() {
  Output::standard().finish();
  Output::errors().finish();
}

bool Console::has_room() { return Output::standard().has_room(); }

bool output_is_terminal() { return isatty(STDOUT_FILENO) != 0; }
bool errors_are_terminal() { return isatty(STDERR_FILENO) != 0; }

Console::Console(bool json) : json_(json), terminal_(output_is_terminal()), colours_(terminal_ && std::getenv("NO_COLOR") == nullptr) {}

void Console::event(const boost::json::object& event) const {
  if (!json_) return;
  std::string line;
  write_json(line, event);
  Output::standard().say(escaped(line, Escape::json) + '\n');
}

void Console::line(std::string_view text) const {
  if (!json_) Output::standard().say(std::string(text) + '\n');
}

void Console::output(std::string_view text) const {
  if (json_) return;
  Output::standard().say(terminal_ ? escaped(text, Escape::lines) : std::string(text));
}

void Console::remark(std::string_view text) const {
  if (json_ || !errors_are_terminal()) return;
  const bool plain = std::getenv("NO_COLOR") != nullptr;
  Output::errors().say((plain ? "" : "\x1b[2m") + escaped(text) + (plain ? "\n" : "\x1b[0m\n"));
}

void Console::failure(const Failure& failure) const {
  Output::errors().say("p2p-agent: " + escaped(failure.what()) + '\n');
  if (failure.told) return;
  event({{"event", "error"}, {"reason", reason_of(failure.exit)}, {"message", failure.what()}, {"exit", static_cast<int>(failure.exit)}});
}

std::string Console::bold(std::string_view text) const { return colours_ ? "\x1b[1m" + std::string(text) + "\x1b[0m" : std::string(text); }
std::string Console::dim(std::string_view text) const { return colours_ ? "\x1b[2m" + std::string(text) + "\x1b[0m" : std::string(text); }

std::unique_ptr<Logger> make_logger(const std::string& level) {
  const spdlog::level::level_enum known = spdlog::level::from_str(level);
  if (known == spdlog::level::off && level != "off") {
    throw Failure(Exit::usage, "'" + level + "' is no log level; give debug, info, warn, error or off");
  }
  return std::make_unique<SpdLogger>(known);
}

double milliseconds_of(Duration duration) { return rounded(std::chrono::duration<double, std::milli>(duration).count(), 1000); }

}  // namespace p2p::cli
