#pragma once
// Server-sent events (WHATWG HTML, section 9.2.6), taken apart as they come:
//
//   stream   [ BOM ] *event
//   event    *( comment / field ) end-of-line
//   comment  ":" *any end-of-line
//   field    name [ ":" [ " " ] value ] end-of-line     event names the type, each data adds a line, others are ignored
//   end-of-line   CR LF / LF / CR
//
// An event without data is none. One that has not ended when the stream ends is none either.

#include "base/error.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace p2p::http {

struct ServerEvent {
  std::string type;  ///< empty when none was named
  std::string data;  ///< bytes as they came
};

/// Bytes in, cut anywhere; events out. Holds at most what was pushed and one event.
class EventParser {
 public:
  void push(std::string_view bytes) { input_ += bytes; }
  /// The next event; nothing yet when it takes more bytes. Errors: too_large, an event above limits::event_line; there is no next one then.
  Result<std::optional<ServerEvent>> next();

 private:
  bool fits(std::size_t line) const;
  std::optional<std::string_view> next_line();
  void take(std::string_view line);

  std::string input_;
  std::size_t line_ = 0;     // where the line that is not taken yet begins
  std::size_t scanned_ = 0;  // up to where it was searched for its end
  bool begun_ = false;       // the stream's first line was taken
  bool after_cr_ = false;    // an LF that comes now belongs to the end of the line before
  ServerEvent event_;
  bool has_data_ = false;
};

}  // namespace p2p::http
