// What a worker writes: its lines, and what each says of a task.

#include "executors/worker_line.hpp"
#include "require.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <vector>

using namespace p2p;

namespace {

// Lines do not depend on how the bytes are cut.
std::vector<std::string> lines_in(std::string_view input, std::size_t piece) {
  WorkerLines lines;
  std::vector<std::string> all;
  while (!input.empty()) {
    lines.push(input.substr(0, piece));
    input.remove_prefix(std::min(piece, input.size()));
    while (std::optional<std::string> line = lines.next().value()) all.push_back(*std::move(line));
  }
  return all;
}

// The same as a worker that means the same would write it.
std::string written(const WorkerLine& said) {
  boost::json::object line;
  if (said.id) line["id"] = *said.id;
  if (said.text) line["text"] = *said.text;
  if (said.end && said.end->error) line["error"] = said.end->error->message;
  if (said.end && !said.end->error) line["done"] = true;
  if (said.end && said.end->model) line["model"] = *said.end->model;
  if (said.end && said.end->finish_reason) line["finish_reason"] = *said.end->finish_reason;
  if (said.end && said.end->usage) {
    line["usage"] = {{"prompt_tokens", said.end->usage->prompt_tokens}, {"completion_tokens", said.end->usage->completion_tokens}};
  }
  return boost::json::serialize(line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> lines = lines_in(input, size);
  fuzz::require(lines_in(input, 1) == lines && lines_in(input, 7) == lines);
  fuzz::require(lines.size() == static_cast<std::size_t>(std::count(input.begin(), input.end(), '\n')));
  for (const std::string& line : lines) {
    const Result<WorkerLine> said = parse_worker_line(line);
    if (!said) continue;
    fuzz::require(said->text || said->end);
    if (said->end) {
      const Outcome& end = *said->end;
      fuzz::require((end.status == Status::failed) == end.error.has_value() && (end.error || end.status == Status::completed));
      fuzz::require(!end.error || end.error->message.size() <= limits::error_line);
      fuzz::require(end.model.value_or("").size() <= limits::model_name && end.finish_reason.value_or("").size() <= limits::model_name);
    }
    const std::string again = written(*said);
    fuzz::require(written(parse_worker_line(again).value()) == again);
  }
  return 0;
}
