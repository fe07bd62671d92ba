#include "task/files.hpp"

#include "base/error.hpp"
#include "support/small_disk.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace p2p {
namespace {

namespace fs = std::filesystem;
using test::content_of;
using test::names_in;
using test::TemporaryDirectory;
using test::write_file;
using Names = std::vector<std::string>;

constexpr fs::perms owner_alone = fs::perms::owner_read | fs::perms::owner_write;

template <class Work>
std::optional<Errc> error_of(Work work, std::string* message = nullptr) {
  try {
    work();
  } catch (const boost::system::system_error& error) {
    if (message != nullptr) *message = message_of(error);
    return static_cast<Errc>(error.code().value());
  }
  return std::nullopt;
}

TEST(ReadFile, GivesTheWholeFileOrOneByteMoreThanItsLimit) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("file");
  write_file(file, std::string(100'000, 'x'));
  EXPECT_EQ(read_file(file, 200'000).size(), 100'000U);
  EXPECT_EQ(read_file(file, 100'000).size(), 100'000U);
  EXPECT_EQ(read_file(file, 99'999).size(), 100'000U);
  EXPECT_EQ(read_file(file, 10).size(), 11U);
  write_file(file, "");
  EXPECT_TRUE(read_file(file, 10).empty());
}

TEST(ReadFile, SaysWhatItCannotRead) {
  const TemporaryDirectory directory;
  std::string message;
  EXPECT_EQ(error_of([&] { read_file(directory.file("none"), 10); }, &message), Errc::invalid);
  EXPECT_EQ(message, "cannot open " + directory.file("none") + ": No such file or directory");
  EXPECT_EQ(error_of([&] { read_file(directory.path(), 10); }, &message), Errc::invalid);
  EXPECT_EQ(message, "cannot read " + directory.path() + ": Is a directory");
}

TEST(DurableFile, TakesItsNameWhenItIsCommitted) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("file");
  write_file(path, "old");
  DurableFile file(path);
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(names_in(directory.path()).size(), 2U);
  file.commit(as_bytes("new"));
  EXPECT_EQ(content_of(path), "new");
  EXPECT_EQ(test::mode_of(path), owner_alone);
  EXPECT_EQ(names_in(directory.path()), Names{"file"});
}

TEST(DurableFile, LeavesNothingWhenItIsNotCommitted) {
  const TemporaryDirectory directory;
  { const DurableFile file(directory.file("file")); }
  EXPECT_EQ(names_in(directory.path()), Names{});
}

TEST(DurableFile, HasTheModeAskedForWhateverTheUmask) {
  const TemporaryDirectory directory;
  const mode_t before = umask(0077);
  write_durably(directory.file("file"), as_bytes("x"), 0644);
  umask(before);
  EXPECT_EQ(test::mode_of(directory.file("file")), owner_alone | fs::perms::group_read | fs::perms::others_read);
}

TEST(DurableFile, FollowsALink) {
  const TemporaryDirectory directory;
  write_file(directory.file("file"), "old");
  fs::create_symlink("file", directory.file("link"));
  write_durably(directory.file("link"), as_bytes("new"));
  EXPECT_TRUE(fs::is_symlink(directory.file("link")));
  EXPECT_EQ(content_of(directory.file("file")), "new");
}

TEST(DurableFile, MayBeNamedWithoutADirectory) {
  const TemporaryDirectory directory;
  const fs::path before = fs::current_path();
  fs::current_path(directory.path());
  write_durably("file", as_bytes("here"));
  fs::current_path(before);
  EXPECT_EQ(content_of(directory.file("file")), "here");
}

TEST(DurableFile, ReplacesNothingButRegularFiles) {
  const TemporaryDirectory directory;
  const std::string pipe = directory.file("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink(pipe, directory.file("link"));
  std::string message;
  for (const std::string& path : {pipe, directory.file("link"), directory.path(), std::string("/dev/null")}) {
    EXPECT_EQ(error_of([&] { const DurableFile file(path); }, &message), Errc::invalid);
    EXPECT_EQ(message, "cannot write " + path + ": it is not a regular file; give another name");
  }
  EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST(DurableFile, SaysWhereItCannotBeWritten) {
  const TemporaryDirectory directory;
  std::string message;
  EXPECT_EQ(error_of([&] { const DurableFile file(directory.file("none/file")); }, &message), Errc::invalid);
  EXPECT_EQ(message, "cannot create " + directory.file("none/file") + ": No such file or directory");
}

TEST(DurableFile, KeepsTheOldOneWhenTheDiskIsFull) {
  const TemporaryDirectory directory;
  const auto said = test::on_small_disk(directory.path(), 64 * 1024, [&]() -> std::string {
    const std::string path = directory.file("file");
    write_durably(path, as_bytes("old"));
    std::string message;
    if (error_of([&] { write_durably(path, Bytes(1'000'000)); }, &message) != Errc::exhausted) return "it was written";
    if (content_of(path) != "old" || names_in(directory.path()) != Names{"file"}) return "something else is there than before";
    return message;
  });
  if (!said) GTEST_SKIP() << "this needs a file system of its own, and there is none to be had";
  EXPECT_EQ(*said, "cannot write " + directory.file("file") + ": No space left on device");
}

}  // namespace
}  // namespace p2p
