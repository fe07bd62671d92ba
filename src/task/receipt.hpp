#pragma once
// A receipt: what was asked and what was answered, as it crossed the wire, so that anyone can check it later and without a network.
//
//   receipt  task frame ‖ result frame
//   frame    uvarint length ‖ Envelope                    (message.hpp)

#include "base/limits.hpp"
#include "task/message.hpp"

namespace p2p {

/// Bytes of a receipt at most.
inline constexpr std::size_t receipt_limit = 2 * (4 + limits::task_frame);

Bytes make_receipt(ByteView task_envelope, ByteView result_envelope);

struct Receipt {
  PeerId requester;          ///< who signed the task
  PeerId provider;           ///< who signed the result
  std::optional<Task> task;  ///< nothing when it is invalid, and its rejection is what the receipt shows
  std::string problem;       ///< what makes it invalid, for people
  TaskResult result;
  bool addressed;  ///< the task names its recipient. Without, the receipt proves who answered, and not who was asked
};

/// Checks that both messages are signed, each by the key that it names; that the result is meant for the task's signer and answers these
/// very bytes; that its id is the task's, or nil in a rejection; and that the recipient that the task names, if any, is the result's
/// signer. An invalid task is as good as another, if it was rejected. The error is the first thing that does not hold, as a sentence
/// without a full stop. Errors: malformed, too_large, unverified.
Result<Receipt> check_receipt(ByteView receipt);

}  // namespace p2p
