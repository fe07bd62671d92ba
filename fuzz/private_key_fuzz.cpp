// What the file of an identity holds.

#include "identity/identity.hpp"
#include "require.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto keys = KeyPair::decode({data, size});
  if (!keys) {
    fuzz::require(keys.error().code == Errc::malformed || keys.error().code == Errc::unsupported);
    return 0;
  }
  const auto again = KeyPair::decode(keys->encode());
  fuzz::require(again && again->peer_id() == keys->peer_id());
  fuzz::require(Verifier(keys->public_key()).verify(as_bytes("message"), again->sign(as_bytes("message"))));
  return 0;
}
