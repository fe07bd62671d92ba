#include "http/sse.hpp"
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> events = told(input, size);
  fuzz::require(told(input, 1) == events && told(input, 7) == events);
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
