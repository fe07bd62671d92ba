#include "wire/identify.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "support/hex.hpp"

#include <gtest/gtest.h>

namespace p2p {
namespace {

using test::hex;

const std::string key_hex = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
const std::string vector =
    "770a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e120804c0a80107060fa11a0e2f697066732f69642f312e302e301a10"
    "2f697066732f70696e672f312e302e302208040a00000906c3502a0a697066732f302e312e30320d6370702d7032702f302e312e30";

PublicKey key() { return PublicKey::decode(hex(key_hex)).value(); }
Multiaddr address(std::string_view text) { return Multiaddr::from_text(text).value(); }

Identify example() {
  return {key(),
          {address("/ip4/192.168.1.7/tcp/4001")},
          {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"},
          address("/ip4/10.0.0.9/tcp/50000"),
          "ipfs/0.1.0",
          "cpp-p2p/0.1.0",
          {}};
}

/// One field of bytes, as protobuf writes it.
Bytes field(unsigned number, ByteView value) {
  Bytes bytes;
  put_uvarint(bytes, number << 3 | 2);
  put_uvarint(bytes, value.size());
  append(bytes, value);
  return bytes;
}

Bytes field(unsigned number, std::string_view value) { return field(number, as_bytes(value)); }

/// The protobuf of a message: what stands behind its length, which must be right.
Bytes body(const Bytes& framed) {
  Reader reader(framed);
  const ByteView inside = reader.length_prefixed(limits::identify_message).value();
  EXPECT_TRUE(reader.empty());
  return {inside.begin(), inside.end()};
}

Identify read(const Bytes& protobuf) {
  Identify identify;
  identify.merge(protobuf).value();
  return identify;
}

void expect_same(const Identify& a, const Identify& b) {
  EXPECT_EQ(a.public_key, b.public_key);
  EXPECT_EQ(a.listen_addrs, b.listen_addrs);
  EXPECT_EQ(a.protocols, b.protocols);
  EXPECT_EQ(a.observed_addr, b.observed_addr);
  EXPECT_EQ(a.protocol_version, b.protocol_version);
  EXPECT_EQ(a.agent_version, b.agent_version);
  EXPECT_EQ(a.signed_peer_record, b.signed_peer_record);
}

TEST(Identify, IsWrittenAndReadAsOtherImplementationsDo) {
  EXPECT_EQ(to_hex(example().encode()), vector);
  expect_same(read(body(hex(vector))), example());
}

TEST(Identify, IsReadAsItWasWritten) {
  Identify all = example();
  all.listen_addrs.push_back(address("/dns4/example.com/tcp/443/wss"));
  all.signed_peer_record = hex("0a00ff");
  expect_same(read(body(all.encode())), all);
  expect_same(read(body(Identify().encode())), Identify());
}

TEST(Identify, IsReadInAnyOrderWithFieldsThatNobodyKnows) {
  Bytes shuffled;
  append(shuffled, field(6, "cpp-p2p/0.1.0"));
  append(shuffled, hex("9801 05"));  // a number in field 19
  append(shuffled, field(4, address("/ip4/10.0.0.9/tcp/50000").bytes()));
  append(shuffled, field(3, "/ipfs/id/1.0.0"));
  append(shuffled, field(20, "unknown"));
  append(shuffled, field(2, address("/ip4/192.168.1.7/tcp/4001").bytes()));
  append(shuffled, hex("39 0102030405060708"));  // 64 bits in field 7
  append(shuffled, field(5, "ipfs/0.1.0"));
  append(shuffled, field(3, "/ipfs/ping/1.0.0"));
  append(shuffled, field(1, hex(key_hex)));
  expect_same(read(shuffled), example());
}

TEST(Identify, MergesWhatSeveralMessagesSay) {
  Identify known = example();
  known.merge(field(8, hex("0a00"))).value();
  EXPECT_EQ(known.signed_peer_record, hex("0a00"));
  known.signed_peer_record = {};
  expect_same(known, example());
  known.merge(Bytes()).value();
  expect_same(known, example());

  Bytes more = field(6, "cpp-p2p/0.2.0");
  append(more, field(2, address("/ip6/::1/tcp/1").bytes()));
  append(more, field(2, address("/ip4/192.168.1.7/tcp/4001").bytes()));
  append(more, field(3, "/ipfs/ping/1.0.0"));
  append(more, field(3, "/new"));
  append(more, field(4, address("/ip4/10.0.0.9/tcp/50001").bytes()));
  known.merge(more).value();
  Identify expected = example();
  expected.listen_addrs.push_back(address("/ip6/::1/tcp/1"));
  expected.protocols.emplace_back("/new");
  expected.observed_addr = address("/ip4/10.0.0.9/tcp/50001");
  expected.agent_version = "cpp-p2p/0.2.0";
  expect_same(known, expected);
}

TEST(Identify, IsReplacedFieldByFieldByALaterMessage) {
  Identify known;
  known.protocols = {"/a", "/b"};
  known.agent_version = "first";
  known.listen_addrs = {Multiaddr::tcp("10.0.0.1", 1).value()};
  Identify said;
  said.protocols = {"/c"};
  said.protocol_version = "2";
  known.replace(said);
  EXPECT_EQ(known.protocols, std::vector<std::string>{"/c"});
  EXPECT_EQ(known.protocol_version, "2");
  EXPECT_EQ(known.agent_version, "first");
  EXPECT_EQ(known.listen_addrs.size(), 1U);
  said.public_key = KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{}).public_key();
  said.listen_addrs = {Multiaddr::tcp("10.0.0.2", 2).value()};
  said.observed_addr = Multiaddr::tcp("10.0.0.3", 3).value();
  said.agent_version = "second";
  said.signed_peer_record = {1};
  known.replace(said);
  EXPECT_EQ(known.encode(), said.encode());
}

TEST(Identify, SkipsWhatCannotBeUsed) {
  Bytes message = field(2, hex("04c0a801"));  // an address cut short
  append(message, field(2, ""));
  append(message, field(2, hex("ffff7f")));  // an unknown kind of address
  append(message, field(2, address("/ip4/1.2.3.4/tcp/1").bytes()));
  append(message, field(3, "/not\xff/text"));
  append(message, field(3, "/two\nlines"));
  append(message, field(3, "/fine"));
  append(message, field(4, hex("04c0a801")));
  Identify known = example();
  known.merge(message).value();
  Identify expected = example();
  expected.listen_addrs.push_back(address("/ip4/1.2.3.4/tcp/1"));
  expected.protocols.emplace_back("/fine");
  expect_same(known, expected);
}

TEST(Identify, IsRefusedWithoutATraceWhenItIsMalformed) {
  const Bytes whole = body(hex(vector));
  const Bytes cases[] = {
      {whole.begin(), whole.end() - 1},
      field(1, hex("0801122000")),      // a key of another size
      field(1, ""),                     //
      field(1, hex(key_hex + "1800")),  // more than a key
      hex("0a"),                        //
      hex("0aff"),                      //
      hex("0affffffff0f"),              // a length of 4 GiB
      hex("0affffffffffffffffff01"),    // and of 64 bits
      hex("0f"),                        // a wire type that there is not
      hex("00"),                        // and a field
  };
  for (const Bytes& malformed : cases) {
    Identify known = example();
    const Result<void> merged = known.merge(malformed);
    ASSERT_TRUE(merged.has_error()) << to_hex(malformed);
    EXPECT_EQ(merged.error().code, Errc::malformed) << to_hex(malformed);
    expect_same(known, example());
  }
}

TEST(Identify, WithinATruncatedMessageIsRefusedOrPartOfTheWhole) {
  const Bytes whole = body(hex(vector));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Identify known;
    if (!known.merge(ByteView(whole).first(size))) continue;
    // Cut between two fields: what is there is right, and the rest completes it.
    known.merge(ByteView(whole).subspan(size)).value();
    expect_same(known, example());
  }
}

TEST(Identify, KeepsListsUpToTheirLimits) {
  Identify many;
  for (std::size_t i = 0; i < limits::identify_addresses; ++i) many.listen_addrs.push_back(address("/tcp/" + std::to_string(i)));
  for (std::size_t i = 0; i < limits::identify_protocols; ++i) many.protocols.push_back("/" + std::to_string(i));
  Bytes message = body(many.encode());
  expect_same(read(message), many);
  append(message, field(2, address("/tcp/9999").bytes()));
  append(message, field(3, "/surplus"));
  expect_same(read(message), many);
  Identify known = read(message);
  known.merge(body(example().encode())).value();
  EXPECT_EQ(known.listen_addrs, many.listen_addrs);
  EXPECT_EQ(known.protocols, many.protocols);
}

TEST(Identify, KeepsOfTextWhatCanBeShownAnywhere) {
  Bytes message = field(6,
                        "\x9b"
                        "2J\x1b]0;\xc3\xa9 v1\x7f");
  append(message, field(5, std::string_view("\0/2", 3)));
  const Identify known = read(message);
  EXPECT_EQ(known.agent_version, "?2J?]0;\?\? v1?");
  EXPECT_EQ(known.protocol_version, "?/2");
}

TEST(Identify, KeepsTextUpToItsLimit) {
  Identify longest;
  longest.protocols.emplace_back(limits::protocol_name, 'p');
  longest.protocol_version.assign(limits::agent_version, 'v');
  longest.agent_version.assign(limits::agent_version, 'a');
  expect_same(read(body(longest.encode())), longest);
  Identify longer = longest;
  longer.protocols.emplace_back(limits::protocol_name + 1, 'q');
  longer.protocol_version += 'v';
  longer.agent_version += 'a';
  expect_same(read(body(longer.encode())), longest);
}

}  // namespace
}  // namespace p2p
