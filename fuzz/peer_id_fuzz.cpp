#include "identity/identity.hpp"
#include "require.hpp"

using namespace p2p;

// As text, as a multihash and as a public key.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  if (const auto id = PeerId::from_text(as_text(input))) fuzz::require(PeerId::from_text(id->text()).value() == *id);
  if (const auto id = PeerId::from_bytes(input)) {
    fuzz::require(equal(id->bytes(), input));
    if (const auto key = id->public_key()) fuzz::require(PeerId(*key) == *id);
  }
  if (const auto key = PublicKey::decode(input)) {
    fuzz::require(equal(key->encoded(), input));
    fuzz::require(PeerId::from_text(PeerId(*key).text()).value() == PeerId(*key));
    Verifier(*key).verify(as_bytes("message"), input);
  }
  return 0;
}
