// Both ends of a Noise connection, handshake and records: the input says in which order they write, how much of it arrives when, and which
// one byte is changed on its way, if any. What one wrote arrives at the other byte for byte, or nothing from the changed record on.

#include "base/limits.hpp"
#include "require.hpp"
#include "wire/noise.hpp"

#include <algorithm>
#include <array>

using namespace p2p;
using Role = NoiseHandshake::Role;

namespace {

enum Side : std::size_t { initiator, responder };
constexpr std::size_t budget = 512 * 1024;  // bytes that are written in all
constexpr std::size_t all = SIZE_MAX;

Side other(Side side) { return side == initiator ? responder : initiator; }

const KeyPair& keys(Side side) {
  static const std::array<KeyPair, 2> both{KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{1}),
                                           KeyPair(std::array<std::uint8_t, KeyPair::seed_size>{2})};
  return both[side];
}
const NoiseStatic& own(Side side) {
  static const NoiseStatic first(keys(initiator), crypto::Key{3});
  static const NoiseStatic second(keys(responder), crypto::Key{4});
  return side == initiator ? first : second;
}

/// What a side writes.
std::uint8_t content(Side side, std::uint64_t at) {
  return static_cast<std::uint8_t>((at + 1) * 0x9e3779b97f4a7c15 >> (side == initiator ? 56 : 48));
}

struct End {
  End(Side side, std::vector<std::string> offered, bool expects_another)
      : muxers(std::move(offered)),
        handshake(side == initiator ? Role::initiator : Role::responder, {own(side), crypto::Key{static_cast<std::uint8_t>(5 + side)},
                                                                          muxers, keys(expects_another ? side : other(side)).peer_id()}) {}
  std::vector<std::string> muxers;
  NoiseHandshake handshake;
  std::optional<NoiseSession> session;
  Bytes under_way;  // to this side
  std::uint64_t arrived = 0;
  Bytes unread;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t handshake_size = 0;      // of what is sent to this side
  std::optional<std::uint64_t> changed;  // where, of all that is sent to this side
  bool refused = false;
};

class Pair {
 public:
  explicit Pair(std::uint8_t how)
      : expects_another_(how % 16 == 15),
        ends_{End(initiator, offered(how / 16 % 4), expects_another_), End(responder, offered(how / 64), false)} {
    put_handshake(initiator);
  }

  void step(std::uint8_t code, std::uint8_t much, std::uint8_t more) {
    const Side side = code % 2 == 0 ? initiator : responder;
    const std::size_t amount = std::size_t{much} * much;
    switch (code / 2 % 5) {
      case 0: deliver(side, amount + 1); break;
      case 1: deliver(side, all); break;
      case 2: write(side, 4 * amount + more); break;
      case 3: flush(side, more % 2 == 0); break;
      default: change(side, amount, more);
    }
  }

  /// All that is written arrives; then it is looked at what came of it.
  void settle() {
    for (int rounds = 0; rounds < 4; ++rounds) {
      for (const Side side : {initiator, responder}) {
        flush(side, true);
        deliver(side, all);
      }
    }
    const bool changed = ends_[initiator].changed || ends_[responder].changed;
    for (const Side side : {initiator, responder}) {
      const End& end = ends_[side];
      const End& there = ends_[other(side)];
      fuzz::require(end.received <= there.sent);
      if (changed || expects_another_) {
        if (end.changed && *end.changed >= end.handshake_size && end.session && there.sent > 0) fuzz::require(end.received < there.sent);
        continue;
      }
      fuzz::require(end.session && end.unread.empty() && end.received == there.sent);
    }
    if (expects_another_) fuzz::require(!ends_[initiator].session && !ends_[responder].session);
  }

 private:
  static std::vector<std::string> offered(std::size_t number) {
    const std::array<std::vector<std::string>, 4> lists{
        {{}, {"/yamux/1.0.0"}, {"/yamux/1.0.0", "/mplex/6.7.0"}, std::vector<std::string>(limits::noise_muxers + 1, "/m")}};
    return lists[number % lists.size()];
  }

  void put_handshake(Side side) {
    End& there = ends_[other(side)];
    const Bytes frames = ends_[side].handshake.take_output();
    there.handshake_size += frames.size();
    append(there.under_way, frames);
  }

  void deliver(Side side, std::size_t count) {
    End& end = ends_[side];
    count = std::min(count, end.under_way.size());
    Bytes input;
    input.reserve(end.unread.size() + count);  // exactly: a sanitizer sees a read behind it
    append(input, end.unread);
    append(input, ByteView(end.under_way).first(count));
    end.under_way.erase(end.under_way.begin(), end.under_way.begin() + static_cast<std::ptrdiff_t>(count));
    end.arrived += count;
    if (end.refused) return;
    ByteSpan unread(input);
    if (!end.session) {
      ByteView rest = unread;
      end.refused = !end.handshake.receive(rest);
      put_handshake(side);
      unread = unread.last(rest.size());
      if (!end.refused && end.handshake.done()) finish(side);
    }
    while (end.session && !end.refused) {
      const auto record = end.session->reader.next(unread);
      end.refused = !record;
      if (!record || !*record) break;
      const Side writer = other(side);
      for (const std::uint8_t byte : **record) fuzz::require(byte == content(writer, end.received++));
    }
    fuzz::require(!end.refused || ends_[initiator].changed || ends_[responder].changed ||
                  expects_another_);  // an honest peer is not accused
    end.unread.assign(unread.begin(), unread.end());
  }

  void finish(Side side) {
    End& end = ends_[side];
    End& there = ends_[other(side)];
    end.session.emplace(end.handshake.finish());
    // Whoever is done has seen what the other has, unchanged. (Of message 3, which it has just written, the initiator knows nothing.)
    fuzz::require(!end.changed || *end.changed >= end.handshake_size);
    fuzz::require(!there.changed || *there.changed >= (side == initiator ? 34 : there.handshake_size));
    fuzz::require(end.session->remote->id() == keys(other(side)).peer_id() && end.session->remote->key() == keys(other(side)).public_key());
    std::vector<std::string> muxers = there.muxers;
    muxers.resize(std::min(muxers.size(), limits::noise_muxers));
    fuzz::require(end.session->remote_muxers == muxers);
    if (there.session) fuzz::require(end.handshake.hash() == there.handshake.hash());
  }

  void write(Side side, std::size_t count) {
    End& end = ends_[side];
    if (!end.session) return;
    count = std::min<std::size_t>(count, budget - written_);
    written_ += count;
    Bytes bytes(count);
    for (std::uint8_t& byte : bytes) byte = content(side, end.sent++);
    end.session->writer.append(bytes);
  }

  /// Ends the open record, and lets what there is go on its way.
  void flush(Side side, bool take) {
    End& end = ends_[side];
    if (!end.session) return;
    end.session->writer.flush();
    if (!take) return;
    const Bytes frames = end.session->writer.take({});
    append(ends_[other(side)].under_way, frames);
  }

  /// Changes a byte that is under way, once.
  void change(Side side, std::size_t at, std::uint8_t by) {
    End& end = ends_[side];
    if (by == 0 || end.under_way.empty() || ends_[initiator].changed || ends_[responder].changed) return;
    at %= end.under_way.size();
    end.changed = end.arrived + at;
    end.under_way[at] = static_cast<std::uint8_t>(end.under_way[at] ^ by);
  }

  bool expects_another_;
  std::array<End, 2> ends_;
  std::size_t written_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Pair pair(data[0]);
  for (std::size_t at = 1; at + 3 <= size; at += 3) pair.step(data[at], data[at + 1], data[at + 2]);
  pair.settle();
  return 0;
}
