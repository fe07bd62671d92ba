#pragma once
// Where time comes from, and the waits that end by themselves. Deadlines work on what is waited for: when one fires it closes the stream or
// socket, and whoever waits there wakes with an error. So there is no second kind of cancellation, and no wait is ever left behind.

#include "base/time.hpp"
#include "network/async.hpp"

#include <functional>
#include <memory>

namespace p2p {

class Clock {
 public:
  /// A call that is due later; destroying it before takes it back.
  class Pending {
   public:
    virtual ~Pending() = default;
  };

  virtual ~Clock() = default;
  virtual Time now() const = 0;
  virtual WallTime date() const = 0;
  /// Calls `call` on the loop at `when`, or in the loop's next turn if that is past.
  [[nodiscard]] virtual std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) = 0;
};

using Timer = std::unique_ptr<Clock::Pending>;

/// Waits until `when`. The wait belongs to the caller alone: use Alarm for one that somebody else may end.
Awaitable<void> sleep_until(Clock& clock, Loop loop, Time when);

/// An event that also notifies by itself at a time that can be set anew.
class Alarm {
 public:
  Alarm(Clock& clock, Loop loop) : clock_(clock), event_(std::move(loop)) {}

  void set(Time when) {
    timer_ = clock_.schedule(when, [this] { event_.notify(); });
  }
  void clear() { timer_.reset(); }
  void notify() { event_.notify(); }
  Awaitable<void> wait() { return event_.wait(); }

 private:
  Clock& clock_;
  Event event_;
  Timer timer_;
};

}  // namespace p2p
