#include "wire/identify.hpp"

#include "base/coding.hpp"
#include "require.hpp"

using namespace p2p;

namespace {

bool same(const Identify& a, const Identify& b) {
  return a.public_key == b.public_key && a.listen_addrs == b.listen_addrs && a.protocols == b.protocols &&
         a.observed_addr == b.observed_addr && a.protocol_version == b.protocol_version && a.agent_version == b.agent_version &&
         a.signed_peer_record == b.signed_peer_record;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  Identify read;
  if (!read.merge(input)) return 0;
  const Bytes written = read.encode();
  Reader framed(written);
  const ByteView protobuf = framed.length_prefixed(written.size()).value();
  fuzz::require(framed.empty());
  Identify again;
  again.merge(protobuf).value();
  fuzz::require(same(again, read));
  read.merge(input).value();
  fuzz::require(same(again, read));  // nothing is new the second time
  return 0;
}
