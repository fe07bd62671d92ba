#pragma once
// The requester's side of a task: makes it, sends it to one peer, checks everything that comes back, and says what came of it. One request,
// one response, no second attempt.

#include "network/agent.hpp"
#include "task/message.hpp"

#include <functional>

namespace p2p {

/// A result that verified, and the two signed messages themselves.
struct Answer {
  TaskResult result;
  std::string task_payload;  ///< JSON as it was signed
  Bytes result_payload;      ///< JSON as it was signed
  Bytes task_envelope;
  Bytes result_envelope;
};

class TaskManager {
 public:
  /// An agent that runs no tasks says so from now on to whoever asks for its info. The agent outlives the manager.
  explicit TaskManager(Agent& agent);

  /// A task for `prompt`, with a new id and the present time.
  Task make_task(std::string prompt) const;

  /// Sends `task` to a connected peer and waits for its result, for the task's timeout and limits::result_margin more. Fills in the
  /// recipient. `on_update` is called for each update that verified. `on_sent` is called when the task is on its way: from then on the peer
  /// may run it.
  ///
  /// Throws unsupported (the peer does not take tasks), unverified (what it answered does not hold), timed_out, closed (the stream or
  /// connection ended without a result).
  Awaitable<Answer> submit(PeerId provider, Task task, std::function<void(const Update&)> on_update = {},
                           std::function<void(const std::string& payload)> on_sent = {});

  /// What a connected peer executes and how busy it is. Throws as submit() does.
  Awaitable<Info> info(PeerId provider);

 private:
  Agent& agent_;
};

}  // namespace p2p
