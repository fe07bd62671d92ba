#include "require.hpp"
#include "wire/mdns.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = mdns::decode({data, size});
  if (!packet) return 0;
  for (const mdns::Peer& peer : packet->peers) {
    // What we would say of them is read as that; other kinds of addresses are not said.
    std::vector<Multiaddr> said, read;
    for (const Multiaddr& address : peer.addresses) {
      const auto tcp = tcp_address(address);
      if (tcp && tcp->zone.empty() && tcp->kind <= TcpAddress::Host::ip6) said.push_back(address);
    }
    for (const Bytes& written : mdns::encode_response({"0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p", peer.id, peer.addresses, peer.ttl})) {
      const mdns::Packet again = mdns::decode(written).value();
      fuzz::require(again.response && again.peers.size() == 1 && again.peers[0].id == peer.id && again.peers[0].ttl == peer.ttl);
      read.insert(read.end(), again.peers[0].addresses.begin(), again.peers[0].addresses.end());
    }
    fuzz::require(read == said);
  }
  // What is known to somebody else can be passed on.
  std::vector<mdns::KnownAnswer> known;
  for (const mdns::KnownAnswer& each : packet->known) {
    if (mdns::speakable(each.name)) known.push_back(each);
  }
  std::size_t listed = 0;
  for (const Bytes& written : mdns::encode_query(known)) {
    for (const mdns::KnownAnswer& each : mdns::decode(written).value().known) {
      fuzz::require(each.name == known[listed].name && each.ttl == known[listed].ttl);
      ++listed;
    }
  }
  fuzz::require(listed == known.size());
  return 0;
}
