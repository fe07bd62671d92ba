#include "wire/multistream.hpp"

#include "base/limits.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#include <gtest/gtest.h>
#include <algorithm>

namespace p2p::multistream {
namespace {

using test::hex;

const std::string header_hex = "132f6d756c746973747265616d2f312e302e300a";
const std::string noise_hex = "072f6e6f6973650a";
const std::string na_hex = "036e610a";

Bytes message(std::string_view text) {
  Bytes bytes;
  put_message(bytes, text);
  return bytes;
}

Bytes messages(std::initializer_list<std::string_view> texts) {
  Bytes bytes;
  for (const std::string_view text : texts) put_message(bytes, text);
  return bytes;
}

Listener listener(std::vector<std::string> supported) {
  return Listener([supported = std::move(supported)](std::string_view protocol) {
    return std::find(supported.begin(), supported.end(), protocol) != supported.end();
  });
}

/// Gives a machine all of `input`; returns what it left, or throws.
template <class Machine>
std::string leaves(Machine& machine, const Bytes& input) {
  ByteView rest(input);
  machine.receive(rest).value();
  return std::string(as_text(rest));
}

template <class Machine>
Errc refuses(Machine&& machine, const Bytes& input) {
  ByteView rest(input);
  return machine.receive(rest).error().code;
}

TEST(Multistream, WritesAndReadsTheMessagesOfTheProtocol) {
  const struct {
    const char* text;
    std::string encoded;
  } vectors[] = {
      {"/multistream/1.0.0", header_hex},
      {"na", na_hex},
      {"ls", "036c730a"},
      {"/noise", noise_hex},
      {"/tls/1.0.0", "0b2f746c732f312e302e300a"},
      {"/plaintext/2.0.0", "112f706c61696e746578742f322e302e300a"},
      {"/yamux/1.0.0", "0d2f79616d75782f312e302e300a"},
      {"/mplex/6.7.0", "0d2f6d706c65782f362e372e300a"},
      {"/ipfs/id/1.0.0", "0f2f697066732f69642f312e302e300a"},
      {"/ipfs/id/push/1.0.0", "142f697066732f69642f707573682f312e302e300a"},
      {"/ipfs/ping/1.0.0", "112f697066732f70696e672f312e302e300a"},
      {"/perf/1.0.0", "0c2f706572662f312e302e300a"},
      {"/libp2p/circuit/relay/0.2.0/hop", "202f6c69627032702f636972637569742f72656c61792f302e322e302f686f700a"},
      // the answer to ls: names with their own lengths and newlines, and a newline
      {"\x0d/yamux/1.0.0\n\x0d/mplex/6.7.0\n", "1d0d2f79616d75782f312e302e300a0d2f6d706c65782f362e372e300a0a"},
  };
  for (const auto& vector : vectors) {
    EXPECT_EQ(to_hex(message(vector.text)), vector.encoded);
    const Bytes encoded = hex(vector.encoded + "ff");
    ByteView in(encoded);
    EXPECT_EQ(next_message(in).value(), vector.text);
    EXPECT_EQ(to_hex(in), "ff");
    for (std::size_t size = 0; size + 1 < encoded.size(); ++size) {
      ByteView truncated = ByteView(encoded).first(size);
      EXPECT_EQ(next_message(truncated).value(), std::nullopt);
      EXPECT_EQ(truncated.size(), size);
    }
  }
}

TEST(Multistream, RefusesMessagesThatAreNone) {
  const std::pair<const char*, Errc> cases[] = {
      {"00", Errc::malformed},                    // without even a newline
      {"000a", Errc::malformed},                  //
      {"072f6e6f69736520", Errc::malformed},      // another byte where the newline belongs
      {"062f6e6f6973650a", Errc::malformed},      // the newline is beyond the length
      {"87002f6e6f6973650a", Errc::malformed},    // a varint that is not minimal
      {"8000", Errc::malformed},                  //
      {"ffffffffffffffffff01", Errc::malformed},  // a varint of 10 bytes
      {"ffffffffffffffff7f", Errc::too_large},    //
      {"8108", Errc::too_large},                  // 1,025
  };
  for (const auto& [encoded, code] : cases) {
    const Bytes bytes = hex(encoded);
    ByteView in(bytes);
    const auto read = next_message(in);
    ASSERT_TRUE(read.has_error()) << encoded;
    EXPECT_EQ(read.error().code, code) << encoded;
  }
}

TEST(Multistream, AcceptsMessagesUpToTheirLimit) {
  const std::string longest(limits::multistream_message - 1, 'x');
  const Bytes accepted = message(longest);
  ByteView in(accepted);
  EXPECT_EQ(next_message(in).value(), longest);
  const Bytes refused = message(longest + "x");
  in = refused;
  EXPECT_EQ(next_message(in).error().code, Errc::too_large);
  in = ByteView(refused).first(2);
  EXPECT_EQ(next_message(in).error().code, Errc::too_large) << "not worth waiting for";
}

TEST(MultistreamDialer, ProposesAtOnceAndReadsNoFurtherThanTheAgreement) {
  Dialer dialer({"/noise"});
  EXPECT_EQ(to_hex(dialer.take_output()), header_hex + noise_hex);
  EXPECT_FALSE(dialer.done());
  EXPECT_EQ(leaves(dialer, messages({header, "/noise", "/not/ours"})), as_text(message("/not/ours")));
  EXPECT_TRUE(dialer.done());
  EXPECT_EQ(dialer.protocol(), "/noise");
  EXPECT_EQ(dialer.take_output(), Bytes());
  EXPECT_EQ(leaves(dialer, hex("00")), std::string(1, '\0')) << "nothing is read once that is done";
}

TEST(MultistreamDialer, ProposesTheNextAfterEachRefusal) {
  Dialer dialer({"/a", "/b", "/c"});
  dialer.take_output();
  EXPECT_EQ(leaves(dialer, messages({header})), "");
  EXPECT_EQ(dialer.take_output(), Bytes());
  EXPECT_EQ(leaves(dialer, messages({"na"})), "");
  EXPECT_EQ(dialer.take_output(), message("/b"));
  EXPECT_EQ(dialer.protocol(), "/b");
  EXPECT_EQ(leaves(dialer, messages({"na"})), "");
  EXPECT_EQ(dialer.take_output(), message("/c"));
  EXPECT_EQ(leaves(dialer, messages({"/c"})), "");
  EXPECT_TRUE(dialer.done());
  EXPECT_EQ(dialer.protocol(), "/c");
}

TEST(MultistreamDialer, GivesUpWhenTheLastProposalIsRefused) {
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({header, "na"})), Errc::unsupported);
  EXPECT_EQ(refuses(Dialer({"/a", "/b"}), messages({header, "na", "na"})), Errc::unsupported);
}

TEST(MultistreamDialer, RefusesAnswersThatAreNone) {
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({"/multistream/2.0.0"})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({"/a"})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({"na"})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({header, header})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a", "/b"}), messages({header, "/b"})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), messages({header, "/a "})), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), hex(header_hex + "00")), Errc::malformed);
  EXPECT_EQ(refuses(Dialer({"/a"}), hex("8108")), Errc::too_large);
}

TEST(MultistreamListener, AnswersTheHeaderAndTheFirstProposalThatItSupports) {
  Listener listening = listener({"/noise"});
  EXPECT_EQ(listening.take_output(), Bytes());
  EXPECT_EQ(leaves(listening, messages({header})), "");
  EXPECT_EQ(to_hex(listening.take_output()), header_hex);
  EXPECT_EQ(leaves(listening, messages({"/tls/1.0.0"})), "");
  EXPECT_EQ(to_hex(listening.take_output()), na_hex);
  EXPECT_FALSE(listening.done());
  EXPECT_EQ(leaves(listening, messages({"ls"})), "");
  EXPECT_EQ(to_hex(listening.take_output()), na_hex);
  EXPECT_EQ(leaves(listening, messages({"/noise"})), "");
  EXPECT_EQ(to_hex(listening.take_output()), noise_hex);
  EXPECT_TRUE(listening.done());
  EXPECT_EQ(listening.protocol(), "/noise");
}

TEST(MultistreamListener, LeavesWhatALazyDialerWroteBehindItsProposal) {
  Listener listening = listener({"/noise"});
  EXPECT_EQ(leaves(listening, hex(header_hex + noise_hex + "0020358072")), as_text(hex("0020358072")));
  EXPECT_TRUE(listening.done());
  EXPECT_EQ(to_hex(listening.take_output()), header_hex + noise_hex);
  EXPECT_EQ(leaves(listening, hex("00")), std::string(1, '\0')) << "nothing is read once that is done";
}

TEST(MultistreamListener, RefusesProposalsThatAreNone) {
  EXPECT_EQ(refuses(listener({"/a"}), messages({"/multistream/1.0.1"})), Errc::malformed);
  EXPECT_EQ(refuses(listener({"/a"}), messages({"/a"})), Errc::malformed);
  EXPECT_EQ(refuses(listener({"/a"}), to_bytes("GET /a-page-of-the-world-wide-web HTTP/1.1\r\nHost: not-here.example.com\r\n")),
            Errc::malformed);
  EXPECT_EQ(refuses(listener({"/a"}), hex(header_hex + "00")), Errc::malformed);
  // What a lazy dialer wrote behind a proposal that was refused is no proposal.
  EXPECT_EQ(refuses(listener({"/a"}), hex(header_hex + noise_hex + "0020358072")), Errc::malformed);
}

TEST(MultistreamListener, AnswersProposalsUpToTheirLimit) {
  Bytes flight = message(header);
  for (std::size_t i = 0; i + 1 < limits::multistream_proposals; ++i) put_message(flight, "/b");
  Listener listening = listener({"/a"});
  EXPECT_EQ(leaves(listening, flight), "");
  Listener patient = listener({"/a"});
  leaves(patient, flight);
  EXPECT_EQ(leaves(patient, message("/a")), "");
  EXPECT_TRUE(patient.done()) << "the last one that is looked at";
  EXPECT_EQ(leaves(listening, message("/b")), "");
  EXPECT_EQ(refuses(listening, message("/a")), Errc::too_large);
}

TEST(MultistreamListener, SupportsNoNameAboveItsLimit) {
  Listener listening([](std::string_view) { return true; });
  leaves(listening, messages({header, std::string(limits::protocol_name + 1, 'x')}));
  EXPECT_FALSE(listening.done());
  leaves(listening, messages({std::string(limits::protocol_name, 'x')}));
  EXPECT_TRUE(listening.done());
}

// Runs both sides against each other, each flight cut into pieces, and returns the protocol agreed on; the dialer's error if there is none.
Result<std::string> negotiate(std::vector<std::string> proposals, std::vector<std::string> supported, test::SeededRandom& random) {
  Dialer dialer(std::move(proposals));
  Listener listening = listener(std::move(supported));
  Bytes to_listener;
  Bytes to_dialer;
  const auto pass = [&random](Bytes& from, auto& machine, Bytes& held) -> Result<void> {
    const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(from.size(), 1 + random.below(30)));
    held.insert(held.end(), from.begin(), from.begin() + count);
    from.erase(from.begin(), from.begin() + count);
    ByteView rest(held);
    TRY(machine.receive(rest));
    held.erase(held.begin(), held.end() - static_cast<std::ptrdiff_t>(rest.size()));
    return {};
  };
  Bytes held_by_listener;
  Bytes held_by_dialer;
  while (!dialer.done()) {
    append(to_listener, dialer.take_output());
    TRY(pass(to_listener, listening, held_by_listener));
    append(to_dialer, listening.take_output());
    TRY(pass(to_dialer, dialer, held_by_dialer));
  }
  EXPECT_TRUE(listening.done());
  EXPECT_EQ(listening.protocol(), dialer.protocol());
  EXPECT_EQ(held_by_listener.size() + held_by_dialer.size() + to_dialer.size() + to_listener.size(), 0U);
  return dialer.protocol();
}

TEST(Multistream, AgreesOnTheDialersFirstThatTheListenerHas) {
  test::SeededRandom random;
  for (int round = 0; round < 50; ++round) {
    EXPECT_EQ(negotiate({"/a"}, {"/a"}, random).value(), "/a");
    EXPECT_EQ(negotiate({"/a", "/b", "/c", "/d"}, {"/d", "/c"}, random).value(), "/c");
    EXPECT_EQ(negotiate({"/a", "/b"}, {"/c"}, random).error().code, Errc::unsupported);
  }
}

}  // namespace
}  // namespace p2p::multistream
