#include "require.hpp"
#include "task/receipt.hpp"

#include <algorithm>

using namespace p2p;

// As a receipt, whose signatures only a corpus can get right, and as the payloads of two messages, which are signed here.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const KeyPair requester(std::array<std::uint8_t, KeyPair::seed_size>{1});
  static const KeyPair provider(std::array<std::uint8_t, KeyPair::seed_size>{});
  const auto check = [](ByteView bytes) {
    const Result<Receipt> receipt = check_receipt(bytes);
    if (!receipt) return;
    fuzz::require(receipt->task.has_value() == receipt->problem.empty());
    fuzz::require(receipt->task || receipt->result.status == Status::rejected);
    fuzz::require(PeerId::from_text(receipt->result.recipient).value() == receipt->requester);
    if (receipt->addressed && receipt->task) {
      fuzz::require(PeerId::from_text(*receipt->task->recipient).value() == receipt->provider);
    }
  };
  const std::string_view input = as_text({data, size});
  check(as_bytes(input));
  const std::size_t line = std::min(input.find('\n'), input.size());
  const std::string_view task = input.substr(0, line);
  TaskResult result;
  if (const Result<TaskResult> parsed = parse_result(as_bytes(input.substr(std::min(line + 1, input.size()))))) result = *parsed;
  result.task_id = parse_task(as_bytes(task)).task_id;
  result.recipient = requester.peer_id().text();
  result.task_sha256 = task_hash(as_bytes(task));
  check(make_receipt(seal_message(requester, MessageKind::task, task), seal_message(provider, MessageKind::result, result.to_json())));
  return 0;
}
