#pragma once
// The real environment: one event loop, the machine's clocks, randomness, TCP and UDP, and a pool of threads that starts with its first
// work.

#include "crypto/crypto.hpp"
#include "network/transport.hpp"

#include <memory>

namespace p2p {

class System {
 public:
  /// `log` outlives it; without one, nothing is logged.
  explicit System(Logger* log = nullptr);
  ~System();

  /// What an agent is made with.
  const Environment& environment() const noexcept;
  Loop loop() const;
  Random& random() noexcept;

  /// Runs the loop on the calling thread until `work` has ended and nothing else is left to do. Throws what `work` throws.
  void run(Awaitable<void> work);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// For a program to call when it begins, since it concerns all of its process: memory that work leaves free goes back to the system a
/// second later, from the loop of any System that has nothing to do just then. Else messages of megabytes, once gone, leave a heap that
/// stays a hundred times as large as what is in it. Does nothing where the C library is not glibc.
void give_free_memory_back() noexcept;

/// What a program has open besides connections: files, pipes of commands, the system's own.
inline constexpr std::size_t descriptors_besides = 64;

/// Lets the process have so many descriptors, where it has fewer. Throws invalid, with what to do, when the system does not.
void allow_descriptors(std::size_t count);

}  // namespace p2p
