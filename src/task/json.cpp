// Boost.JSON's parser with an own handler: the library's keeps the last of two equal keys and reads 1e999 as infinity, both silently.

#include "base/limits.hpp"
#include "task/message.hpp"

#include <algorithm>
#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>

namespace p2p {
namespace {

namespace json = boost::json;
using ErrorCode = boost::system::error_code;

struct Handler {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  std::array<unsigned char, 1024> room;  // for the stack, as long as it is small
  json::value_stack stack{{}, room.data(), room.size()};
  std::string text;  // of a key or string that comes in parts
  std::size_t keys = 0;
  std::size_t values = 0;
  std::size_t comparisons = 0;
  std::array<std::size_t, limits::json_depth + 1> names{};  // bytes, of the members of each object that is open
  std::size_t open = 0;
  const char* problem = nullptr;

  bool refuse(const char* reason, ErrorCode& error) {
    problem = reason;
    error = make_error_code(Errc::malformed);
    return false;
  }

  bool count(ErrorCode& error) { return ++values <= limits::json_values || refuse("it has too many values", error); }

  bool on_document_begin(ErrorCode&) { return true; }
  bool on_document_end(ErrorCode&) { return true; }
  bool on_object_begin(ErrorCode& error) {
    names.at(++open) = 0;
    return count(error);
  }
  bool on_object_end(std::size_t count, ErrorCode& error) {
    // The library's table for them has a hash that anybody can foresee: each name may be compared with each.
    comparisons += count * std::max(count, names.at(open--) / 64);
    if (comparisons > limits::json_comparisons) return refuse("its objects have too many members", error);
    stack.push_object(count);
    return true;
  }
  bool on_array_begin(ErrorCode& error) { return count(error); }
  bool on_array_end(std::size_t count, ErrorCode&) {
    stack.push_array(count);
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, ErrorCode&) {
    text.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, ErrorCode&) {
    text.append(part.data(), part.size());
    ++keys;
    names.at(open) += text.size();
    stack.push_key(text);
    text.clear();
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, ErrorCode&) {
    text.append(part.data(), part.size());
    return true;
  }
  bool on_string(json::string_view part, std::size_t, ErrorCode& error) {
    text.append(part.data(), part.size());
    stack.push_string(text);
    text.clear();
    return count(error);
  }
  bool on_number_part(json::string_view, ErrorCode&) { return true; }
  bool on_int64(std::int64_t number, json::string_view, ErrorCode& error) {
    stack.push_int64(number);
    return count(error);
  }
  bool on_uint64(std::uint64_t number, json::string_view, ErrorCode& error) {
    stack.push_uint64(number);
    return count(error);
  }
  bool on_double(double number, json::string_view, ErrorCode& error) {
    if (!std::isfinite(number)) return refuse("a number is too large", error);
    stack.push_double(number);
    return count(error);
  }
  bool on_bool(bool value, ErrorCode& error) {
    stack.push_bool(value);
    return count(error);
  }
  bool on_null(ErrorCode& error) {
    stack.push_null();
    return count(error);
  }
  bool on_comment_part(json::string_view, ErrorCode&) { return true; }
  bool on_comment(json::string_view, ErrorCode&) { return true; }
};

std::size_t keys_in(const json::value& value) {
  std::size_t keys = 0;
  if (value.is_object()) {
    keys = value.get_object().size();
    for (const json::key_value_pair& member : value.get_object()) keys += keys_in(member.value());
  } else if (value.is_array()) {
    for (const json::value& element : value.get_array()) keys += keys_in(element);
  }
  return keys;
}

}  // namespace

std::size_t memory_of(const json::value& value) {
  std::size_t bytes = sizeof(json::value);
  if (value.is_object()) {
    const json::object& object = value.get_object();
    bytes += object.capacity() * (sizeof(json::key_value_pair) - sizeof(json::value));
    for (const json::key_value_pair& member : object) bytes += member.key().size() + memory_of(member.value());
  } else if (value.is_array()) {
    for (const json::value& element : value.get_array()) bytes += memory_of(element);
  } else if (value.is_string()) {
    bytes += value.get_string().capacity();
  }
  return bytes;
}

Result<json::object> parse_json(ByteView text, json::storage_ptr storage, JsonRules rules) {
  json::parse_options options;
  options.max_depth = limits::json_depth;
  options.allow_invalid_utf8 = rules == JsonRules::lenient;
  json::basic_parser<Handler> parser(options);
  Handler& handler = parser.handler();
  handler.stack.reset(std::move(storage));
  ErrorCode error;
  const std::string_view characters = as_text(text);
  const std::size_t used = parser.write_some(false, characters.data(), characters.size(), error);
  if (error) {
    if (handler.problem != nullptr) return Error{Errc::malformed, handler.problem};
    if (error == json::error::too_deep) return Error{Errc::malformed, "JSON nested too deep"};
    return Error{Errc::malformed, "not valid JSON"};
  }
  if (!parser.done() || used != characters.size()) return Error{Errc::malformed, "not valid JSON: it does not end where it should"};
  json::value value = handler.stack.release();
  if (rules == JsonRules::protocol && keys_in(value) != handler.keys) return Error{Errc::malformed, "a key stands twice in one object"};
  if (!value.is_object()) return Error{Errc::malformed, "JSON, but not an object"};
  return std::move(value.get_object());
}

}  // namespace p2p
