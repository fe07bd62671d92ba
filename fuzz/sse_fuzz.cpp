// What a server streams: events, and the completion that an OpenAI-compatible one makes of them.

#include "executors/completion.hpp"
#include "executors/utf8.hpp"
#include "require.hpp"

#include <algorithm>

using namespace p2p;
using namespace p2p::http;

namespace {

// What becomes of the bytes does not depend on how they are cut.
std::vector<std::string> told(std::string_view input, std::size_t piece) {
  EventParser parser;
  std::vector<std::string> all;
  while (!input.empty()) {
    parser.push(input.substr(0, piece));
    input.remove_prefix(std::min(piece, input.size()));
    while (true) {
      const auto event = parser.next();
      if (!event) return all;
      if (!*event) break;
      all.push_back((*event)->type);
      all.push_back((*event)->data);
    }
  }
  return all;
}

// The same of the answer: its text, what is said beside it, and what is wrong with it.
std::string answered(std::string_view input, std::size_t piece) {
  openai::Completion completion;
  std::string all;
  try {
    while (!input.empty() && !completion.done()) {
      completion.push(input.substr(0, piece));
      input.remove_prefix(std::min(piece, input.size()));
      while (const std::optional<std::string> text = completion.next()) {
        fuzz::require(!text->empty() && repair_utf8(*text) == *text);
        all += *text;
      }
    }
  } catch (const boost::system::system_error& error) {
    fuzz::require(is(error, Errc::malformed) || is(error, Errc::too_large) || is(error, Errc::closed));
    all += '\0' + message_of(error);
  }
  const Outcome& outcome = completion.outcome;
  all += '\0' + outcome.model.value_or("-") + '\0' + outcome.finish_reason.value_or("-") + '\0';
  if (outcome.usage) all += std::to_string(outcome.usage->prompt_tokens) + '+' + std::to_string(outcome.usage->completion_tokens);
  return all + (completion.done() ? " done" : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> events = told(input, size);
  fuzz::require(told(input, 1) == events && told(input, 7) == events);
  const std::string answer = answered(input, size);
  fuzz::require(answered(input, 1) == answer && answered(input, 7) == answer);
  // Written again, the events are read again.
  std::string again;
  for (std::size_t i = 0; i < events.size(); i += 2) {
    again += "event: " + events[i] + "\ndata: ";
    for (const char c : events[i + 1]) again += c == '\n' ? std::string("\ndata: ") : std::string(1, c);
    again += "\n\n";
  }
  fuzz::require(told(again, again.size()) == events);
  return 0;
}
