#pragma once
// The few asynchronous pieces that everything above is made of. All of them belong to one loop: they are used on its thread alone and take
// no locks. Nothing here reaches for a clock; clock.hpp has the waits that end by themselves.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace p2p {

template <class T>
using Awaitable = boost::asio::awaitable<T>;
using Loop = boost::asio::any_io_executor;

/// A suspended coroutine that can be resumed once, or none. Destroying it destroys a coroutine that was not.
class Suspended {
 public:
  Suspended() noexcept = default;
  /// Of what Asio resumes a coroutine with, whose type is another for each place.
  template <class Handler>
  explicit Suspended(Handler handler) noexcept;
  Suspended(Suspended&& other) noexcept { take(other); }
  Suspended& operator=(Suspended&& other) noexcept {
    if (this == &other) return *this;
    drop();
    take(other);
    return *this;
  }
  ~Suspended() { drop(); }

  explicit operator bool() const noexcept { return kind_ != nullptr; }
  void resume() { kind_->resume(handler_); }

 private:
  struct Kind {
    void (*resume)(void* handler);
    void (*move)(void* to, void* from) noexcept;  // and destroys `from`
    void (*destroy)(void* handler) noexcept;
  };
  template <class Handler>
  static const Kind kind_of;

  void take(Suspended& other) noexcept {
    kind_ = std::exchange(other.kind_, nullptr);
    if (kind_ != nullptr) kind_->move(handler_, other.handler_);
  }
  void drop() noexcept {
    if (kind_ != nullptr) std::exchange(kind_, nullptr)->destroy(handler_);
  }

  const Kind* kind_ = nullptr;
  alignas(void*) std::byte handler_[4 * sizeof(void*)];  // in place: whoever waits allocates nothing
};

/// Where the coroutines of a loop stand that may go on. One turn of the loop takes all of them, those included that join meanwhile: a
/// wake-up costs no look at the sockets.
class ReadyQueue;

/// Wakes one coroutine. A notify() that nobody waits for is kept for the next wait(), once.
class Event {
 public:
  explicit Event(const Loop& loop);
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// Returns after a notify(). One coroutine at a time, which awaits it where it calls it.
  Awaitable<void> wait();
  /// The waiting coroutine goes on later, behind those that were notified before it, never inside this call.
  void notify() { notify_behind(static_cast<std::size_t>(-1)); }
  /// The same behind `others` of these at most.
  void notify_behind(std::size_t others);
  /// How many of its loop are ready and have not gone on yet.
  std::size_t ready_before() const noexcept;

 private:
  ReadyQueue& ready_;
  Suspended waiter_;
  bool notified_ = false;
};

/// Opens once and stays open; any number of coroutines wait for it.
class Latch {
 public:
  explicit Latch(const Loop& loop);
  Latch(const Latch&) = delete;
  Latch& operator=(const Latch&) = delete;

  /// Returns at once when it is open.
  Awaitable<void> wait();
  void open();
  bool is_open() const noexcept { return open_; }

 private:
  ReadyQueue& ready_;
  std::vector<Suspended> waiters_;
  bool open_ = false;
};

/// Owns coroutines: whoever owns the group waits for them with join() before it goes away. There are no others.
class TaskGroup {
 public:
  explicit TaskGroup(Loop loop) : loop_(std::move(loop)), empty_(loop_) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Starts `work`: inside this call on the loop's thread, else in a later turn of the loop. What it throws is a bug and leaves the loop's
  /// run().
  void spawn(Awaitable<void> work);
  /// Returns when no coroutine of the group is left.
  Awaitable<void> join();
  std::size_t size() const noexcept { return running_; }

 private:
  Loop loop_;
  Event empty_;
  std::size_t running_ = 0;
};

/// Runs computations away from the loop, so that long ones do not hold it up.
class WorkerPool {
 public:
  virtual ~WorkerPool() = default;
  /// Runs `work` on some thread; returns on the caller's loop when it is done. What it throws is thrown here.
  virtual Awaitable<void> run(std::function<void()> work) = 0;
};

}  // namespace p2p
