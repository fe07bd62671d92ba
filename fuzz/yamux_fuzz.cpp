#include "mux_input.hpp"

// The first byte says whether the session is the dialer's.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace p2p;
  if (size > 0)
    fuzz::mux_input(yamux_protocol, data[0] % 2 == 0 ? MuxSession::Role::dialer : MuxSession::Role::listener, {data + 1, size - 1});
  return 0;
}
