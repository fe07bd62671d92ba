#include "require.hpp"
#include "wire/multiaddr.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  const auto address = Multiaddr::from_bytes(input);
  if (!address) return 0;
  fuzz::require(equal(address->bytes(), input));
  if (const auto again = Multiaddr::from_text(address->text()))
    fuzz::require(*again == *address);
  else
    fuzz::require(again.error().code == Errc::too_large);
  (void)tcp_address(*address);
  const auto id = address->peer_id();
  const Multiaddr bare = address->without_peer_id();
  if (id && !bare.peer_id()) fuzz::require(bare.with_peer_id(*id) == *address);
  return 0;
}
