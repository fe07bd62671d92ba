#include "identity/envelope.hpp"

#include "support/hex.hpp"

#include <gtest/gtest.h>
#include <algorithm>

namespace p2p {
namespace {

using test::hex;

KeyPair keys() {
  return KeyPair::decode(hex("080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b8"
                             "71c3cacf6010f0e42d474"
                             "fce27e"))
      .value();
}

// A peer record as go and js write it: sequence 1, /ip4/192.168.1.7/tcp/4001.
const Bytes record = hex("0a260024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e10011a0a0a0804c0a80107060fa1");
const Bytes record_envelope =
    hex("0a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e120203011a360a260024080112201ed1e8fae2c4a144b8be8fd4b4"
        "7bf3d3b34b"
        "871c3cacf6010f0e42d474fce27e10011a0a0a0804c0a80107060fa12a4097c4ec415add2164f81225dcf5f301da50c302e5b3d948bf63559df97b4de978c7fb77"
        "6012f24223"
        "ec7a1ba48faa97c9f9cb6c724b7c9dab7a8ed3c8dfa2dd01");

// The task protocol's vector, behind its length varint.
constexpr std::string_view task_domain = "p2p-ai-agents";
constexpr std::string_view task_payload =
    R"({"task_id":"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b","task_type":"inference","input":{"prompt":"Hello, P2P AI!"},)"
    R"("timestamp":"2026-01-17T10:30:00Z","recipient":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"})";
const Bytes task_envelope =
    hex("0a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e12132f7032702d61692d6167656e74732f7461736b1ad4017b2274"
        "61736b5f69"
        "64223a2237663963323465352d326234612d346436662d396133372d306331643265336634613562222c227461736b5f74797065223a22696e666572656e636522"
        "2c22696e70"
        "7574223a7b2270726f6d7074223a2248656c6c6f2c2050325020414921227d2c2274696d657374616d70223a22323032362d30312d31375431303a33303a30305a"
        "222c227265"
        "63697069656e74223a22313244334b6f6f5744704a3741733742574177524d6675315655325743714e6a76713338374a45594b44426a346b78366e58544e227d2a"
        "403fa2153c"
        "5c93ab50d6561c945606fb2267f86435958c9e976fdab89c1a32c3383559545b221e9ea444ef1627686a2b070c86a1473b215cd5a9c96a7c74943d09");

TEST(PeerRecord, IsWrittenAsOtherImplementationsWriteIt) {
  EXPECT_EQ(to_hex(encode_peer_record(keys().peer_id(), 1, {hex("04c0a80107060fa1")})), to_hex(record));
}

TEST(Envelope, IsSealedAsOtherImplementationsSealIt) {
  EXPECT_EQ(to_hex(seal_envelope(keys(), peer_record_domain, peer_record_type, record)), to_hex(record_envelope));
}

TEST(Envelope, IsSealedAsTheTaskProtocolSays) {
  EXPECT_EQ(task_payload.size(), 212U);
  EXPECT_EQ(to_hex(seal_envelope(keys(), task_domain, as_bytes("/p2p-ai-agents/task"), as_bytes(task_payload))), to_hex(task_envelope));
}

TEST(Envelope, SaysWhoSignedWhat) {
  const Envelope opened = open_envelope(record_envelope, peer_record_domain).value();
  EXPECT_EQ(opened.signer, keys().peer_id());
  EXPECT_EQ(to_hex(opened.payload_type), "0301");
  EXPECT_EQ(to_hex(opened.payload), to_hex(record));
  EXPECT_EQ(as_text(open_envelope(task_envelope, task_domain).value().payload), task_payload);
}

TEST(Envelope, HoldsInItsOwnDomainAlone) {
  for (const std::string_view domain : {"libp2p-peer-recorD", "libp2p-peer-record2", "libp2p-peer-recor", ""}) {
    EXPECT_EQ(open_envelope(record_envelope, domain).error().code, Errc::unverified) << domain;
  }
}

TEST(Envelope, TheBoundaryBetweenTypeAndPayloadIsSignedToo) {
  const Bytes one = seal_envelope(keys(), "domain", as_bytes("ab"), as_bytes("c"));
  const Bytes two = seal_envelope(keys(), "domain", as_bytes("a"), as_bytes("bc"));
  EXPECT_NE(to_hex(ByteView(one).last(64)), to_hex(ByteView(two).last(64)));
}

TEST(Envelope, MayHaveEmptyParts) {
  const Envelope opened = open_envelope(seal_envelope(keys(), "", {}, {}), "").value();
  EXPECT_TRUE(opened.payload_type.empty());
  EXPECT_TRUE(opened.payload.empty());
}

TEST(Envelope, TellsWhetherMoreStandsInItThanIsSigned) {
  EXPECT_TRUE(open_envelope(record_envelope, peer_record_domain).value().exact);
  const auto with = [](std::size_t at, std::string_view more) {
    Bytes envelope = record_envelope;
    const Bytes bytes = hex(more);
    envelope.insert(envelope.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin(), bytes.end());
    return envelope;
  };
  const Bytes unknown = with(record_envelope.size(), "2000");
  const Bytes twice = with(0, "1200");
  Bytes wordy = with(2, "00");
  wordy[1] |= 0x80;
  // Its key stands in front, in 2 and 36 bytes. Nothing forbids it to stand behind the rest.
  Bytes rotated = record_envelope;
  std::rotate(rotated.begin(), rotated.begin() + 38, rotated.end());
  for (const Bytes& envelope : {unknown, twice, wordy, rotated}) {
    EXPECT_FALSE(open_envelope(envelope, peer_record_domain).value().exact) << to_hex(envelope);
  }
}

TEST(Envelope, IsRefusedWithAnyBitFlipped) {
  for (std::size_t bit = 0; bit < record_envelope.size() * 8; ++bit) {
    Bytes damaged = record_envelope;
    damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
    EXPECT_TRUE(open_envelope(damaged, peer_record_domain).has_error()) << bit;
  }
}

TEST(Envelope, IsRefusedAtEveryTruncation) {
  for (std::size_t size = 0; size < record_envelope.size(); ++size) {
    const Bytes cut(record_envelope.begin(), record_envelope.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(open_envelope(cut, peer_record_domain).has_error()) << size;
  }
}

TEST(Envelope, OfAnotherSignerIsNotTheirs) {
  const KeyPair other(std::array<std::uint8_t, KeyPair::seed_size>{});
  Bytes swapped = seal_envelope(keys(), peer_record_domain, peer_record_type, record);
  std::copy(other.public_key().encoded().begin(), other.public_key().encoded().end(), swapped.begin() + 2);
  EXPECT_EQ(open_envelope(swapped, peer_record_domain).error().code, Errc::unverified);
}

TEST(Envelope, SkipsFieldsItDoesNotKnow) {
  Bytes extended = record_envelope;
  append(extended, hex("2005 3203616263 3900000000000000003d00000000"));  // 4: varint, 6: bytes, 7: fixed64 and fixed32
  EXPECT_TRUE(open_envelope(extended, peer_record_domain).has_value());
}

TEST(Envelope, IsMalformedWithoutAKey) {
  EXPECT_EQ(open_envelope({}, peer_record_domain).error().code, Errc::malformed);
  EXPECT_EQ(open_envelope(ByteView(record_envelope).subspan(38), peer_record_domain).error().code, Errc::malformed);
  EXPECT_EQ(open_envelope(as_bytes("no envelope"), peer_record_domain).error().code, Errc::malformed);
}

}  // namespace
}  // namespace p2p
