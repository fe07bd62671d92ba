#include "../tests/support/mux_pair.hpp"

// Both ends of a connection, the calls to them in an order that the input says: see MuxPair.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace p2p;
  if (size > 0) test::MuxPair(data[0] % 2 == 0 ? yamux_protocol : mplex_protocol).play({data + 1, size - 1});
  return 0;
}
