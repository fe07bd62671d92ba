#pragma once
// What every command that goes to the network shares: the system, the signals, and one agent from start to stop.

#include "cli/commands.hpp"
#include "network/agent.hpp"
#include "network/system.hpp"

#include <exception>
#include <functional>
#include <memory>

namespace p2p::cli {

/// Calls `on_signal` on the loop for each of some signals while it lives.
class Signals {
 public:
  Signals(const Loop& loop, std::vector<int> numbers, std::function<void()> on_signal);
  ~Signals();

 private:
  struct Set;
  std::shared_ptr<Set> set_;
};

/// Whether whoever started the program has it stay when its terminal goes, as nohup does. To ask before SIGHUP is watched.
bool ignores_hang_up();

/// Calls `on_broken` on the loop when nobody reads standard output any more, if it is a pipe or socket, while it lives.
class OutputWatch {
 public:
  OutputWatch(const Loop& loop, std::function<void()> on_broken);
  ~OutputWatch();

 private:
  struct Descriptor;
  std::shared_ptr<Descriptor> descriptor_;
};

/// The identity in the key file that the options name, or a new one.
KeyPair identity_of(const CommonOptions& options, Random& random);

/// A command's agent, which neither listens nor announces itself.
class Session {
 public:
  /// `mdns`: whether peers must be found.
  Session(const CommonOptions& options, bool mdns);

  /// Starts the agent, does `work`, stops the agent. The first signal, or the end of who reads standard output, closes the agent, which
  /// wakes `work` with an error; a second one ends the process. Throws Failure.
  Exit run(const std::function<Awaitable<Exit>()>& work);
  /// That a peer runs no tasks for this agent, and what both sides may do.
  Failure refused_by(const PeerId& peer) const;
  /// What else to do about that, to go behind a sentence; empty for an identity that lasts.
  std::string identity_hint() const;
  bool interrupted() const noexcept { return interrupted_; }

  Agent& agent() noexcept { return agent_; }
  const Console& console() const noexcept { return console_; }
  System& system() noexcept { return system_; }
  Time now() { return system_.environment().clock.now(); }

  /// Waits until an address of the peer is known. Throws system_error; Failure when it is not found.
  Awaitable<void> find(PeerName peer, Time deadline);
  /// Connects to a peer that the user named; discovery has until `deadline` to find one that is named by its PeerId alone. Throws
  /// system_error; Failure when it is not found.
  Awaitable<PeerId> connect(PeerName peer, Time deadline);
  /// The same for a command that has nothing else to do: throws only Failure.
  Awaitable<PeerId> reach(PeerName peer, Time deadline);
  /// Waits; throws when the command is interrupted meanwhile.
  Awaitable<void> pause(Duration duration) { return agent_.pause_until(now() + duration); }
  /// The next peer that discovery finds, or nothing at `deadline`.
  Awaitable<std::optional<PeerId>> next_discovered(Time deadline);
  /// What to say when nobody was found in time.
  Failure nobody(const std::optional<PeerId>& asked = std::nullopt) const;

 private:
  void interrupt();

  Console console_;
  const bool has_new_identity_;
  std::unique_ptr<Logger> logger_;
  System system_;
  Agent agent_;
  bool finished_ = false;
  bool interrupted_ = false;
};

}  // namespace p2p::cli
