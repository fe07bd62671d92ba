#pragma once
// A clock that stands still until a test moves it, for a loop that has real sockets.

#include "network/clock.hpp"

#include <boost/asio/post.hpp>
#include <list>

namespace p2p::test {

class ManualClock final : public Clock {
 public:
  explicit ManualClock(Loop loop) : loop_(std::move(loop)) {}

  Time now() const override { return now_; }
  WallTime date() const override { return std::chrono::sys_days(std::chrono::year(2026) / 1 / 17) + std::chrono::hours(10); }
  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    auto due = std::make_unique<Due>(*this, when, std::move(call));
    if (when <= now_) due->post();
    return due;
  }

  void advance(Duration by) {
    now_ += by;
    for (Due* const due : due_) {
      if (due->when <= now_) due->post();
    }
  }
  /// What waits for a time.
  std::size_t waiting() const noexcept { return due_.size(); }

 private:
  struct Due final : Pending {
    Due(ManualClock& of, Time at, std::function<void()> call)
        : clock(of), when(at), held(std::make_shared<std::function<void()>>(std::move(call))), place(of.due_.insert(of.due_.end(), this)) {}
    ~Due() override { clock.due_.erase(place); }
    void post() {
      boost::asio::post(clock.loop_, [weak = std::weak_ptr(held)] {
        if (const auto call = weak.lock()) (*call)();
      });
    }
    ManualClock& clock;
    Time when;
    std::shared_ptr<std::function<void()>> held;  // shared with the loop, which may find it taken back
    std::list<Due*>::iterator place;
  };

  Loop loop_;
  Time now_{};
  std::list<Due*> due_;
};

}  // namespace p2p::test
