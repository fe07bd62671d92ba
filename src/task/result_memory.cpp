#include "task/result_memory.hpp"

namespace p2p {

const ResultMemory::Kept* ResultMemory::find(const std::string& key, Time now) {
  forget_old(now);
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &found->second->kept;
}

void ResultMemory::add(const std::string& key, Kept kept, Time now) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) forget(found->second);
  if (kept.envelope.size() > bounds_.bytes || bounds_.results == 0) return;
  forget_old(now);
  while (by_age_.size() >= bounds_.results || bytes_ + kept.envelope.size() > bounds_.bytes) forget(by_age_.begin());
  bytes_ += kept.envelope.size();
  by_key_[key] = by_age_.insert(by_age_.end(), {key, std::move(kept), now});
}

void ResultMemory::forget(std::list<Entry>::iterator entry) {
  bytes_ -= entry->kept.envelope.size();
  by_key_.erase(entry->key);
  by_age_.erase(entry);
}

void ResultMemory::forget_old(Time now) {
  while (!by_age_.empty() && now - by_age_.front().since >= bounds_.age) forget(by_age_.begin());
}

}  // namespace p2p
