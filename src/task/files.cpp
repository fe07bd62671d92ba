#include "task/files.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

namespace p2p {
namespace {

std::string reason_of(int error) { return std::generic_category().message(error); }

/// So that a file's name survives a loss of power. Not every file system has that.
bool sync_directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const int directory = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  const bool done = fsync(directory) == 0 || errno == EINVAL || errno == ENOTSUP;
  const int error = errno;
  close(directory);
  errno = error;
  return done;
}

}  // namespace

Bytes read_descriptor(int descriptor, std::size_t limit, const std::string& name) {
  Bytes bytes;
  while (bytes.size() <= limit) {
    const std::size_t before = bytes.size();
    bytes.resize(std::min(limit + 1, before + 64 * 1024));
    const ssize_t count = read(descriptor, bytes.data() + before, bytes.size() - before);
    const int error = errno;
    bytes.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) break;
    if (count < 0 && error != EINTR) fail(Errc::invalid, "cannot read " + name + ": " + reason_of(error));
  }
  return bytes;
}

Bytes read_file(const std::string& path, std::size_t limit) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(Errc::invalid, "cannot open " + path + ": " + reason_of(errno));
  Bytes bytes;
  try {
    bytes = read_descriptor(descriptor, limit, path);
  } catch (...) {
    close(descriptor);
    throw;
  }
  close(descriptor);
  return bytes;
}

DurableFile::DurableFile(const std::string& path, unsigned mode) : path_(path) {
  std::error_code error;
  if (const std::filesystem::path target = std::filesystem::canonical(path, error); !error) path_ = target.string();
  struct stat existing {};
  if (stat(path_.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode)) {
    fail(Errc::invalid, "cannot write " + path + ": it is not a regular file; give another name");
  }
  std::string name = path_ + std::string(temporary_mark) + "XXXXXX";
  descriptor_ = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail(Errc::invalid, "cannot create " + path + ": " + reason_of(errno));
  temporary_ = std::move(name);
  fchmod(descriptor_, mode);
}

DurableFile::~DurableFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void DurableFile::give_up() const { fail(Errc::exhausted, "cannot write " + path_ + ": " + reason_of(errno)); }

void DurableFile::commit(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) give_up();
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  if (fsync(descriptor_) != 0) give_up();
  if (close(std::exchange(descriptor_, -1)) != 0) give_up();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) give_up();
  temporary_.clear();
  if (!sync_directory_of(path_)) give_up();
}

void write_durably(const std::string& path, ByteView bytes, unsigned mode) {
  DurableFile file(path, mode);
  file.commit(bytes);
}

}  // namespace p2p
