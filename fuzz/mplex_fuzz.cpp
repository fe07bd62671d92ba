#include "mux_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace p2p;
  fuzz::mux_input(mplex_protocol, MuxSession::Role::listener, {data, size});
  return 0;
}
