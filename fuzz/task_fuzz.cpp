#include "require.hpp"
#include "same.hpp"

using namespace p2p;

// As the payload of a task, and as the envelope of a message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const KeyPair keys(std::array<std::uint8_t, KeyPair::seed_size>{});
  (void)open_message({data, size}, Verifier(keys.public_key()));
  const ParsedTask parsed = parse_task({data, size});
  fuzz::require(parsed.task.has_value() == parsed.problem.empty());
  if (!parsed.task) return 0;
  const Task& task = *parsed.task;
  fuzz::require(task.task_id == parsed.task_id);
  const ParsedTask again = parse_task(as_bytes(task.to_json()));
  fuzz::require(again.task && again.task->task_id == task.task_id && again.task->task_type == task.task_type &&
                fuzz::same(again.task->input, task.input) && again.task->timestamp == task.timestamp &&
                again.task->recipient == task.recipient && again.task->timeout_ms == task.timeout_ms &&
                again.task->linger_ms == task.linger_ms && again.task->stream == task.stream);
  fuzz::require(again.task->prompt() == task.prompt() && again.task->model() == task.model());
  return 0;
}
