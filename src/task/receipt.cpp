#include "task/receipt.hpp"

#include "base/coding.hpp"

namespace p2p {
namespace {

static_assert(limits::task_frame < 1 << 28, "a frame's length takes at most four bytes");

/// What can be wrong with one of the two messages.
struct Faults {
  const char* frame;
  const char* size;
  const char* envelope;
  const char* signature;
  const char* kind;
};
constexpr Faults task_faults{"the receipt ends before its task does, or is none", "the task's frame is longer than the protocol allows",
                             "the task is not in an envelope as the protocol has it",
                             "the task's signature does not hold, or is for something else", "the first message is not a task"};
constexpr Faults result_faults{"the receipt ends before its result does", "the result's frame is longer than the protocol allows",
                               "the result is not in an envelope as the protocol has it",
                               "the result's signature does not hold, or is for something else", "the second message is not a result"};

Result<OpenedMessage> take_message(Reader& reader, MessageKind kind, const Faults& faults) {
  const Result<ByteView> envelope = reader.length_prefixed(limits::task_frame);
  if (!envelope) return Error{envelope.error().code, envelope.error().code == Errc::too_large ? faults.size : faults.frame};
  Result<OpenedMessage> message = open_message(*envelope);
  if (!message) return Error{message.error().code, message.error().code == Errc::unverified ? faults.signature : faults.envelope};
  if (message->kind != kind) return Error{Errc::unverified, faults.kind};
  return message;
}

bool is_of(std::string_view text, const PeerId& peer) {
  const Result<PeerId> named = PeerId::from_text(text);
  return named && *named == peer;
}

/// The recipient that a task names, as far as one can be read from a task that may be invalid.
std::optional<std::string> recipient_of(const ParsedTask& parsed, ByteView payload) {
  if (parsed.task) return parsed.task->recipient;
  const Result<boost::json::object> object = parse_json(payload);
  const boost::json::value* const recipient = object ? object->if_contains("recipient") : nullptr;
  if (recipient == nullptr || !recipient->is_string()) return std::nullopt;
  return std::string(recipient->get_string());
}

}  // namespace

Bytes make_receipt(ByteView task_envelope, ByteView result_envelope) {
  Bytes receipt;
  receipt.reserve(2 * max_uvarint_size + task_envelope.size() + result_envelope.size());
  for (const ByteView envelope : {task_envelope, result_envelope}) {
    put_uvarint(receipt, envelope.size());
    append(receipt, envelope);
  }
  return receipt;
}

Result<Receipt> check_receipt(ByteView receipt) {
  const auto unverified = [](const char* reason) { return Error{Errc::unverified, reason}; };
  Reader reader(receipt);
  TRY_ASSIGN(const OpenedMessage asked, take_message(reader, MessageKind::task, task_faults));
  TRY_ASSIGN(const OpenedMessage answered, take_message(reader, MessageKind::result, result_faults));
  if (!reader.empty()) return Error{Errc::malformed, "something stands behind the result"};

  ParsedTask parsed = parse_task(asked.payload);
  const Result<TaskResult> result = parse_result(answered.payload, parsed.task ? std::string_view(parsed.task->task_type) : inference);
  if (!result) return unverified("the result is not as the protocol says");
  if (result->task_sha256 != task_hash(asked.payload)) return unverified("the result answers another task: its hash is different");
  const bool rejected = result->status == Status::rejected;
  if (!parsed.task && !rejected) return unverified("the task is not as the protocol says, and yet it was not rejected");
  if (result->task_id != parsed.task_id && !(rejected && result->task_id == nil_task_id)) {
    return unverified("the result answers another task: its id is different");
  }
  if (!is_of(result->recipient, asked.signer)) return unverified("the result is meant for another peer than the one that asked");
  const std::optional<std::string> recipient = recipient_of(parsed, asked.payload);
  if (recipient && !is_of(*recipient, answered.signer)) return unverified("the task was meant for another peer than the one that answered");
  return Receipt{asked.signer, answered.signer, std::move(parsed.task), std::move(parsed.problem), *result, recipient.has_value()};
}

}  // namespace p2p
