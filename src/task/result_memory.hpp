#pragma once
// The results that a provider gives again when the same task comes again: bounded in number, bytes and time, the oldest go first.

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/time.hpp"

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace p2p {

class ResultMemory {
 public:
  struct Bounds {
    std::size_t results = limits::results_kept;
    std::size_t bytes = limits::results_kept_bytes;
    Duration age = limits::results_kept_for;
  };
  struct Kept {
    std::string task_sha256;
    std::shared_ptr<const Bytes> envelope;  ///< of the result
  };

  explicit ResultMemory(Bounds bounds) : bounds_(bounds) {}

  /// What `key`, which stands for a requester and a task id, was answered; nothing when that is not known any more. Holds until the next
  /// call.
  const Kept* find(const std::string& key, Time now);
  /// Replaces what there is under `key`. A result larger than all there is room for is not kept.
  void add(std::string key, Kept kept, Time now);

  std::size_t size() const noexcept { return by_age_.size(); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Entry {
    std::string key;
    Kept kept;
    Time since;
  };
  void forget(std::list<Entry>::iterator entry);
  void forget_old(Time now);

  const Bounds bounds_;
  std::list<Entry> by_age_;  // oldest first
  std::map<std::string_view, std::list<Entry>::iterator> by_key_;
  std::size_t bytes_ = 0;
};

}  // namespace p2p
