#pragma once
// Files that are read within a bound, and files that are there as a whole or not at all. Calls block until the disk has answered.

#include "base/bytes.hpp"

#include <string>

namespace p2p {

/// The file, or only its first `limit` + 1 bytes when it is longer. Throws invalid when it cannot be read.
Bytes read_file(const std::string& path, std::size_t limit);
/// The same for what is left of an open file, pipe or terminal; `name` is for the message.
Bytes read_descriptor(int descriptor, std::size_t limit, const std::string& name);

/// A file that is written under a temporary name beside its own, which it gets when all is on the disk. Until then whatever was there is
/// untouched, and a crash leaves the one or the other, and perhaps the temporary file.
class DurableFile {
 public:
  /// Between the file's name and six arbitrary characters in its temporary name.
  static constexpr std::string_view temporary_mark = ".tmp-";

  /// Creates the temporary file. A link at `path` is followed. Throws invalid when none can be created, or when `path` is something else
  /// than a regular file.
  explicit DurableFile(const std::string& path, unsigned mode = 0600);
  /// Removes the temporary file unless it was committed.
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  /// Once. Throws exhausted when it fails, with what the system says. If all failed but the very last step, the file is there, but might
  /// not survive a loss of power.
  void commit(ByteView bytes);

 private:
  [[noreturn]] void give_up() const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

/// A DurableFile in one step.
void write_durably(const std::string& path, ByteView bytes, unsigned mode = 0600);

}  // namespace p2p
