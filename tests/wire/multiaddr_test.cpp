#include "wire/multiaddr.hpp"

#include "base/limits.hpp"
#include "support/hex.hpp"

#include <gtest/gtest.h>
#include <set>

namespace p2p {
namespace {

using test::hex;

constexpr const char* peer_text = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

Multiaddr address(std::string_view text) { return Multiaddr::from_text(text).value(); }

struct Vector {
  const char* text;
  const char* bytes;
};

// Those of go-multiaddr and rust-multiaddr.
const Vector vectors[] = {
    {"/ip4/1.2.3.4", "0401020304"},
    {"/ip4/0.0.0.0/tcp/0", "0400000000060000"},
    {"/ip4/127.0.0.1/tcp/1234", "047f0000010604d2"},
    {"/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"},
    {"/ip4/127.0.0.1/udp/1234", "047f000001910204d2"},
    {"/ip6/::1/tcp/4001", "2900000000000000000000000000000001060fa1"},
    {"/ip6/2601:9:4f81:9700:803e:ca65:66e8:c21", "29260100094f819700803eca6566e80c21"},
    {"/ip6/fe80::9700:803e:ca65:66e8:c21/ip6zone/wlan0", "29fe80000000009700803eca6566e80c212a05776c616e30"},
    {"/ip6zone/eth0/ip6/fe80::1/tcp/4001", "2a046574683029fe800000000000000000000000000001060fa1"},
    {"/tcp/65535", "06ffff"},
    {"/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC", "a503221220d52ebb89d85b02a284948203a62ff28389c57c9f42beec4ec20db76a68911c0b"},
    {"/ip4/192.168.1.7/tcp/4001/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
     "04c0a80107060fa1a503260024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"},
    {"/ip4/127.0.0.1/tcp/127/ws", "047f00000106007fdd03"},
    {"/ip4/127.0.0.1/tcp/127/tls/ws", "047f00000106007fc003dd03"},
    {"/ip4/127.0.0.1/tcp/127/noise", "047f00000106007fc603"},
    {"/dns4/example.com/tcp/443/wss", "360b6578616d706c652e636f6d0601bbde03"},
    {"/dnsaddr/sjc-1.bootstrap.libp2p.io", "3819736a632d312e626f6f7473747261702e6c69627032702e696f"},
    {"/ip4/10.0.0.1/udp/4001/quic-v1", "040a00000191020fa1cd03"},
    {"/ip4/1.2.3.4/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N/p2p-circuit/p2p/"
     "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
     "0401020304060fa1a5032212209dff3b17d74cf4d38a50d8b6383e92d181a10395a5e73a726dcccbd21bf6f0b9a202a503260024080112201ed1e8fae2c4a144b8be8"
     "fd4"
     "b47bf3d3b34b871c3cacf6010f0e42d474fce27e"},
    {"/ip4/127.0.0.1/udp/1234/webrtc-direct/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g",
     "047f000001910204d29802d203221220c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2"},
    {"/tcp/1234/http/http-path/api%2Fv0%2Flogin", "0604d2e003e1030c6170692f76302f6c6f67696e"},
    {"/memory/4", "89060000000000000004"},
    {"/ip4/1.2.3.4/ipcidr/24", "04010203042b18"},
    {"/unix/run/a.sock", "9003 0b2f72756e2f612e736f636b"},
    {"/dns/a/dccp/1/sctp/2/udt/utp", "35 01 61 21 0001 8401 0002 ad02 ae02"},
    {"/dns6/a/tcp/1/tls/sni/b/https", "37 01 61 06 0001 c003 c103 01 62 bb03"},
    {"/ip4/1.2.3.4/udp/1/quic/webtransport", "0401020304 9102 0001 cc03 d103"},
    {"/webrtc", "9902"},
};

TEST(Multiaddr, IsReadAndWrittenInBothForms) {
  for (const Vector& vector : vectors) {
    const Result<Multiaddr> from_text = Multiaddr::from_text(vector.text);
    ASSERT_TRUE(from_text.has_value()) << vector.text << ": " << from_text.error().reason;
    EXPECT_EQ(to_hex(from_text->bytes()), to_hex(hex(vector.bytes))) << vector.text;
    const Result<Multiaddr> from_bytes = Multiaddr::from_bytes(hex(vector.bytes));
    ASSERT_TRUE(from_bytes.has_value()) << vector.text << ": " << from_bytes.error().reason;
    EXPECT_EQ(from_bytes->text(), vector.text);
    EXPECT_EQ(*from_bytes, *from_text);
  }
}

TEST(Multiaddr, IsReadFromFormsThatNobodyWrites) {
  EXPECT_EQ(address("/ip4/1.2.3.4/").text(), "/ip4/1.2.3.4");
  EXPECT_EQ(address("/tcp/0080").text(), "/tcp/80");
  EXPECT_EQ(address("/ip6/FE80:0:0:0:0:0:0:1").text(), "/ip6/fe80::1");
  EXPECT_EQ(address("/ip6/::ffff:1.2.3.4").text(), "/ip6/::ffff:1.2.3.4");
  EXPECT_EQ(address("/ipfs/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC").text(), "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC");
  EXPECT_EQ(address("/p2p/bafzbeigvf25ytwc3akrijfecaotc74udrhcxzh2cx3we5qqnw5vgrei4bm").text(),
            "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC");
  EXPECT_EQ(address("/http/http-path/a b%2fc").text(), "/http/http-path/a%20b%2Fc");
  EXPECT_EQ(address("/certhash/zQmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC").text(),
            "/certhash/uEiDVLruJ2FsCooSUggOmL_KDicV8n0K-7E7CDbdqaJEcCw");
}

TEST(Multiaddr, IsRefusedAsTextThatIsNone) {
  for (const std::string_view text : {
           // go-multiaddr, TestConstructFails
           "/ip4",
           "/ip4/::1",
           "/ip4/fdpsofodsajfdoisa",
           "/ip6",
           "/ip6zone/",
           "/udp/65536",
           "/tcp/65536",
           "/tcp",
           "/quic-v1/65536",
           "/ip4/127.0.0.1/quic-v1/1234",
           "/udp/1234/sctp",
           "/udp/1234/utp/1234",
           "/ip4/127.0.0.1/tcp/jfodsajfidosajfoidsa",
           "/ip4/127.0.0.1/p2p",
           "/ip4/127.0.0.1/p2p/tcp",
           "/ip4/1.2.3.4/tcp/-1",
           "/unix",
           "/p2p/QmxoHT6iViN5xAjoz1VZ553cL31U9F94ht3QvWR1FrEbZY",
           "/ip4/::/ipcidr/256",
           "/",
           "",
           // ours
           "ip4/1.2.3.4",
           "//ip4/1.2.3.4",
           "/ip4//1.2.3.4",
           "/ip4/1.2.3.4//",
           "/ip4/1.2.3",
           "/ip4/1.2.3.4.5",
           "/ip4/256.2.3.4",
           "/ip4/1.2.3.4 ",
           "/ip6/1.2.3.4",
           "/ip6/:::",
           "/ip6/fe80::1%eth0",
           "/tcp/",
           "/tcp/+1",
           "/tcp/1.0",
           "/tcp/0x1",
           "/tcp/ 1",
           "/IP4/1.2.3.4",
           "/ip4/1.2.3.4/tcp",
           "/dns4//tcp/1",
           "/dns/a\nb",
           "/dns/a\x7f",
           "/p2p/",
           "/certhash/u",
           "/certhash/uAA",
           "/certhash/mEiDD",
           "/http-path/%2",
           "/http-path/%",
           "/http-path/%zz",
           "/http-path/%-1",
           "/http-path/%0a",
           "/http-path/",
           "/memory/18446744073709551616",
           "/memory/-1",
           "/unix/",
           "/unix//",
           "/unix/a//",
           "/onion/timaq4ygg2iegci7:80",
       }) {
    const Result<Multiaddr> parsed = Multiaddr::from_text(text);
    ASSERT_TRUE(parsed.has_error()) << text;
    EXPECT_TRUE(parsed.error().code == Errc::malformed || text.starts_with("/p2p/Qmx")) << text;
  }
}

TEST(Multiaddr, IsRefusedWithAZeroByteInIt) {
  for (const std::string_view text : {std::string_view("/ip4/1.2.3.4\0", 13), std::string_view("/ip4/1.2.3.4\0.5/tcp/1", 21),
                                      std::string_view("/ip6/::1\0", 9), std::string_view("/tcp/1\0", 7), std::string_view("/dns/a\0b", 8),
                                      std::string_view("/unix/a\0b", 9), std::string_view("/ip4\0/1.2.3.4", 13)}) {
    ASSERT_TRUE(Multiaddr::from_text(text).has_error()) << text;
  }
}

TEST(Multiaddr, IsRefusedAsBytesThatAreNone) {
  for (const char* const bytes : {
           "",
           "00",
           "ff01",
           "bc030102",
           "8400",  // unknown codes, and one that is not minimal
           "3500",
           "35036162",
           "350161"
           "3500",  // an empty name, a truncated one, one behind another
           "35012f",
           "35010a",
           "35017f",  // a slash and control characters in a name
           "350120",
           "3502c29b",
           "3501ff",
           "2a02c29b",  // a space, and bytes beyond ASCII, in a name and a zone
           "2a00",
           "a50300",
           "a5030112",
           "d20300",              // empty and too short values
           "a50306002408011220",  // a PeerId shorter than it says
           "d2030412206162",
           "d203051202616263",  // a multihash shorter and longer than it says
           "900300",
           "9003026162",
           "9003012f",
           "9003032f612f",  // paths that are not absolute, name nothing, end in a slash
           "9003022f61"
           "060001",  // something behind a path
           "e10300",
           "e1030100",
           "35ffffffffffffffff7f61",  // a length of 63 bits
       }) {
    ASSERT_TRUE(Multiaddr::from_bytes(hex(bytes)).has_error()) << bytes;
  }
}

TEST(Multiaddr, IsRefusedAtEveryTruncationInsideAPart) {
  for (const Vector& vector : vectors) {
    const Bytes whole = hex(vector.bytes);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const Result<Multiaddr> parsed = Multiaddr::from_bytes(cut);
      // What still reads is the address up to some part.
      if (parsed) {
        EXPECT_TRUE(std::string_view(vector.text).starts_with(parsed->text() + "/")) << vector.text << " " << size;
      }
    }
  }
}

TEST(Multiaddr, IsRefusedAboveTheLimitOfItsText) {
  std::string text = "/http/http-path/";
  while (text.size() + 3 <= limits::multiaddr_text) text += "%20";
  text.resize(limits::multiaddr_text, 'a');
  EXPECT_TRUE(Multiaddr::from_text(text).has_value());
  EXPECT_EQ(Multiaddr::from_text(text + "a").error().code, Errc::too_large);
}

TEST(Multiaddr, IsRefusedAboveTheLimitOfItsBytes) {
  const std::size_t longest = limits::multiaddr_bytes - 3;  // behind a code and a length of two bytes
  EXPECT_EQ(address("/dns/" + std::string(longest, 'a')).bytes().size(), limits::multiaddr_bytes);
  EXPECT_EQ(Multiaddr::from_text("/dns/" + std::string(longest + 1, 'a')).error().code, Errc::too_large);
}

TEST(Multiaddr, IsRefusedWithTooManyParts) {
  std::string text;
  for (std::size_t i = 0; i < limits::multiaddr_parts; ++i) text += "/tcp/1";
  EXPECT_TRUE(Multiaddr::from_text(text).has_value());
  EXPECT_EQ(Multiaddr::from_text(text + "/tcp/1").error().code, Errc::too_large);
}

TEST(Multiaddr, TakesAMultihashOfUpTo64BytesForACertificate) {
  Bytes bytes = hex("d203 42 13 40");
  bytes.resize(bytes.size() + 64, 'x');
  const Multiaddr longest = Multiaddr::from_bytes(bytes).value();
  EXPECT_EQ(Multiaddr::from_text(longest.text()).value(), longest);
  bytes = hex("d203 43 13 41");
  bytes.resize(bytes.size() + 65, 'x');
  EXPECT_EQ(Multiaddr::from_bytes(bytes).error().code, Errc::too_large);
}

TEST(Multiaddr, TellsItsLastPeer) {
  const PeerId peer = PeerId::from_text(peer_text).value();
  const PeerId relay = PeerId::from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N").value();
  const Multiaddr bare = address("/ip4/1.2.3.4/tcp/4001");
  EXPECT_FALSE(bare.peer_id());
  EXPECT_EQ(bare.without_peer_id(), bare);
  const Multiaddr whole = bare.with_peer_id(peer);
  EXPECT_EQ(whole.text(), "/ip4/1.2.3.4/tcp/4001/p2p/" + std::string(peer_text));
  EXPECT_EQ(whole.peer_id(), peer);
  EXPECT_EQ(whole.without_peer_id(), bare);
  EXPECT_EQ(whole.with_peer_id(relay), bare.with_peer_id(relay));
  const Multiaddr circuit = address(bare.with_peer_id(relay).text() + "/p2p-circuit");
  EXPECT_FALSE(circuit.peer_id());
  EXPECT_EQ(circuit.with_peer_id(peer).peer_id(), peer);
  EXPECT_EQ(circuit.with_peer_id(peer).without_peer_id(), circuit);
}

TEST(Multiaddr, MayBeEmptyUntilItIsGivenAPeer) {
  const Multiaddr empty;
  EXPECT_TRUE(empty.empty());
  EXPECT_EQ(empty.text(), "");
  EXPECT_FALSE(empty.peer_id());
  EXPECT_EQ(empty.without_peer_id(), empty);
  EXPECT_TRUE(tcp_address(empty).has_error());
  const Multiaddr peer = empty.with_peer_id(PeerId::from_text(peer_text).value());
  EXPECT_EQ(peer.text(), "/p2p/" + std::string(peer_text));
  EXPECT_EQ(peer.without_peer_id(), empty);
}

TEST(Multiaddr, IsOrdered) {
  const std::set<Multiaddr> addresses{address("/tcp/2"), address("/tcp/1"), address("/tcp/2"), Multiaddr()};
  EXPECT_EQ(addresses.size(), 3U);
  EXPECT_TRUE(addresses.begin()->empty());
}

TEST(Multiaddr, IsMadeOfWhatASocketSays) {
  EXPECT_EQ(Multiaddr::tcp("10.0.0.1", 4001).value().text(), "/ip4/10.0.0.1/tcp/4001");
  EXPECT_EQ(Multiaddr::tcp("fd00::1", 1).value().text(), "/ip6/fd00::1/tcp/1");
  EXPECT_EQ(Multiaddr::tcp("fe80::1", 1, "eth0").value().text(), "/ip6zone/eth0/ip6/fe80::1/tcp/1");
  EXPECT_EQ(Multiaddr::tcp("localhost", 1).error().code, Errc::malformed);
}

TEST(TcpAddress, IsHostAndPort) {
  struct Expected {
    const char* text;
    TcpAddress::Host kind;
    const char* host;
    const char* zone;
  };
  using Host = TcpAddress::Host;
  for (const Expected& expected : {
           Expected{"/ip4/1.2.3.4/tcp/4001", Host::ip4, "1.2.3.4", ""},
           Expected{"/ip6/fd00::1/tcp/4001", Host::ip6, "fd00::1", ""},
           Expected{"/ip6zone/eth0/ip6/fe80::1/tcp/4001", Host::ip6, "fe80::1", "eth0"},
           Expected{"/ip6/fe80::1/ip6zone/eth0/tcp/4001", Host::ip6, "fe80::1", "eth0"},
           Expected{"/dns/example.com/tcp/4001", Host::dns, "example.com", ""},
           Expected{"/dns4/example.com/tcp/4001", Host::dns4, "example.com", ""},
           Expected{"/dns6/example.com/tcp/4001", Host::dns6, "example.com", ""},
       }) {
    for (const std::string& text : {std::string(expected.text), std::string(expected.text) + "/p2p/" + peer_text}) {
      const TcpAddress tcp = tcp_address(address(text)).value();
      EXPECT_EQ(tcp.kind, expected.kind) << text;
      EXPECT_EQ(tcp.host, expected.host) << text;
      EXPECT_EQ(tcp.zone, expected.zone) << text;
      EXPECT_EQ(tcp.port, 4001) << text;
    }
  }
}

TEST(TcpAddress, IsNoOtherTransport) {
  const std::string peer = peer_text;
  for (const std::string& text : {
           std::string("/ip4/1.2.3.4"),
           std::string("/tcp/1"),
           std::string("/tcp/1/ip4/1.2.3.4"),
           std::string("/ip4/1.2.3.4/udp/1"),
           std::string("/ip4/1.2.3.4/udp/1/quic-v1"),
           std::string("/ip4/1.2.3.4/tcp/1/ws"),
           std::string("/ip4/1.2.3.4/tcp/1/tcp/2"),
           std::string("/ip4/1.2.3.4/ip4/1.2.3.4/tcp/1"),
           std::string("/ip6zone/eth0/ip4/1.2.3.4/tcp/1"),
           std::string("/ip4/1.2.3.4/ip6zone/eth0/tcp/1"),
           std::string("/ip6/fe80::1/tcp/1/ip6zone/eth0"),
           std::string("/ip6zone/a/ip6/fe80::1/ip6zone/b/tcp/1"),
           std::string("/ip6zone/eth0/tcp/1"),
           std::string("/dnsaddr/example.com/tcp/1"),
           std::string("/dnsaddr/example.com"),
           std::string("/memory/4"),
           "/p2p/" + peer,
           "/ip4/1.2.3.4/tcp/1/p2p/" + peer + "/p2p-circuit",
           "/ip4/1.2.3.4/tcp/1/p2p/" + peer + "/p2p-circuit/p2p/" + peer,
           "/ip4/1.2.3.4/p2p/" + peer + "/tcp/1",
       }) {
    const Result<TcpAddress> tcp = tcp_address(address(text));
    ASSERT_TRUE(tcp.has_error()) << text;
    EXPECT_EQ(tcp.error().code, Errc::unsupported) << text;
  }
}

TEST(Reach, IsThatOfTheAddressBlocks) {
  const std::pair<Reach, std::vector<const char*>> blocks[] = {
      {Reach::loopback, {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"}},
      {Reach::link_local, {"169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"}},
      {Reach::private_network,
       {"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "100.64.0.0", "100.127.255.255",
        "fc00::1", "fdff::1", "::ffff:10.0.0.1"}},
      {Reach::global, {"1.1.1.1",         "9.255.255.255",  "11.0.0.0",       "126.255.255.255", "128.0.0.0",
                       "169.253.255.255", "169.255.0.0",    "172.15.255.255", "172.32.0.0",      "192.167.255.255",
                       "192.169.0.0",     "100.63.255.255", "100.128.0.0",    "223.255.255.255", "2001:db8::1",
                       "fbff::1",         "fe7f::1",        "fec0::1",        "::ffff:8.8.8.8",  "::2"}},
      {Reach::unusable,
       {"0.0.0.0", "0.1.2.3", "224.0.0.251", "240.0.0.1", "255.255.255.255", "::", "ff02::fb", "::ffff:0.0.0.0", "", "localhost", "1.2.3",
        "fe80::1%eth0"}},
  };
  for (const auto& [reach, ips] : blocks) {
    for (const char* const ip : ips) EXPECT_EQ(reach_of(ip), reach) << ip;
  }
}

}  // namespace
}  // namespace p2p
