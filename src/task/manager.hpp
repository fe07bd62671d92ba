#pragma once
// The requester's side of a task: makes it, sends it to one peer, checks everything that comes back, and says what came of it. It fails
// fast, unless told to try again.

#include "network/agent.hpp"
#include "task/message.hpp"

#include <functional>
#include <set>

namespace p2p {

/// A result that verified, and the two signed messages themselves.
struct Answer {
  TaskResult result;
  std::string task_payload;  ///< JSON as it was signed
  Bytes result_payload;      ///< JSON as it was signed
  Bytes task_envelope;
  Bytes result_envelope;
};

/// Trying again, at the same peer and within the task's time: after a connection that broke, and when the peer is busy.
struct Retries {
  unsigned times = 0;
  /// Where the peer is; empty: where discovery says.
  std::vector<Multiaddr> addresses = {};
  /// Called before each, with what went wrong.
  std::function<void(const std::string& why)> on_retry = {};
};

class TaskManager {
 public:
  /// An agent that runs no tasks says so from now on to whoever asks for its info. The agent outlives the manager.
  explicit TaskManager(Agent& agent);

  /// A task for `prompt`, with a new id and the present time.
  Task make_task(std::string prompt) const;

  /// Sends `task` to a connected peer and waits for its result, for the task's timeout and limits::result_margin more. Fills in the
  /// recipient, and with `retries` the linger time. `on_update` is called for each update that verified; after another attempt only with
  /// text that was not there before. `on_sent` is called when the task is on its way: from then on the peer may run it.
  ///
  /// Throws unsupported (the peer does not take tasks), unverified (what it answered does not hold), timed_out, closed (the stream or
  /// connection ended without a result).
  Awaitable<Answer> submit(PeerId provider, Task task, std::function<void(const Update&)> on_update = {},
                           std::function<void(const std::string& payload)> on_sent = {}, Retries retries = {});

  /// What a connected peer executes and how busy it is. Throws as submit() does.
  Awaitable<Info> info(PeerId provider);

  /// The peer is known to take tasks, because the user named it: a task goes out together with the proposal of its protocol. To a peer that
  /// has said nothing of the kind, by identify or info, it goes only when the protocol is agreed on.
  void trust(const PeerId& provider) { trusted_.insert(provider); }

 private:
  struct Sent;
  Awaitable<void> exchange(const PeerId& provider, Sent& sent);

  Agent& agent_;
  std::set<PeerId> trusted_;  // the few that the user named or that were asked
};

}  // namespace p2p
