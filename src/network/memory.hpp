#pragma once
// What an agent holds in memory for its peers, counted for the connection that made it do so. When it is more than it may be, whoever holds
// most of it goes, so that one peer's appetite is never another one's loss.

#include "network/async.hpp"

#include <cstddef>
#include <memory>
#include <utility>

namespace p2p {

/// The sum over all connections.
class MemoryBudget {
 public:
  MemoryBudget(std::size_t most, const Loop& loop) : exceeded(loop), most_(most) {}

  std::size_t held() const noexcept { return held_; }
  bool is_exceeded() const noexcept { return held_ > most_; }
  /// Notified when it becomes so.
  Event exceeded;

 private:
  friend class MemoryAccount;
  void change(std::size_t before, std::size_t after) {
    held_ += after - before;
    if (after > before && is_exceeded()) exceeded.notify_behind(0);
  }

  const std::size_t most_;
  std::size_t held_ = 0;
};

/// What one connection and its streams hold; shared by them, and part of the budget's sum until it is closed.
class MemoryAccount {
 public:
  /// `budget` is null where nobody sums up; else it lives until close().
  explicit MemoryAccount(MemoryBudget* budget) noexcept : budget_(budget) {}
  ~MemoryAccount() { close(); }
  MemoryAccount(const MemoryAccount&) = delete;
  MemoryAccount& operator=(const MemoryAccount&) = delete;

  std::size_t held() const noexcept { return held_; }
  /// The connection has ended, and what is still held for it is about to be freed.
  void close() noexcept {
    if (MemoryBudget* const budget = std::exchange(budget_, nullptr)) budget->held_ -= held_;
  }

 private:
  friend class MemoryCharge;
  void change(std::size_t before, std::size_t after) {
    held_ += after - before;
    if (budget_ != nullptr) budget_->change(before, after);
  }

  MemoryBudget* budget_;
  std::size_t held_ = 0;
};

/// Some bytes of an account, given back at the end.
class MemoryCharge {
 public:
  explicit MemoryCharge(std::shared_ptr<MemoryAccount> account, std::size_t bytes = 0) : account_(std::move(account)) { set(bytes); }
  MemoryCharge(MemoryCharge&& other) noexcept = default;
  MemoryCharge& operator=(MemoryCharge&&) = delete;
  ~MemoryCharge() {
    if (account_ != nullptr) set(0);
  }

  /// Others of the same account.
  MemoryCharge further(std::size_t bytes) const { return MemoryCharge(account_, bytes); }

  void set(std::size_t bytes) { account_->change(std::exchange(bytes_, bytes), bytes); }

 private:
  std::shared_ptr<MemoryAccount> account_;
  std::size_t bytes_ = 0;
};

}  // namespace p2p
