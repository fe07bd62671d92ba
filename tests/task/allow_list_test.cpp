#include "task/allow_list.hpp"

#include "base/limits.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::TemporaryDirectory;
using test::write_file;

PeerId peer(std::uint8_t number) { return KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{number}).peer_id(); }

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::invalid));
    return message_of(error);
  }
  return "";
}

TEST(AllowList, AllowsWhomItNamesAndNobodyElse) {
  const AllowList list({peer(1).text(), peer(2).text(), peer(1).text()});
  EXPECT_TRUE(list.allows(peer(1)));
  EXPECT_TRUE(list.allows(peer(2)));
  EXPECT_FALSE(list.allows(peer(3)));
  EXPECT_FALSE(list.allows(PeerId()));
  EXPECT_EQ(list.size(), 2U);
  EXPECT_FALSE(AllowList({}).allows(peer(1)));
}

TEST(AllowList, AllowsWhomItsFileNamesToo) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("peers");
  write_file(file, "# my machines\n\n  " + peer(2).text() + "\t\r\n" + peer(3).text() + "#the laptop\n \n" + peer(1).text());
  const AllowList list({peer(1).text()}, file);
  for (const PeerId& one : {peer(1), peer(2), peer(3)}) EXPECT_TRUE(list.allows(one));
  EXPECT_FALSE(list.allows(peer(4)));
  EXPECT_EQ(list.size(), 3U);
}

TEST(AllowList, NamesWhatIsNoPeer) {
  EXPECT_NE(error_of([] { AllowList({peer(1).text(), "bob"}); }).find("'bob' is no PeerId"), std::string::npos);
  const TemporaryDirectory directory;
  const std::string file = directory.file("peers");
  write_file(file, peer(1).text() + "\n\n" + peer(2).text() + " " + peer(3).text() + "\n");
  EXPECT_TRUE(error_of([&] { AllowList({}, file); }).starts_with(file + ":3: '" + peer(2).text() + " "));
  EXPECT_TRUE(error_of([&] { AllowList({}, directory.file("none")); }).starts_with("cannot open " + directory.file("none") + ": "));
  EXPECT_NE(error_of([&] { AllowList({}, directory.path()); }), "");
}

TEST(AllowList, IsReadAnew) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("peers");
  write_file(file, peer(1).text());
  AllowList list({peer(9).text()}, file);
  write_file(file, peer(2).text());
  EXPECT_TRUE(list.allows(peer(1)));
  list.reload();
  EXPECT_FALSE(list.allows(peer(1)));
  EXPECT_TRUE(list.allows(peer(2)));
  EXPECT_TRUE(list.allows(peer(9)));
}

TEST(AllowList, StaysInForceWhenItsFileHasAnError) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("peers");
  write_file(file, peer(1).text());
  AllowList list({}, file);
  write_file(file, peer(2).text() + "\nbob\n");
  EXPECT_TRUE(error_of([&] { list.reload(); }).starts_with(file + ":2: 'bob' is no PeerId"));
  EXPECT_TRUE(list.allows(peer(1)));
  EXPECT_FALSE(list.allows(peer(2)));
  std::filesystem::remove(file);
  EXPECT_NE(error_of([&] { list.reload(); }), "");
  EXPECT_TRUE(list.allows(peer(1)));
}

TEST(AllowList, OfAFileIsBounded) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("peers");
  const std::string line = peer(1).text() + "\n";
  write_file(file, line + std::string(limits::allow_file - line.size(), '#'));
  EXPECT_EQ(AllowList({}, file).size(), 1U);
  write_file(file, line + std::string(limits::allow_file - line.size() + 1, '#'));
  EXPECT_TRUE(error_of([&] { AllowList({}, file); }).starts_with(file + " is larger than"));
}

}  // namespace
}  // namespace p2p
