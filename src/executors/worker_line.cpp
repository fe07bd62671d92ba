#include "executors/worker_line.hpp"

#include <boost/json/object.hpp>
#include <utility>

namespace p2p {
namespace {

namespace json = boost::json;

std::optional<std::string> text_in(const json::object& line, std::string_view name, std::size_t most = limits::worker_line) {
  const json::value* const value = line.if_contains(name);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(cut_text(std::string_view(value->get_string()), most));
}

std::optional<std::uint64_t> number_in(const json::object& line, std::string_view name) {
  const json::value* const value = line.if_contains(name);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value->get_int64());
}

bool is_done(const json::object& line) {
  const json::value* const value = line.if_contains("done");
  return value != nullptr && value->is_bool() && value->get_bool();
}

}  // namespace

Result<std::optional<std::string>> WorkerLines::next() {
  const std::size_t end = input_.find('\n', scanned_);
  const std::string_view line = std::string_view(input_).substr(line_, end - line_);
  static_assert(limits::worker_line == 4 * 1024 * 1024);
  if (line.size() > limits::worker_line) return Error{Errc::too_large, "a line of more than 4 MiB"};
  if (end != std::string::npos) {
    line_ = scanned_ = end + 1;
    return std::optional(std::string(line));
  }
  input_.erase(0, std::exchange(line_, 0));
  scanned_ = input_.size();
  return std::optional<std::string>();
}

Result<WorkerLine> parse_worker_line(std::string_view line) {
  TRY_ASSIGN(const json::object object, parse_json(as_bytes(line)));
  WorkerLine said;
  said.id = number_in(object, "id");
  said.text = text_in(object, "text");
  if (std::optional<std::string> error = text_in(object, "error", limits::error_line)) {
    Outcome& failed = said.end.emplace();
    failed.status = Status::failed;
    failed.error = TaskError{"executor_failed", *std::move(error), {}};
  } else if (is_done(object)) {
    Outcome& completed = said.end.emplace();
    completed.model = text_in(object, "model", limits::model_name);
    completed.finish_reason = text_in(object, "finish_reason", limits::model_name);
    const json::value* const usage = object.if_contains("usage");
    if (usage != nullptr && usage->is_object()) {
      const json::object& counts = usage->get_object();
      completed.usage = Usage{number_in(counts, "prompt_tokens").value_or(0), number_in(counts, "completion_tokens").value_or(0)};
    }
  } else if (!said.text) {
    return Error{Errc::malformed, R"(it has neither "text" nor "done" nor "error")"};
  }
  return said;
}

}  // namespace p2p
