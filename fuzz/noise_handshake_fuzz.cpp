#include "require.hpp"
#include "wire/noise.hpp"

using namespace p2p;
using Role = NoiseHandshake::Role;

namespace {

const NoiseStatic& own(Role role) {
  static const NoiseStatic initiator(KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{1}), crypto::Key{3});
  static const NoiseStatic responder(KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{2}), crypto::Key{4});
  return role == Role::initiator ? initiator : responder;
}

struct Side : NoiseHandshake {
  explicit Side(Role role)
      : NoiseHandshake(role, {own(role), role == Role::initiator ? crypto::Key{5} : crypto::Key{6}, {"/yamux/1.0.0"}, {}}) {}

  /// Whether the input is fine so far.
  bool take(ByteView input) { return receive(input).has_value(); }
};

// Three frames as both sides write them, the same each time.
struct Frames {
  Bytes first, second, third;

  Frames() {
    Side initiator(Role::initiator);
    Side responder(Role::responder);
    fuzz::require(responder.take(first = initiator.take_output()));
    fuzz::require(initiator.take(second = responder.take_output()));
    fuzz::require(responder.take(third = initiator.take_output()));
    fuzz::require(initiator.done() && responder.done());
  }
};

}  // namespace

// The input is what each side gets instead of a handshake; its start also says which byte of a right one is changed, and how.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Frames right;
  const ByteView input(data, size);
  Side initiator(Role::initiator);
  initiator.take(input);
  fuzz::require(!initiator.done());
  Side responder(Role::responder);
  responder.take(input);
  fuzz::require(!responder.done());
  Side late(Role::responder);
  fuzz::require(late.take(right.first) && !late.take_output().empty());
  late.take(input);
  fuzz::require(!late.done() || (size >= right.third.size() && equal(input.first(right.third.size()), right.third)));
  if (size < 3 || data[2] == 0) return 0;

  const auto changed = [data](Bytes frame) {
    std::uint8_t& byte = frame[static_cast<std::size_t>(data[1]) % frame.size()];
    byte = static_cast<std::uint8_t>(byte ^ data[2]);
    return frame;
  };
  Side dialer(Role::initiator);
  Side listener(Role::responder);
  dialer.take_output();
  switch (data[0] % 3) {
    case 0:
      if (listener.take(changed(right.first))) dialer.take(listener.take_output());
      listener.take(right.third);
      break;
    case 1: dialer.take(changed(right.second)); break;
    default: listener.take(right.first); listener.take(changed(right.third));
  }
  fuzz::require(!dialer.done() && !listener.done());
  return 0;
}
