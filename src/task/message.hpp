#pragma once
// The messages of the task protocol: JSON objects in signed envelopes. docs/task-protocol.md is the contract; this is its grammar.
//
//   frame     uvarint length ‖ Envelope                    (network/protocol)
//   envelope  domain "p2p-ai-agents", payload type "/p2p-ai-agents/" and task, update, result or info
//   payload   one JSON object, UTF-8, nested at most limits::json_depth deep, without a key twice
//
// Whatever is read was signed by the peer of the connection, or it is refused.

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "crypto/crypto.hpp"
#include "identity/identity.hpp"

#include <boost/json/object.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

inline constexpr std::string_view task_protocol = "/p2p-ai-agents/task/1.0.0";
inline constexpr std::string_view info_protocol = "/p2p-ai-agents/info/1.0.0";
inline constexpr std::string_view inference = "inference";
inline constexpr std::string_view nil_task_id = "00000000-0000-0000-0000-000000000000";

enum class MessageKind : std::uint8_t { task, update, result, info };

/// The envelope around a payload.
Bytes seal_message(const KeyPair& keys, MessageKind kind, std::string_view payload);
struct OpenedMessage {
  PeerId signer;
  MessageKind kind;
  Bytes payload;
};
/// What stands in an envelope, whoever signed it. Errors: malformed (also when more stands in it than is signed), unverified.
Result<OpenedMessage> open_message(ByteView envelope);
/// What stands in an envelope signed by `from`. Errors: malformed, unverified.
Result<OpenedMessage> open_message(ByteView envelope, const Verifier& from);

/// `protocol`: stricter than Boost.JSON. `lenient`: of two equal keys the last counts, and text need not be UTF-8. The limits hold in both.
enum class JsonRules { protocol, lenient };
/// JSON under these rules, in memory of `storage`. Errors: malformed, with the reason.
Result<boost::json::object> parse_json(ByteView text, boost::json::storage_ptr storage = {}, JsonRules rules = JsonRules::protocol);
/// Bytes that `value` takes in memory, about.
std::size_t memory_of(const boost::json::value& value);

struct Task {
  std::string task_id;
  std::string task_type{inference};
  boost::json::object input;
  std::string timestamp;
  std::optional<std::string> recipient;
  std::optional<std::uint64_t> timeout_ms;
  std::uint64_t linger_ms = 0;
  bool stream = false;

  std::string to_json() const;
  /// The model that the input asks for.
  std::optional<std::string> model() const;
  /// What the mock and commands work on: the prompt, or the text of the last message, its parts joined.
  std::string prompt() const;
};

struct ParsedTask {
  std::optional<Task> task;
  std::string task_id{nil_task_id};  ///< to answer with, whether the rest is valid or not
  std::string problem;               ///< what is wrong, for people
};
ParsedTask parse_task(ByteView payload);

struct Update {
  std::string task_id;
  std::uint64_t seq = 0;
  std::optional<std::string> state;
  std::optional<std::uint64_t> position;  ///< with state "queued": tasks before it
  std::optional<std::string> text;
  std::optional<boost::json::object> data;  ///< of a type of task that defines it

  std::string to_json() const;
};
/// `task_type` is that of the task: what `inference` does not define is refused in its updates and results alone. Errors: malformed,
/// unverified.
Result<Update> parse_update(ByteView payload, std::string_view task_type = inference);

enum class Status : std::uint8_t { completed, failed, rejected, cancelled };
std::string_view name_of(Status status);

struct TaskError {
  std::string code;
  std::string message;
  std::optional<std::uint64_t> retry_after_ms;
};

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
};

struct TaskResult {
  std::string task_id;
  Status status = Status::completed;
  std::optional<std::string> text;            ///< of the output
  std::optional<boost::json::object> output;  ///< all of it, where the type of task defines another one
  std::optional<TaskError> error;
  std::string timestamp;
  std::string recipient;
  std::string task_sha256;
  std::string executor;
  std::optional<std::string> model;
  std::optional<std::string> finish_reason;
  std::optional<std::uint64_t> queued_ms;
  std::optional<std::uint64_t> run_ms;
  std::optional<Usage> usage;

  std::string to_json() const;
};
/// As parse_update().
Result<TaskResult> parse_result(ByteView payload, std::string_view task_type = inference);

struct Offer {
  std::string task_type;
  std::string executor;
  std::vector<std::string> models;
};

struct Info {
  std::string agent;
  std::string timestamp;
  std::string recipient;
  std::vector<Offer> executors;
  std::uint64_t running = 0;
  std::uint64_t waiting = 0;
  std::uint64_t slots = 0;
  std::uint64_t capacity = 0;
  std::optional<std::string> name;
  std::optional<bool> may_ask;

  std::string to_json() const;
};
Result<Info> parse_info(ByteView payload);

/// Whether a text is 1 to 64 characters of a-z 0-9 . _ -
bool is_task_type(std::string_view text);
/// A new task id: a random UUID, version 4.
std::string new_task_id(Random& random);
/// RFC 3339 in UTC, with milliseconds.
std::string format_timestamp(WallTime when);
/// Lower-case hexadecimal SHA-256 of a task's payload, which its result repeats.
std::string task_hash(ByteView payload);

/// The longest prefix of `text` that has at most `most` bytes and ends between two code points.
std::string_view cut_text(std::string_view text, std::size_t most);

}  // namespace p2p
