#include "network/async.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>
#include <exception>
#include <utility>

namespace p2p {
namespace {

// What Asio resumes a coroutine with is of a type of its own for each place; this hides it. (any_completion_handler would, but the one of
// Boost 1.81 copies itself without end.)
template <class Handler>
class SuspendedOn final : public Suspended {
 public:
  explicit SuspendedOn(Handler handler) : handler_(std::move(handler)) {}
  void resume() override { std::move(handler_)(); }

 private:
  Handler handler_;
};

/// Suspends the calling coroutine; `keep` gets what resumes it.
template <class Keep>
Awaitable<void> suspend(Keep keep) {
  return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
      [keep = std::move(keep)](auto handler) mutable { keep(std::make_unique<SuspendedOn<decltype(handler)>>(std::move(handler))); },
      boost::asio::use_awaitable);
}

void resume_later(const Loop& loop, std::unique_ptr<Suspended> suspended) {
  boost::asio::post(loop, [suspended = std::move(suspended)] { suspended->resume(); });
}

}  // namespace

Awaitable<void> Event::wait() {
  assert(!waiter_ && "an event has one waiter");
  if (!std::exchange(notified_, false)) {
    co_await suspend([this](std::unique_ptr<Suspended> self) { waiter_ = std::move(self); });
  }
}

void Event::notify() {
  if (!waiter_) {
    notified_ = true;
    return;
  }
  resume_later(loop_, std::exchange(waiter_, nullptr));
}

Awaitable<void> Latch::wait() {
  if (open_) co_return;
  co_await suspend([this](std::unique_ptr<Suspended> self) { waiters_.push_back(std::move(self)); });
}

void Latch::open() {
  open_ = true;
  for (auto& waiter : std::exchange(waiters_, {})) resume_later(loop_, std::move(waiter));
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
