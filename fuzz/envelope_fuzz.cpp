#include "identity/envelope.hpp"
#include "require.hpp"

using namespace p2p;

// As an envelope, whose signature only a corpus can get right, and as what is put into one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const KeyPair keys(std::array<std::uint8_t, KeyPair::seed_size>{});
  const ByteView input(data, size);
  (void)open_envelope(input, peer_record_domain);
  const Bytes sealed = seal_envelope(keys, peer_record_domain, peer_record_type, input);
  const Envelope opened = open_envelope(sealed, peer_record_domain).value();
  fuzz::require(opened.signer == keys.peer_id() && equal(opened.payload_type, peer_record_type) && equal(opened.payload, input));
  return 0;
}
