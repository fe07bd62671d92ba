#include "executors/completion.hpp"

#include "executors/utf8.hpp"
#include "task/message.hpp"

namespace p2p::openai {

namespace json = boost::json;

namespace {

/// The code unit that stands there as \uXXXX, if one does.
std::optional<unsigned> escaped_unit(std::string_view text) {
  if (text.size() < 6 || !text.starts_with("\\u")) return std::nullopt;
  unsigned unit = 0;
  for (const char c : text.substr(2, 4)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    unit = unit << 4 | static_cast<unsigned>(digit);
  }
  return unit;
}

/// A server that cuts a character in two may send each half as a surrogate of its own, which Boost.JSON refuses: U+FFFD stands for it.
void mend_surrogates(std::string& text) {
  const auto in = [](std::optional<unsigned> unit, unsigned first) { return unit && *unit >= first && *unit < first + 0x400; };
  for (std::size_t at = text.find('\\'); at < text.size(); at = text.find('\\', at)) {
    const std::string_view rest = std::string_view(text).substr(at);
    const std::optional<unsigned> unit = escaped_unit(rest);
    if (!unit) {
      at += 2;
    } else if (in(unit, 0xd800) && in(escaped_unit(rest.substr(6)), 0xdc00)) {
      at += 12;
    } else {
      if (in(unit, 0xd800) || in(unit, 0xdc00)) text.replace(at + 2, 4, "fffd");
      at += 6;
    }
  }
}

}  // namespace

std::optional<json::object> parse(std::string text) {
  mend_surrogates(text);
  Result<json::object> object = parse_json(as_bytes(text), {}, JsonRules::lenient);
  if (!object) return std::nullopt;
  return *std::move(object);
}

const json::object* object_in(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

const json::array* array_in(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_array();
}

std::optional<std::string> text_in(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return repair_utf8({value->get_string().data(), value->get_string().size()});
}

std::uint64_t count_in(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  boost::system::error_code error;
  const auto count = value == nullptr ? 0 : value->to_number<std::uint64_t>(error);
  return error ? 0 : count;
}

std::optional<std::string> error_in(const json::object& object) {
  if (const json::object* const error = object_in(object, "error")) return text_in(*error, "message").value_or("no reason given");
  for (const char* const key : {"error", "message", "detail"}) {
    if (std::optional<std::string> text = text_in(object, key)) return text;
  }
  return std::nullopt;
}

std::optional<std::string> Completion::next() {
  while (!done_) {
    const std::optional<http::ServerEvent> event = events_.next().value();
    if (!event) break;
    done_ = event->data == "[DONE]";
    std::string text = done_ ? std::string() : take(*event);
    if (!text.empty()) return text;
  }
  return std::nullopt;
}

std::string Completion::take(const http::ServerEvent& event) {
  const std::optional<json::object> object = parse(event.data);
  if (!object) fail(Errc::malformed, "the server sent an event that is not JSON");
  begun_ = true;
  if (event.type == "error" || object->contains("error")) {
    if (const auto reason = error_in(*object))
      fail(Errc::closed, "the server failed: " + std::string(cut_text(*reason, limits::text_shown)));
  }
  if (const auto model = text_in(*object, "model")) outcome.model = cut_text(*model, limits::model_name);
  if (const json::object* const usage = object_in(*object, "usage")) {
    outcome.usage = Usage{count_in(*usage, "prompt_tokens"), count_in(*usage, "completion_tokens")};
  }
  std::string text;
  const json::array* const choices = array_in(*object, "choices");
  if (choices == nullptr) return text;
  for (const json::value& value : *choices) {
    const json::object* const choice = value.if_object();
    if (choice == nullptr || count_in(*choice, "index") != 0) continue;  // a task has one answer
    if (const json::object* const delta = object_in(*choice, "delta")) text += text_in(*delta, "content").value_or("");
    if (const auto reason = text_in(*choice, "finish_reason")) outcome.finish_reason = cut_text(*reason, limits::text_shown);
  }
  return text;
}

}  // namespace p2p::openai
