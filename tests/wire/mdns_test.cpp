#include "wire/mdns.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <initializer_list>
#include <set>

namespace p2p::mdns {
namespace {

using std::chrono::seconds;
using test::hex;

constexpr std::string_view peer_text = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
constexpr std::string_view other_text = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
constexpr std::string_view instance_name = "0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q";

const Bytes query = hex("000000000001000000000000045f703270045f756470056c6f63616c00000c0001");
const Bytes meta_query = hex("000000000001000000000000095f7365727669636573075f646e732d7364045f756470056c6f63616c00000c0001");
const Bytes response = hex(
    "000084000000000100000003045f703270045f756470056c6f63616c00000c000100000078002522306131623263336434653566366737683869396a306b316c326d33"
    "6e346f35703671c00cc02700218001000000780030000000000fa122306131623263336434653566366737683869396a306b316c326d336e346f35703671056c6f6361"
    "6c00c0270010800100000078005b5a646e73616464723d2f6970342f3139322e3136382e312e372f7463702f343030312f7032702f313244334b6f6f57427467336161"
    "524d6a78776564683833614769556b7753784477555a6b7a754a63666171556d6f375233707122306131623263336434653566366737683869396a306b316c326d336e"
    "346f35703671c01600018001000000780004c0a80107");
const Bytes rust_response =
    hex("123484000000000100000001045f703270045f756470056c6f63616c00000c000100000168002220614233784b396d5132704c37764e3474523877593163"
        "5a356446366748306a530020614233784b396d5132704c37764e34745238775931635a356446366748306a53000010800100000168005b5a646e73616464"
        "723d2f6970342f3139322e3136382e312e372f7463702f343030312f7032702f313244334b6f6f57427467336161524d6a78776564683833614769556b77"
        "53784477555a6b7a754a63666171556d6f3752337071");

PeerId peer(std::string_view text = peer_text) { return PeerId::from_text(text).value(); }
Multiaddr address(std::string_view text) { return Multiaddr::from_text(text).value(); }
std::string dnsaddr(std::string_view of, std::string_view id = peer_text) {
  return "dnsaddr=" + std::string(of) + "/p2p/" + std::string(id);
}

Announcement announcement(std::vector<Multiaddr> addresses = {address("/ip4/192.168.1.7/tcp/4001")}) {
  return {std::string(instance_name), peer(), std::move(addresses), seconds(120)};
}

std::vector<Multiaddr> many_addresses(std::size_t count) {
  std::vector<Multiaddr> addresses;
  for (std::size_t i = 0; i < count; ++i) {
    addresses.push_back(address("/ip4/10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + "/tcp/4001"));
  }
  return addresses;
}

// Packets as other implementations write them, without name compression.
enum Type : std::uint16_t { A = 1, PTR = 12, TXT = 16, AAAA = 28, SRV = 33, ANY = 255 };
constexpr std::uint16_t flush = 0x8001;
enum Section : std::size_t { question = 4, answer = 6, authority = 8, additional = 10 };

Bytes name(std::string_view dotted) {
  Bytes out;
  while (!dotted.empty()) {
    const std::string_view label = dotted.substr(0, dotted.find('.'));
    out.push_back(static_cast<std::uint8_t>(label.size()));
    append(out, as_bytes(label));
    dotted.remove_prefix(std::min(label.size() + 1, dotted.size()));
  }
  out.push_back(0);
  return out;
}

Bytes strings(const std::vector<std::string>& texts) {
  Bytes out;
  for (const std::string& text : texts) {
    out.push_back(static_cast<std::uint8_t>(text.size()));
    append(out, as_bytes(text));
  }
  return out;
}

struct Dns {
  explicit Dns(std::uint16_t flags = 0x8400) : bytes(12) { store_u16(&bytes[2], flags); }

  Dns& raw(Section section, ByteView record) {
    store_u16(&bytes[section], static_cast<std::uint16_t>(load_u16(&bytes[section]) + 1));
    append(bytes, record);
    return *this;
  }
  Dns& ask(const Bytes& owner, std::uint16_t type, std::uint16_t class_) {
    raw(question, owner);
    put_u16(bytes, type);
    put_u16(bytes, class_);
    return *this;
  }
  Dns& record(Section section, const Bytes& owner, std::uint16_t type, std::uint16_t class_, std::uint32_t ttl, const Bytes& data) {
    raw(section, owner);
    put_u16(bytes, type);
    put_u16(bytes, class_);
    put_u16(bytes, static_cast<std::uint16_t>(ttl >> 16));
    put_u16(bytes, static_cast<std::uint16_t>(ttl));
    put_u16(bytes, static_cast<std::uint16_t>(data.size()));
    append(bytes, data);
    return *this;
  }
  Dns& txt(const std::vector<std::string>& texts, std::uint32_t ttl = 120, std::string_view owner = "a.local") {
    return record(additional, name(owner), TXT, flush, ttl, strings(texts));
  }

  Bytes bytes;
};

// Writing

TEST(Mdns, WritesTheQuery) { EXPECT_EQ(to_hex(encode_query()), to_hex(query)); }

TEST(Mdns, WritesTheResponseThatAllImplementationsRead) {
  const std::vector<Bytes> packets = encode_response(announcement());
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(to_hex(packets[0]), to_hex(response));
}

TEST(Mdns, WritesEachAddressOnceAsTextAndEachHostOnceAsRecord) {
  const std::vector<Bytes> packets = encode_response(
      announcement({address("/ip4/192.168.1.7/tcp/4001"), address("/ip4/192.168.1.7/tcp/4002"), address("/ip6/fd00::7/tcp/4001")}));
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(load_u16(&packets[0][additional]), 4);  // SRV, TXT, A, AAAA
  const Packet packet = decode(packets[0]).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses.size(), 3U);
}

TEST(Mdns, WritesOnlyAddressesThatEveryoneReads) {
  const std::vector<Bytes> packets = encode_response(
      announcement({address("/ip4/10.0.0.1/udp/4001/quic-v1"), address("/dns4/example.com/tcp/1"), address("/ip4/10.0.0.1/tcp/1/ws"),
                    address("/ip6zone/eth0/ip6/fe80::1/tcp/1"), address("/ip4/10.0.0.1/tcp/1")}));
  ASSERT_EQ(packets.size(), 1U);
  const Packet packet = decode(packets[0]).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses, (std::vector{address("/ip6/fe80::1/tcp/1"), address("/ip4/10.0.0.1/tcp/1")}));
}

TEST(Mdns, WritesAnAddressOfTheLinkWithoutOurNameForTheLink) {
  const std::vector<Bytes> packets = encode_response(announcement({address("/ip6zone/eth0/ip6/fe80::1/tcp/1")}));
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(load_u16(&packets[0][additional]), 3);  // SRV, TXT, AAAA
  const Packet packet = decode(packets[0]).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address("/ip6/fe80::1/tcp/1")});
}

TEST(Mdns, WritesNothingWithoutAnAddress) {
  EXPECT_TRUE(encode_response(announcement({})).empty());
  EXPECT_TRUE(encode_unicast_response(announcement({}), {}).empty());
}

TEST(Mdns, WritesAnAddressTheSameWithOrWithoutThePeerId) {
  const Multiaddr bare = address("/ip4/192.168.1.7/tcp/4001");
  EXPECT_EQ(encode_response(announcement({bare.with_peer_id(peer())})), encode_response(announcement({bare})));
}

TEST(Mdns, SpreadsAddressesOverPacketsOfDifferentNames) {
  const std::vector<Multiaddr> addresses = many_addresses(100);
  const std::vector<Bytes> packets = encode_response(announcement(addresses));
  EXPECT_GT(packets.size(), 1U);
  std::set<std::string> names;
  std::vector<Multiaddr> read;
  for (const Bytes& packet : packets) {
    EXPECT_LE(packet.size(), limits::mdns_packet_out);
    const Packet decoded = decode(packet).value();
    ASSERT_EQ(decoded.peers.size(), 1U);
    names.insert(decoded.peers[0].name);
    read.insert(read.end(), decoded.peers[0].addresses.begin(), decoded.peers[0].addresses.end());
  }
  EXPECT_EQ(names.size(), packets.size());
  EXPECT_EQ(read, addresses);
}

TEST(Mdns, FillsAPacketToItsLimitAndNotBeyond) {
  // Thirteen addresses of one host come to just under the limit; each port of five digits instead of four adds a byte.
  std::vector<Multiaddr> addresses;
  std::size_t size = 0;
  for (unsigned long_ports = 0; long_ports <= 13; ++long_ports) {
    addresses.clear();
    for (unsigned i = 0; i < 13; ++i)
      addresses.push_back(address("/ip4/10.100.100.1/tcp/" + std::to_string((i < long_ports ? 10000 : 1000) + i)));
    const std::vector<Bytes> packets = encode_response(announcement(addresses));
    if (packets.size() > 1) break;
    size = packets[0].size();
  }
  EXPECT_EQ(size, limits::mdns_packet_out);
}

TEST(Mdns, CountsTheNameUpWithCarry) {
  Announcement many = announcement(many_addresses(60));
  many.name = "0000000000000000000000000000000z";
  const std::vector<Bytes> packets = encode_response(many);
  ASSERT_GT(packets.size(), 2U);
  EXPECT_EQ(decode(packets[1]).value().peers.at(0).name, "00000000000000000000000000000010._p2p._udp.local");
  EXPECT_EQ(decode(packets[2]).value().peers.at(0).name, "00000000000000000000000000000011._p2p._udp.local");
}

TEST(Mdns, AnswersAUnicastQueryWithItsIdItsQuestionAndAShortTtl) {
  const Bytes packet = encode_unicast_response(announcement(), decode(encode_query(0xbeef)).value());
  EXPECT_EQ(to_hex(ByteView(packet).first(33)), "beef84000001000100000003" + to_hex(ByteView(query).subspan(12)));
  const Packet decoded = decode(packet).value();
  EXPECT_EQ(decoded.id, 0xbeef);
  EXPECT_TRUE(decoded.response);
  EXPECT_FALSE(decoded.asks_for_peers);
  ASSERT_EQ(decoded.peers.size(), 1U);
  EXPECT_EQ(decoded.peers[0].ttl, limits::mdns_legacy_ttl);
  const Bytes flushed = hex("8001");
  EXPECT_EQ(std::search(packet.begin(), packet.end(), flushed.begin(), flushed.end()), packet.end());
}

TEST(Mdns, AnswersAUnicastQueryInOnePacket) {
  const Bytes packet = encode_unicast_response(announcement(many_addresses(100)), {});
  EXPECT_LE(packet.size(), limits::mdns_packet_out);
  const Packet decoded = decode(packet).value();
  ASSERT_EQ(decoded.peers.size(), 1U);
  EXPECT_GT(decoded.peers[0].addresses.size(), 5U);
}

TEST(Mdns, GivesItsWholeTtlToWhoAsksForUnicast) {
  const Bytes packet = encode_unicast_response(announcement(), decode(encode_one_shot_query(7)).value());
  EXPECT_EQ(decode(packet).value().peers.at(0).ttl, announcement().ttl);
}

TEST(Mdns, WritesTheQueryThatAsksForUnicast) {
  EXPECT_EQ(to_hex(encode_one_shot_query(0x1234)), "1234" + to_hex(ByteView(query).subspan(2, 29)) + "8001");
}

TEST(Mdns, ListsWhatIsKnownBehindTheQuestion) {
  const std::vector<KnownAnswer> known{{"ab._p2p._udp.local", seconds(100)}, {"c-d_0._p2p._udp.local", seconds(3)}};
  const std::vector<Bytes> packets = encode_query(known);
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(to_hex(packets[0]), "000000000001000200000000" + to_hex(ByteView(query).subspan(12)) +
                                    "c00c000c000100000064000502"
                                    "6162c00c"
                                    "c00c000c000100000003000805632d645f30c00c");
}

std::vector<KnownAnswer> many_known(std::size_t count, std::size_t label = 32) {
  std::vector<KnownAnswer> known;
  for (std::size_t i = 0; i < count; ++i) {
    std::string name = std::to_string(i);
    known.push_back({mdns::instance_name(std::string(label - name.size(), 'x') + name), seconds(i % 120)});
  }
  return known;
}

TEST(Mdns, SpreadsAListOfWhatIsKnownOverPackets) {
  const std::vector<KnownAnswer> known = many_known(limits::mdns_peers);
  std::vector<KnownAnswer> read;
  const std::vector<Bytes> packets = encode_query(known);
  for (const Bytes& packet : packets) {
    EXPECT_LE(packet.size(), limits::mdns_packet_out);
    const Packet decoded = decode(packet).value();
    EXPECT_EQ(decoded.asks_for_peers, &packet == &packets.front());
    EXPECT_EQ(decoded.truncated, &packet != &packets.back());
    read.insert(read.end(), decoded.known.begin(), decoded.known.end());
  }
  ASSERT_EQ(read.size(), known.size());
  for (std::size_t i = 0; i < known.size(); ++i) {
    EXPECT_EQ(read[i].name, known[i].name);
    EXPECT_EQ(read[i].ttl, known[i].ttl);
  }
}

TEST(Mdns, FillsAQueryToItsLimitAndNotBeyond) {
  // 47 bytes for each known answer of 32 characters behind the question's 33, and the rest in the last one.
  std::vector<KnownAnswer> known = many_known(29);
  known.back().name = mdns::instance_name(std::string(32 + limits::mdns_packet_out - 33 - 29 * 47, 'y'));
  ASSERT_EQ(encode_query(known).size(), 1U);
  EXPECT_EQ(encode_query(known)[0].size(), limits::mdns_packet_out);
  known.front().name = 'x' + known.front().name;
  EXPECT_EQ(encode_query(known).size(), 2U);
}

TEST(Mdns, AsksForSingleInstances) {
  std::vector<std::string> names;
  for (const KnownAnswer& each : many_known(limits::mdns_wanted, 63)) names.push_back(each.name);
  const Bytes packet = encode_instance_query(names);
  EXPECT_LE(packet.size(), limits::mdns_packet_out);
  EXPECT_GT(packet.size() + 70, limits::mdns_packet_out);  // there is no room for another one
  const Packet decoded = decode(packet).value();
  EXPECT_EQ(decoded.asks_for, names);
  EXPECT_FALSE(decoded.asks_for_peers);
}

TEST(Mdns, SpeaksOnlyOfNamesThatNeedNoEscape) {
  for (const std::string& label : {std::string("a"), std::string("0-_z"), std::string(63, 'a')}) {
    EXPECT_TRUE(speakable(label + "._p2p._udp.local")) << label;
  }
  for (const std::string& label : {std::string(), std::string("A"), std::string("a.b"), std::string("\\032"), std::string(64, 'a')}) {
    EXPECT_FALSE(speakable(label + "._p2p._udp.local")) << label;
  }
  EXPECT_FALSE(speakable("_p2p._udp.local"));
  EXPECT_FALSE(speakable("ab3xk9mq2pl7vn4tr8wy1cz5df6gh0js"));
}

TEST(Mdns, AnswersTheMetaQuery) {
  EXPECT_EQ(to_hex(encode_meta_response()),
            "000084000000000100000000095f7365727669636573075f646e732d7364045f756470056c6f63616c00000c00010000007800"
            "07045f703270c01e");
}

TEST(Mdns, NamesAreRandomLowerCaseLettersAndDigits) {
  test::SeededRandom random;
  const std::string first = random_name(random);
  EXPECT_EQ(first.size(), 32U);
  EXPECT_EQ(first.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"), std::string::npos);
  EXPECT_NE(random_name(random), first);
}

// Reading

TEST(Mdns, ReadsQueries) {
  const Packet packet = decode(encode_query(0x1234)).value();
  EXPECT_EQ(packet.id, 0x1234);
  EXPECT_FALSE(packet.response);
  EXPECT_TRUE(packet.asks_for_peers);
  EXPECT_FALSE(packet.asks_for_services);
}

TEST(Mdns, ReadsTheMetaQuery) {
  const Packet packet = decode(meta_query).value();
  EXPECT_FALSE(packet.asks_for_peers);
  EXPECT_TRUE(packet.asks_for_services);
}

TEST(Mdns, ReadsTheBitThatAsksForUnicast) {
  EXPECT_FALSE(decode(encode_query()).value().wants_unicast);
  EXPECT_TRUE(decode(encode_one_shot_query(0)).value().wants_unicast);
  EXPECT_FALSE(decode(Dns(0).ask(name("_ipp._tcp.local"), PTR, flush).ask(name("_p2p._udp.local"), PTR, 1).bytes).value().wants_unicast);
}

TEST(Mdns, ReadsTheInstancesThatAreAskedFor) {
  Dns dns(0);
  dns.ask(name("A._p2p._udp.local"), TXT, 1).ask(name("b.local"), ANY, 1).ask(name("_p2p._udp.local"), PTR, 1);
  EXPECT_EQ(decode(dns.bytes).value().asks_for, std::vector<std::string>{"a._p2p._udp.local"});
}

TEST(Mdns, ReadsKnownAnswersOfQueriesAlone) {
  for (const std::uint16_t flags : {std::uint16_t(0), std::uint16_t(0x0200), std::uint16_t(0x8400)}) {
    Dns dns(flags);
    dns.record(answer, name("_P2P._udp.local"), PTR, 1, 77, name("Ab._p2p._udp.local"));
    dns.record(answer, name("_ipp._tcp.local"), PTR, 1, 77, name("printer._ipp._tcp.local"));
    dns.record(additional, name("_p2p._udp.local"), PTR, 1, 77, name("no._p2p._udp.local"));
    const Packet packet = decode(dns.bytes).value();
    EXPECT_EQ(packet.truncated, flags == 0x0200);
    ASSERT_EQ(packet.known.size(), packet.response ? 0U : 1U);
    if (packet.response) continue;
    EXPECT_EQ(packet.known[0].name, "ab._p2p._udp.local");
    EXPECT_EQ(packet.known[0].ttl, seconds(77));
  }
}

TEST(Mdns, HearsThatSomebodyAnsweredTheMetaQuery) {
  EXPECT_TRUE(decode(encode_meta_response()).value().tells_services);
  EXPECT_FALSE(decode(response).value().tells_services);
  EXPECT_FALSE(decode(meta_query).value().tells_services);
}

TEST(Mdns, WritesUnusualBytesOfNamesAsNumbers) {
  Bytes owner = name("a____x.local");
  owner[2] = '.';
  owner[3] = 0;
  owner[4] = 0xff;
  owner[5] = '\\';
  Dns dns;
  dns.record(additional, owner, TXT, 1, 120, strings({dnsaddr("/ip4/10.0.0.1/tcp/1")}));
  EXPECT_EQ(decode(dns.bytes).value().peers.at(0).name, "a\\046\\000\\255\\092x.local");
}

TEST(Mdns, TakesAQuestionOfAnyTypeClassAndCaseForAQuery) {
  for (const std::uint16_t type : {std::uint16_t(PTR), std::uint16_t(TXT), std::uint16_t(ANY), std::uint16_t(65280)}) {
    for (const std::uint16_t class_ : {std::uint16_t(1), flush, std::uint16_t(255)}) {
      EXPECT_TRUE(decode(Dns(0).ask(name("_P2P._uDp.LOCAL"), type, class_).bytes).value().asks_for_peers) << type << " " << class_;
    }
  }
}

TEST(Mdns, FindsItsQuestionAmongOthers) {
  Dns dns(0);
  dns.ask(name("_ipp._tcp.local"), PTR, 1).ask(name("_p2p._udp.local"), PTR, flush).ask(name("a._p2p._udp.local"), PTR, 1);
  EXPECT_TRUE(decode(dns.bytes).value().asks_for_peers);
  EXPECT_FALSE(decode(Dns(0).ask(name("a._p2p._udp.local"), PTR, 1).ask(name("_p2p._udp.local.x"), PTR, 1).bytes).value().asks_for_peers);
}

TEST(Mdns, ADotInsideALabelIsNoBoundary) {
  Bytes owner = name("_p2p__udp.local");
  owner[5] = '.';
  EXPECT_FALSE(decode(Dns(0).ask(owner, PTR, 1).bytes).value().asks_for_peers);
}

TEST(Mdns, ReadsOurOwnResponse) {
  const Packet packet = decode(response).value();
  EXPECT_TRUE(packet.response);
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].id, peer());
  EXPECT_EQ(packet.peers[0].name, std::string(instance_name) + "._p2p._udp.local");
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address("/ip4/192.168.1.7/tcp/4001")});
  EXPECT_EQ(packet.peers[0].ttl, seconds(120));
  EXPECT_TRUE(packet.gone.empty());
}

TEST(Mdns, ReadsRustsBareNames) {
  const Packet packet = decode(rust_response).value();
  EXPECT_EQ(packet.id, 0x1234);
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].id, peer());
  EXPECT_EQ(packet.peers[0].name, "ab3xk9mq2pl7vn4tr8wy1cz5df6gh0js");
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address("/ip4/192.168.1.7/tcp/4001")});
  EXPECT_EQ(packet.peers[0].ttl, seconds(360));
}

TEST(Mdns, ReadsGosOneTxtOfSeveralStrings) {
  Dns dns;
  const Bytes instance = name("4x._p2p._udp.local");
  Bytes service = hex("000000000fa1");
  append(service, name("4x.local"));
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 3200, instance);
  dns.record(additional, instance, SRV, flush, 3200, service);
  dns.record(additional, instance, TXT, flush, 3200, strings({dnsaddr("/ip4/10.0.0.7/tcp/4001"), dnsaddr("/ip6/fd00::7/tcp/4001")}));
  dns.record(additional, name("4x.local"), A, flush, 120, hex("0a000007"));
  dns.record(additional, name("4x.local"), AAAA, flush, 120, hex("fd000000000000000000000000000007"));
  const Packet packet = decode(dns.bytes).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].name, "4x._p2p._udp.local");
  EXPECT_EQ(packet.peers[0].addresses, (std::vector{address("/ip4/10.0.0.7/tcp/4001"), address("/ip6/fd00::7/tcp/4001")}));
  EXPECT_EQ(packet.peers[0].ttl, seconds(3200));
}

TEST(Mdns, ReadsJssTxtRecordsAmongTheAnswers) {
  Dns dns;
  const Bytes instance = name("abc._p2p._udp.local");
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 120, instance);
  dns.record(answer, instance, TXT, 1, 120, strings({dnsaddr("/ip4/192.168.1.7/tcp/4001")}));
  dns.record(answer, instance, TXT, 1, 120, strings({dnsaddr("/ip4/127.0.0.1/tcp/4001")}));
  const Packet packet = decode(dns.bytes).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses, (std::vector{address("/ip4/192.168.1.7/tcp/4001"), address("/ip4/127.0.0.1/tcp/4001")}));
}

TEST(Mdns, GroupsAddressesByPeerNameAndTtl) {
  Dns dns;
  dns.txt({dnsaddr("/ip4/10.0.0.1/tcp/1"), dnsaddr("/ip4/10.0.0.2/tcp/1", other_text)});
  dns.txt({dnsaddr("/ip4/10.0.0.3/tcp/1")}, 120, "A.local");
  dns.txt({dnsaddr("/ip4/10.0.0.4/tcp/1")}, 0);
  dns.txt({dnsaddr("/ip4/10.0.0.5/tcp/1")}, 120, "b.local");
  const Packet packet = decode(dns.bytes).value();
  ASSERT_EQ(packet.peers.size(), 4U);
  EXPECT_EQ(packet.peers[0].addresses, (std::vector{address("/ip4/10.0.0.1/tcp/1"), address("/ip4/10.0.0.3/tcp/1")}));
  EXPECT_EQ(packet.peers[1].id, peer(other_text));
  EXPECT_EQ(packet.peers[1].addresses, std::vector{address("/ip4/10.0.0.2/tcp/1")});
  EXPECT_EQ(packet.peers[2].addresses, std::vector{address("/ip4/10.0.0.4/tcp/1")});
  EXPECT_EQ(packet.peers[2].ttl, seconds(0));
  EXPECT_EQ(packet.peers[3].name, "b.local");
  EXPECT_EQ(packet.peers[3].addresses, std::vector{address("/ip4/10.0.0.5/tcp/1")});
}

TEST(Mdns, KeepsAnAddressOnce) {
  const Packet packet = decode(Dns().txt({dnsaddr("/ip4/10.0.0.1/tcp/1"), dnsaddr("/ip4/10.0.0.1/tcp/1")}).bytes).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses.size(), 1U);
}

TEST(Mdns, KeepsARelayedAddressUpToItsLastPeer) {
  const std::string relayed = "/ip4/10.0.0.1/tcp/1/p2p/" + std::string(other_text) + "/p2p-circuit";
  const Packet packet = decode(Dns().txt({dnsaddr(relayed)}).bytes).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].id, peer());
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address(relayed)});
}

TEST(Mdns, SkipsStringsThatAreNoAddressOfAPeer) {
  Dns dns;
  dns.txt({"", "dnsaddr", "dnsaddr=", "dnsaddr=/", "dnsaddr=/ip4/10.0.0.1/tcp/1", dnsaddr(""),
           dnsaddr(dnsaddr("/ip4/10.0.0.1/tcp/1", other_text).substr(8)), dnsaddr("/ip4/10.0.0.1/tcp/65536"),
           "x=" + dnsaddr("/ip4/10.0.0.2/tcp/1"), std::string("dnsaddr=\0", 9), std::string(255, 'a'), dnsaddr("/ip4/10.0.0.9/tcp/1")});
  const Packet packet = decode(dns.bytes).value();
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address("/ip4/10.0.0.9/tcp/1")});
}

TEST(Mdns, SkipsRecordsThatAreNotWhatTheirTypeSays) {
  Bytes overlong = strings({dnsaddr("/ip4/10.0.0.2/tcp/1")});
  ++overlong[0];
  Bytes half_a_name = name("_p2p._udp.local");
  half_a_name.pop_back();
  Bytes more_than_a_name = name("_p2p._udp.local");
  more_than_a_name.push_back(0);
  Dns dns;
  dns.record(additional, name("b.local"), TXT, 1, 1, overlong);
  dns.record(additional, name("b.local"), TXT, 1, 1, {});
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 0, half_a_name);
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 0, more_than_a_name);
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 0, {});
  dns.record(additional, name("b.local"), A, 1, 1, hex("01"));
  dns.record(additional, name("b.local"), 65000, 1, 1, hex("0102"));
  dns.txt({dnsaddr("/ip4/10.0.0.9/tcp/1")});
  // An answer added behind an additional stands among the additionals; both are read.
  const Packet packet = decode(dns.bytes).value();
  EXPECT_TRUE(packet.gone.empty());
  ASSERT_EQ(packet.peers.size(), 1U);
  EXPECT_EQ(packet.peers[0].addresses, std::vector{address("/ip4/10.0.0.9/tcp/1")});
}

TEST(Mdns, SkipsRecordsOfOtherClasses) {
  Dns dns;
  dns.record(additional, name("b.local"), TXT, 3, 120, strings({dnsaddr("/ip4/10.0.0.2/tcp/1")}));
  EXPECT_TRUE(decode(dns.bytes).value().peers.empty());
}

TEST(Mdns, BelievesNeitherProbesNorKnownAnswers) {
  const Bytes txt = strings({dnsaddr("/ip4/10.0.0.2/tcp/1")});
  Dns probe(0);
  probe.ask(name("b._p2p._udp.local"), ANY, 1).record(authority, name("b._p2p._udp.local"), TXT, 1, 120, txt);
  EXPECT_TRUE(decode(probe.bytes).value().peers.empty());
  Dns known(0);
  known.ask(name("_p2p._udp.local"), PTR, 1).record(answer, name("b._p2p._udp.local"), TXT, 1, 120, txt);
  EXPECT_TRUE(decode(known.bytes).value().peers.empty());
  EXPECT_TRUE(decode(known.bytes).value().asks_for_peers);
  Dns referral;
  referral.record(authority, name("b._p2p._udp.local"), TXT, 1, 120, txt);
  EXPECT_TRUE(decode(referral.bytes).value().peers.empty());
}

TEST(Mdns, APtrOfTtlZeroIsAGoodbye) {
  Dns dns;
  dns.record(answer, name("_P2P._udp.local"), PTR, 1, 0, name("Gone._p2p._udp.local"));
  dns.record(answer, name("_p2p._udp.local"), PTR, 1, 1, name("here._p2p._udp.local"));
  dns.record(answer, name("_ipp._tcp.local"), PTR, 1, 0, name("printer._ipp._tcp.local"));
  EXPECT_EQ(decode(dns.bytes).value().gone, std::vector<std::string>{"gone._p2p._udp.local"});
}

// Limits

TEST(Mdns, BelievesATtlUpToItsLimit) {
  for (const auto& [said, believed] :
       {std::pair(3600U, seconds(3600)), std::pair(3601U, seconds(3600)), std::pair(0xffffffffU, seconds(3600))}) {
    EXPECT_EQ(decode(Dns().txt({dnsaddr("/ip4/10.0.0.1/tcp/1")}, said).bytes).value().peers.at(0).ttl, believed);
  }
}

TEST(Mdns, KeepsOnlySoManyAddressesOfAPeer) {
  for (const std::size_t count : {limits::mdns_addresses, limits::mdns_addresses + 1}) {
    std::vector<std::string> texts;
    for (const Multiaddr& each : many_addresses(count)) texts.push_back(dnsaddr(each.text()));
    EXPECT_EQ(decode(Dns().txt(texts).bytes).value().peers.at(0).addresses.size(), limits::mdns_addresses);
  }
}

TEST(Mdns, KeepsOnlySoManyPeersOfAPacket) {
  test::SeededRandom random;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i <= limits::mdns_packet_peers; ++i) {
    texts.push_back(dnsaddr("/ip4/10.0.0.1/tcp/1", KeyPair::generate(random).peer_id().text()));
    EXPECT_EQ(decode(Dns().txt(texts).bytes).value().peers.size(), std::min(texts.size(), limits::mdns_packet_peers));
  }
}

TEST(Mdns, RefusesAPacketAboveItsLimit) {
  Bytes packet = response;
  packet.resize(limits::mdns_packet);
  EXPECT_TRUE(decode(packet).has_value());  // bytes behind the records do no harm
  packet.push_back(0);
  EXPECT_EQ(decode(packet).error().code, Errc::too_large);
}

TEST(Mdns, RefusesMoreRecordsThanItsLimit) {
  Dns dns;
  const Bytes root(1);
  for (std::size_t i = 1; i < limits::mdns_records; ++i) dns.record(i % 2 == 0 ? answer : authority, root, A, 1, 1, {});
  dns.txt({dnsaddr("/ip4/10.0.0.1/tcp/1")});
  EXPECT_EQ(decode(dns.bytes).value().peers.size(), 1U);
  dns.record(additional, root, A, 1, 1, {});
  EXPECT_EQ(decode(dns.bytes).error().code, Errc::too_large);
}

TEST(Mdns, RefusesAClaimOfRecordsThatAreNotThere) {
  Bytes packet = response;
  store_u16(&packet[additional], 4);
  EXPECT_EQ(decode(packet).error().code, Errc::malformed);
  store_u16(&packet[additional], 65535);
  EXPECT_EQ(decode(packet).error().code, Errc::too_large);
}

// A chain of pointers, each to the one before it, behind a record that holds them as data.
Bytes chain(std::size_t pointers) {
  Bytes data(1);  // the root
  const std::size_t start = 12 + 1 + 10;
  for (std::size_t i = 1; i < pointers; ++i) {
    const std::size_t target = i == 1 ? start : start + 1 + 2 * (i - 2);
    put_u16(data, static_cast<std::uint16_t>(0xc000 | target));
  }
  Dns dns;
  dns.record(answer, Bytes(1), 65000, 1, 1, data);
  Bytes last;
  put_u16(last, static_cast<std::uint16_t>(0xc000 | (start + data.size() - (pointers == 1 ? 1 : 2))));
  dns.record(answer, last, A, 1, 1, hex("01020304"));
  return dns.bytes;
}

TEST(Mdns, FollowsOnlySoManyPointers) {
  EXPECT_TRUE(decode(chain(1)).has_value());
  EXPECT_TRUE(decode(chain(128)).has_value());
  EXPECT_EQ(decode(chain(129)).error().code, Errc::malformed);
}

TEST(Mdns, RefusesPointersThatDoNotGoBackwards) {
  const Bytes tail = hex("000c0001");
  for (const std::string_view owner : {
           "c00c",          // to itself
           "c00e",          // forwards
           "0161c00c",      // to the beginning of its own name
           "0161c00e",      // to itself behind a label
           "c000", "c00b",  // into the header
           "ffff",          // behind the end
       }) {
    Bytes record = hex(owner);
    append(record, tail);
    EXPECT_EQ(decode(Dns(0).raw(question, record).bytes).error().code, Errc::malformed) << owner;
  }
}

TEST(Mdns, RefusesATwoPointerLoop) {
  Dns dns(0);
  dns.raw(question, hex("0161c012000c0001"));  // at 12, points to 18 + 2
  dns.raw(question, hex("0162c00c000c0001"));
  EXPECT_EQ(decode(dns.bytes).error().code, Errc::malformed);
}

TEST(Mdns, RefusesNamesThatDnsDoesNotHave) {
  const auto asks = [](Bytes owner) {
    append(owner, hex("000c0001"));
    return decode(Dns(0).raw(question, owner).bytes);
  };
  Bytes longest;
  for (int i = 0; i < 4; ++i) {
    const std::uint8_t size = i < 3 ? 63 : 61;
    longest.push_back(size);
    longest.insert(longest.end(), size, 'a');
  }
  longest.push_back(0);
  ASSERT_EQ(longest.size(), 255U);
  EXPECT_TRUE(asks(longest).has_value());
  Bytes longer = longest;
  longer[192] = 62;
  longer.insert(longer.end() - 1, 'a');
  EXPECT_EQ(asks(longer).error().code, Errc::malformed);
  for (const std::uint8_t kind : {std::uint8_t(0x40), std::uint8_t(0x80)}) {  // label types of RFC 2671 and none
    Bytes owner(2 + kind);
    owner[0] = kind;
    EXPECT_EQ(asks(owner).error().code, Errc::malformed);
  }
}

TEST(Mdns, RefusesOpcodesAndErrors) {
  for (const std::uint16_t flags : std::initializer_list<std::uint16_t>{0x2800, 0xa800, 0x0001, 0x8403}) {
    EXPECT_EQ(decode(Dns(flags).ask(name("_p2p._udp.local"), PTR, 1).bytes).error().code, Errc::malformed) << flags;
  }
}

// Damage

TEST(Mdns, EveryTruncationIsMalformed) {
  for (const Bytes& packet : {query, meta_query, response, rust_response}) {
    for (std::size_t size = 0; size < packet.size(); ++size) {
      const Bytes cut(packet.begin(),
                      packet.begin() + static_cast<std::ptrdiff_t>(size));  // its own allocation: no byte behind it may be read
      const Result<Packet> decoded = decode(cut);
      ASSERT_TRUE(decoded.has_error()) << size;
      EXPECT_EQ(decoded.error().code, Errc::malformed) << size;
    }
  }
}

TEST(Mdns, NoBitFlipGetsPastTheLimits) {
  for (const Bytes& packet : {query, response, rust_response}) {
    for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
      Bytes damaged = packet;
      damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
      const Result<Packet> decoded = decode(damaged);
      if (!decoded) continue;
      EXPECT_LE(decoded->peers.size(), 1U);
      for (const Peer& each : decoded->peers) {
        EXPECT_LE(each.ttl, limits::mdns_ttl_max);
        EXPECT_EQ(each.addresses.size(), 1U);
      }
    }
  }
}

TEST(Mdns, RandomBytesBehindAHeaderNeverMakeAPeer) {
  test::SeededRandom random;
  for (int round = 0; round < 20000; ++round) {
    Dns dns;
    dns.bytes[answer + 1] = static_cast<std::uint8_t>(random.below(4));
    dns.bytes[additional + 1] = static_cast<std::uint8_t>(random.below(4));
    append(dns.bytes, random.bytes(random.below(200)));
    const Result<Packet> decoded = decode(dns.bytes);
    EXPECT_TRUE(!decoded || decoded->peers.empty());
  }
}

}  // namespace
}  // namespace p2p::mdns
