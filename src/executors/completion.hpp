#pragma once
// What OpenAI-compatible servers say: JSON in which characters may be broken, and answers that come as events.

#include "http/sse.hpp"
#include "task/executor.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace p2p::openai {

/// What a server sent, if that is a JSON object. Its strings are not yet repaired.
std::optional<boost::json::object> parse(std::string text);

// Members of an object, where they are there and of that type; text is repaired.
const boost::json::object* object_in(const boost::json::object& object, std::string_view key);
const boost::json::array* array_in(const boost::json::object& object, std::string_view key);
std::optional<std::string> text_in(const boost::json::object& object, std::string_view key);
std::uint64_t count_in(const boost::json::object& object, std::string_view key);
/// What an object says of an error, in one of the ways that servers have.
std::optional<std::string> error_in(const boost::json::object& object);

/// A streamed answer to /v1/chat/completions, from its bytes.
class Completion {
 public:
  void push(std::string_view bytes) { events_.push(bytes); }
  /// The next piece of text, never empty; nothing at the end, or until more bytes come. Throws malformed and too_large, and closed with the
  /// server's words when it says itself that something failed.
  std::optional<std::string> next();

  /// Whether there was an event yet, and the one that says that this was all.
  bool begun() const noexcept { return begun_; }
  bool done() const noexcept { return done_; }

  /// What the events said beside the text.
  Outcome outcome;

 private:
  std::string take(const http::ServerEvent& event);

  http::EventParser events_;
  bool begun_ = false;
  bool done_ = false;
};

}  // namespace p2p::openai
