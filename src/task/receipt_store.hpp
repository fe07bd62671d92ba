#pragma once
// Where a provider keeps the receipts of what it answered, as an interface, and the directory that does it.

#include "network/transport.hpp"
#include "task/receipt.hpp"

#include <algorithm>
#include <set>
#include <string>

namespace p2p {

/// What tells one receipt from another.
struct ReceiptName {
  WallTime time;
  PeerId requester;
  std::string task_id;
};

class ReceiptKeeper {
 public:
  virtual ~ReceiptKeeper() = default;

  /// Whether `bytes` more of disk might not be there. A provider asks before it takes a task, with the most that the receipts of all that
  /// it has not answered yet can take, the new one's included: receipt_size_limit() of each. What it then keeps always fits.
  virtual bool full(std::uint64_t bytes) const = 0;
  /// Finds out what room there is by now, since its owner may have made some; false when it did so less than limits::receipts_look ago.
  virtual Awaitable<bool> look_again(Time now) = 0;
  /// Returns when the receipt is on the disk. Throws exhausted, with why it is not.
  virtual Awaitable<void> keep(ReceiptName name, Bytes receipt) = 0;
};

/// Bytes of disk that a receipt of `size` bytes takes.
constexpr std::uint64_t receipt_space(std::uint64_t size) {
  return (size + limits::receipt_block - 1) / limits::receipt_block * limits::receipt_block;
}
/// Bytes of disk that the receipt of a task takes whose envelope has `task_envelope` bytes, at most.
constexpr std::uint64_t receipt_size_limit(std::size_t task_envelope) { return receipt_space(4 + task_envelope + receipt_limit / 2); }

/// One file a receipt, TIME-TASKID-REQUESTER.receipt, readable by its owner alone.
class ReceiptStore final : public ReceiptKeeper {
 public:
  /// The directory is made if it is not there, and cleared of the temporary files of a store that crashed. What it holds counts towards
  /// `max_bytes` of disk. `pool` outlives the store. Throws invalid when the directory cannot be used, or is in use by another store.
  ReceiptStore(WorkerPool& pool, std::string directory, std::uint64_t max_bytes);
  ~ReceiptStore() override;
  ReceiptStore(const ReceiptStore&) = delete;
  ReceiptStore& operator=(const ReceiptStore&) = delete;

  bool full(std::uint64_t bytes) const override { return bytes > max_bytes_ - std::min(max_bytes_, used_); }
  Awaitable<bool> look_again(Time now) override;
  Awaitable<void> keep(ReceiptName name, Bytes receipt) override;

  std::uint64_t used() const noexcept { return used_; }

 private:
  std::string free_path(const ReceiptName& name) const;

  WorkerPool& pool_;
  const std::string directory_;
  const std::uint64_t max_bytes_;
  std::uint64_t used_ = 0;     // what is being written included
  std::uint64_t unseen_ = 0;   // of these, what a look may not have seen: what was being written at some time since it began
  std::uint64_t in_work_ = 0;  // what is being written
  bool looking_ = false;
  Time next_look_{};
  std::set<std::string> writing_;  // paths
  int lock_ = -1;                  // the directory, so that no other store clears away what this one writes
};

}  // namespace p2p
