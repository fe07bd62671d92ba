#include "identity/key_file.hpp"

#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <set>
#include <thread>

namespace p2p {
namespace {

namespace fs = std::filesystem;
using test::hex;
using test::SeededRandom;
using test::TemporaryDirectory;
using test::write_file;

constexpr fs::perms owner_alone = fs::perms::owner_read | fs::perms::owner_write;

// The keys of the specification, as all implementations write them.
const std::string ed25519 =
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce2"
    "7"
    "e";
const std::string secp256k1 = "0802122053dadf1d5a164d6b4acdb15e24aa4c5b1d3461bdbd42abedb0a4404d56ced8fb";

class KeyFile : public testing::Test {
 protected:
  void put(const std::string& content) {
    write_file(path, content);
    fs::permissions(path, owner_alone);
  }
  void put(const Bytes& content) { put(std::string(as_text(content))); }

  std::string refusal() {
    try {
      load_or_create_key(path, random);
    } catch (const boost::system::system_error& error) {
      EXPECT_TRUE(is(error, Errc::invalid));
      return message_of(error);
    }
    return "";
  }

  TemporaryDirectory directory;
  const std::string path = directory.file("identity");
  SeededRandom random;
};

TEST_F(KeyFile, IsReadAsOtherImplementationsWriteIt) {
  put(hex(ed25519));
  EXPECT_EQ(load_or_create_key(path, random).peer_id().text(), "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq");
}

TEST_F(KeyFile, IsWrittenAsOtherImplementationsReadIt) {
  const KeyPair keys = KeyPair::decode(hex(ed25519)).value();
  EXPECT_EQ(to_hex(keys.encode()), ed25519);
  const PeerId made = load_or_create_key(path, random).peer_id();
  const std::string content = test::content_of(path);
  EXPECT_EQ(KeyPair::decode(as_bytes(content)).value().peer_id(), made);
  EXPECT_EQ(to_hex(as_bytes(content).first(4)), "08011240");
  EXPECT_EQ(content.size(), 68U);
}

TEST_F(KeyFile, IsMadeOnceAndStays) {
  const PeerId made = load_or_create_key(path, random).peer_id();
  EXPECT_EQ(load_or_create_key(path, random).peer_id(), made);
  EXPECT_EQ(test::names_in(directory.path()), std::vector<std::string>{"identity"});
}

TEST_F(KeyFile, IsItsOwnersAloneWhateverTheUmask) {
  for (const mode_t mask : {0000U, 0777U}) {
    fs::remove(path);
    const mode_t before = umask(mask);
    load_or_create_key(path, random);
    umask(before);
    EXPECT_EQ(test::mode_of(path), owner_alone);
  }
}

TEST_F(KeyFile, IsTheSameForAllWhoMakeItAtOnce) {
  for (int round = 0; round < 20; ++round) {
    fs::remove(path);
    std::array<PeerId, 4> ids;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      threads.emplace_back([&, i] {
        SeededRandom own(i / 2);  // some want the same temporary name
        ids[i] = load_or_create_key(path, own).peer_id();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(std::set<PeerId>(ids.begin(), ids.end()).size(), 1U);
    EXPECT_EQ(test::names_in(directory.path()), std::vector<std::string>{"identity"});
  }
}

TEST_F(KeyFile, IsRefusedWhenOthersMayUseIt) {
  for (const fs::perms more : {fs::perms::group_read, fs::perms::group_write, fs::perms::others_read, fs::perms::others_write}) {
    put(hex(ed25519));
    fs::permissions(path, more, fs::perm_options::add);
    EXPECT_EQ(refusal(), "others may use the identity " + path + ": make it yours alone with `chmod 600 " + path + "`");
  }
}

TEST_F(KeyFile, IsARegularFile) {
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(refusal(), path + " is not a regular file: give one to keep the identity in");
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_NE(refusal().find("is not a regular file"), std::string::npos);
}

TEST_F(KeyFile, MayBeALinkToOneButNotToNowhere) {
  fs::create_symlink("elsewhere", path);
  EXPECT_EQ(refusal(), path + " is a link to nowhere: give a file to keep the identity in");
  EXPECT_EQ(test::names_in(directory.path()), std::vector<std::string>{"identity"});
  write_file(directory.file("elsewhere"), std::string(as_text(hex(ed25519))));
  fs::permissions(directory.file("elsewhere"), owner_alone);
  EXPECT_EQ(refusal(), "");
}

TEST_F(KeyFile, IsBounded) {
  // Nothing but an unknown field makes a key longer.
  Bytes long_key = hex(ed25519);
  append(long_key, hex("1ab91f"));
  long_key.resize(limits::key_file);
  put(long_key);
  EXPECT_EQ(refusal(), "");
  long_key.push_back(0);
  put(long_key);
  EXPECT_EQ(refusal(), path + " is too large to be an identity: check the file's name");
}

TEST_F(KeyFile, OfAnotherTypeIsRefused) {
  put(hex(secp256k1));
  EXPECT_TRUE(refusal().starts_with(path + " holds a key of another type than Ed25519: "));
}

TEST_F(KeyFile, ThatIsDamagedIsRefusedAndLeftAlone) {
  const Bytes whole = hex(ed25519);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes damaged = whole;
    damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
    put(damaged);
    EXPECT_NE(refusal(), "") << bit;
    EXPECT_EQ(test::content_of(path), as_text(damaged));
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_NE(refusal().find("holds no undamaged identity"), std::string::npos) << size;
  }
}

TEST_F(KeyFile, IsMadeInADirectoryThatIsThere) {
  try {
    load_or_create_key(directory.file("none/identity"), random);
    ADD_FAILURE() << "it was made";
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::invalid));
    EXPECT_EQ(message_of(error), "cannot create the identity " + directory.file("none/identity") + ": No such file or directory");
  }
}

}  // namespace
}  // namespace p2p
