#include "task/receipt_store.hpp"

#include "task/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <optional>
#include <system_error>

namespace p2p {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view suffix = ".receipt";

/// YYYYMMDDTHHMMSS.mmmZ, which sorts by time and needs no quotes anywhere.
std::string compact(WallTime time) {
  std::string text = format_timestamp(time);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

/// Whether a store gave a file its name.
bool is_own(std::string_view name) {
  return name.size() > 20 + suffix.size() && name[8] == 'T' && name.substr(19, 2) == "Z-" && name.ends_with(suffix);
}
bool is_own_temporary(std::string_view name) {
  const std::size_t mark = name.rfind(DurableFile::temporary_mark);
  return mark != std::string_view::npos && is_own(name.substr(0, mark));
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) {
  fail(Errc::invalid, "cannot keep receipts in " + directory + ": " + why);
}

template <class Call>
void for_each_in(const std::string& directory, Call call) {
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) call(*at);
  if (error) refuse(directory, error.message());
}

/// Bytes of disk that a receipt takes; of what is none, or gone meanwhile, 0.
std::uint64_t space_of(const fs::directory_entry& entry) {
  std::error_code gone;
  if (!is_own(entry.path().filename().string()) || !entry.is_regular_file(gone)) return 0;
  const std::uint64_t size = entry.file_size(gone);
  return gone ? 0 : receipt_space(size);
}

}  // namespace

ReceiptStore::ReceiptStore(WorkerPool& pool, std::string directory, std::uint64_t max_bytes)
    : pool_(pool), directory_(std::move(directory)), max_bytes_(max_bytes) {
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) refuse(directory_, std::generic_category().message(errno));
  lock_ = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) refuse(directory_, std::generic_category().message(errno));
  try {
    // Some network file systems have no such locks; then it is up to who starts two.
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      refuse(directory_, "another agent does so already; give each a directory of its own");
    }
    for_each_in(directory_, [this](const fs::directory_entry& entry) {
      std::error_code gone;
      if (is_own_temporary(entry.path().filename().string())) fs::remove(entry.path(), gone);
      used_ += space_of(entry);
    });
    const DurableFile trial((fs::path(directory_) / ("00000000T000000.000Z-trial" + std::string(suffix))).string());
  } catch (...) {
    close(lock_);
    throw;
  }
}

ReceiptStore::~ReceiptStore() { close(lock_); }

Awaitable<bool> ReceiptStore::look_again(Time now) {
  if (looking_ || now < next_look_) co_return false;
  next_look_ = now + limits::receipts_look;
  looking_ = true;
  unseen_ = in_work_;
  std::optional<std::uint64_t> found;
  const std::function<void()> look = [&] {
    try {
      std::uint64_t bytes = 0;
      for_each_in(directory_, [&bytes](const fs::directory_entry& entry) { bytes += space_of(entry); });
      found = bytes;
    } catch (const boost::system::system_error&) {  // keep() says it, to whom it matters
    }
  };
  co_await pool_.run(look);
  looking_ = false;
  if (found) used_ = std::min(used_, *found + unseen_);  // what was written meanwhile may be in both
  co_return true;
}

std::string ReceiptStore::free_path(const ReceiptName& name) const {
  std::string id = name.task_id;
  std::replace_if(
      id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '-');
  const std::string stem = (fs::path(directory_) / (compact(name.time) + "-" + id + "-" + name.requester.text())).string();
  std::string path = stem + std::string(suffix);
  std::error_code error;
  for (std::size_t i = 2; writing_.contains(path) || fs::exists(path, error); ++i) {
    path = stem + "-" + std::to_string(i) + std::string(suffix);
  }
  return path;
}

Awaitable<void> ReceiptStore::keep(ReceiptName name, Bytes receipt) {
  const std::uint64_t space = receipt_space(receipt.size());
  if (full(space)) fail(Errc::exhausted, "there is no room for another receipt in " + directory_ + ": move old ones away");
  const std::string path = free_path(name);
  writing_.insert(path);
  for (std::uint64_t* const each : {&used_, &unseen_, &in_work_}) *each += space;
  const std::function<void()> work = [&] {
    try {
      write_durably(path, receipt);
    } catch (const boost::system::system_error& error) {
      unlink(path.c_str());  // what is not kept for certain is not kept: the task fails
      fail(Errc::exhausted, "the receipt cannot be kept: " + message_of(error));
    }
  };
  std::exception_ptr failure;
  try {
    co_await pool_.run(work);
  } catch (...) {
    failure = std::current_exception();
  }
  writing_.erase(path);
  in_work_ -= space;
  if (!failure) co_return;
  used_ -= space;
  unseen_ -= space;
  std::rethrow_exception(failure);
}

}  // namespace p2p
