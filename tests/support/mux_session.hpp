#pragma once
// What one muxer session hears and says, in forms that are easily compared.

#include "wire/mux_session.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace p2p::test {

/// What a session wrote.
class Collected final : public ByteSink {
 public:
  void append(ByteView bytes) override { p2p::append(bytes_, bytes); }
  Bytes take() { return std::exchange(bytes_, {}); }
  std::string take_hex() { return to_hex(take()); }

 private:
  Bytes bytes_;
};

inline constexpr std::size_t in_one_piece = std::numeric_limits<std::size_t>::max();

/// Gives a session `input` in pieces of the sizes that `piece` says, and returns what it made of it: "opened 2, data 2 hello, finished 2",
/// with the error at the end if there was one. Data that came in several events is joined. Bytes that no frame is made of yet are kept for
/// the next piece, as a connection does.
template <class Piece>
std::string hear(MuxSession& session, ByteView input, Piece piece) {
  static constexpr const char* kinds[] = {"opened", "data", "finished", "reset", "writable", "pong"};
  std::string heard;
  std::string data_of;  // the start of the last entry, if it is data
  Bytes unread;
  while (!input.empty()) {
    const ByteView arrived = input.first(std::min<std::size_t>(input.size(), piece()));
    input = input.subspan(arrived.size());
    append(unread, arrived);
    unread.shrink_to_fit();  // a sanitizer sees a read behind it
    ByteView rest(unread);
    while (true) {
      const auto event = session.next(rest);
      if (!event) return heard + (heard.empty() ? "" : ", ") + make_error_code(event.error().code).message();
      if (!*event) break;
      const std::string told = std::string(kinds[static_cast<std::size_t>((*event)->kind)]) + " " + std::to_string((*event)->stream);
      if ((*event)->kind == MuxEvent::Kind::data && told == data_of) {
        heard += as_text((*event)->data);
        continue;
      }
      heard += (heard.empty() ? "" : ", ") + told;
      data_of.clear();
      if ((*event)->kind != MuxEvent::Kind::data) continue;
      data_of = told;
      heard.append(" ").append(as_text((*event)->data));
    }
    unread.erase(unread.begin(), unread.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }
  return heard;
}

inline std::string hear(MuxSession& session, ByteView input) {
  return hear(session, input, [] { return in_one_piece; });
}

}  // namespace p2p::test
