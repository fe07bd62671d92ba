#include "wire/mdns.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <span>

#include <ldns/ldns.h>  // last: it defines true and false as macros, which breaks standard headers behind it

namespace p2p::mdns {
namespace {

constexpr std::string_view local_domain = ".local";
constexpr std::string_view instance_suffix = "._p2p._udp.local";
static_assert(instance_suffix.substr(1) == service_name);
constexpr std::string_view address_key = "dnsaddr=";
constexpr std::string_view name_alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view label_alphabet = "0123456789abcdefghijklmnopqrstuvwxyz-_";
constexpr std::size_t name_size = 32;

constexpr std::size_t header_size = 12;
constexpr std::size_t max_name = 255;      // bytes, RFC 1035 section 3.1
constexpr std::size_t max_pointers = 128;  // followed in one name, which has at most 127 labels
constexpr std::uint16_t class_in = 1;
constexpr std::uint16_t cache_flush = 0x8000;  // RFC 6762 section 10.2
constexpr std::uint16_t unicast = 0x8000;      // the same bit in a question, section 5.4
// Bytes of a known answer: a pointer for its owner, ten of numbers, the name's label behind its length, and a pointer for the rest. The
// first one in a packet without a question has its owner's name in full.
constexpr std::size_t known_answer_overhead = 2 + 10 + 1 + 2;
constexpr std::size_t query_size = 33;

struct Free {
  void operator()(ldns_rdf* data) const noexcept { ldns_rdf_deep_free(data); }
  void operator()(ldns_rr* record) const noexcept { ldns_rr_free(record); }
  void operator()(ldns_pkt* packet) const noexcept { ldns_pkt_free(packet); }
  void operator()(void* memory) const noexcept { std::free(memory); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

// Every failure of ldns to make something of ours is one of memory.
template <class T>
Owned<T> owned(T* object) {
  if (object == nullptr) throw std::bad_alloc();
  return Owned<T>(object);
}

// Writing

Owned<ldns_rdf> name_data(const std::string& name) { return owned(ldns_dname_new_frm_str(name.c_str())); }

Owned<ldns_rdf> raw_data(ldns_rdf_type type, ByteView raw) { return owned(ldns_rdf_new_frm_data(type, raw.size(), raw.data())); }

Owned<ldns_rdf> number_data(std::uint16_t number) { return owned(ldns_native2rdf_int16(LDNS_RDF_TYPE_INT16, number)); }

Owned<ldns_rdf> string_data(std::string_view text) {
  assert(text.size() <= 255);
  Bytes raw;
  raw.reserve(1 + text.size());
  raw.push_back(static_cast<std::uint8_t>(text.size()));
  append(raw, as_bytes(text));
  return raw_data(LDNS_RDF_TYPE_STR, raw);
}

class Writer {
 public:
  explicit Writer(std::uint16_t id) { ldns_pkt_set_id(packet_.get(), id); }

  void response() {
    ldns_pkt_set_qr(packet_.get(), true);
    ldns_pkt_set_aa(packet_.get(), true);
  }

  void truncated() { ldns_pkt_set_tc(packet_.get(), true); }

  void question(std::string_view name, ldns_rr_type type = LDNS_RR_TYPE_PTR, std::uint16_t class_ = class_in) {
    ldns_rr* const question = add(LDNS_SECTION_QUESTION, name, type, class_, {});
    ldns_rr_set_question(question, true);
  }

  template <class... Data>
  void record(ldns_pkt_section section, std::string_view owner, ldns_rr_type type, std::uint16_t class_, std::chrono::seconds ttl,
              Data... data) {
    ldns_rr* const record = add(section, owner, type, class_, ttl);
    (push(record, std::move(data)), ...);
  }

  Bytes encode() const {
    std::uint8_t* wire = nullptr;
    std::size_t size = 0;
    ldns_pkt2wire(&wire, packet_.get(), &size);
    const Owned<std::uint8_t> holder = owned(wire);
    return {wire, wire + size};
  }

 private:
  ldns_rr* add(ldns_pkt_section section, std::string_view owner, ldns_rr_type type, std::uint16_t class_, std::chrono::seconds ttl) {
    Owned<ldns_rr> record = owned(ldns_rr_new());
    ldns_rr_set_owner(record.get(), name_data(std::string(owner)).release());
    ldns_rr_set_type(record.get(), type);
    ldns_rr_set_class(record.get(), static_cast<ldns_rr_class>(class_));
    ldns_rr_set_ttl(record.get(), static_cast<std::uint32_t>(ttl.count()));
    if (!ldns_pkt_push_rr(packet_.get(), section, record.get())) throw std::bad_alloc();
    return record.release();
  }

  static void push(ldns_rr* record, Owned<ldns_rdf> data) {
    if (!ldns_rr_push_rdf(record, data.get())) throw std::bad_alloc();
    static_cast<void>(data.release());  // the record's now
  }
  static void push(ldns_rr* record, std::vector<Owned<ldns_rdf>> data) {
    for (Owned<ldns_rdf>& each : data) push(record, std::move(each));
  }

  Owned<ldns_pkt> packet_ = owned(ldns_pkt_new());
};

struct Host {
  Multiaddr address;
  TcpAddress tcp;

  // Such an address begins with its one-byte code.
  ByteView ip() const noexcept { return address.bytes().subspan(1, tcp.kind == TcpAddress::Host::ip4 ? 4 : 16); }
};

std::vector<Host> hosts_of(const Announcement& announcement) {
  std::vector<Host> hosts;
  for (const Multiaddr& address : announcement.addresses) {
    const Result<TcpAddress> tcp = tcp_address(address);
    if (!tcp || (tcp->kind != TcpAddress::Host::ip4 && tcp->kind != TcpAddress::Host::ip6)) continue;
    // What a link is called here is nothing to others: whoever hears this knows on which of theirs.
    const Multiaddr plain = tcp->zone.empty() ? address : Multiaddr::tcp(tcp->host, tcp->port).value();
    hosts.push_back({plain.with_peer_id(announcement.peer), *tcp});
  }
  return hosts;
}

/// What varies between the packets of one announcement.
struct Form {
  std::string name;
  std::chrono::seconds ttl;
  std::uint16_t unique;                  ///< class of the records that are ours alone
  std::optional<std::uint16_t> answers;  ///< the id of a query whose question is repeated
};

Bytes encode_hosts(const Form& form, std::span<const Host> hosts) {
  const std::string instance = instance_name(form.name);
  const std::string target = form.name + std::string(local_domain);
  Writer writer(form.answers.value_or(0));
  writer.response();
  if (form.answers) writer.question(service_name);
  writer.record(LDNS_SECTION_ANSWER, service_name, LDNS_RR_TYPE_PTR, class_in, form.ttl, name_data(instance));
  writer.record(LDNS_SECTION_ADDITIONAL, instance, LDNS_RR_TYPE_SRV, form.unique, form.ttl, number_data(0), number_data(0),
                number_data(hosts.front().tcp.port), name_data(target));
  std::vector<Owned<ldns_rdf>> strings;
  for (const Host& host : hosts) strings.push_back(string_data(std::string(address_key) + host.address.text()));
  writer.record(LDNS_SECTION_ADDITIONAL, instance, LDNS_RR_TYPE_TXT, form.unique, form.ttl, std::move(strings));
  for (auto host = hosts.begin(); host != hosts.end(); ++host) {
    if (std::any_of(hosts.begin(), host, [host](const Host& earlier) { return equal(earlier.ip(), host->ip()); })) continue;
    const bool four = host->tcp.kind == TcpAddress::Host::ip4;
    writer.record(LDNS_SECTION_ADDITIONAL, target, four ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA, form.unique, form.ttl,
                  raw_data(four ? LDNS_RDF_TYPE_A : LDNS_RDF_TYPE_AAAA, host->ip()));
  }
  return writer.encode();
}

/// Takes as many hosts off the front as fit into one packet; one always does.
Bytes encode_fitting(const Form& form, std::span<const Host>& hosts) {
  for (std::size_t count = std::min(hosts.size(), limits::mdns_addresses);; --count) {
    Bytes packet = encode_hosts(form, hosts.first(count));
    if (packet.size() > limits::mdns_packet_out && count > 1) continue;
    hosts = hosts.subspan(count);
    return packet;
  }
}

/// The name counted up by `number`, as one big number in base 36.
std::string counted_up(std::string name, std::size_t number) {
  for (auto at = name.rbegin(); number > 0 && at != name.rend(); ++at) {
    number += name_alphabet.find(*at);
    *at = name_alphabet[number % name_alphabet.size()];
    number /= name_alphabet.size();
  }
  return name;
}

// Reading. A record's place is found before ldns sees it: what is unusable can be skipped, and ldns, which would follow 65,535 pointers,
// gets only names that are cheap to follow.

/// Where the name at `at` ends. Errors: malformed, when pointers don't go backwards or are too many too.
Result<std::size_t> end_of_name(ByteView packet, std::size_t at) noexcept {
  constexpr Error malformed{Errc::malformed, "bad name in a DNS packet"};
  std::optional<std::size_t> end;
  std::size_t start = at;  // of the labels being walked
  std::size_t size = 0;
  std::size_t pointers = 0;
  while (at < packet.size()) {
    const std::uint8_t label = packet[at];
    if (label >= 0xc0) {
      if (packet.size() - at < 2 || ++pointers > max_pointers) return malformed;
      if (!end) end = at + 2;
      at = load_u16(&packet[at]) & 0x3fff;
      if (at < header_size || at >= start) return malformed;
      start = at;
      continue;
    }
    if (label > LDNS_MAX_LABELLEN) return malformed;
    at += 1U + label;
    size += 1U + label;
    if (size > max_name) return malformed;
    if (label == 0) return end.value_or(at);
  }
  return malformed;
}

struct Place {
  std::size_t begin;
  std::size_t data;
  std::size_t end;
  std::uint16_t type;
};

Result<Place> place_of(ByteView packet, std::size_t begin, ldns_pkt_section section) noexcept {
  TRY_ASSIGN(const std::size_t name_end, end_of_name(packet, begin));
  const bool question = section == LDNS_SECTION_QUESTION;
  Reader reader(packet.subspan(name_end));
  TRY_ASSIGN(const std::uint16_t type, reader.u16());
  TRY(reader.u16());  // class
  if (question) return Place{begin, name_end + 4, name_end + 4, type};
  TRY(reader.bytes(4));  // TTL
  TRY_ASSIGN(const std::uint16_t size, reader.u16());
  TRY(reader.bytes(size));
  return Place{begin, name_end + 10, name_end + 10 + size, type};
}

/// Nothing if the record is not what its type says.
Owned<ldns_rr> parse(ByteView packet, const Place& place, ldns_pkt_section section) {
  if (section != LDNS_SECTION_QUESTION && place.type == LDNS_RR_TYPE_PTR) {
    const Result<std::size_t> target_end = end_of_name(packet, place.data);
    if (!target_end || *target_end != place.end) return nullptr;
  }
  ldns_rr* record = nullptr;
  std::size_t at = place.begin;
  if (ldns_wire2rr(&record, packet.data(), packet.size(), &at, section) != LDNS_STATUS_OK) return nullptr;
  return Owned<ldns_rr>(record);
}

/// In lower case, without the dot at the end; unusual bytes, a dot inside a label too, as \ddd. ldns's own way takes half the time that a
/// packet does.
std::string text_of(const ldns_rdf* name) {
  std::string text;
  const std::uint8_t* at = ldns_rdf_data(name);
  while (const std::size_t size = *at++) {
    if (!text.empty()) text += '.';
    for (const std::uint8_t byte : std::span(at, size)) {
      const char lower = byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + ('a' - 'A')) : static_cast<char>(byte);
      if (byte > ' ' && byte < 0x7f && byte != '.' && byte != '\\') {
        text += lower;
      } else {
        text += '\\';
        for (const int digit : {byte / 100, byte / 10 % 10, byte % 10}) text += static_cast<char>('0' + digit);
      }
    }
    at += size;
  }
  return text;
}

// Null for one too many.
Peer* peer_of(std::vector<Peer>& peers, const PeerId& id, const std::string& name, std::chrono::seconds ttl) {
  const auto same = [&](const Peer& peer) { return peer.id == id && peer.name == name && peer.ttl == ttl; };
  const auto found = std::find_if(peers.begin(), peers.end(), same);
  if (found != peers.end()) return &*found;
  if (peers.size() == limits::mdns_packet_peers) return nullptr;
  return &peers.emplace_back(Peer{id, name, {}, ttl});
}

void read_addresses(const ldns_rr& record, const std::string& owner, std::chrono::seconds ttl, std::vector<Peer>& peers) {
  for (std::size_t i = 0; i < ldns_rr_rd_count(&record); ++i) {
    const ldns_rdf* const data = ldns_rr_rdf(&record, i);
    const std::string_view text = as_text({ldns_rdf_data(data) + 1, ldns_rdf_size(data) - 1});  // behind its length
    if (!text.starts_with(address_key)) continue;
    const Result<Multiaddr> address = Multiaddr::from_text(text.substr(address_key.size()));
    if (!address) continue;
    const std::optional<PeerId> id = address->peer_id();
    Multiaddr bare = address->without_peer_id();
    if (!id || bare.empty() || bare.peer_id()) continue;  // two peers in a row are a contradiction
    Peer* const peer = peer_of(peers, *id, owner, ttl);
    if (peer == nullptr) return;
    std::vector<Multiaddr>& known = peer->addresses;
    if (known.size() < limits::mdns_addresses && std::find(known.begin(), known.end(), bare) == known.end()) {
      known.push_back(std::move(bare));
    }
  }
}

void read_question(ldns_rr& question, Packet& packet) {
  const std::string name = text_of(ldns_rr_owner(&question));
  if (name == service_name) {
    packet.asks_for_peers = true;
    packet.wants_unicast = packet.wants_unicast || (ldns_rr_get_class(&question) & unicast) != 0;
  } else if (name == meta_service_name) {
    packet.asks_for_services = true;
  } else if (name.ends_with(instance_suffix)) {
    packet.asks_for.push_back(name);
  }
}

void read_record(ldns_rr& record, Packet& packet) {
  if ((ldns_rr_get_class(&record) & ~cache_flush) != class_in) return;
  const std::string owner = text_of(ldns_rr_owner(&record));
  const std::chrono::seconds ttl = std::min(std::chrono::seconds(ldns_rr_ttl(&record)), limits::mdns_ttl_max);
  if (ldns_rr_get_type(&record) == LDNS_RR_TYPE_TXT) {
    read_addresses(record, owner, ttl, packet.peers);
  } else if (owner == meta_service_name) {
    packet.tells_services = packet.tells_services || packet.response;
  } else if (owner == service_name) {
    if (!packet.response)
      packet.known.push_back({text_of(ldns_rr_rdf(&record, 0)), ttl});
    else if (ttl.count() == 0)
      packet.gone.push_back(text_of(ldns_rr_rdf(&record, 0)));
  }
}

}  // namespace

std::string random_name(Random& random) {
  std::string name;
  while (name.size() < name_size) name += name_alphabet[random.below(name_alphabet.size())];
  return name;
}

std::string instance_name(const std::string& name, std::size_t number) { return counted_up(name, number) + std::string(instance_suffix); }

bool speakable(std::string_view name) noexcept {
  if (!name.ends_with(instance_suffix)) return false;
  const std::string_view label = name.substr(0, name.size() - instance_suffix.size());
  return !label.empty() && label.size() <= LDNS_MAX_LABELLEN && label.find_first_not_of(label_alphabet) == label.npos;
}

Bytes encode_query(std::uint16_t id) {
  Writer writer(id);
  writer.question(service_name);
  return writer.encode();
}

Bytes encode_one_shot_query(std::uint16_t id) {
  Writer writer(id);
  writer.question(service_name, LDNS_RR_TYPE_PTR, class_in | unicast);
  return writer.encode();
}

std::vector<Bytes> encode_query(std::span<const KnownAnswer> known) {
  std::vector<Bytes> packets;
  do {
    Writer writer(0);
    if (packets.empty()) writer.question(service_name);
    for (std::size_t size = query_size; !known.empty(); known = known.subspan(1)) {
      const KnownAnswer& each = known.front();
      assert(speakable(each.name));
      size += known_answer_overhead + each.name.size() - instance_suffix.size();
      if (size > limits::mdns_packet_out) break;
      writer.record(LDNS_SECTION_ANSWER, service_name, LDNS_RR_TYPE_PTR, class_in, each.ttl, name_data(each.name));
    }
    if (!known.empty()) writer.truncated();
    packets.push_back(writer.encode());
  } while (!known.empty());
  return packets;
}

Bytes encode_instance_query(std::span<const std::string> names) {
  assert(names.size() <= limits::mdns_wanted);
  Writer writer(0);
  for (const std::string& name : names) {
    assert(speakable(name));
    writer.question(name, LDNS_RR_TYPE_ANY);
  }
  return writer.encode();
}

std::vector<Bytes> encode_response(const Announcement& announcement) {
  const std::vector<Host> hosts = hosts_of(announcement);
  std::vector<Bytes> packets;
  for (std::span<const Host> rest = hosts; !rest.empty();) {
    const Form form{counted_up(announcement.name, packets.size()), announcement.ttl, class_in | cache_flush, std::nullopt};
    packets.push_back(encode_fitting(form, rest));
  }
  return packets;
}

Bytes encode_unicast_response(const Announcement& announcement, const Packet& query) {
  const std::vector<Host> hosts = hosts_of(announcement);
  if (hosts.empty()) return {};
  std::span<const Host> rest = hosts;
  const std::chrono::seconds ttl = query.wants_unicast ? announcement.ttl : std::min(announcement.ttl, limits::mdns_legacy_ttl);
  return encode_fitting({announcement.name, ttl, class_in, query.id}, rest);
}

Bytes encode_meta_response() {
  Writer writer(0);
  writer.response();
  writer.record(LDNS_SECTION_ANSWER, meta_service_name, LDNS_RR_TYPE_PTR, class_in, limits::mdns_ttl, name_data(std::string(service_name)));
  return writer.encode();
}

Result<Packet> decode(ByteView packet) {
  if (packet.size() > limits::mdns_packet) return Error{Errc::too_large, "DNS packet above its limit"};
  if (packet.size() < header_size) return Error{Errc::malformed, "not a DNS packet"};
  const std::uint16_t flags = load_u16(&packet[2]);
  if ((flags & 0x780f) != 0) return Error{Errc::malformed, "DNS packet with an opcode or error that mDNS does not have"};
  Packet decoded;
  decoded.id = load_u16(&packet[0]);
  decoded.response = (flags & 0x8000) != 0;
  decoded.truncated = !decoded.response && (flags & 0x0200) != 0;

  constexpr ldns_pkt_section sections[] = {LDNS_SECTION_QUESTION, LDNS_SECTION_ANSWER, LDNS_SECTION_AUTHORITY, LDNS_SECTION_ADDITIONAL};
  std::size_t records = 0;
  std::size_t at = header_size;
  for (const ldns_pkt_section section : sections) {
    const std::size_t count = load_u16(&packet[4 + 2 * static_cast<std::size_t>(section)]);
    records += count;
    if (records > limits::mdns_records) return Error{Errc::too_large, "DNS packet of too many records"};
    for (std::size_t i = 0; i < count; ++i) {
      TRY_ASSIGN(const Place place, place_of(packet, at, section));
      at = place.end;
      const bool question = section == LDNS_SECTION_QUESTION;
      if (section == LDNS_SECTION_AUTHORITY) continue;
      // Responses carry no questions; what queries carry besides is known answers.
      if (decoded.response ? question : section == LDNS_SECTION_ADDITIONAL) continue;
      if (!question && place.type != LDNS_RR_TYPE_PTR && (place.type != LDNS_RR_TYPE_TXT || !decoded.response)) continue;
      const Owned<ldns_rr> record = parse(packet, place, section);
      if (record == nullptr) continue;
      if (question)
        read_question(*record, decoded);
      else
        read_record(*record, decoded);
    }
  }
  return decoded;
}

}  // namespace p2p::mdns
