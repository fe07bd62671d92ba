#include "task/message.hpp"

#include "base/limits.hpp"
#include "identity/envelope.hpp"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/serializer.hpp>
#include <boost/uuid/uuid.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <chrono>

namespace p2p {
namespace {

namespace json = boost::json;

constexpr std::string_view domain = "p2p-ai-agents";

std::string_view payload_type(MessageKind kind) {
  switch (kind) {
    case MessageKind::task: return "/p2p-ai-agents/task";
    case MessageKind::update: return "/p2p-ai-agents/update";
    case MessageKind::result: return "/p2p-ai-agents/result";
    case MessageKind::info: return "/p2p-ai-agents/info";
  }
  return {};
}

constexpr std::size_t most_members = 16;  // that room is made for at once; no message has more

/// Memory for JSON that is needed no longer than within one function: one that is not large costs no allocation.
class Scratch {
 public:
  json::storage_ptr storage() { return &resource_; }

 private:
  std::array<unsigned char, 4096> room_;
  json::monotonic_resource resource_{room_.data(), room_.size()};
};

/// `text` bytes of it are one text. A large one has room made for it at once: json::serialize() copies it each time that it doubles its
/// own.
std::string serialized(const json::object& object, std::size_t text = 0) {
  constexpr std::size_t large = 4096;
  if (text < large) return json::serialize(object);
  json::serializer serializer;
  serializer.reset(&object);
  std::string out;
  out.reserve(text + text / 16 + large);
  std::array<char, large> piece;
  while (!serializer.done()) out += serializer.read(piece.data(), piece.size());
  return out;
}

/// Reads the known members of an object. The first one that is not as it should be is the problem of them all; what follows is ignored.
class Members {
 public:
  explicit Members(const json::object& object) : object_(object) {}

  const std::string& problem() const { return problem_; }
  void refuse(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }

  bool has(std::string_view name) const { return find(name) != nullptr; }

  std::string text(std::string_view name) {
    require(name);
    return optional_text(name).value_or(std::string());
  }
  std::optional<std::string> optional_text(std::string_view name) {
    const json::value* const value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) {
      refuse(std::string(name) + " is not a string");
      return std::nullopt;
    }
    return std::string(value->get_string());
  }
  std::uint64_t number(std::string_view name) {
    require(name);
    return optional_number(name).value_or(0);
  }
  std::optional<std::uint64_t> optional_number(std::string_view name, std::uint64_t least = 0, std::uint64_t most = UINT64_MAX) {
    const json::value* const value = find(name);
    if (value == nullptr) return std::nullopt;
    std::optional<std::uint64_t> number;
    if (value->is_uint64()) number = value->get_uint64();
    if (value->is_int64() && value->get_int64() >= 0) number = static_cast<std::uint64_t>(value->get_int64());
    if (!number) {
      refuse(std::string(name) + " is not an integer of 0 or more");
    } else if (*number < least || *number > most) {
      refuse(std::string(name) + " is not between " + std::to_string(least) + " and " + std::to_string(most));
      number.reset();
    }
    return number;
  }
  std::optional<bool> optional_bool(std::string_view name) {
    const json::value* const value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_bool()) {
      refuse(std::string(name) + " is neither true nor false");
      return std::nullopt;
    }
    return value->get_bool();
  }
  const json::object* optional_object(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && !value->is_object()) refuse(std::string(name) + " is not an object");
    return value == nullptr ? nullptr : value->if_object();
  }
  const json::object* object(std::string_view name) {
    require(name);
    return optional_object(name);
  }
  const json::array* optional_array(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && !value->is_array()) refuse(std::string(name) + " is not an array");
    return value == nullptr ? nullptr : value->if_array();
  }
  const json::array* array(std::string_view name) {
    require(name);
    return optional_array(name);
  }
  void optional_integer(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && !value->is_int64() && !value->is_uint64()) refuse(std::string(name) + " is not an integer");
  }
  void optional_any_number(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && !value->is_number()) refuse(std::string(name) + " is not a number");
  }

  /// A member that is null counts as absent.
  const json::value* find(std::string_view name) const {
    const json::value* const value = object_.if_contains(name);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

 private:
  void require(std::string_view name) {
    if (!has(name)) refuse(std::string(name) + " is missing");
  }

  const json::object& object_;
  std::string problem_;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

bool is_task_id(std::string_view text) {
  if (text.size() != nil_task_id.size() || text[14] != '4' || std::string_view("89ab").find(text[19]) == std::string_view::npos)
    return false;
  return std::equal(text.begin(), text.end(), nil_task_id.begin(),
                    [](char c, char nil) { return nil == '-' ? c == '-' : is_hex_digit(c); });
}

// 1 to 64 printable characters.
bool is_peer_name(std::string_view text) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;  // UTF-8 was checked: there is a second byte
    if (byte < 0x20 || byte == 0x7f || c1) return false;
    if ((byte & 0xc0) != 0x80) ++characters;
  }
  return characters >= 1 && characters <= 64;
}

// name/version
bool is_agent(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < text.size();
}

bool is_hash(std::string_view text) { return text.size() == 64 && std::all_of(text.begin(), text.end(), is_hex_digit); }

// YYYY-MM-DDTHH:MM:SS[.fraction]Z
bool is_timestamp(std::string_view text) {
  if (text.size() < 20 || text.size() > limits::timestamp || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
      text[16] != ':' || text.back() != 'Z')
    return false;
  const auto number = [text](std::size_t at, std::size_t size) {
    int value = 0;
    for (const char c : text.substr(at, size)) {
      if (!is_digit(c)) return -1;
      value = value * 10 + (c - '0');
    }
    return value;
  };
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (year < 0 || month < 0 || day < 0) return false;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  const std::string_view fraction = text.substr(19, text.size() - 20);
  return date.ok() && hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 60 &&
         (fraction.empty() || (fraction[0] == '.' && fraction.size() > 1 && std::all_of(fraction.begin() + 1, fraction.end(), is_digit)));
}

void read_timestamp(Members& members, std::string& timestamp) {
  timestamp = members.text("timestamp");
  if (!is_timestamp(timestamp)) members.refuse("timestamp is not a UTC time such as 2026-01-17T10:30:00Z");
}

void check_inference(Members& task, const json::object& object) {
  Members input(object);
  const bool has_prompt = input.optional_text("prompt").has_value();
  const json::array* const messages = input.optional_array("messages");
  if (input.problem().empty() && has_prompt == (messages != nullptr)) input.refuse("input needs either prompt or messages");
  if (messages != nullptr) {
    if (messages->empty()) input.refuse("messages is empty");
    for (const json::value& message : *messages) {
      const json::object* const fields = message.if_object();
      const json::value* const role = fields == nullptr ? nullptr : fields->if_contains("role");
      if (role == nullptr || !role->is_string()) input.refuse("a message is not an object with a role");
    }
  }
  input.optional_text("model");
  input.optional_integer("max_tokens");
  input.optional_any_number("temperature");
  input.optional_any_number("top_p");
  input.optional_integer("seed");
  if (const json::value* const stop = input.find("stop"); stop != nullptr && !stop->is_string()) {
    const json::array* const list = stop->if_array();
    if (list == nullptr || std::any_of(list->begin(), list->end(), [](const json::value& one) { return !one.is_string(); })) {
      input.refuse("stop is neither a string nor an array of strings");
    }
  }
  if (!input.problem().empty()) task.refuse(input.problem());
}

/// The value, or the error that stands for all that can be wrong with a message that is no task.
template <class Message>
Result<Message> verified(const Members& members, Message message) {
  if (!members.problem().empty()) return Error{Errc::unverified, "a message whose members are not as the protocol says"};
  return message;
}

}  // namespace

Bytes seal_message(const KeyPair& keys, MessageKind kind, std::string_view payload) {
  return seal_envelope(keys, domain, as_bytes(payload_type(kind)), as_bytes(payload));
}

namespace {

Result<OpenedMessage> message_of(Envelope opened) {
  if (!opened.exact) return Error{Errc::malformed, "a message with more in its envelope than is signed"};
  for (const MessageKind kind : {MessageKind::task, MessageKind::update, MessageKind::result, MessageKind::info}) {
    if (as_text(opened.payload_type) == payload_type(kind)) return OpenedMessage{opened.signer, kind, std::move(opened.payload)};
  }
  return Error{Errc::unverified, "a signed message of an unknown kind"};
}

}  // namespace

Result<OpenedMessage> open_message(ByteView envelope) {
  TRY_ASSIGN(Envelope opened, open_envelope(envelope, domain));
  return message_of(std::move(opened));
}

Result<OpenedMessage> open_message(ByteView envelope, const Verifier& from) {
  TRY_ASSIGN(Envelope opened, open_envelope(envelope, domain, from));
  return message_of(std::move(opened));
}

std::string Task::to_json() const {
  Scratch scratch;
  json::object object({{"task_id", task_id}, {"task_type", task_type}, {"input", input}, {"timestamp", timestamp}}, most_members,
                      scratch.storage());
  if (recipient) object.emplace("recipient", *recipient);
  if (timeout_ms) object.emplace("timeout_ms", *timeout_ms);
  if (linger_ms > 0) object.emplace("linger_ms", linger_ms);
  if (stream) object.emplace("stream", true);
  const json::value* const prompt = input.if_contains("prompt");
  return serialized(object, prompt != nullptr && prompt->is_string() ? prompt->get_string().size() : 0);
}

std::optional<std::string> Task::model() const { return Members(input).optional_text("model"); }

std::string Task::prompt() const {
  Members members(input);
  if (const std::optional<std::string> prompt = members.optional_text("prompt")) return *prompt;
  const json::array* const messages = members.optional_array("messages");
  if (messages == nullptr || messages->empty()) return {};
  const json::object* const last = messages->back().if_object();
  const json::value* const content = last == nullptr ? nullptr : last->if_contains("content");
  if (content == nullptr) return {};
  if (content->is_string()) return std::string(content->get_string());
  std::string joined;
  if (const json::array* const parts = content->if_array()) {
    for (const json::value& part : *parts) {
      const json::object* const fields = part.if_object();
      const json::value* const text = fields == nullptr ? nullptr : fields->if_contains("text");
      if (text != nullptr && text->is_string()) joined += std::string_view(text->get_string());
    }
  }
  return joined;
}

ParsedTask parse_task(ByteView payload) {
  ParsedTask parsed;
  Scratch scratch;
  const Result<json::object> object = parse_json(payload, scratch.storage());
  if (!object) {
    parsed.problem = object.error().reason;
    return parsed;
  }
  Members members(*object);
  Task task;
  task.task_id = members.text("task_id");
  if (is_task_id(task.task_id)) {
    parsed.task_id = task.task_id;
  } else {
    members.refuse("task_id is not a version 4 UUID in lower case");
  }
  task.task_type = members.text("task_type");
  if (!is_task_type(task.task_type)) members.refuse("task_type is not 1 to 64 characters of a-z 0-9 . _ -");
  if (const json::object* const input = members.object("input")) {
    task.input = *input;
    if (task.task_type == inference) check_inference(members, *input);
  }
  read_timestamp(members, task.timestamp);
  task.recipient = members.optional_text("recipient");
  task.timeout_ms = members.optional_number("timeout_ms", 1, limits::timeout_ms_max);
  task.linger_ms = members.optional_number("linger_ms", 0, limits::linger_ms_max).value_or(0);
  task.stream = members.optional_bool("stream").value_or(false);
  parsed.problem = members.problem();
  if (parsed.problem.empty()) parsed.task = std::move(task);
  return parsed;
}

std::string Update::to_json() const {
  Scratch scratch;
  json::object object({{"task_id", task_id}, {"seq", seq}}, most_members, scratch.storage());
  if (state) object.emplace("state", *state);
  if (position) object.emplace("position", *position);
  if (text) object.emplace("text", *text);
  if (data) object.emplace("data", *data);
  return serialized(object, text ? text->size() : 0);
}

Result<Update> parse_update(ByteView payload, std::string_view task_type) {
  Scratch scratch;
  TRY_ASSIGN(const json::object object, parse_json(payload, scratch.storage()));
  Members members(object);
  Update update;
  update.task_id = members.text("task_id");
  update.seq = members.number("seq");
  update.state = members.optional_text("state");
  update.position = members.optional_number("position");
  update.text = members.optional_text("text");
  const json::object* const data = members.optional_object("data");
  if (data != nullptr) update.data.emplace() = *data;
  if (update.state.has_value() + update.text.has_value() + (data != nullptr) != 1 || (data != nullptr && task_type == inference)) {
    members.refuse("an update needs one of state and text, and data where the type of task defines it");
  }
  if (update.state && update.state->size() > limits::update_state) members.refuse("an update's state is above its limit");
  if (update.state == "queued" && !update.position) members.refuse("position is missing");
  if (update.text && update.text->size() > limits::update_text) members.refuse("an update's text is above its limit");
  return verified(members, std::move(update));
}

std::string_view name_of(Status status) {
  switch (status) {
    case Status::completed: return "completed";
    case Status::failed: return "failed";
    case Status::rejected: return "rejected";
    case Status::cancelled: return "cancelled";
  }
  return {};
}

std::string TaskResult::to_json() const {
  Scratch scratch;
  json::object object({{"task_id", task_id}, {"status", name_of(status)}}, most_members, scratch.storage());
  if (text) object["output"].emplace_object().emplace("text", *text);
  if (output) object.emplace("output", *output);
  if (error) {
    json::object& described = object["error"].emplace_object();
    described.emplace("code", error->code);
    described.emplace("message", error->message);
    if (error->retry_after_ms) described.emplace("retry_after_ms", *error->retry_after_ms);
  }
  object.emplace("timestamp", timestamp);
  object.emplace("recipient", recipient);
  object.emplace("task_sha256", task_sha256);
  if (!executor.empty()) object.emplace("executor", executor);
  if (model) object.emplace("model", *model);
  if (finish_reason) object.emplace("finish_reason", *finish_reason);
  if (queued_ms) object.emplace("queued_ms", *queued_ms);
  if (run_ms) object.emplace("run_ms", *run_ms);
  if (usage) {
    json::object& used = object["usage"].emplace_object();
    used.emplace("prompt_tokens", usage->prompt_tokens);
    used.emplace("completion_tokens", usage->completion_tokens);
  }
  return serialized(object, text ? text->size() : 0);
}

Result<TaskResult> parse_result(ByteView payload, std::string_view task_type) {
  Scratch scratch;
  TRY_ASSIGN(const json::object object, parse_json(payload, scratch.storage()));
  Members members(object);
  TaskResult result;
  result.task_id = members.text("task_id");
  const std::string status = members.text("status");
  bool known = false;
  for (const Status one : {Status::completed, Status::failed, Status::rejected, Status::cancelled}) {
    if (status != name_of(one)) continue;
    result.status = one;
    known = true;
  }
  if (!known) members.refuse("unknown status");
  const bool completed = result.status == Status::completed;
  const bool rejected = result.status == Status::rejected;
  if (const json::object* const output = completed ? members.object("output") : members.optional_object("output")) {
    Members fields(*output);
    if (task_type == inference || (output->size() == 1 && output->contains("text"))) {
      result.text = fields.text("text");
    } else {
      result.output.emplace() = *output;
    }
    if (!fields.problem().empty() || rejected) members.refuse("output is not as it should be");
  }
  if (const json::object* const error = completed ? members.optional_object("error") : members.object("error")) {
    Members fields(*error);
    result.error.emplace();
    result.error->code = fields.text("code");
    result.error->message = fields.text("message");
    result.error->retry_after_ms = fields.optional_number("retry_after_ms");
    if (!fields.problem().empty() || completed) members.refuse("error is not as it should be");
  }
  read_timestamp(members, result.timestamp);
  result.recipient = members.text("recipient");
  result.task_sha256 = members.text("task_sha256");
  if (!is_hash(result.task_sha256)) members.refuse("task_sha256 is not a hash");
  result.executor = members.optional_text("executor").value_or(std::string());
  if (result.executor.empty() && !rejected) members.refuse("executor is missing");
  result.model = members.optional_text("model");
  result.finish_reason = members.optional_text("finish_reason");
  result.queued_ms = members.optional_number("queued_ms");
  result.run_ms = members.optional_number("run_ms");
  if (const json::object* const usage = members.optional_object("usage")) {
    Members fields(*usage);
    result.usage = Usage{fields.number("prompt_tokens"), fields.number("completion_tokens")};
    if (!fields.problem().empty()) members.refuse("usage is not as it should be");
  }
  return verified(members, std::move(result));
}

std::string Info::to_json() const {
  json::array offers;
  for (const Offer& offer : executors) {
    json::object described{{"task_type", offer.task_type}, {"executor", offer.executor}};
    if (!offer.models.empty()) described.emplace("models", json::array(offer.models.begin(), offer.models.end()));
    offers.push_back(std::move(described));
  }
  json::object object{{"agent", agent}, {"timestamp", timestamp}, {"recipient", recipient}, {"executors", std::move(offers)}};
  object["queue"] = json::object{{"running", running}, {"waiting", waiting}, {"slots", slots}, {"capacity", capacity}};
  if (name) object.emplace("name", *name);
  if (may_ask) object.emplace("may_ask", *may_ask);
  return serialized(object);
}

Result<Info> parse_info(ByteView payload) {
  Scratch scratch;
  TRY_ASSIGN(const json::object object, parse_json(payload, scratch.storage()));
  Members members(object);
  Info info;
  info.agent = members.text("agent");
  if (!is_agent(info.agent)) members.refuse("agent is not a name and a version");
  read_timestamp(members, info.timestamp);
  info.recipient = members.text("recipient");
  if (const json::array* const offers = members.array("executors")) {
    for (const json::value& one : *offers) {
      const json::object none;
      const json::object* const described = one.if_object();
      if (described == nullptr) members.refuse("an executor is not an object");
      Members fields(described == nullptr ? none : *described);
      Offer offer{fields.text("task_type"), fields.text("executor"), {}};
      if (!is_task_type(offer.task_type) || offer.executor.empty()) fields.refuse("an executor without a task type or name");
      if (const json::array* const models = fields.optional_array("models")) {
        for (const json::value& model : *models) {
          if (!model.is_string()) {
            fields.refuse("a model is not a string");
          } else {
            offer.models.emplace_back(model.get_string());
          }
        }
      }
      if (!fields.problem().empty()) members.refuse("an executor is not as it should be");
      info.executors.push_back(std::move(offer));
    }
  }
  if (const json::object* const queue = members.object("queue")) {
    Members fields(*queue);
    info.running = fields.number("running");
    info.waiting = fields.number("waiting");
    info.slots = fields.number("slots");
    info.capacity = fields.number("capacity");
    if (!fields.problem().empty()) members.refuse("queue is not as it should be");
  }
  info.name = members.optional_text("name");
  if (info.name && !is_peer_name(*info.name)) members.refuse("name is not 1 to 64 printable characters");
  info.may_ask = members.optional_bool("may_ask");
  return verified(members, std::move(info));
}

bool is_task_type(std::string_view text) {
  return !text.empty() && text.size() <= limits::task_type &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
}

std::string new_task_id(Random& random) {
  boost::uuids::uuid id;
  random.fill({id.data, sizeof id.data});
  id.data[6] = static_cast<std::uint8_t>((id.data[6] & 0x0f) | 0x40);  // version 4
  id.data[8] = static_cast<std::uint8_t>((id.data[8] & 0x3f) | 0x80);  // RFC 4122's variant
  return boost::uuids::to_string(id);
}

std::string format_timestamp(WallTime when) {
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(when - day);
  std::string text = "0000-00-00T00:00:00.000Z";
  const auto put = [&text](std::size_t at, std::size_t digits, std::int64_t number) {
    for (; digits > 0; number /= 10) text[at + --digits] = static_cast<char>('0' + number % 10);
  };
  put(0, 4, static_cast<int>(date.year()));
  put(5, 2, static_cast<unsigned>(date.month()));
  put(8, 2, static_cast<unsigned>(date.day()));
  put(11, 2, time.hours().count());
  put(14, 2, time.minutes().count());
  put(17, 2, time.seconds().count());
  put(20, 3, time.subseconds().count());
  return text;
}

std::string task_hash(ByteView payload) { return to_hex(crypto::sha256(payload)); }

std::string_view cut_text(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace p2p
