#pragma once
// mDNS peer discovery: DNS packets that say which peers are on this link. Encoding and decoding are ldns's; what they mean is ours.
//
//   query      question    PTR _p2p._udp.local, or ANY <name>._p2p._udp.local…
//              answer      PTR _p2p._udp.local → <name>._p2p._udp.local…  what is known already (RFC 6762 section 7.1)
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
#include <span>
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

/// The full name, as in Peer, under which the packet `number` of an announcement's response speaks.
std::string instance_name(const std::string& name, std::size_t number = 0);

/// An instance of the service and how long what is known of it still holds.
struct KnownAnswer {
  std::string name;  ///< as in Peer
  std::chrono::seconds ttl;
};

/// Whether a name can stand in a query of ours: one label of letters, digits, - and _ below the service, as all but rust's are.
bool speakable(std::string_view name) noexcept;

/// The query for peers, 33 bytes.
Bytes encode_query(std::uint16_t id = 0);

/// The same from a port of one's own, with the bit that asks for unicast answers: whoever heeds it need not answer the group as well.
Bytes encode_one_shot_query(std::uint16_t id);

/// The query for peers that are not in `known`: one packet, and as many more as the list takes, each but the last with the bit that says
/// that more of it comes (RFC 6762 section 7.2). All names are speakable.
std::vector<Bytes> encode_query(std::span<const KnownAnswer> known);

/// The query for single instances, at most limits::mdns_wanted of them, all speakable.
Bytes encode_instance_query(std::span<const std::string> names);

/// The announcement as multicast response packets (id 0) of at most limits::mdns_packet_out bytes each; none without an address to write.
/// Addresses that do not fit into one go into further ones under names of their own (the name with its last characters counted up): go
/// keeps only a name's last TXT.
std::vector<Bytes> encode_response(const Announcement& announcement);

struct Packet;

/// The same as an answer by unicast to a query from another port than 5353 (RFC 6762 section 6.7): repeats the query's id and question,
/// sets no cache-flush bit, and says a TTL of at most limits::mdns_legacy_ttl unless the query has the bit that asks for unicast: who knows
/// that one keeps a cache. One packet: addresses that do not fit are left out. Empty without an address to write.
Bytes encode_unicast_response(const Announcement& announcement, const Packet& query);

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
  bool truncated = false;             ///< a query whose known answers go on in the next packet of its sender
  bool asks_for_peers = false;        ///< a query, and any question has the service's name, whatever its type and class
  bool wants_unicast = false;         ///< such a question has the bit that asks for unicast answers
  bool asks_for_services = false;     ///< a query, and a question has the meta service's name
  std::vector<std::string> asks_for;  ///< a query's questions for instances of the service, whatever their type: their names
  std::vector<KnownAnswer> known;     ///< a query's PTR records of the service among its answers
  bool tells_services = false;        ///< a response, with a PTR record of the meta service
  /// From a response's TXT records in answers and additionals, any owner: one for each id in their addresses, name and TTL.
  std::vector<Peer> peers;
  std::vector<std::string> gone;  ///< instance names, as in Peer, of the service's PTR records with TTL 0
};

/// Errors: malformed (not a DNS packet, or one that mDNS does not have), too_large (above limits::mdns_packet bytes or limits::mdns_records
/// records). An unusable record or address is skipped, the rest is kept.
Result<Packet> decode(ByteView packet);

}  // namespace p2p::mdns
