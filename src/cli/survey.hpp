#pragma once
// Who is on the network, and what they execute: every peer that discovery finds is asked at once, so that one that hangs holds up nobody.

#include "cli/queue.hpp"
#include "cli/session.hpp"
#include "task/message.hpp"

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace p2p::cli {

struct Surveyed {
  PeerId peer;
  std::vector<Multiaddr> addresses;
  Time found{};
  Time connected{};  // when it is
  std::optional<Info> info;
  std::optional<Failure> failure;  // why there is no info; nothing for a peer that runs no tasks
};

/// The names by which tasks can ask for an executor: its models, or its own where it has none by nature. One whose server is not up yet has
/// none for the time being.
std::vector<std::string> names_of(const Offer& offer);

class Survey {
 public:
  /// Begins to look. A peer is asked once, and again only when a further address of it is heard and it did not answer. The session outlives
  /// it; end() comes before its end.
  Survey(Session& session, Time deadline);

  /// The next peer that answered or failed to; nothing when there is none at `patience` or none can come any more. Throws when the
  /// command is interrupted.
  Awaitable<std::optional<Surveyed>> next(Time patience);
  /// Peers found that have not answered yet.
  std::size_t asking() const noexcept { return queue_.asking() - resting_; }
  /// When the last one was found.
  Time last_found() const noexcept { return last_found_; }
  /// Asks no further peers.
  void stop() noexcept { stopped_ = true; }
  /// The same, closes the agent, and returns when nothing is under way.
  Awaitable<void> end();

 private:
  Awaitable<void> look();
  void ask_next();
  Awaitable<void> ask(PeerId peer);
  Awaitable<void> rest(Time until);

  Session& session_;
  const Time deadline_;
  Queue queue_;
  std::size_t resting_ = 0;  // that failed and keep their places a while
  std::deque<Surveyed> answers_;
  Time last_found_{};
  bool looking_ = true;
  bool stopped_ = false;
  Alarm news_;
  TaskGroup group_;
};

}  // namespace p2p::cli
