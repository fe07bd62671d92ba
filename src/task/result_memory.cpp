#include "task/result_memory.hpp"

namespace p2p {

const ResultMemory::Kept* ResultMemory::find(const std::string& key, Time now) {
  forget_old(now);
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &found->second->kept;
}

void ResultMemory::add(std::string key, Kept kept, Time now) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) forget(found->second);
  if (kept.envelope->size() > bounds_.bytes || bounds_.results == 0) return;
  forget_old(now);
  while (by_age_.size() >= bounds_.results || bytes_ + kept.envelope->size() > bounds_.bytes) forget(by_age_.begin());
  const std::size_t size = kept.envelope->size();
  std::list<Entry> entry;  // of its own until it is found by its key
  entry.push_back({std::move(key), std::move(kept), now});
  by_key_.emplace(entry.front().key, entry.begin());
  by_age_.splice(by_age_.end(), entry);
  bytes_ += size;
}

void ResultMemory::forget(std::list<Entry>::iterator entry) {
  bytes_ -= entry->kept.envelope->size();
  by_key_.erase(entry->key);
  by_age_.erase(entry);
}

void ResultMemory::forget_old(Time now) {
  while (!by_age_.empty() && now - by_age_.front().since >= bounds_.age) forget(by_age_.begin());
}

}  // namespace p2p
