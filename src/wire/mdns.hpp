#pragma once
// mDNS peer discovery: DNS packets that say which peers are on this link. Encoding and decoding are ldns's; what they mean is ours.
//
//   query      PTR _p2p._udp.local
//   response   answer      PTR _p2p._udp.local → <name>._p2p._udp.local
//              additional  SRV <name>._p2p._udp.local → <name>.local
//                          TXT <name>._p2p._udp.local  "dnsaddr=<multiaddr>/p2p/<peer id>"…
//                          A, AAAA <name>.local
//
// https://github.com/libp2p/specs/blob/master/discovery/mdns.md, RFC 6762. The shape of the response is the one that rust-, go- and
// js-libp2p all accept; what is read is what any of them sends (docs/wire.md).

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "identity/identity.hpp"
#include "wire/multiaddr.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace p2p::mdns {

inline constexpr std::string_view service_name = "_p2p._udp.local";
inline constexpr std::string_view meta_service_name = "_services._dns-sd._udp.local";

/// A random name under which one agent announces itself: 32 lower-case letters and digits, never derived from its PeerId.
std::string random_name(Random& random);

/// What one agent says of itself on one interface.
struct Announcement {
  std::string name;  ///< of random_name, stable while the agent runs, new at every start
  PeerId peer;
  std::vector<Multiaddr> addresses;  ///< with or without /p2p; only ip4 and ip6 over tcp, without zones, are written
  std::chrono::seconds ttl;
};

/// The query for peers, 33 bytes with id 0.
Bytes encode_query(std::uint16_t id = 0);

/// The announcement as multicast response packets (id 0) of at most limits::mdns_packet_out bytes each; none without an address to write.
/// Addresses that do not fit into one go into further ones under names of their own (the name with its last characters counted up): go
/// keeps only a name's last TXT.
std::vector<Bytes> encode_response(const Announcement& announcement);

/// The same as an answer by unicast to a query from another port than 5353 (RFC 6762 section 6.7): repeats the query's id and question,
/// sets no cache-flush bit, and says a TTL of at most limits::mdns_legacy_ttl. One packet: addresses that do not fit are left out.
/// Empty without an address to write.
Bytes encode_unicast_response(const Announcement& announcement, std::uint16_t query_id);

/// The answer to a query for meta_service_name: that there is such a service here.
Bytes encode_meta_response();

struct Peer {
  PeerId id;
  std::string name;                  ///< owner of the TXT record, lower-case, without a trailing dot; unusual bytes as \ddd
  std::vector<Multiaddr> addresses;  ///< distinct, without /p2p, at most limits::mdns_addresses
  std::chrono::seconds ttl;          ///< 0 is a goodbye; at most limits::mdns_ttl_max
};

/// What a packet said that concerns us. All else in it is skipped.
struct Packet {
  std::uint16_t id = 0;
  bool response = false;
  bool asks_for_peers = false;     ///< a query, and any question has the service's name, whatever its type and class
  bool asks_for_services = false;  ///< a query, and a question has the meta service's name
  /// From a response's TXT records in answers and additionals, any owner: one for each id in their addresses, name and TTL.
  std::vector<Peer> peers;
  std::vector<std::string> gone;  ///< instance names, as in Peer, of the service's PTR records with TTL 0
};

/// Errors: malformed (not a DNS packet, or one that mDNS does not have), too_large (above limits::mdns_packet bytes or limits::mdns_records
/// records). An unusable record or address is skipped, the rest is kept.
Result<Packet> decode(ByteView packet);

}  // namespace p2p::mdns
