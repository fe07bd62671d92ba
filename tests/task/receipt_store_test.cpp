#include "task/receipt_store.hpp"

#include "network/system.hpp"
#include "support/sim.hpp"
#include "support/small_disk.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>
#include <algorithm>

namespace p2p::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr std::uint64_t plenty = 1'000'000'000;
constexpr std::uint64_t block = limits::receipt_block;
const PeerId alice = KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{1}).peer_id();
const PeerId bob = KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{2}).peer_id();
const ReceiptName name{WallTime(std::chrono::milliseconds(1'768'645'800'123)), alice, "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b"};

std::string file_of(const PeerId& requester, const std::string& more = "") {
  return "20260117T103000.123Z-7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b-" + requester.text() + more + ".receipt";
}

/// Does what it is given when it is let.
class HeldPool final : public WorkerPool {
 public:
  explicit HeldPool(const Loop& loop) : free(loop) {}
  Awaitable<void> run(std::function<void()> work) override {
    ++begun;
    co_await free.wait();
    work();
  }
  Latch free;
  std::size_t begun = 0;
};

Names sorted_names_in(const std::string& directory) {
  Names names = names_in(directory);
  std::sort(names.begin(), names.end());
  return names;
}

Awaitable<std::string> keep(ReceiptKeeper& store, ReceiptName receipt_name, std::size_t size) {
  try {
    co_await store.keep(receipt_name, Bytes(size, 'r'));
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::exhausted));
    co_return message_of(error);
  }
  co_return "kept";
}

std::string refusal(const std::string& directory) {
  SimNetwork network;
  HeldPool pool(network.loop());
  try {
    const ReceiptStore store(pool, directory, plenty);
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::invalid));
    return message_of(error);
  }
  return "";
}

/// With a pool that works at once, unless it is held.
class Receipts : public testing::Test {
 protected:
  Receipts() { pool.free.open(); }

  TemporaryDirectory directory;
  SimNetwork network;
  HeldPool pool{network.loop()};
};

TEST_F(Receipts, AreKeptAsTheyAreInAFileThatTheOwnerAloneReads) {
  const std::string inner = directory.file("receipts");
  ReceiptStore store(pool, inner, plenty);
  network.run([&]() -> Awaitable<void> {
    const Bytes receipt = to_bytes("what was asked and answered");
    co_await store.keep(name, receipt);
  }());
  EXPECT_EQ(names_in(inner), Names{file_of(alice)});
  EXPECT_EQ(content_of(inner + "/" + file_of(alice)), "what was asked and answered");
  EXPECT_EQ(mode_of(inner), fs::perms::owner_all);
  EXPECT_EQ(mode_of(inner + "/" + file_of(alice)), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(store.used(), block);
}

TEST_F(Receipts, OfOneIdAreToldApart) {
  ReceiptStore store(pool, directory.path(), plenty);
  ReceiptName of_bob = name;
  of_bob.requester = bob;
  network.run([&]() -> Awaitable<void> {
    co_await keep(store, name, 1);
    co_await keep(store, of_bob, 2);
    co_await keep(store, name, 3);
  }());
  EXPECT_EQ(content_of(directory.file(file_of(alice))).size(), 1U);
  EXPECT_EQ(content_of(directory.file(file_of(bob))).size(), 2U);
  EXPECT_EQ(content_of(directory.file(file_of(alice, "-2"))).size(), 3U);
}

TEST_F(Receipts, OfOneNameThatAreWrittenAtOnceAreToldApart) {
  HeldPool held(network.loop());
  ReceiptStore store(held, directory.path(), plenty);
  network.run([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> { co_await keep(store, name, 5); };
    for (int i = 0; i < 3; ++i) group.spawn(one());
    const auto let = [&]() -> Awaitable<void> {
      EXPECT_EQ(held.begun, 3U);
      held.free.open();
      co_return;
    };
    group.spawn(let());
    co_await group.join();
  }());
  EXPECT_EQ(sorted_names_in(directory.path()), (Names{file_of(alice, "-2"), file_of(alice, "-3"), file_of(alice)}));
}

TEST_F(Receipts, StayInTheirDirectoryWhateverTheIdSays) {
  ReceiptStore store(pool, directory.file("inner"), plenty);
  ReceiptName hostile = name;
  hostile.task_id = "/../../x";
  network.run([&]() -> Awaitable<void> { EXPECT_EQ(co_await keep(store, hostile, 1), "kept"); }());
  EXPECT_EQ(names_in(directory.path()), Names{"inner"});
  EXPECT_EQ(names_in(directory.file("inner")), Names{"20260117T103000.123Z--------x-" + alice.text() + ".receipt"});
}

TEST_F(Receipts, ThatAreThereCount) {
  write_file(directory.file(file_of(alice)), std::string(2 * block, 'r'));
  write_file(directory.file(file_of(bob)), std::string(block, 'r'));
  write_file(directory.file("notes.receipt"), std::string(1000, 'r'));
  write_file(directory.file("notes"), std::string(1000, 'r'));
  EXPECT_EQ(ReceiptStore(pool, directory.path(), plenty).used(), 3 * block);
}

TEST_F(Receipts, CountTheBlocksThatTheyTake) {
  EXPECT_EQ(receipt_size_limit(1) % block, 0U);
  {
    ReceiptStore store(pool, directory.path(), 4 * block);
    network.run([&]() -> Awaitable<void> {
      EXPECT_EQ(co_await keep(store, name, 1), "kept");
      EXPECT_EQ(store.used(), block);
      EXPECT_EQ(co_await keep(store, name, block), "kept");
      EXPECT_EQ(store.used(), 2 * block);
      EXPECT_NE(co_await keep(store, name, 2 * block + 1), "kept");
      EXPECT_EQ(co_await keep(store, name, block + 1), "kept");
      EXPECT_TRUE(co_await store.look_again(network.clock().now()));
      EXPECT_EQ(store.used(), 4 * block);
      EXPECT_TRUE(store.full(1));
    }());
  }
  EXPECT_EQ(ReceiptStore(pool, directory.path(), plenty).used(), 4 * block);
}

TEST_F(Receipts, ThatWereNotFinishedAreClearedAway) {
  write_file(directory.file(file_of(alice) + ".tmp-Ab3dE6"), std::string(100, 'r'));
  write_file(directory.file("notes.tmp-Ab3dE6"), "somebody else's");
  const ReceiptStore store(pool, directory.path(), plenty);
  EXPECT_EQ(store.used(), 0U);
  EXPECT_EQ(names_in(directory.path()), Names{"notes.tmp-Ab3dE6"});
}

TEST_F(Receipts, FillTheirDirectoryToItsLimit) {
  ReceiptStore store(pool, directory.path(), 10 * block);
  network.run([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await keep(store, name, 6 * block), "kept");
    EXPECT_FALSE(store.full(4 * block));
    EXPECT_TRUE(store.full(4 * block + 1));
    EXPECT_EQ(co_await keep(store, name, 4 * block + 1),
              "there is no room for another receipt in " + directory.path() + ": move old ones away");
    EXPECT_EQ(co_await keep(store, name, 4 * block), "kept");
    EXPECT_FALSE(store.full(0));
    EXPECT_TRUE(store.full(1));
  }());
  EXPECT_EQ(names_in(directory.path()).size(), 2U);
  // Where there is more than that already, nothing is added.
  const std::string more = directory.file("more");
  fs::create_directory(more);
  write_file(more + "/" + file_of(alice), std::string(20 * block, 'r'));
  EXPECT_TRUE(ReceiptStore(pool, more, 10 * block).full(1));
}

TEST_F(Receipts, HaveRoomAgainWhenOldOnesWereMovedAway) {
  ReceiptStore store(pool, directory.path(), 10 * block);
  network.run([&]() -> Awaitable<void> {
    const Time now = network.clock().now();
    EXPECT_EQ(co_await keep(store, name, 10 * block), "kept");
    for (const Duration later : {Duration::zero(), Duration(limits::receipts_look)}) {
      fs::remove(directory.file(names_in(directory.path()).at(0)));
      EXPECT_TRUE(store.full(1));
      EXPECT_TRUE(co_await store.look_again(now + later));
      EXPECT_FALSE(store.full(10 * block));
      EXPECT_EQ(co_await keep(store, name, 10 * block), "kept");
      EXPECT_FALSE(co_await store.look_again(now + later + limits::receipts_look - std::chrono::milliseconds(1)));
      EXPECT_TRUE(store.full(1));
    }
  }());
}

TEST_F(Receipts, ThatCannotBeLookedAtStayCounted) {
  const std::string inner = directory.file("inner");
  ReceiptStore store(pool, inner, 10 * block);
  network.run([&]() -> Awaitable<void> {
    EXPECT_EQ(co_await keep(store, name, 6 * block), "kept");
    fs::remove_all(inner);
    EXPECT_TRUE(co_await store.look_again(network.clock().now()));
    EXPECT_EQ(store.used(), 6 * block);
  }());
}

TEST_F(Receipts, ThatAreWrittenWhileItLooksCountInAnyCase) {
  for (const bool written_first : {true, false}) {
    HeldPool held(network.loop());
    ReceiptStore store(held, directory.path(), 100 * block);
    const std::uint64_t before = store.used();
    network.run([&]() -> Awaitable<void> {
      TaskGroup group(network.loop());
      const auto write = [&]() -> Awaitable<void> { EXPECT_EQ(co_await keep(store, name, 3 * block), "kept"); };
      const auto look = [&]() -> Awaitable<void> { EXPECT_TRUE(co_await store.look_again(network.clock().now())); };
      if (written_first) group.spawn(write());
      group.spawn(look());
      if (!written_first) group.spawn(write());
      EXPECT_EQ(held.begun, 2U);
      held.free.open();
      co_await group.join();
    }());
    EXPECT_EQ(store.used(), before + 3 * block);
  }
}

TEST_F(Receipts, ThatAreWrittenAtOnceStayWithinTheLimitTogether) {
  HeldPool held(network.loop());
  ReceiptStore store(held, directory.path(), 10 * block);
  std::size_t kept = 0;
  network.run([&]() -> Awaitable<void> {
    TaskGroup group(network.loop());
    const auto one = [&]() -> Awaitable<void> {
      const std::string said = co_await keep(store, name, 3 * block);
      if (said == "kept") ++kept;
    };
    for (int i = 0; i < 5; ++i) group.spawn(one());
    const auto let = [&]() -> Awaitable<void> {
      EXPECT_EQ(held.begun, 3U);
      EXPECT_EQ(store.used(), 9 * block);
      held.free.open();
      co_return;
    };
    group.spawn(let());
    co_await group.join();
  }());
  EXPECT_EQ(kept, 3U);
  EXPECT_EQ(names_in(directory.path()).size(), 3U);
}

TEST_F(Receipts, ThatCannotBeWrittenTakeNoRoom) {
  const std::string inner = directory.file("inner");
  ReceiptStore store(pool, inner, 10 * block);
  fs::remove(inner);
  network.run([&]() -> Awaitable<void> {
    const std::string said = co_await keep(store, name, 10 * block);
    EXPECT_EQ(said, "the receipt cannot be kept: cannot create " + inner + "/" + file_of(alice) + ": No such file or directory");
    EXPECT_EQ(store.used(), 0U);
    fs::create_directory(inner);
    EXPECT_EQ(co_await keep(store, name, 10 * block), "kept");
  }());
}

TEST_F(Receipts, AreNotWrittenByTwoStoresIntoOneDirectory) {
  {
    const ReceiptStore store(pool, directory.path(), plenty);
    EXPECT_EQ(refusal(directory.path()),
              "cannot keep receipts in " + directory.path() + ": another agent does so already; give each a directory of its own");
  }
  EXPECT_EQ(refusal(directory.path()), "");
}

TEST_F(Receipts, NeedADirectory) {
  write_file(directory.file("file"), "");
  EXPECT_EQ(refusal(directory.file("file")), "cannot keep receipts in " + directory.file("file") + ": Not a directory");
  EXPECT_EQ(refusal(directory.file("a/b")), "cannot keep receipts in " + directory.file("a/b") + ": No such file or directory");
}

TEST_F(Receipts, NeedADirectoryThatCanBeWritten) {
  const auto said = on_small_disk(directory.path(), 64 * 1024, [&] {
    make_read_only(directory.path());
    return refusal(directory.path());
  });
  if (!said) GTEST_SKIP() << "this needs a file system of its own, and there is none to be had";
  EXPECT_NE(said->find("Read-only file system"), std::string::npos) << *said;
}

TEST_F(Receipts, AreKeptWholeOrNotAtAllWhenTheDiskIsFull) {
  const auto said = on_small_disk(directory.path(), 256 * 1024, [&] {
    ReceiptStore store(pool, directory.path(), plenty);
    std::string heard;
    network.run([&]() -> Awaitable<void> {
      EXPECT_EQ(co_await keep(store, name, 100 * 1024), "kept");
      heard = co_await keep(store, name, 200 * 1024);
    }());
    if (store.used() != 100 * 1024 || names_in(directory.path()) != Names{file_of(alice)})
      return std::string("more is there than was kept");
    return heard;
  });
  if (!said) GTEST_SKIP() << "this needs a file system of its own, and there is none to be had";
  EXPECT_EQ(*said, "the receipt cannot be kept: cannot write " + directory.file(file_of(alice, "-2")) + ": No space left on device");
}

TEST_F(Receipts, AreWrittenOnThreadsOfARealPool) {
  System system;
  ReceiptStore store(system.environment().pool, directory.path(), plenty);
  const auto work = [&]() -> Awaitable<void> {
    TaskGroup group(system.loop());
    const auto one = [&](std::size_t size) -> Awaitable<void> { EXPECT_EQ(co_await keep(store, name, size), "kept"); };
    for (std::size_t i = 1; i <= 20; ++i) group.spawn(one(1000 * i));
    co_await group.join();
  };
  system.run(work());
  EXPECT_EQ(names_in(directory.path()).size(), 20U);
  EXPECT_EQ(store.used(), 60 * block);  // for 210 kB
}

TEST(ReceiptSizeLimit, IsThatOfTheLargestReceipt) {
  EXPECT_EQ(receipt_size_limit(limits::task_frame), receipt_space(receipt_limit));
  EXPECT_EQ(make_receipt(Bytes(limits::task_frame), Bytes(limits::task_frame)).size(), receipt_limit);
}

}  // namespace
}  // namespace p2p::test
