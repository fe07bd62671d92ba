#include "task/message.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "identity/envelope.hpp"
#include "support/hex.hpp"
#include "support/keys.hpp"
#include "support/random.hpp"
#include "support/task_vector.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <set>
#include <utility>

namespace p2p {
namespace {

using test::hex;
using test::key_of;

using test::provider;
using test::provider_id;
using test::requester;
using test::requester_id;
using test::result_frame;
using test::result_payload;
using test::task_frame;
using test::task_payload;
using test::task_sha256;
using test::vector_id;

Bytes framed(ByteView envelope) {
  Bytes frame;
  put_uvarint(frame, envelope.size());
  append(frame, envelope);
  return frame;
}
// Both lengths take two bytes.
ByteView task_envelope() { return ByteView(task_frame).subspan(2); }
ByteView result_envelope() { return ByteView(result_frame).subspan(2); }

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(Message, TheTaskFrameIsThatOfTheDocument) {
  EXPECT_EQ(task_payload.size(), 212U);
  EXPECT_EQ(task_frame.size(), 342U);
  EXPECT_EQ(requester().peer_id().text(), requester_id);
  EXPECT_EQ(to_hex(framed(seal_message(requester(), MessageKind::task, task_payload))), to_hex(task_frame));
}

TEST(Message, TheResultFrameIsThatOfTheDocument) {
  EXPECT_EQ(result_payload.size(), 318U);
  EXPECT_EQ(result_frame.size(), 450U);
  EXPECT_EQ(provider().peer_id().text(), provider_id);
  EXPECT_EQ(to_hex(framed(seal_message(provider(), MessageKind::result, result_payload))), to_hex(result_frame));
}

TEST(Message, TheHashOfATaskIsThatOfItsPayload) { EXPECT_EQ(task_hash(as_bytes(task_payload)), task_sha256); }

TEST(Message, TheDocumentsFramesAreOpened) {
  const OpenedMessage task = open_message(task_envelope(), key_of(requester().peer_id())).value();
  EXPECT_EQ(task.kind, MessageKind::task);
  EXPECT_EQ(as_text(task.payload), task_payload);
  const OpenedMessage result = open_message(result_envelope(), key_of(provider().peer_id())).value();
  EXPECT_EQ(result.kind, MessageKind::result);
  EXPECT_EQ(as_text(result.payload), result_payload);
}

TEST(Message, IsOpenedAsTheKindItWasSealedAs) {
  const KeyPair keys = provider();
  for (const auto& [kind, type] : {std::pair(MessageKind::task, "/p2p-ai-agents/task"),
                                   {MessageKind::update, "/p2p-ai-agents/update"},
                                   {MessageKind::result, "/p2p-ai-agents/result"},
                                   {MessageKind::info, "/p2p-ai-agents/info"}}) {
    const Bytes envelope = seal_message(keys, kind, "{}");
    EXPECT_EQ(open_message(envelope, key_of(keys.peer_id())).value().kind, kind);
    EXPECT_EQ(to_hex(envelope), to_hex(seal_envelope(keys, "p2p-ai-agents", as_bytes(type), as_bytes("{}"))));
  }
}

TEST(Message, CannotBePassedOffAsAnotherKind) {
  // The texts are of one length, so that nothing but the signature tells.
  const auto with = [](ByteView envelope, std::string_view from, std::string_view to) {
    std::string text(as_text(envelope));
    text.replace(text.find(from), from.size(), to);
    return to_bytes(text);
  };
  const Bytes info = with(task_envelope(), "/p2p-ai-agents/task", "/p2p-ai-agents/info");
  EXPECT_EQ(open_message(info, key_of(requester().peer_id())).error().code, Errc::unverified);
  const Bytes update = with(result_envelope(), "/p2p-ai-agents/result", "/p2p-ai-agents/update");
  EXPECT_EQ(open_message(update, key_of(provider().peer_id())).error().code, Errc::unverified);
}

TEST(Message, OfAnUnknownKindIsRefused) {
  const KeyPair keys = provider();
  for (const char* const type :
       {"", "task", "/p2p-ai-agents/", "/p2p-ai-agents/tas", "/p2p-ai-agents/task2", "/p2p-ai-agents/Task", "/p2p-ai-agents/task/1.0.0"}) {
    const Bytes envelope = seal_envelope(keys, "p2p-ai-agents", as_bytes(type), as_bytes(task_payload));
    EXPECT_EQ(open_message(envelope, key_of(keys.peer_id())).error().code, Errc::unverified) << type;
  }
}

TEST(Message, OfAnotherDomainIsRefused) {
  const KeyPair keys = provider();
  for (const char* const domain : {"", "p2p-ai-agent", "p2p-ai-agents2", "P2P-AI-AGENTS", "libp2p-peer-record"}) {
    const Bytes envelope = seal_envelope(keys, domain, as_bytes("/p2p-ai-agents/task"), as_bytes(task_payload));
    EXPECT_EQ(open_message(envelope, key_of(keys.peer_id())).error().code, Errc::unverified) << domain;
  }
}

TEST(Message, OfAnotherSignerIsRefused) {
  EXPECT_EQ(open_message(task_envelope(), key_of(provider().peer_id())).error().code, Errc::unverified);
  EXPECT_EQ(open_message(result_envelope(), key_of(requester().peer_id())).error().code, Errc::unverified);
}

TEST(Message, IsRefusedWithAnyBitFlipped) {
  const auto sweep = [](ByteView envelope, const PeerId& from) {
    for (std::size_t bit = 0; bit < envelope.size() * 8; ++bit) {
      Bytes damaged(envelope.begin(), envelope.end());
      damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
      EXPECT_TRUE(open_message(damaged, key_of(from)).has_error()) << "bit " << bit;
    }
  };
  sweep(task_envelope(), requester().peer_id());
  sweep(result_envelope(), provider().peer_id());
}

TEST(Message, IsRefusedAtEveryTruncation) {
  for (std::size_t size = 0; size < task_envelope().size(); ++size) {
    EXPECT_TRUE(open_message(task_envelope().first(size), key_of(requester().peer_id())).has_error()) << size;
  }
  for (std::size_t size = 0; size < result_envelope().size(); ++size) {
    EXPECT_TRUE(open_message(result_envelope().first(size), key_of(provider().peer_id())).has_error()) << size;
  }
}

TEST(Message, ThatIsNoEnvelopeIsMalformed) {
  for (const Bytes& bytes : {Bytes(), to_bytes(task_payload), hex("00"), hex("ffffffff")}) {
    EXPECT_EQ(open_message(bytes, key_of(requester().peer_id())).error().code, Errc::malformed) << to_hex(bytes);
  }
}

TEST(Message, TheSignatureCoversTheBytesAsSent) {
  // The same object, written otherwise.
  std::string text(as_text(task_envelope()));
  text[text.find("Hello, P2P")] = 'h';
  EXPECT_EQ(open_message(as_bytes(text), key_of(requester().peer_id())).error().code, Errc::unverified);
  const std::string payload = "  " + std::string(task_payload) + "\n";
  const Bytes envelope = seal_message(requester(), MessageKind::task, payload);
  EXPECT_EQ(as_text(open_message(envelope, key_of(requester().peer_id())).value().payload), payload);
  EXPECT_NE(task_hash(as_bytes(payload)), task_sha256);
}

// Members, by tables: a valid object in which one member is another.

struct Object {
  std::vector<std::pair<std::string, std::string>> members;

  /// With the member `name` written as `value`, as it is; without it where `value` is empty.
  Object with(std::string_view name, std::string_view value) const {
    Object changed;
    for (const auto& member : members) {
      if (member.first != name) changed.members.push_back(member);
    }
    if (!value.empty()) changed.members.emplace_back(name, value);
    return changed;
  }
  std::string text() const {
    std::string all;
    for (const auto& [name, value] : members) all += (all.empty() ? "{\"" : ",\"") + name + "\":" + value;
    return all.empty() ? "{}" : all + "}";
  }
};

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

const Object task_object{{{"task_id", in_quotes(vector_id)},
                          {"task_type", "\"inference\""},
                          {"input", R"({"prompt":"p"})"},
                          {"timestamp", "\"2026-01-17T10:30:00Z\""},
                          {"recipient", in_quotes(provider_id)},
                          {"timeout_ms", "30000"},
                          {"linger_ms", "500"},
                          {"stream", "true"}}};
const Object update_object{{{"task_id", in_quotes(vector_id)}, {"seq", "3"}, {"text", "\"piece\""}}};
const Object result_object{{{"task_id", in_quotes(vector_id)},
                            {"status", "\"completed\""},
                            {"output", R"({"text":"t"})"},
                            {"timestamp", "\"2026-01-17T10:30:01Z\""},
                            {"recipient", in_quotes(requester_id)},
                            {"task_sha256", in_quotes(task_sha256)},
                            {"executor", "\"mock\""},
                            {"model", "\"m\""},
                            {"finish_reason", "\"stop\""},
                            {"queued_ms", "0"},
                            {"run_ms", "1"},
                            {"usage", R"({"prompt_tokens":3,"completion_tokens":4})"}}};
const Object failed_object =
    result_object.with("status", "\"failed\"").with("output", "").with("error", R"({"code":"executor_failed","message":"m"})");
const Object cancelled_object =
    failed_object.with("status", "\"cancelled\"").with("error", R"({"code":"deadline_exceeded","message":"the task's time was over"})");
const Object rejected_object = failed_object.with("status", "\"rejected\"")
                                   .with("executor", "")
                                   .with("error", R"({"code":"busy","message":"later","retry_after_ms":5})");
const Object info_object{{{"agent", "\"p2p-ai-agents/0.1.0\""},
                          {"timestamp", "\"2026-01-17T10:30:00Z\""},
                          {"recipient", in_quotes(requester_id)},
                          {"executors", R"([{"task_type":"inference","executor":"openai","models":["a","b"]}])"},
                          {"queue", R"({"running":1,"waiting":2,"slots":3,"capacity":4})"},
                          {"name", "\"desk\""},
                          {"may_ask", "true"}}};

std::string problem_of(const std::string& payload) {
  const ParsedTask parsed = parse_task(as_bytes(payload));
  EXPECT_EQ(parsed.task.has_value(), parsed.problem.empty()) << payload;
  return parsed.problem;
}
std::string problem_of(const Object& object) { return problem_of(object.text()); }

Result<Update> update_in(ByteView payload) { return parse_update(payload); }
Result<TaskResult> result_in(ByteView payload) { return parse_result(payload); }

/// Whether a message verifies. One whose members are wrong must be unverified.
template <class Message>
bool verifies(Result<Message> (*parse)(ByteView), const Object& object) {
  const Result<Message> message = parse(as_bytes(object.text()));
  EXPECT_TRUE(message || message.error().code == Errc::unverified) << object.text();
  return message.has_value();
}

struct Rule {
  const char* member;
  std::string value;
  const char* problem;  ///< empty: none
};

TEST(Task, OfTheDocumentIsRead) {
  const Task task = parse_task(as_bytes(task_payload)).task.value();
  EXPECT_EQ(task.task_id, vector_id);
  EXPECT_EQ(task.task_type, "inference");
  EXPECT_EQ(task.prompt(), "Hello, P2P AI!");
  EXPECT_EQ(task.timestamp, "2026-01-17T10:30:00Z");
  EXPECT_EQ(task.recipient, provider_id);
  EXPECT_EQ(task.timeout_ms, std::nullopt);
  EXPECT_EQ(task.linger_ms, 0U);
  EXPECT_FALSE(task.stream);
  EXPECT_EQ(task.to_json(), task_payload);
}

TEST(Task, NeedsNoMoreThanTheFourMembersOfTheArchitecture) {
  const Task task = parse_task(as_bytes(R"({
    "task_id": "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b",
    "task_type": "inference",
    "input": { "prompt": "Hello, P2P AI!" },
    "timestamp": "2026-01-17T10:30:00Z"
  })"))
                        .task.value();
  EXPECT_EQ(task.recipient, std::nullopt);
  EXPECT_EQ(task.prompt(), "Hello, P2P AI!");
}

TEST(Task, KeepsItsMembersWhenItIsWrittenAndReadAgain) {
  const Task task = parse_task(as_bytes(task_object.text())).task.value();
  EXPECT_EQ(task.recipient, provider_id);
  EXPECT_EQ(task.timeout_ms, 30000U);
  EXPECT_EQ(task.linger_ms, 500U);
  EXPECT_TRUE(task.stream);
  EXPECT_EQ(task.to_json(), task_object.text());
}

TEST(Task, EachMemberIsAsTheDocumentSays) {
  const char* const id = "task_id is not a version 4 UUID in lower case";
  const char* const type = "task_type is not 1 to 64 characters of a-z 0-9 . _ -";
  const char* const timeout = "timeout_ms is not between 1 and 86400000";
  const char* const no_timeout = "timeout_ms is not an integer of 0 or more";
  const char* const linger = "linger_ms is not between 0 and 60000";
  const char* const no_linger = "linger_ms is not an integer of 0 or more";
  const char* const no_stream = "stream is neither true nor false";
  for (const Rule& rule : std::vector<Rule>{
           {"task_id", "", "task_id is missing"},
           {"task_id", "null", "task_id is missing"},
           {"task_id", "1", "task_id is not a string"},
           {"task_id", "\"\"", id},
           {"task_id", "\"7F9C24E5-2B4A-4D6F-9A37-0C1D2E3F4A5B\"", id},
           {"task_id", "\"7f9c24e5-2b4a-1d6f-9a37-0c1d2e3f4a5b\"", id},  // version 1
           {"task_id", "\"7f9c24e5-2b4a-4d6f-7a37-0c1d2e3f4a5b\"", id},  // another variant
           {"task_id", "\"7f9c24e5-2b4a-4d6f-ca37-0c1d2e3f4a5b\"", id},
           {"task_id", "\"7f9c24e5-2b4a-4d6f-0a37-0c1d2e3f4a5b\"", id},
           {"task_id", "\"7f9c24e5-2b4a-4d6f-ba37-0c1d2e3f4a5b\"", ""},
           {"task_id", "\"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5\"", id},
           {"task_id", "\"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b0\"", id},
           {"task_id", "\"7f9c24e52b4a4d6f9a370c1d2e3f4a5b\"", id},
           {"task_id", "\"7f9c24e5+2b4a-4d6f-9a37-0c1d2e3f4a5b\"", id},
           {"task_id", "\"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5g\"", id},
           {"task_id", "\"7f9c24e-52b4a-4d6f-9a37-0c1d2e3f4a5b\"", id},
           {"task_id", "\"{7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a}\"", id},
           {"task_id", in_quotes(nil_task_id), id},

           {"task_type", "", "task_type is missing"},
           {"task_type", "null", "task_type is missing"},
           {"task_type", "[]", "task_type is not a string"},
           {"task_type", "\"\"", type},
           {"task_type", "\"Inference\"", type},
           {"task_type", "\"in ference\"", type},
           {"task_type", "\"inf\\u00e9rence\"", type},
           {"task_type", "\"inference\\u0000\"", type},
           {"task_type", "\"az.09_-\"", ""},
           {"task_type", in_quotes(std::string(limits::task_type, 'a')), ""},
           {"task_type", in_quotes(std::string(limits::task_type + 1, 'a')), type},

           {"input", "", "input is missing"},
           {"input", "null", "input is missing"},
           {"input", "\"p\"", "input is not an object"},
           {"input", "[]", "input is not an object"},

           {"timestamp", "", "timestamp is missing"},
           {"timestamp", "null", "timestamp is missing"},
           {"timestamp", "1768645800", "timestamp is not a string"},

           {"recipient", "", ""},
           {"recipient", "null", ""},
           {"recipient", "\"nobody at all\"", ""},  // whom it is meant for is asked later
           {"recipient", "1", "recipient is not a string"},
           {"recipient", "{}", "recipient is not a string"},

           {"timeout_ms", "", ""},
           {"timeout_ms", "null", ""},
           {"timeout_ms", "0", timeout},
           {"timeout_ms", "1", ""},
           {"timeout_ms", std::to_string(limits::timeout_ms_max), ""},
           {"timeout_ms", std::to_string(limits::timeout_ms_max + 1), timeout},
           {"timeout_ms", "18446744073709551615", timeout},
           {"timeout_ms", "18446744073709551616", no_timeout},
           {"timeout_ms", "-1", no_timeout},
           {"timeout_ms", "3e4", no_timeout},
           {"timeout_ms", "30000.0", no_timeout},
           {"timeout_ms", "\"30000\"", no_timeout},
           {"timeout_ms", "true", no_timeout},

           {"linger_ms", "", ""},
           {"linger_ms", "null", ""},
           {"linger_ms", "0", ""},
           {"linger_ms", std::to_string(limits::linger_ms_max), ""},
           {"linger_ms", std::to_string(limits::linger_ms_max + 1), linger},
           {"linger_ms", "-1", no_linger},
           {"linger_ms", "1.5", no_linger},

           {"stream", "", ""},
           {"stream", "null", ""},
           {"stream", "false", ""},
           {"stream", "0", no_stream},
           {"stream", "\"true\"", no_stream},

           {"status", "1", ""},  // what a task doesn't know
           {"Task_id", "null", ""},
           {"x", R"([{"task_id":1.5}])", ""},
       }) {
    EXPECT_EQ(problem_of(task_object.with(rule.member, rule.value)), rule.problem) << rule.member << " " << rule.value;
  }
}

TEST(Task, AnInputForInferenceIsAsTheDocumentSays) {
  const char* const neither = "input needs either prompt or messages";
  const char* const role = "a message is not an object with a role";
  const char* const stop = "stop is neither a string nor an array of strings";
  for (const auto& [input, problem] : std::vector<std::pair<std::string, const char*>>{
           {R"({"prompt":""})", ""},
           {R"({"prompt":"p","messages":null})", ""},
           {R"({"prompt":null,"messages":[{"role":"user"}]})", ""},
           {R"({"messages":[{"role":"system","content":"c"},{"role":"user","content":[{"type":"text","text":"t"}],"name":1}]})", ""},
           {R"({})", neither},
           {R"({"prompt":null})", neither},
           {R"({"prompt":null,"messages":null})", neither},
           {R"({"Prompt":"p"})", neither},
           {R"({"prompt":"p","messages":[{"role":"user","content":"c"}]})", neither},
           {R"({"prompt":1})", "prompt is not a string"},
           {R"({"prompt":["p"]})", "prompt is not a string"},
           {R"({"messages":{}})", "messages is not an array"},
           {R"({"messages":"m"})", "messages is not an array"},
           {R"({"messages":[]})", "messages is empty"},
           {R"({"messages":[{}]})", role},
           {R"({"messages":["m"]})", role},
           {R"({"messages":[null]})", role},
           {R"({"messages":[{"role":null}]})", role},
           {R"({"messages":[{"role":1}]})", role},
           {R"({"messages":[{"role":"user"},{"content":"c"}]})", role},
           {R"({"prompt":"p","model":null,"max_tokens":null,"temperature":null,"top_p":null,"seed":null,"stop":null,"x":null})", ""},
           {R"({"prompt":"p","model":"m","max_tokens":1,"temperature":0.5,"top_p":1,"seed":-3,"stop":"s"})", ""},
           {R"({"prompt":"p","max_tokens":-1,"temperature":-1e3,"top_p":7})", ""},  // the executor's to judge
           {R"({"prompt":"p","stop":[]})", ""},
           {R"({"prompt":"p","stop":["a","b"]})", ""},
           {R"({"prompt":"p","model":1})", "model is not a string"},
           {R"({"prompt":"p","max_tokens":1.0})", "max_tokens is not an integer"},
           {R"({"prompt":"p","max_tokens":"1"})", "max_tokens is not an integer"},
           {R"({"prompt":"p","temperature":"hot"})", "temperature is not a number"},
           {R"({"prompt":"p","top_p":true})", "top_p is not a number"},
           {R"({"prompt":"p","seed":1e3})", "seed is not an integer"},
           {R"({"prompt":"p","stop":1})", stop},
           {R"({"prompt":"p","stop":["a",1]})", stop},
           {R"({"prompt":"p","stop":["a",null]})", stop},
           {R"({"prompt":"p","stop":{}})", stop},
       }) {
    EXPECT_EQ(problem_of(task_object.with("input", input)), problem) << input;
  }
}

TEST(Task, AnInputForAnotherTypeIsItsOwn) {
  const Object other = task_object.with("task_type", "\"embedding\"");
  EXPECT_EQ(problem_of(other.with("input", "{}")), "");
  EXPECT_EQ(problem_of(other.with("input", R"({"prompt":1,"messages":[],"stop":{}})")), "");
  EXPECT_EQ(problem_of(other.with("input", "1")), "input is not an object");
}

TEST(Task, IsJsonUnderTheStricterRules) {
  EXPECT_EQ(problem_of(std::string(task_payload) + "\n"), "");
  EXPECT_EQ(problem_of(std::string(task_payload) + "{}"), "not valid JSON: it does not end where it should");
  EXPECT_EQ(problem_of("\xef\xbb\xbf" + std::string(task_payload)), "not valid JSON");
  EXPECT_EQ(problem_of("[" + std::string(task_payload) + "]"), "JSON, but not an object");
  EXPECT_EQ(problem_of(task_object.with("stre\\u0061m", "true")), "a key stands twice in one object");
  EXPECT_EQ(problem_of(task_object.with("input", R"({"prompt":"p","prompt":"q"})")), "a key stands twice in one object");
  EXPECT_EQ(problem_of(task_object.with("input", R"({"prompt":"\ud800"})")), "not valid JSON");
  // The payload's own object and input are two of the 32.
  const auto deep = [](std::size_t arrays) { return R"({"prompt":"p","x":)" + repeated("[", arrays) + repeated("]", arrays) + "}"; };
  EXPECT_EQ(problem_of(task_object.with("input", deep(30))), "");
  EXPECT_EQ(problem_of(task_object.with("input", deep(31))), "JSON nested too deep");
}

TEST(Task, ARejectionRepeatsTheIdIfAValidOneCouldBeRead) {
  const auto echoed = [](const std::string& payload) { return parse_task(as_bytes(payload)).task_id; };
  EXPECT_EQ(echoed(task_object.text()), vector_id);
  EXPECT_EQ(echoed(task_object.with("input", "").text()), vector_id);
  EXPECT_EQ(echoed(task_object.with("task_type", "1").text()), vector_id);
  EXPECT_EQ(echoed(Object{{{"task_id", in_quotes(vector_id)}}}.text()), vector_id);
  EXPECT_EQ(nil_task_id, "00000000-0000-0000-0000-000000000000");
  EXPECT_EQ(echoed(task_object.with("task_id", "").text()), nil_task_id);
  EXPECT_EQ(echoed(task_object.with("task_id", "\"7F9C24E5-2B4A-4D6F-9A37-0C1D2E3F4A5B\"").text()), nil_task_id);
  EXPECT_EQ(echoed(task_object.text() + "}"), nil_task_id);
  EXPECT_EQ(echoed(task_object.with("task\\u005fid", in_quotes(vector_id)).text()), nil_task_id);
  EXPECT_EQ(echoed(""), nil_task_id);
}

TEST(Task, TimestampsHaveSoManyCharacters) {
  const auto problem = [](std::size_t size) {
    return problem_of(task_object.with("timestamp", in_quotes("2026-01-17T10:30:00." + std::string(size - 21, '0') + "Z")));
  };
  EXPECT_EQ(problem(limits::timestamp), "");
  EXPECT_EQ(problem(limits::timestamp + 1), "timestamp is not a UTC time such as 2026-01-17T10:30:00Z");
}

TEST(Task, TimestampsAreRfc3339InUtc) {
  const auto taken = [](std::string_view timestamp) {
    const std::string problem = problem_of(task_object.with("timestamp", in_quotes(timestamp)));
    EXPECT_TRUE(problem.empty() || problem == "timestamp is not a UTC time such as 2026-01-17T10:30:00Z") << timestamp << ": " << problem;
    return problem.empty();
  };
  for (const char* const good :
       {"2026-01-17T10:30:00Z", "2026-01-17T10:30:00.5Z", "2026-01-17T10:30:00.123456789012345Z", "2024-02-29T00:00:00Z",
        "2000-02-29T23:59:59Z", "2026-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"}) {
    EXPECT_TRUE(taken(good)) << good;
  }
  for (const char* const bad : {"",
                                "Z",
                                "2026-01-17",
                                "2026-01-17T10:30Z",
                                "2026-01-17T10:30:00",
                                "2026-01-17t10:30:00Z",
                                "2026-01-17T10:30:00z",
                                "2026-01-17 10:30:00Z",
                                "2026-01-17T10:30:00+00:00",
                                "2026-01-17T10:30:00-00:00",
                                "2026-01-17T10:30:00+01:00Z",
                                "2026-01-17T10:30:00.Z",
                                "2026-01-17T10:30:00,5Z",
                                "2026-01-17T10:30:00.5.5Z",
                                "2026-01-17T10:30:00.-5Z",
                                "2026-01-17T10:30:00 Z",
                                " 2026-01-17T10:30:00Z",
                                "2026-01-17T10:30:00Z ",
                                "2026-1-17T10:30:00Z",
                                "26-01-17T10:30:00Z",
                                "12026-01-17T10:30:00Z",
                                "-026-01-17T10:30:00Z",
                                "2026/01/17T10:30:00Z",
                                "2026-01-17T10.30.00Z",
                                "2026-00-17T10:30:00Z",
                                "2026-13-17T10:30:00Z",
                                "2026-01-00T10:30:00Z",
                                "2026-01-32T10:30:00Z",
                                "2026-04-31T10:30:00Z",
                                "2026-02-29T10:30:00Z",
                                "2100-02-29T10:30:00Z",
                                "2026-01-17T24:00:00Z",
                                "2026-01-17T10:60:00Z",
                                "2026-01-17T10:30:61Z",
                                "2026-01-17T+1:30:00Z",
                                "2026-01-17T 1:30:00Z",
                                "Sat, 17 Jan 2026 10:30:00 GMT"}) {
    EXPECT_FALSE(taken(bad)) << bad;
  }
}

TEST(Task, SaysWhatToWorkOn) {
  const auto prompt = [](std::string_view input) {
    const ParsedTask parsed = parse_task(as_bytes(task_object.with("input", input).text()));
    return parsed.task ? parsed.task->prompt() : parsed.problem;
  };
  EXPECT_EQ(prompt(R"({"prompt":"a \u00e9 😀"})"), "a é 😀");
  EXPECT_EQ(prompt(R"({"prompt":"p","messages":null})"), "p");
  EXPECT_EQ(prompt(R"({"messages":[{"role":"system","content":"first"},{"role":"user","content":"last"}]})"), "last");
  EXPECT_EQ(prompt(R"({"messages":[{"role":"user","content":[{"type":"text","text":"la"},{"type":"image_url","image_url":{}},)"
                   R"({"type":"text","text":"st"}]}]})"),
            "last");
  EXPECT_EQ(prompt(R"({"messages":[{"role":"user","content":[1,{"text":2},{"text":null},"x"]}]})"), "");
  EXPECT_EQ(prompt(R"({"messages":[{"role":"user","content":"before"},{"role":"user"}]})"), "");
  EXPECT_EQ(prompt(R"({"messages":[{"role":"user","content":null}]})"), "");
  EXPECT_EQ(Task().prompt(), "");
}

TEST(Task, SaysWhichModelItAsksFor) {
  const auto model = [](std::string_view input) {
    return parse_task(as_bytes(task_object.with("input", input).text())).task.value().model();
  };
  EXPECT_EQ(model(R"({"prompt":"p"})"), std::nullopt);
  EXPECT_EQ(model(R"({"prompt":"p","model":null})"), std::nullopt);
  EXPECT_EQ(model(R"({"prompt":"p","model":"m"})"), "m");
}

TEST(Update, EachMemberIsAsTheDocumentSays) {
  const auto holds = [](const Object& object) { return verifies(update_in, object); };
  const Object bare = update_object.with("text", "");
  const Object state = bare.with("state", "\"running\"");
  const Object queued = bare.with("state", "\"queued\"").with("position", "0");
  for (const Object& good : {
           update_object, update_object.with("text", "\"\""), update_object.with("seq", "0"),
           update_object.with("seq", "18446744073709551615"), update_object.with("state", "null"), update_object.with("position", "null"),
           update_object.with("data", "null"), update_object.with("x", "1"), state, state.with("text", "null"), queued,
           queued.with("position", "7"), bare.with("state", "\"dreaming\""),  // a state we don't know
       }) {
    EXPECT_TRUE(holds(good)) << good.text();
  }
  for (const Object& bad : {
           bare,
           state.with("text", "\"\""),
           queued.with("text", "\"piece\""),
           bare.with("data", "{}"),
           update_object.with("data", "{}"),
           state.with("data", "{}"),
           bare.with("text", "null"),
           bare.with("text", "1"),
           bare.with("state", "1"),
           queued.with("position", ""),
           queued.with("position", "null"),
           queued.with("position", "-1"),
           queued.with("position", "0.0"),
           queued.with("position", "\"0\""),
           state.with("position", "{}"),
           update_object.with("seq", ""),
           update_object.with("seq", "null"),
           update_object.with("seq", "-1"),
           update_object.with("seq", "1e0"),
           update_object.with("seq", "1.0"),
           update_object.with("seq", "18446744073709551616"),
           update_object.with("seq", "\"1\""),
           update_object.with("task_id", ""),
           update_object.with("task_id", "null"),
           update_object.with("task_id", "1"),
       }) {
    EXPECT_FALSE(holds(bad)) << bad.text();
  }
}

TEST(Update, HoldsTextUpToItsLimit) {
  const auto holds = [](const std::string& text) { return verifies(update_in, update_object.with("text", in_quotes(text))); };
  EXPECT_EQ(limits::update_text, 65536U);
  EXPECT_TRUE(holds(std::string(limits::update_text, 'a')));
  EXPECT_FALSE(holds(std::string(limits::update_text + 1, 'a')));
  EXPECT_TRUE(holds(repeated("é", limits::update_text / 2)));  // bytes, and not characters
  EXPECT_FALSE(holds(repeated("é", limits::update_text / 2) + "a"));
  EXPECT_TRUE(holds(repeated("\\u0061", limits::update_text)));  // of the text, and not of its JSON
}

TEST(Update, KeepsItsMembersWhenItIsWrittenAndReadAgain) {
  Update text;
  text.task_id = vector_id;
  text.seq = 3;
  text.text = "piece";
  EXPECT_EQ(text.to_json(), update_object.text());
  const Update read = parse_update(as_bytes(text.to_json())).value();
  EXPECT_EQ(read.task_id, vector_id);
  EXPECT_EQ(read.seq, 3U);
  EXPECT_EQ(read.text, "piece");
  EXPECT_EQ(read.state, std::nullopt);
  Update queued;
  queued.task_id = vector_id;
  queued.state = "queued";
  queued.position = 2;
  EXPECT_EQ(queued.to_json(), R"({"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","seq":0,"state":"queued","position":2})");
  const Update again = parse_update(as_bytes(queued.to_json())).value();
  EXPECT_EQ(again.state, "queued");
  EXPECT_EQ(again.position, 2U);
  EXPECT_EQ(again.text, std::nullopt);
}

TEST(Update, CarriesDataWhereTheTypeOfTaskDefinesIt) {
  const Object data = update_object.with("text", "").with("data", R"({"label":"cat"})");
  EXPECT_EQ(parse_update(as_bytes(data.text())).error().code, Errc::unverified);
  const Update read = parse_update(as_bytes(data.text()), "classify").value();
  EXPECT_EQ(boost::json::serialize(read.data.value()), R"({"label":"cat"})");
  EXPECT_EQ(parse_update(as_bytes(read.to_json()), "classify").value().data, read.data);
  for (const Object& bad : {data.with("data", "7"), data.with("text", R"("t")"), data.with("state", R"("running")")}) {
    EXPECT_EQ(parse_update(as_bytes(bad.text()), "classify").error().code, Errc::unverified) << bad.text();
  }
}

TEST(TaskResult, HasTheOutputThatTheTypeOfTaskDefines) {
  const Object other = result_object.with("output", R"({"label":"cat","text":"x"})");
  EXPECT_EQ(parse_result(as_bytes(other.text())).value().text, "x");
  EXPECT_EQ(parse_result(as_bytes(result_object.with("output", R"({"label":"cat"})").text())).error().code, Errc::unverified);
  const TaskResult read = parse_result(as_bytes(other.text()), "classify").value();
  EXPECT_EQ(read.text, std::nullopt);
  EXPECT_EQ(boost::json::serialize(read.output.value()), R"({"label":"cat","text":"x"})");
  EXPECT_EQ(parse_result(as_bytes(read.to_json()), "classify").value().output, read.output);
  EXPECT_EQ(parse_result(as_bytes(result_payload), "classify").value().text, "Processed: Hello, P2P AI!");  // of text alone
  EXPECT_EQ(parse_result(as_bytes(result_object.with("output", "7").text()), "classify").error().code, Errc::unverified);
}

TEST(TaskResult, OfTheDocumentIsRead) {
  const TaskResult result = parse_result(as_bytes(result_payload)).value();
  EXPECT_EQ(result.task_id, vector_id);
  EXPECT_EQ(result.status, Status::completed);
  EXPECT_EQ(result.text, "Processed: Hello, P2P AI!");
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.timestamp, "2026-01-17T10:30:01Z");
  EXPECT_EQ(result.recipient, requester_id);
  EXPECT_EQ(result.task_sha256, task_sha256);
  EXPECT_EQ(result.executor, "mock");
  EXPECT_EQ(result.run_ms, std::nullopt);
  EXPECT_EQ(result.to_json(), result_payload);
}

TEST(TaskResult, EachMemberIsAsTheDocumentSays) {
  const auto holds = [](const Object& object) { return verifies(result_in, object); };
  for (const Object& good : {
           result_object,
           result_object.with("error", "null"),
           result_object.with("output", R"({"text":"","x":1})"),
           result_object.with("model", "null")
               .with("finish_reason", "null")
               .with("queued_ms", "null")
               .with("run_ms", "null")
               .with("usage", "null"),
           result_object.with("model", "").with("finish_reason", "").with("queued_ms", "").with("run_ms", "").with("usage", ""),
           result_object.with("run_ms", "18446744073709551615"),
           result_object.with("usage", R"({"prompt_tokens":0,"completion_tokens":0,"total_tokens":null})"),
           result_object.with("x", "[1.5]"),
           failed_object,
           failed_object.with("output", R"({"text":"partial"})"),
           failed_object.with("output", "null"),
           failed_object.with("error", R"({"code":"of a later version","message":"","retry_after_ms":null,"x":1})"),
           cancelled_object,
           cancelled_object.with("output", R"({"text":"partial"})"),
           rejected_object,
           rejected_object.with("output", "null"),
           rejected_object.with("executor", "\"mock\""),
           rejected_object.with("executor", "null"),
           rejected_object.with("task_id", in_quotes(nil_task_id)),
           rejected_object.with("error", R"({"code":"busy","message":"later"})"),
       }) {
    EXPECT_TRUE(holds(good)) << good.text();
  }
  for (const char* const member : {"task_id", "status", "output", "timestamp", "recipient", "task_sha256", "executor"}) {
    for (const char* const value : {"", "null", "1", "[]"})
      EXPECT_FALSE(holds(result_object.with(member, value))) << member << " " << value;
  }
  for (const Object& bad : {
           result_object.with("status", "\"done\""),
           result_object.with("status", "\"Completed\""),
           result_object.with("status", "\"\""),
           result_object.with("output", "{}"),
           result_object.with("output", R"({"text":null})"),
           result_object.with("output", R"({"text":1})"),
           result_object.with("output", "\"t\""),
           result_object.with("error", R"({"code":"executor_failed","message":"m"})"),
           result_object.with("timestamp", "\"2026-01-17 10:30:00Z\""),
           result_object.with("task_sha256", in_quotes("DF9D614954E59EBB88865B23EC7BB4494EFE16C42C4ACDAD03F525A380D1DD0C")),
           result_object.with("task_sha256", in_quotes(task_sha256.substr(1))),
           result_object.with("task_sha256", in_quotes(std::string(task_sha256) + "0")),
           result_object.with("task_sha256", in_quotes("g" + std::string(task_sha256.substr(1)))),
           result_object.with("executor", "\"\""),
           result_object.with("model", "1"),
           result_object.with("finish_reason", "{}"),
           result_object.with("queued_ms", "-1"),
           result_object.with("queued_ms", "0.0"),
           result_object.with("run_ms", "1e0"),
           result_object.with("run_ms", "\"1\""),
           result_object.with("usage", "[]"),
           result_object.with("usage", "{}"),
           result_object.with("usage", R"({"prompt_tokens":1,"completion_tokens":null})"),
           result_object.with("usage", R"({"prompt_tokens":1.5,"completion_tokens":1})"),
           failed_object.with("error", ""),
           failed_object.with("error", "null"),
           failed_object.with("error", "\"busy\""),
           failed_object.with("error", R"({"code":"executor_failed"})"),
           failed_object.with("error", R"({"message":"m"})"),
           failed_object.with("error", R"({"code":1,"message":"m"})"),
           failed_object.with("error", R"({"code":"executor_failed","message":null})"),
           failed_object.with("executor", ""),
           failed_object.with("output", "{}"),
           failed_object.with("output", "1"),
           cancelled_object.with("error", ""),
           cancelled_object.with("executor", ""),
           rejected_object.with("error", ""),
           rejected_object.with("executor", "1"),
           rejected_object.with("output", R"({"text":""})"),
           rejected_object.with("error", R"({"code":"busy","message":"later","retry_after_ms":"5"})"),
           rejected_object.with("error", R"({"code":"busy","message":"later","retry_after_ms":5.0})"),
           rejected_object.with("error", R"({"code":"busy","message":"later","retry_after_ms":-5})"),
       }) {
    EXPECT_FALSE(holds(bad)) << bad.text();
  }
}

TEST(TaskResult, KeepsItsMembersWhenItIsWrittenAndReadAgain) {
  const auto again = [](const Object& object) { return parse_result(as_bytes(object.text())).value().to_json(); };
  EXPECT_EQ(again(result_object), result_object.text());
  const TaskResult result = parse_result(as_bytes(result_object.text())).value();
  EXPECT_EQ(result.model, "m");
  EXPECT_EQ(result.finish_reason, "stop");
  EXPECT_EQ(result.queued_ms, 0U);
  EXPECT_EQ(result.run_ms, 1U);
  EXPECT_EQ(result.usage.value().prompt_tokens, 3U);
  EXPECT_EQ(result.usage.value().completion_tokens, 4U);

  const TaskResult rejected = parse_result(as_bytes(parse_result(as_bytes(rejected_object.text())).value().to_json())).value();
  EXPECT_EQ(rejected.status, Status::rejected);
  EXPECT_EQ(rejected.error.value().code, "busy");
  EXPECT_EQ(rejected.error.value().message, "later");
  EXPECT_EQ(rejected.error.value().retry_after_ms, 5U);
  EXPECT_EQ(rejected.text, std::nullopt);
  EXPECT_EQ(rejected.executor, "");

  const TaskResult partial =
      parse_result(as_bytes(parse_result(as_bytes(failed_object.with("output", R"({"text":"half"})").text())).value().to_json())).value();
  EXPECT_EQ(partial.status, Status::failed);
  EXPECT_EQ(partial.text, "half");
  EXPECT_EQ(partial.error.value().retry_after_ms, std::nullopt);
  EXPECT_EQ(parse_result(as_bytes(cancelled_object.text())).value().status, Status::cancelled);
}

TEST(Info, EachMemberIsAsTheDocumentSays) {
  const auto holds = [](const Object& object) { return verifies(parse_info, object); };
  for (const Object& good : {
           info_object,
           info_object.with("name", "").with("may_ask", ""),
           info_object.with("name", "null").with("may_ask", "null"),
           info_object.with("may_ask", "false"),
           info_object.with("executors", "[]"),
           info_object.with("executors",
                            R"([{"task_type":"inference","executor":"mock"},{"task_type":"a.b","executor":"c","models":[],"x":1}])"),
           info_object.with("executors", R"([{"task_type":"inference","executor":"mock","models":null}])"),
           info_object.with("queue", R"({"running":0,"waiting":0,"slots":0,"capacity":18446744073709551615,"x":1})"),
           info_object.with("x", "1"),
       }) {
    EXPECT_TRUE(holds(good)) << good.text();
  }
  for (const char* const member : {"agent", "timestamp", "recipient", "executors", "queue"}) {
    for (const char* const value : {"", "null", "1"}) EXPECT_FALSE(holds(info_object.with(member, value))) << member << " " << value;
  }
  for (const Object& bad : {
           info_object.with("agent", "\"a\""),
           info_object.with("agent", "\"/1\""),
           info_object.with("agent", "\"a/\""),
           info_object.with("timestamp", "\"now\""),
           info_object.with("executors", "{}"),
           info_object.with("executors", "[1]"),
           info_object.with("executors", "[null]"),
           info_object.with("executors", R"([{"task_type":"inference"}])"),
           info_object.with("executors", R"([{"executor":"mock"}])"),
           info_object.with("executors", R"([{"task_type":"Inference","executor":"mock"}])"),
           info_object.with("executors", R"([{"task_type":"inference","executor":""}])"),
           info_object.with("executors", R"([{"task_type":"inference","executor":"mock"},{}])"),
           info_object.with("executors", R"([{"task_type":"inference","executor":"mock","models":"m"}])"),
           info_object.with("executors", R"([{"task_type":"inference","executor":"mock","models":[null]}])"),
           info_object.with("queue", "[]"),
           info_object.with("queue", R"({"running":1,"waiting":2,"slots":3})"),
           info_object.with("queue", R"({"running":1,"waiting":2,"slots":3,"capacity":null})"),
           info_object.with("queue", R"({"running":-1,"waiting":2,"slots":3,"capacity":4})"),
           info_object.with("queue", R"({"running":1,"waiting":2.0,"slots":3,"capacity":4})"),
           info_object.with("name", "1"),
           info_object.with("may_ask", "1"),
           info_object.with("may_ask", "\"true\""),
       }) {
    EXPECT_FALSE(holds(bad)) << bad.text();
  }
}

TEST(Info, ANameIsOneToSixtyFourPrintableCharacters) {
  const auto holds = [](const std::string& name) { return verifies(parse_info, info_object.with("name", in_quotes(name))); };
  EXPECT_FALSE(holds(""));
  EXPECT_TRUE(holds("x"));
  EXPECT_TRUE(holds(repeated("x", 64)));
  EXPECT_FALSE(holds(repeated("x", 65)));
  EXPECT_TRUE(holds(repeated("😀", 64)));
  EXPECT_FALSE(holds(repeated("😀", 64) + "x"));
  EXPECT_TRUE(holds("Ünïcode name ~ \xc2\xa0"));
  for (const char* const control : {"\\u0000", "\\u001b[2J", "a\\nb", "\\t", "\x7f", "\xc2\x80", "\\u009f"})
    EXPECT_FALSE(holds(control)) << control;
}

TEST(Info, KeepsItsMembersWhenItIsWrittenAndReadAgain) {
  const Info info = parse_info(as_bytes(info_object.text())).value();
  EXPECT_EQ(info.to_json(), info_object.text());
  EXPECT_EQ(info.agent, "p2p-ai-agents/0.1.0");
  EXPECT_EQ(info.recipient, requester_id);
  EXPECT_EQ(info.executors.at(0).task_type, "inference");
  EXPECT_EQ(info.executors.at(0).executor, "openai");
  EXPECT_EQ(info.executors.at(0).models, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(info.running, 1U);
  EXPECT_EQ(info.waiting, 2U);
  EXPECT_EQ(info.slots, 3U);
  EXPECT_EQ(info.capacity, 4U);
  EXPECT_EQ(info.name, "desk");
  EXPECT_EQ(info.may_ask, true);
  const Object least = info_object.with("name", "").with("may_ask", "").with("executors", "[]");
  EXPECT_EQ(parse_info(as_bytes(parse_info(as_bytes(least.text())).value().to_json())).value().name, std::nullopt);
}

TEST(Message, ThatIsNotJsonDoesNotVerify) {
  for (const char* const payload : {"", "{", "[]", "null", R"({"seq":1,"seq":1})"}) {
    EXPECT_EQ(parse_update(as_bytes(payload)).error().code, Errc::malformed) << payload;
    EXPECT_EQ(parse_result(as_bytes(payload)).error().code, Errc::malformed) << payload;
    EXPECT_EQ(parse_info(as_bytes(payload)).error().code, Errc::malformed) << payload;
  }
}

TEST(TaskId, IsANewUuidEachTime) {
  test::SeededRandom random;
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = new_task_id(random);
    EXPECT_EQ(problem_of(task_object.with("task_id", in_quotes(id))), "") << id;
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 1000U);
}

TEST(TaskId, IsMadeOfAllItsRandomBits) {
  struct Constant final : Random {
    explicit Constant(std::uint8_t all) : byte(all) {}
    void fill(ByteSpan out) noexcept override { std::fill(out.begin(), out.end(), byte); }
    std::uint8_t byte;
  };
  Constant zeros(0), ones(0xff);
  EXPECT_EQ(new_task_id(zeros), "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(new_task_id(ones), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

TEST(Timestamp, IsWrittenWithMilliseconds) {
  const auto at = [](std::int64_t milliseconds) { return format_timestamp(WallTime(std::chrono::milliseconds(milliseconds))); };
  EXPECT_EQ(at(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(at(1'768'645'800'007), "2026-01-17T10:30:00.007Z");
  EXPECT_EQ(at(1'709'251'199'999), "2024-02-29T23:59:59.999Z");
  EXPECT_EQ(at(1'709'251'200'000), "2024-03-01T00:00:00.000Z");
  EXPECT_EQ(at(951'782'400'000), "2000-02-29T00:00:00.000Z");
  EXPECT_EQ(at(-1), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(problem_of(task_object.with("timestamp", in_quotes(at(1'768'645'800'007)))), "");
}

TEST(CutText, IsTheLongestPrefixOfWholeCodePoints) {
  const std::vector<std::string> points{"a", "é", "日", "😀", "\xf4\x8f\xbf\xbf", "z", "\xcc\x81", "本"};
  std::string text;
  std::vector<std::size_t> ends{0};
  for (const std::string& point : points) ends.push_back((text += point).size());
  for (std::size_t most = 0; most <= text.size() + 2; ++most) {
    const std::size_t end = *std::prev(std::upper_bound(ends.begin(), ends.end(), most));
    EXPECT_EQ(cut_text(text, most), std::string_view(text).substr(0, end)) << most;
  }
}

TEST(CutText, PutsATextTogetherAgain) {
  const std::string text = repeated("a日本😀é", 1000);
  for (const std::size_t most : {4U, 5U, 7U, 1000U}) {
    std::string joined;
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view piece = cut_text(rest, most);
      ASSERT_TRUE(piece.size() > most - 4 || piece == rest) << most;
      ASSERT_LE(piece.size(), most);
      joined += piece;
      rest.remove_prefix(piece.size());
    }
    EXPECT_EQ(joined, text) << most;
  }
}

TEST(Status, HasItsNameInResults) {
  EXPECT_EQ(name_of(Status::completed), "completed");
  EXPECT_EQ(name_of(Status::failed), "failed");
  EXPECT_EQ(name_of(Status::rejected), "rejected");
  EXPECT_EQ(name_of(Status::cancelled), "cancelled");
}

}  // namespace
}  // namespace p2p
