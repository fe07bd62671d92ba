#include "cli/commands.hpp"
#include "task/files.hpp"
#include "task/receipt.hpp"

#include <unistd.h>
#include <boost/json/serialize.hpp>

namespace p2p::cli {
namespace {

namespace json = boost::json;

/// Lines that nobody takes for ours: each is indented.
std::string quoted(std::string_view text) {
  std::string out = "  ";
  for (const char c : escaped(text, Escape::lines)) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

json::object event_of(const Receipt& receipt) {
  const TaskResult& result = receipt.result;
  json::object event{{"event", "receipt"}, {"requester", receipt.requester.text()}, {"provider", receipt.provider.text()}};
  event["task_id"] = receipt.task ? receipt.task->task_id : result.task_id;
  if (receipt.task) {
    event["task_type"] = receipt.task->task_type;
    event["asked"] = receipt.task->timestamp;
    event["prompt"] = receipt.task->prompt();
    event["input"] = receipt.task->input;
  } else {
    event["problem"] = receipt.problem;
  }
  event["answered"] = result.timestamp;
  event["status"] = name_of(result.status);
  if (!result.executor.empty()) event["executor"] = result.executor;
  if (result.model) event["model"] = *result.model;
  if (result.text) event["text"] = *result.text;
  if (result.output) event["output"] = *result.output;
  if (result.error) event["error"] = {{"code", result.error->code}, {"message", result.error->message}};
  event["addressed"] = receipt.addressed;
  return event;
}

void show(const Console& console, const Receipt& receipt) {
  const TaskResult& result = receipt.result;
  const std::string id = receipt.task ? receipt.task->task_id : result.task_id;
  console.line(console.bold("asked by    ") + receipt.requester.text() + (receipt.task ? ", " + receipt.task->timestamp : ""));
  console.line(console.bold("task        ") + id + (receipt.task ? ", " + receipt.task->task_type : ""));
  if (!receipt.task) {
    console.line("  (invalid: " + escaped(receipt.problem) + ")");
  } else if (const json::object& input = receipt.task->input; input.size() == 1 && input.contains("prompt")) {
    console.line(quoted(receipt.task->prompt()));
  } else {
    console.line(quoted(json::serialize(input)));
  }
  console.line(console.bold("answered by ") + receipt.provider.text() + ", " + result.timestamp);
  const std::string model = result.model ? " with " + escaped(*result.model) : "";
  console.line(console.bold("result      ") + std::string(name_of(result.status)) +
               (result.executor.empty() ? "" : ", by " + escaped(result.executor) + model));
  if (result.error) console.line(quoted(result.error->code + ": " + result.error->message));
  if (result.text) console.line(quoted(*result.text));
  if (result.output) console.line(quoted(json::serialize(*result.output)));
  console.line(receipt.addressed ? "Both have signed this, and the task was meant for the one who answered."
                                 : "Both have signed this. The task does not say whom it was meant for.");
}

}  // namespace

Exit verify(const VerifyOptions& options) {
  const Console console(options.json);
  const Bytes bytes =
      options.file == "-" ? read_descriptor(STDIN_FILENO, receipt_limit, "standard input") : read_file(options.file, receipt_limit);
  const Result<Receipt> receipt = check_receipt(bytes);
  if (!receipt) throw Failure(Exit::unverified, "the receipt does not hold: " + std::string(receipt.error().reason));
  if (!receipt->addressed && !options.unaddressed) {
    throw Failure(
        Exit::unverified,
        "the receipt does not show who was asked: its task names no recipient; --unaddressed takes it for a proof of who answered");
  }
  console.event(event_of(*receipt));
  show(console, *receipt);
  return Exit::done;
}

}  // namespace p2p::cli
