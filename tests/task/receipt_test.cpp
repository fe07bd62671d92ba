#include "task/receipt.hpp"

#include "base/coding.hpp"
#include "support/hex.hpp"
#include "support/task_vector.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::hex;
using test::provider;
using test::requester;
using test::result_frame;
using test::result_payload;
using test::task_frame;
using test::task_payload;

constexpr const char* task_shape = "the task is not in an envelope as the protocol has it";
constexpr const char* task_cut = "the receipt ends before its task does, or is none";
constexpr const char* result_cut = "the receipt ends before its result does";

Bytes joined(ByteView a, ByteView b) {
  Bytes both(a.begin(), a.end());
  append(both, b);
  return both;
}
Bytes vector_receipt() { return joined(task_frame, result_frame); }

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string changed(text);
  changed.replace(changed.find(from), from.size(), to);
  return changed;
}

Bytes sealed_task(std::string_view payload) { return seal_message(requester(), MessageKind::task, payload); }
Bytes sealed_result(std::string_view payload) { return seal_message(provider(), MessageKind::result, payload); }

/// A receipt of `task` whose result answers it, but for what the test replaces.
Bytes receipt_of(std::string_view task, std::string_view result) {
  return make_receipt(sealed_task(task), sealed_result(replaced(result, test::task_sha256, task_hash(as_bytes(task)))));
}

std::string fault(ByteView receipt) {
  const Result<Receipt> checked = check_receipt(receipt);
  return checked ? "" : checked.error().reason;
}

const std::string rejection =
    R"({"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","status":"rejected","error":{"code":"invalid_task","message":"no"},)"
    R"("timestamp":"2026-01-17T10:30:01Z","recipient":"12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",)"
    R"("task_sha256":"df9d614954e59ebb88865b23ec7bb4494efe16c42c4acdad03f525a380d1dd0c"})";

TEST(Receipt, OfTheDocumentsVectorHolds) {
  const Receipt receipt = check_receipt(vector_receipt()).value();
  EXPECT_EQ(receipt.requester.text(), test::requester_id);
  EXPECT_EQ(receipt.provider.text(), test::provider_id);
  EXPECT_EQ(receipt.task.value().prompt(), "Hello, P2P AI!");
  EXPECT_EQ(receipt.task->timestamp, "2026-01-17T10:30:00Z");
  EXPECT_EQ(receipt.problem, "");
  EXPECT_EQ(receipt.result.text, "Processed: Hello, P2P AI!");
  EXPECT_EQ(receipt.result.timestamp, "2026-01-17T10:30:01Z");
  EXPECT_TRUE(receipt.addressed);
}

TEST(Receipt, IsTheTwoFramesAsTheyCrossedTheWire) {
  EXPECT_EQ(to_hex(make_receipt(sealed_task(task_payload), sealed_result(result_payload))), to_hex(vector_receipt()));
}

TEST(Receipt, DoesNotHoldWithAnyBitFlipped) {
  const Bytes receipt = vector_receipt();
  for (std::size_t bit = 0; bit < receipt.size() * 8; ++bit) {
    Bytes damaged = receipt;
    damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
    EXPECT_TRUE(check_receipt(damaged).has_error()) << "bit " << bit;
  }
}

TEST(Receipt, OfATaskWithoutRecipientDoesNotHoldWithAnyBitFlippedEither) {
  const std::string task = replaced(task_payload, R"(,"recipient":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")", "");
  const Bytes receipt = receipt_of(task, result_payload);
  EXPECT_FALSE(check_receipt(receipt).value().addressed);
  for (std::size_t bit = 0; bit < receipt.size() * 8; ++bit) {
    Bytes damaged = receipt;
    damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
    EXPECT_TRUE(check_receipt(damaged).has_error()) << "bit " << bit;
  }
}

TEST(Receipt, DoesNotHoldAtAnyTruncation) {
  const Bytes receipt = vector_receipt();
  for (std::size_t size = 0; size < receipt.size(); ++size) {
    const Result<Receipt> checked = check_receipt(ByteView(receipt).first(size));
    ASSERT_TRUE(checked.has_error()) << size;
    EXPECT_EQ(checked.error().code, Errc::malformed) << size;
    EXPECT_STREQ(checked.error().reason, size < task_frame.size() ? task_cut : result_cut) << size;
  }
}

TEST(Receipt, EndsWithTheResult) {
  Bytes longer = vector_receipt();
  longer.push_back(0);
  EXPECT_EQ(fault(longer), "something stands behind the result");
  EXPECT_EQ(fault(joined(vector_receipt(), vector_receipt())), "something stands behind the result");
}

TEST(Receipt, HasTheTaskFirstAndOneOfEach) {
  EXPECT_EQ(fault(joined(result_frame, task_frame)), "the first message is not a task");
  EXPECT_EQ(fault(joined(task_frame, task_frame)), "the second message is not a result");
  const Bytes update = seal_message(provider(), MessageKind::update, result_payload);
  EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), update)), "the second message is not a result");
}

TEST(Receipt, NeedsBothSignatures) {
  const auto forged = [](Bytes envelope) {
    envelope.back() ^= 1;
    return envelope;
  };
  EXPECT_EQ(fault(make_receipt(forged(sealed_task(task_payload)), sealed_result(result_payload))),
            "the task's signature does not hold, or is for something else");
  EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), forged(sealed_result(result_payload)))),
            "the result's signature does not hold, or is for something else");
}

TEST(Receipt, CarriesNothingThatIsNotSigned) {
  Bytes padded = sealed_task(task_payload);
  append(padded, hex("2000"));  // a field that envelopes do not have
  EXPECT_EQ(fault(make_receipt(padded, sealed_result(result_payload))), task_shape);
  Bytes twice = sealed_task(task_payload);
  const Bytes first = hex("1200");  // an empty payload type, replaced by the one behind it
  twice.insert(twice.begin(), first.begin(), first.end());
  EXPECT_EQ(fault(make_receipt(twice, sealed_result(result_payload))), task_shape);
  Bytes wordy = sealed_task(task_payload);
  wordy[1] = 0xa4;  // the length of the key, in two bytes instead of one
  wordy.insert(wordy.begin() + 2, 0x00);
  EXPECT_EQ(fault(make_receipt(wordy, sealed_result(result_payload))), task_shape);
}

TEST(Receipt, HasItsLengthsInTheirShortestForm) {
  Bytes wordy = hex("d48200");
  append(wordy, ByteView(task_frame).subspan(2));
  EXPECT_EQ(fault(joined(wordy, result_frame)), task_cut);
}

TEST(Receipt, HasFramesOfAtMostTheProtocolsSize) {
  const auto of_size = [](std::size_t size) {
    const std::string blanks(limits::task_frame - 1000, ' ');
    const std::size_t around = sealed_task(std::string(task_payload) + blanks).size() - blanks.size();
    return sealed_task(std::string(task_payload) + std::string(size - around, ' '));
  };
  const Bytes largest = of_size(limits::task_frame);
  ASSERT_EQ(largest.size(), limits::task_frame);
  const Bytes payload = open_message(largest).value().payload;
  const Bytes result = sealed_result(replaced(result_payload, test::task_sha256, task_hash(payload)));
  EXPECT_EQ(fault(make_receipt(largest, result)), "");
  EXPECT_EQ(fault(make_receipt(of_size(limits::task_frame + 1), result)), "the task's frame is longer than the protocol allows");
  EXPECT_EQ(check_receipt(make_receipt(sealed_task(task_payload), Bytes(limits::task_frame + 1))).error().code, Errc::too_large);
  EXPECT_EQ(make_receipt(largest, largest).size(), receipt_limit);
}

TEST(Receipt, OfAnotherTasksResultDoesNotHold) {
  const std::string other = replaced(task_payload, "Hello", "hello");
  EXPECT_EQ(fault(make_receipt(sealed_task(other), sealed_result(result_payload))),
            "the result answers another task: its hash is different");
  const std::string renamed = replaced(result_payload, "7f9c24e5", "8f9c24e5");
  EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), sealed_result(renamed))), "the result answers another task: its id is different");
  const std::string unnamed = replaced(result_payload, test::vector_id, nil_task_id);
  EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), sealed_result(unnamed))), "the result answers another task: its id is different");
}

TEST(Receipt, OfAResultMeantForAnotherPeerDoesNotHold) {
  for (const std::string_view recipient : {test::provider_id, std::string_view("nobody"), std::string_view("")}) {
    const std::string result = replaced(result_payload, test::requester_id, recipient);
    EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), sealed_result(result))),
              "the result is meant for another peer than the one that asked");
  }
}

TEST(Receipt, OfATaskMeantForAnotherPeerDoesNotHold) {
  for (const std::string_view recipient : {test::requester_id, std::string_view("nobody"), std::string_view("")}) {
    EXPECT_EQ(fault(receipt_of(replaced(task_payload, test::provider_id, recipient), result_payload)),
              "the task was meant for another peer than the one that answered");
  }
}

TEST(Receipt, NamesPeersInAnyFormOfTheirIds) {
  const std::string result =
      replaced(result_payload, test::requester_id, "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6");
  EXPECT_EQ(fault(receipt_of(task_payload, result)), "");
}

TEST(Receipt, OfAResultThatIsNoneDoesNotHold) {
  EXPECT_EQ(fault(make_receipt(sealed_task(task_payload), sealed_result("{}"))), "the result is not as the protocol says");
}

TEST(Receipt, ShowsThatAnInvalidTaskWasRejected) {
  const std::string task = replaced(task_payload, "\"timestamp\"", "\"timestamps\"");
  const Receipt receipt = check_receipt(receipt_of(task, rejection)).value();
  EXPECT_FALSE(receipt.task);
  EXPECT_EQ(receipt.problem, "timestamp is missing");
  EXPECT_TRUE(receipt.addressed);
  EXPECT_EQ(receipt.result.status, Status::rejected);
  EXPECT_EQ(fault(receipt_of(replaced(task, test::provider_id, test::requester_id), rejection)),
            "the task was meant for another peer than the one that answered");
  EXPECT_EQ(fault(receipt_of(task, result_payload)), "the task is not as the protocol says, and yet it was not rejected");
}

TEST(Receipt, OfARejectedTaskMayHaveNoTaskId) {
  const std::string unnamed = replaced(rejection, test::vector_id, nil_task_id);
  EXPECT_EQ(fault(receipt_of(task_payload, unnamed)), "");
  const Receipt receipt = check_receipt(receipt_of("no JSON", unnamed)).value();
  EXPECT_FALSE(receipt.addressed);
  EXPECT_EQ(fault(receipt_of("no JSON", rejection)), "the result answers another task: its id is different");
}

}  // namespace
}  // namespace p2p
