// A whole negotiation: a dialer that proposes some protocols, a listener that supports some, what each writes behind the agreement, and
// pieces that arrive as the input says. Both agree on the first proposal that is supported, and what stands behind is left byte for byte.

#include "base/limits.hpp"
#include "require.hpp"
#include "wire/multistream.hpp"

#include <algorithm>

using namespace p2p;
using namespace p2p::multistream;

namespace {

/// One of a few names of any length that a proposal may have.
std::string name(std::uint8_t number) {
  const std::size_t size = number < 192 ? number / 16 : number < 224 ? limits::protocol_name + number % 2 : limits::multistream_message - 1;
  return std::string(size, static_cast<char>('a' + number % 16));
}

template <class Machine>
struct End {
  Machine machine;
  Bytes under_way;  // to this side
  Bytes unread;
  std::optional<Errc> refused;

  /// Lets up to `count` bytes arrive; returns what is answered.
  Bytes deliver(std::size_t count) {
    count = std::min(count, under_way.size());
    append(unread, ByteView(under_way).first(count));
    under_way.erase(under_way.begin(), under_way.begin() + static_cast<std::ptrdiff_t>(count));
    if (refused || machine.done()) return {};
    unread.shrink_to_fit();  // a sanitizer sees a read behind it
    ByteView rest(unread);
    if (const auto received = machine.receive(rest); !received) refused = received.error().code;
    unread.erase(unread.begin(), unread.end() - static_cast<std::ptrdiff_t>(rest.size()));
    return machine.take_output();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::uint32_t supported = data[0] * 256U + data[1];  // by a name's letter
  const auto supports = [supported](std::string_view protocol) {
    return !protocol.empty() && (supported >> (protocol[0] - 'a') & 1U) != 0;
  };
  std::vector<std::string> proposals;
  const std::size_t count = 1 + data[2] % (limits::multistream_proposals + 4);
  for (std::size_t i = 0; i < count; ++i) proposals.push_back(name(data[std::min(3 + i, size - 1)]));
  const ByteView script = ByteView(data, size).subspan(std::min(3 + count, size));

  const auto usable = [&](const std::string& protocol) { return protocol.size() <= limits::protocol_name && supports(protocol); };
  const auto agreed = std::find_if(proposals.begin(), proposals.end(), usable);
  const bool agree = static_cast<std::size_t>(agreed - proposals.begin()) < std::min(count, limits::multistream_proposals);
  End<Dialer> dialer{Dialer(proposals), {}, {}, {}};
  End<Listener> listener{Listener(supports), {}, {}, {}};
  Bytes from_dialer;
  Bytes from_listener;
  listener.under_way = dialer.machine.take_output();
  const bool lazy = count == 1;
  if (lazy) {
    from_dialer.assign(script.begin(), script.end());
    append(listener.under_way, from_dialer);
  }
  const auto deliver = [&](bool to_dialer, std::size_t much) {
    if (to_dialer) {
      const bool before = dialer.machine.done();
      append(listener.under_way, dialer.deliver(much));
      if (lazy || before || !dialer.machine.done()) return;
      from_dialer.assign(script.begin(), script.end());
      append(listener.under_way, from_dialer);
    } else {
      const bool before = listener.machine.done();
      append(dialer.under_way, listener.deliver(much));
      if (before || !listener.machine.done()) return;
      from_listener.assign(script.rbegin(), script.rend());
      append(dialer.under_way, from_listener);
    }
  };
  for (const std::uint8_t piece : script) deliver(piece % 2 == 0, piece / 2 + std::size_t{1});
  while (dialer.under_way.size() + listener.under_way.size() > 0) {
    deliver(true, SIZE_MAX);
    deliver(false, SIZE_MAX);
  }

  // What stands behind a refused proposal may look like another one.
  fuzz::require(dialer.machine.done() == agree && (listener.machine.done() == agree || (lazy && !agree)));
  if (agree) {
    fuzz::require(dialer.machine.protocol() == *agreed && listener.machine.protocol() == *agreed && !dialer.refused && !listener.refused);
    fuzz::require(dialer.unread == from_listener && listener.unread == from_dialer);
  } else if (count <= limits::multistream_proposals) {
    fuzz::require(dialer.refused == Errc::unsupported && (lazy || !listener.refused));
  } else {
    fuzz::require(!dialer.refused && listener.refused == Errc::too_large);
  }
  return 0;
}
