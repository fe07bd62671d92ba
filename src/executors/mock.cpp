#include "executors/mock.hpp"

#include <algorithm>
#include <charconv>
#include <thread>

namespace p2p {
namespace {

constexpr std::size_t most_pieces = 1'000'000;

[[noreturn]] void refuse(std::string_view text) {
  fail(Errc::invalid, "'mock:" + std::string(text) +
                          "' is not understood; give mock, or mock:delay=MS,pieces=N with a delay of up to a day and 1 to 1000000 pieces");
}

}  // namespace

Awaitable<Outcome> MockExecutor::run(TaskRun& run) {
  const Environment& environment = run.environment();
  const std::string text = "Processed: " + run.task().prompt();
  Alarm next(environment.clock, environment.loop);
  run.on_stop([&next] { next.notify(); });
  const Time start = environment.clock.now();
  std::string_view rest = text;
  Outcome cancelled;
  cancelled.status = Status::cancelled;
  for (std::size_t piece = 0; piece < options_.pieces; ++piece) {
    const Time due = start + Duration(options_.delay) * static_cast<std::int64_t>(piece + 1) / static_cast<std::int64_t>(options_.pieces);
    while (!run.stopped() && environment.clock.now() < due) {
      next.set(due);
      co_await next.wait();
    }
    if (run.stopped()) {
      run.on_stop(nullptr);
      co_return cancelled;
    }
    const std::size_t left = options_.pieces - piece;
    const std::string_view part = left == 1 ? rest : cut_text(rest, std::max<std::size_t>(rest.size() / left, 1));
    rest.remove_prefix(part.size());
    if (!part.empty()) co_await run.write(part);
  }
  run.on_stop(nullptr);
  Outcome completed;
  completed.finish_reason = "stop";
  co_return completed;
}

std::size_t MockExecutor::slots() const {
  static const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());  // reads a file, and this is asked for each task
  return cores;
}

MockOptions parse_mock_options(std::string_view text) {
  MockOptions options;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view setting = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    const std::size_t equals = setting.find('=');
    if (equals == std::string_view::npos) refuse(text);
    const std::string_view digits = setting.substr(equals + 1);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size()) refuse(text);
    if (setting.starts_with("delay=") && number <= 86'400'000) {
      options.delay = std::chrono::milliseconds(number);
    } else if (setting.starts_with("pieces=") && number >= 1 && number <= most_pieces) {
      options.pieces = static_cast<std::size_t>(number);
    } else {
      refuse(text);
    }
  }
  return options;
}

}  // namespace p2p
