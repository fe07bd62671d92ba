#include "network/async.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>
#include <deque>
#include <exception>
#include <memory_resource>
#include <new>
#include <utility>

namespace p2p {

// (Asio's any_completion_handler would do the same, but the one of Boost 1.81 copies itself without end.)
template <class Handler>
const Suspended::Kind Suspended::kind_of{
    [](void* handler) { std::move (*static_cast<Handler*>(handler))(); },
    [](void* to, void* from) noexcept {
      new (to) Handler(std::move(*static_cast<Handler*>(from)));
      static_cast<Handler*>(from)->~Handler();
    },
    [](void* handler) noexcept { static_cast<Handler*>(handler)->~Handler(); },
};

template <class Handler>
Suspended::Suspended(Handler handler) noexcept : kind_(&kind_of<Handler>) {
  static_assert(sizeof(Handler) <= sizeof(handler_) && alignof(Handler) <= alignof(void*));
  new (handler_) Handler(std::move(handler));
}

namespace {

/// Suspends the calling coroutine; `keep` gets what resumes it.
template <class Keep>
Awaitable<void> suspend(Keep keep) {
  return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
      [keep = std::move(keep)](auto handler) mutable { keep(Suspended(std::move(handler))); }, boost::asio::use_awaitable);
}

Awaitable<void> at_once() { co_return; }

}  // namespace

class ReadyQueue final : public boost::asio::execution_context::service {
 public:
  using key_type = ReadyQueue;
  static inline boost::asio::execution_context::id id;

  static ReadyQueue& of(const Loop& loop) {
    auto& queue = boost::asio::use_service<ReadyQueue>(boost::asio::query(loop, boost::asio::execution::context));
    if (!queue.loop_) queue.loop_ = loop;
    return queue;
  }

  explicit ReadyQueue(boost::asio::execution_context& context) : service(context) {}

  void add(Suspended suspended, std::size_t others) {
    waiting_.insert(waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(others, waiting_.size())), std::move(suspended));
    schedule();
  }
  std::size_t size() const noexcept { return waiting_.size(); }

 private:
  static constexpr std::size_t most_in_a_turn = 256;  // the sockets get theirs in between

  void shutdown() override {
    while (!waiting_.empty()) const auto gone = std::move(waiting_);  // whose ends may wake others
  }

  void schedule() {
    if (std::exchange(scheduled_, true)) return;
    boost::asio::post(loop_, [this] {
      const struct Turn {
        ReadyQueue& queue;
        ~Turn() {  // also when a coroutine throws out of the loop
          queue.scheduled_ = false;
          if (!queue.waiting_.empty()) queue.schedule();
        }
      } turn{*this};
      for (std::size_t i = 0; i < most_in_a_turn && !waiting_.empty(); ++i) {
        Suspended next = std::move(waiting_.front());
        waiting_.pop_front();
        next.resume();
      }
    });
  }

  Loop loop_;
  std::pmr::unsynchronized_pool_resource memory_;  // keeps what a deque gives back and takes again as one comes and one goes
  std::pmr::deque<Suspended> waiting_{&memory_};
  bool scheduled_ = false;
};

Event::Event(const Loop& loop) : ready_(ReadyQueue::of(loop)) {}
Latch::Latch(const Loop& loop) : ready_(ReadyQueue::of(loop)) {}

Awaitable<void> Event::wait() {
  assert(!waiter_ && "an event has one waiter");
  if (std::exchange(notified_, false)) return at_once();
  return suspend([this](Suspended self) { waiter_ = std::move(self); });
}

void Event::notify_behind(std::size_t others) {
  if (!waiter_) {
    notified_ = true;
    return;
  }
  ready_.add(std::exchange(waiter_, Suspended()), others);
}

std::size_t Event::ready_before() const noexcept { return ready_.size(); }

Awaitable<void> Latch::wait() {
  if (open_) return at_once();
  return suspend([this](Suspended self) { waiters_.push_back(std::move(self)); });
}

void Latch::open() {
  open_ = true;
  for (auto& waiter : std::exchange(waiters_, {})) ready_.add(std::move(waiter), static_cast<std::size_t>(-1));
}

void TaskGroup::spawn(Awaitable<void> work) {
  ++running_;
  boost::asio::co_spawn(loop_, std::move(work), [this](const std::exception_ptr& bug) {
    if (--running_ == 0) empty_.notify();
    if (bug) std::rethrow_exception(bug);
  });
}

Awaitable<void> TaskGroup::join() {
  while (running_ > 0) co_await empty_.wait();
}

}  // namespace p2p
