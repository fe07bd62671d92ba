// A whole connection of ours, from its first byte to its end, with a peer that does what the input says. The peer knows its own keys: it
// can finish the handshake as an honest one would, break it at any byte, or begin behind it, and then seal whatever frames it likes. Our
// side has an application that opens streams, writes, waits and closes, also when the input says. Time is virtual.

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "network/identify.hpp"
#include "network/perf.hpp"
#include "network/ping.hpp"
#include "network/protocol.hpp"
#include "network/upgrade.hpp"
#include "require.hpp"
#include "script.hpp"
#include "support/heap.hpp"
#include "support/sim.hpp"

#include <algorithm>
#include <array>
#include <iterator>

using namespace p2p;
using namespace p2p::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::size_t most_sent = 1536 * 1024;  // bytes of one script, either side
constexpr std::size_t most_steps = 400;
constexpr std::size_t heap = 4 * 1024 * 1024;  // bytes that need no reason
constexpr std::size_t flood_size = 320 * 1024;
constexpr seconds handler_patience{20};

const std::string echo_protocol = "/test/echo/1.0.0";
const std::string silent_protocol = "/test/silent/1.0.0";
const std::string frames_protocol = "/test/frames/1.0.0";
const std::string flood_protocol = "/test/flood/1.0.0";

const std::string& text(std::size_t index) {
  static const std::array<std::string, 14> texts{std::string(multistream::header),
                                                 "/noise",
                                                 std::string(yamux_protocol),
                                                 std::string(mplex_protocol),
                                                 "na",
                                                 echo_protocol,
                                                 silent_protocol,
                                                 frames_protocol,
                                                 flood_protocol,
                                                 std::string(identify_protocol),
                                                 std::string(ping_protocol),
                                                 "",
                                                 std::string(limits::protocol_name + 1, 'p'),
                                                 std::string(limits::multistream_message, 'm')};
  return texts[index % texts.size()];
}

const std::vector<std::string>& muxers(std::size_t index) {
  static const std::array<std::vector<std::string>, 6> lists{{{text(2), text(3)}, {text(2)}, {text(3)}, {text(3), text(2)}, {}, {"/odd"}}};
  return lists[index % lists.size()];
}

struct Identity {
  explicit Identity(std::uint8_t number)
      : keys(std::array<std::uint8_t, KeyPair::seed_size>{number}), noise(keys, crypto::Key{number}), id(keys.peer_id()) {}
  KeyPair keys;
  NoiseStatic noise;
  PeerId id;
};
const Identity& ours() {
  static const Identity identity(1);
  return identity;
}
const Identity& theirs() {
  static const Identity identity(2);
  return identity;
}

/// What our side writes behind the handshake is checked as a strict reader would.
class Listening {
 public:
  Listening(std::string muxer, bool peer_dials) : yamux_(muxer == yamux_protocol), peer_dials_(peer_dials) {}

  /// What the peer says: the windows that it gives.
  void heard(ByteView plaintext) {
    if (!yamux_) return;
    append(said_, plaintext);
    ByteView in = said_;
    while (true) {
      const std::size_t passed = std::min(in.size(), body_left_);
      body_left_ -= passed;
      in = in.subspan(passed);
      if (in.size() < 12) break;
      const std::uint32_t stream = load_u32(&in[4]);
      const std::uint32_t length = load_u32(&in[8]);
      if ((load_u16(&in[2]) & 1U) != 0) allowed_[stream] += limits::yamux_initial_window;
      if (in[1] == 0) body_left_ = length;
      if (in[1] == 1) allowed_[stream] += length;
      in = in.subspan(12);
    }
    said_.erase(said_.begin(), said_.end() - static_cast<std::ptrdiff_t>(in.size()));
  }

  void read(ByteView plaintext) {
    append(unread_, plaintext);
    ByteView rest = unread_;
    while (yamux_ ? yamux(rest) : mplex(rest)) {
    }
    unread_.erase(unread_.begin(), unread_.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }

 private:
  bool yamux(ByteView& in) {
    if (in.size() < 12) return false;
    const std::uint8_t type = in[1];
    const std::uint16_t flags = load_u16(&in[2]);
    const std::uint32_t stream = load_u32(&in[4]);
    const std::uint32_t length = load_u32(&in[8]);
    const std::size_t body = type == 0 ? length : 0;
    fuzz::require(in[0] == 0 && type <= 3 && (flags & ~0xfU) == 0 && body <= limits::mux_write);
    fuzz::require((stream == 0) == (type >= 2));
    if (in.size() < 12 + body) return false;
    if ((flags & 1U) != 0 && type == 1) {
      fuzz::require((stream % 2 == 0) == peer_dials_);
      allowed_[stream] += limits::yamux_initial_window;
    }
    if (type == 0) {
      allowed_[stream] -= static_cast<std::int64_t>(body);
      fuzz::require(allowed_[stream] >= 0);  // nothing beyond the peer's window
    }
    in = in.subspan(12 + body);
    return true;
  }

  bool mplex(ByteView& in) {
    const auto header = peek_uvarint(in).value();
    if (!header) return false;
    const auto length = peek_uvarint(in.subspan(header->size)).value();
    if (!length) return false;
    fuzz::require((header->value & 7) != 7 && length->value <= limits::mux_write);
    if (in.size() < header->size + length->size + length->value) return false;
    if ((header->value & 7) == 0) fuzz::require(header->value >> 3 == opened_++);
    in = in.subspan(header->size + length->size + static_cast<std::size_t>(length->value));
    return true;
  }

  bool yamux_;
  bool peer_dials_;
  Bytes unread_;
  Bytes said_;  // and not looked at
  std::size_t body_left_ = 0;
  std::map<std::uint32_t, std::int64_t> allowed_;
  std::uint64_t opened_ = 0;
};

class Course {
 public:
  explicit Course(ByteView input) : script_(input) {
    network_.reads = how_ / 8 % 2 != 0 ? SimNetwork::Reads::parts : SimNetwork::Reads::all;
    if (lists_ / 32 == 1) expected_ = theirs().id;
    if (lists_ / 32 == 2) expected_ = ours().id;
    for (const auto& [name, handler] : handlers()) handlers_[name] = counted(handler);
  }

  void play() {
    network_.run(course());
    fuzz::require(serving_ == 0);  // and the loop has nothing that waits
  }

 private:
  // --- our side ---

  StreamHandlers handlers() {
    const auto frames = [](Stream stream) -> Awaitable<void> {
      const Timer timer = stream.deadline(handler_patience, "no frame");
      while (true) {
        const std::optional<Bytes> frame = co_await read_frame(stream, 4096);
        if (!frame) break;
        co_await write_frame(stream, *frame);
      }
      stream.close_write();
    };
    const auto silent = [this](Stream stream) -> Awaitable<void> {
      const Stream held = std::move(stream);
      co_await released_.wait();
    };
    const auto flood = [](Stream stream) -> Awaitable<void> {
      const Timer timer = stream.deadline(handler_patience, "not read");
      const Bytes much(flood_size);
      co_await stream.write(much);
      co_await stream.finish(seconds(1));
    };
    const auto identify = [](Stream stream) -> Awaitable<void> {
      Identify own;
      own.public_key = ours().keys.public_key();
      own.protocols = {echo_protocol, silent_protocol};
      co_await answer_identify(std::move(stream), own);
    };
    return {{echo_protocol, serve_ping}, {std::string(ping_protocol), serve_ping},  {frames_protocol, frames}, {silent_protocol, silent},
            {flood_protocol, flood},     {std::string(identify_protocol), identify}};
  }

  StreamHandler counted(StreamHandler handler) {
    return [this, handler = std::move(handler)](Stream stream) { return count(handler, std::move(stream)); };
  }
  Awaitable<void> count(StreamHandler handler, Stream stream) {
    struct Serving {
      std::size_t& number;
      explicit Serving(std::size_t& of) : number(++of) {}
      ~Serving() { --number; }
    } serving(serving_);
    co_await handler(std::move(stream));
  }

  static void named(const boost::system::system_error& error, std::initializer_list<Errc> names) {
    fuzz::require(std::any_of(names.begin(), names.end(), [&error](Errc name) { return is(error, name); }));
    fuzz::require(!message_of(error).empty());
  }

  Awaitable<void> live(std::unique_ptr<ByteStream> channel) {
    const Time start = network_.clock().now();
    const UpgradeOptions options{ours().noise, muxers_};
    const Environment environment = host_.environment();
    try {
      if (behind_) {
        NoiseSession secure{NoiseWriter(crypto::Aead(crypto::Key{7})),
                            NoiseReader(crypto::Aead(crypto::Key{8})),
                            std::make_shared<Verifier>(theirs().keys.public_key()),
                            {}};
        const auto role = peer_dials_ ? MuxSession::Role::listener : MuxSession::Role::dialer;
        begin({std::move(channel), std::move(secure), role, muxers_.front(), {}, {}, {}});
      } else if (peer_dials_) {
        begin(co_await upgrade_listener(environment, options, std::move(channel)));
      } else {
        begin(co_await upgrade_dialer(environment, options, std::move(channel), expected_));
      }
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::timed_out, Errc::closed, Errc::malformed, Errc::too_large, Errc::unsupported, Errc::unverified});
    }
    fuzz::require(network_.clock().now() - start <= limits::handshake);
    if (connection_) {
      co_await connection_->run();
      fuzz::require(connection_->ended() && !connection_->reason().empty() && serving_ == 0);
      connection_.reset();
    }
    ended_at_ = network_.clock().now();
  }

  void begin(Upgraded upgraded) {
    fuzz::require(upgraded.secure.remote->id() == theirs().id && (behind_ || secure_ || !peer_dials_) && !tampered_);
    connection_ = std::make_unique<Connection>(host_.environment(), handlers_, std::move(upgraded));
  }

  /// An application of ours on the connection.
  Awaitable<void> use(std::uint8_t how, std::size_t amount) {
    try {
      if (!connection_) co_return;
      Connection& connection = *connection_;
      const std::string& protocol = how / 8 % 2 == 0 ? echo_protocol : text(10);
      Stream stream = connection.open_stream_lazily(how % 8 == 1 ? text(9) : protocol);
      const Timer timer = stream.deadline(handler_patience, "the application waited for long enough");
      const Bytes content(amount, how);
      switch (how % 8) {
        case 0: co_await ping(stream, network_.random()); break;
        case 1: {
          Identify known;
          co_await receive_identify(stream, known);
          break;
        }
        case 2:
          co_await write_frame(stream, content);
          co_await read_frame(stream, 4096);
          break;
        case 3: co_await released_.wait(); break;
        case 4:
          co_await stream.write(content);
          stream.reset();
          break;
        case 5: co_await perf(stream, amount, 1); break;
        default: co_await stream.write(content); co_await stream.finish(seconds(1));
      }
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::timed_out, Errc::closed, Errc::malformed, Errc::too_large, Errc::unsupported, Errc::unverified, Errc::exhausted,
                    Errc::cancelled});
    }
  }
  Awaitable<void> use_with_agreement() {
    try {
      if (!connection_) co_return;
      Stream stream = co_await connection_->open_stream(echo_protocol);
      stream.close_write();
      co_await stream.finish(seconds(1));
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::timed_out, Errc::closed, Errc::malformed, Errc::too_large, Errc::unsupported, Errc::exhausted});
    }
  }

  // --- the peer ---

  void send(ByteView bytes) {
    bytes = bytes.first(std::min(bytes.size(), most_sent - sent_));
    sent_ += bytes.size();
    append(outgoing_, bytes);
    written_.notify();
  }
  Awaitable<void> write_loop() {
    try {
      while (true) {
        while (outgoing_.empty() && !over_) co_await written_.wait();
        if (outgoing_.empty()) break;
        const Bytes flight = std::exchange(outgoing_, {});
        co_await channel_->write(flight);
      }
    } catch (const boost::system::system_error&) {
      // Ours was first.
    }
  }
  Awaitable<void> read_loop() {
    Bytes buffer(64 * 1024);
    try {
      while (!over_) {
        if (!reading_) {
          co_await resumed_.wait();
          continue;
        }
        const std::size_t count = co_await channel_->read_some(buffer);
        if (count == 0) break;
        append(received_, ByteView(buffer).first(count));
        if (secure_) hear();
      }
    } catch (const boost::system::system_error&) {
    }
  }
  void hear() {
    ByteSpan unread(received_);
    while (const std::optional<ByteView> record = secure_->reader.next(unread).value()) {
      if (listening_) listening_->read(*record);
    }
    received_.erase(received_.begin(), received_.end() - static_cast<std::ptrdiff_t>(unread.size()));
  }

  void begin_peer() {
    const auto early = [](const std::vector<std::string>& list) { return list.size() == 1 || (!list.empty() && list.front() == text(2)); };
    if (behind_) {
      secure_.emplace(NoiseSession{NoiseWriter(crypto::Aead(crypto::Key{8})),
                                   NoiseReader(crypto::Aead(crypto::Key{7})),
                                   std::make_shared<Verifier>(ours().keys.public_key()),
                                   {}});
      listening_.emplace(muxers_.front(), peer_dials_);
    } else if (early(muxers_) && !peer_muxers_.empty()) {
      const auto& asks = peer_dials_ ? peer_muxers_ : muxers_;
      const auto& has = peer_dials_ ? muxers_ : peer_muxers_;
      const auto found = std::find_first_of(asks.begin(), asks.end(), has.begin(), has.end());
      if (found != asks.end()) listening_.emplace(*found, peer_dials_);
    }
  }
  /// What an honest peer says next in the handshake.
  Bytes honest() {
    Bytes said;
    ByteView rest = received_;
    const auto step = [&](auto& machine) {
      const bool fine = machine.done() || machine.receive(rest).has_value();
      append(said, machine.take_output());
      return fine && machine.done();
    };
    if (secure_ || tampered_) return said;
    const bool agreed = peer_dials_ ? step(dialer_) : step(listener_);
    if (agreed || (peer_dials_ && !flown_)) {
      flown_ = true;
      if (step(noise_)) secure_.emplace(noise_.finish());
    }
    received_.erase(received_.begin(), received_.end() - static_cast<std::ptrdiff_t>(rest.size()));
    if (secure_) hear();
    return said;
  }
  void seal() {
    if (secure_) {
      if (listening_) listening_->heard(plaintext_);
      secure_->writer.append(plaintext_);
      send(secure_->writer.take({}));
    } else {
      send(plaintext_);
    }
    plaintext_.clear();
  }
  void fill(std::size_t count) {
    plaintext_.resize(plaintext_.size() + std::min(count, most_sent - std::min(most_sent, plaintext_.size())), 'x');
  }

  void yamux_frame(std::uint8_t version, std::uint8_t type, std::uint16_t flags, std::uint32_t stream, std::uint32_t length) {
    std::array<std::uint8_t, 12> header{version, type};
    store_u16(&header[2], flags);
    store_u32(&header[4], stream);
    store_u32(&header[8], length);
    append(plaintext_, header);
  }
  void mplex_frame(std::uint64_t number, std::uint8_t flag, std::uint64_t length) {
    put_uvarint(plaintext_, number << 3 | flag);
    put_uvarint(plaintext_, length);
  }
  /// Opens a stream, or answers on one, and names a protocol.
  void speak(std::uint8_t stream, std::size_t protocol, bool opens, ByteView more) {
    Bytes said;
    multistream::put_message(said, multistream::header);
    multistream::put_message(said, text(protocol).substr(0, limits::multistream_message - 1));
    append(said, more);
    if (muxers_.front() == yamux_protocol) {
      yamux_frame(0, 0, opens ? 1 : 0, stream, static_cast<std::uint32_t>(said.size()));
    } else {
      if (opens) mplex_frame(stream, 0, 0);
      mplex_frame(stream, opens ? 2 : 1, said.size());
    }
    append(plaintext_, said);
  }

  /// One step of the script; returns how long it takes.
  Duration step() {
    const std::uint8_t code = script_.byte();
    Duration takes{};
    switch (code % 16) {
      case 0: send(script_.bytes(script_.byte())); break;
      case 1: {
        Bytes message;
        multistream::put_message(message, text(script_.byte()));
        append(plaintext_, message);
        break;
      }
      case 2:
      case 3: {
        Bytes said = honest();
        if (code % 16 == 3 && !said.empty()) {
          std::uint8_t& changed = said[(script_.byte() * std::size_t{256} + script_.byte()) % said.size()];
          const std::uint8_t change = script_.byte();
          changed = static_cast<std::uint8_t>(changed ^ change);
          tampered_ = tampered_ || change != 0;
        }
        send(said);
        takes = 3 * network_.latency;
        break;
      }
      case 4: {
        const std::uint8_t type = script_.byte();
        const std::uint8_t flags = script_.byte();
        const std::uint32_t stream = script_.amount();
        const std::uint32_t length = script_.amount();
        yamux_frame(type / 16 == 15 ? 1 : 0, type % 16, static_cast<std::uint16_t>(flags & 0x1f), stream, length);
        if ((flags & 0x80) != 0 && type % 16 == 0) fill(length);
        break;
      }
      case 5: {
        const std::uint8_t flag = script_.byte();
        const std::uint32_t stream = script_.amount();
        const std::uint32_t length = script_.amount();
        mplex_frame(stream, flag % 8, length);
        if ((flag & 0x80) != 0) fill(length);
        break;
      }
      case 6: append(plaintext_, script_.bytes(script_.byte())); break;
      case 7:
      case 8: {
        const std::uint8_t stream = script_.byte();
        const std::uint8_t protocol = script_.byte();
        const ByteView more = script_.bytes(protocol / 16);
        speak(stream, protocol % 16, code % 16 == 7, more);
        break;
      }
      case 9: takes = milliseconds(script_.byte()) * script_.byte(); break;
      case 10:
        reading_ = !reading_;
        resumed_.notify();
        break;
      case 11: {
        const std::uint8_t how = script_.byte();
        const std::size_t amount = std::min<std::size_t>(script_.amount(), most_sent - own_);
        own_ += amount;
        users_.spawn(how % 8 == 7 ? use_with_agreement() : use(how, amount));
        break;
      }
      case 12:
        if (connection_) connection_->close();
        break;
      case 13:
        if (connection_) connection_->abort({Errc::exhausted, "by the script"});
        break;
      case 14: channel_->close(); break;
      default: host_.kill_connections();
    }
    if ((code & 0x80) == 0) return takes;
    seal();
    return takes + network_.latency;
  }

  Awaitable<void> course() {
    const std::size_t before = heap_in_use();
    const std::unique_ptr<Listener> listener = (peer_dials_ ? host_ : peer_host_).listen(Multiaddr::tcp("0.0.0.0", 4001).value());
    std::unique_ptr<ByteStream> dialled =
        (peer_dials_ ? peer_host_ : host_).dial(Multiaddr::tcp((peer_dials_ ? host_ : peer_host_).ip(), 4001).value());
    co_await dialled->connect(seconds(1));
    std::unique_ptr<ByteStream> accepted = co_await listener->accept();
    channel_ = std::move(peer_dials_ ? dialled : accepted);
    begin_peer();
    peer_.spawn(write_loop());
    peer_.spawn(read_loop());
    us_.spawn(live(std::move(peer_dials_ ? accepted : dialled)));
    for (std::size_t steps = 0; !script_.empty() && steps < most_steps; ++steps) {
      const Duration takes = step();
      if (takes > Duration{}) co_await sleep_until(network_.clock(), network_.loop(), network_.clock().now() + takes);
      fuzz::require(heap_in_use() <= before + heap + 4 * (plaintext_.size() + sent_ + own_ + serving_ * flood_size));
    }
    const Time end = network_.clock().now();
    over_ = true;
    written_.notify();
    resumed_.notify();
    channel_->close();
    released_.open();
    co_await us_.join();
    // Full mplex streams may be waited for one after the other before the end is seen.
    fuzz::require(ended_at_ <= end + network_.latency + limits::close_flush + (most_sent / limits::mplex_buffer) * limits::mplex_unread);
    co_await users_.join();
    co_await peer_.join();
    fuzz::require(network_.clock().now() <= end + 2 * handler_patience);
  }

  // The input's first bytes say where and between whom it begins.
  fuzz::Script script_;
  SimNetwork network_{std::uint64_t{1} + script_.byte()};
  const std::uint8_t how_ = script_.byte();
  const bool peer_dials_ = how_ % 2 == 0;
  const bool behind_ = how_ / 2 % 4 != 0;
  const std::uint8_t lists_ = script_.byte();
  const std::vector<std::string>& muxers_ = muxers(lists_ % 4);
  const std::vector<std::string>& peer_muxers_ = muxers(lists_ / 4);
  std::optional<PeerId> expected_;

  SimHost& host_ = network_.add_host();
  StreamHandlers handlers_;
  std::unique_ptr<Connection> connection_;
  std::size_t serving_ = 0;
  std::size_t own_ = 0;
  Time ended_at_{};
  Latch released_{network_.loop()};
  TaskGroup us_{network_.loop()};
  TaskGroup users_{network_.loop()};

  SimHost& peer_host_ = network_.add_host();
  std::unique_ptr<ByteStream> channel_;
  Bytes outgoing_;
  Bytes received_;
  Bytes plaintext_;
  std::size_t sent_ = 0;
  bool reading_ = true;
  bool over_ = false;
  bool tampered_ = false;  // with a byte of the handshake
  bool flown_ = false;
  Event written_{network_.loop()};
  Event resumed_{network_.loop()};
  TaskGroup peer_{network_.loop()};
  multistream::Dialer dialer_{{"/noise"}};
  multistream::Listener listener_{[](std::string_view protocol) { return protocol == "/noise"; }};
  NoiseHandshake noise_{peer_dials_ ? NoiseHandshake::Role::initiator : NoiseHandshake::Role::responder,
                        {theirs().noise, crypto::Key{9}, peer_muxers_, std::nullopt}};
  std::optional<NoiseSession> secure_;
  std::optional<Listening> listening_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Course(ByteView(data, size)).play();
  return 0;
}
