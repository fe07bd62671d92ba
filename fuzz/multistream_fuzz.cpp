#include "require.hpp"
#include "wire/multistream.hpp"

#include <algorithm>

using namespace p2p;
using namespace p2p::multistream;

namespace {

bool supported(std::string_view protocol) { return protocol.size() % 2 == 0; }

// Gives a machine bytes in pieces. What it makes of them does not depend on how they are cut.
template <class Machine>
std::string told(Machine machine, ByteView input, std::size_t piece) {
  std::string all;
  Bytes held;
  while (!input.empty() && !machine.done()) {
    const ByteView part = input.first(std::min(piece, input.size()));
    input = input.subspan(part.size());
    append(held, part);
    ByteView rest(held);
    const auto received = machine.receive(rest);
    all += as_text(machine.take_output());
    if (!received) return all + received.error().reason;
    held.erase(held.begin(), held.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }
  return machine.done() ? all + machine.protocol() + std::to_string(held.size() + input.size()) : all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  for (ByteView rest = input;;) {
    const ByteView before = rest;
    const auto message = next_message(rest);
    if (!message || !*message) break;
    Bytes written;
    put_message(written, **message);
    fuzz::require(equal(written, before.first(before.size() - rest.size())));
  }
  const Dialer dialer({"/a", "/b", "/ipfs/ping/1.0.0"});
  const Listener listener(supported);
  fuzz::require(told(dialer, input, size) == told(dialer, input, 1));
  fuzz::require(told(listener, input, size) == told(listener, input, 1));
  return 0;
}
