// What each layer costs by itself: `make bench-micro`. Beside the time stands how often it asked for memory, in a run that has warmed up,
// with what the libraries allocate for themselves.

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "identity/envelope.hpp"
#include "support/allocations.hpp"
#include "support/random.hpp"
#include "support/task_vector.hpp"
#include "task/message.hpp"
#include "wire/mdns.hpp"
#include "wire/multistream.hpp"
#include "wire/mux_session.hpp"
#include "wire/noise.hpp"

#include <benchmark/benchmark.h>
#include <stdexcept>

namespace p2p {
namespace {

using benchmark::DoNotOptimize;
using benchmark::State;

/// Repeats `work`, which moves `bytes`; 0 where that is not what matters.
template <class Work>
void measure(State& state, std::size_t bytes, Work work) {
  for (int i = 0; i < 2; ++i) work();  // buffers take turns
  const std::size_t before = test::allocations();
  for ([[maybe_unused]] const auto turn : state) work();
  state.counters["allocs"] = {static_cast<double>(test::allocations() - before), benchmark::Counter::kAvgIterations};
  if (bytes > 0) state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

void demand(bool holds) {
  if (!holds) throw std::logic_error("what is measured does not work");
}

std::size_t size_of(const State& state) { return static_cast<std::size_t>(state.range(0)); }

// --- base ---

// Behind a page by as many bytes as are given: how far apart what is read and what is written lie there must not matter.
void copy_32k(State& state) {
  constexpr std::size_t page = 4096;
  const Bytes room(2 * page + 32 * 1024);
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(room.data()) % page;
  Bytes to;
  to.reserve(room.size());
  const std::size_t behind_to = reinterpret_cast<std::uintptr_t>(to.data()) % page;
  const ByteView bytes = ByteView(room).subspan((2 * page + behind_to - size_of(state) - into_page) % page, 32 * 1024);
  measure(state, bytes.size(), [&to, bytes] {
    to.clear();
    append(to, bytes);
    DoNotOptimize(to.data());
  });
}
BENCHMARK(copy_32k)->Arg(0)->Arg(8)->Arg(16);

void varint_write(State& state) {
  Bytes out;
  out.reserve(max_uvarint_size);
  measure(state, 0, [&out, value = static_cast<std::uint64_t>(state.range(0))] {
    out.clear();
    put_uvarint(out, value);
    DoNotOptimize(out.data());
  });
}
BENCHMARK(varint_write)->Arg(100)->Arg(300)->Arg(100'000);

void varint_read(State& state) {
  Bytes in;
  put_uvarint(in, static_cast<std::uint64_t>(state.range(0)));
  measure(state, 0, [&in] {
    DoNotOptimize(in.data());
    DoNotOptimize(peek_uvarint(in));
  });
}
BENCHMARK(varint_read)->Arg(100)->Arg(300)->Arg(100'000);

// --- identity ---

constexpr std::string_view domain = "p2p-ai-agents";
constexpr std::string_view payload_type = "/p2p-ai-agents/task";

void envelope_seal(State& state) {
  const KeyPair keys = test::requester();
  measure(state, 0, [&keys] { DoNotOptimize(seal_envelope(keys, domain, as_bytes(payload_type), as_bytes(test::task_payload))); });
}
BENCHMARK(envelope_seal);

void envelope_open(State& state) {
  const Bytes envelope = seal_envelope(test::requester(), domain, as_bytes(payload_type), as_bytes(test::task_payload));
  measure(state, 0, [&envelope] { demand(open_envelope(envelope, domain).has_value()); });
}
BENCHMARK(envelope_open);

// --- wire: Noise ---

const std::vector<std::string> muxers{std::string(yamux_protocol), std::string(mplex_protocol)};

struct Sessions {
  NoiseSession initiator;
  NoiseSession responder;
};

/// From new ephemeral keys to both sides' sessions.
Sessions shake_hands(const KeyPair& initiator_keys, const KeyPair& responder_keys, Random& random) {
  static const NoiseStatic initiator_static(initiator_keys, crypto::Key{1});
  static const NoiseStatic responder_static(responder_keys, crypto::Key{2});
  NoiseHandshake::Parameters ours{initiator_static, {}, muxers, responder_keys.peer_id()};
  NoiseHandshake::Parameters theirs{responder_static, {}, muxers, std::nullopt};
  random.fill(ours.ephemeral_secret);
  random.fill(theirs.ephemeral_secret);
  NoiseHandshake initiator(NoiseHandshake::Role::initiator, std::move(ours));
  NoiseHandshake responder(NoiseHandshake::Role::responder, std::move(theirs));
  while (!responder.done()) {
    const Bytes there = initiator.take_output();
    ByteView unread = there;
    responder.receive(unread).value();
    const Bytes back = responder.take_output();
    unread = back;
    initiator.receive(unread).value();
  }
  return {initiator.finish(), responder.finish()};
}

void noise_handshake(State& state) {
  const KeyPair initiator = test::requester();
  const KeyPair responder = test::provider();
  test::SeededRandom random;
  measure(state, 0, [&] { DoNotOptimize(shake_hands(initiator, responder, random)); });
}
BENCHMARK(noise_handshake)->Unit(benchmark::kMicrosecond);

void noise_record(State& state) {
  test::SeededRandom random;
  const KeyPair initiator = test::requester();
  const KeyPair responder = test::provider();
  Sessions sessions = shake_hands(initiator, responder, random);
  const Bytes plaintext(size_of(state), 1);
  Bytes sealed;
  measure(state, plaintext.size(), [&] {
    sessions.initiator.writer.append(plaintext);
    sealed = sessions.initiator.writer.take(std::move(sealed));
    ByteSpan unread(sealed);
    demand(sessions.responder.reader.next(unread).value()->size() == plaintext.size());
  });
}
BENCHMARK(noise_record)->Arg(64)->Arg(1024)->Arg(limits::noise_write);

/// The cipher alone, there and back, by sizes of which limits::noise_write is one.
void sealed_record(State& state) {
  crypto::Aead sealer(crypto::Key{1});
  crypto::Aead opener(crypto::Key{1});
  Bytes record(size_of(state) + crypto::Aead::tag_size);
  measure(state, size_of(state), [&, counter = std::uint64_t{0}]() mutable {
    sealer.seal(counter, {}, record);
    demand(opener.open(counter++, {}, record));
  });
}
BENCHMARK(sealed_record)->Arg(8 * 1024)->Arg(16 * 1024)->Arg(limits::noise_write)->Arg(static_cast<int>(limits::noise_plaintext));

// --- wire: muxers ---

class Wire final : public ByteSink {
 public:
  void append(ByteView bytes) override { p2p::append(bytes_, bytes); }
  ByteView bytes() const noexcept { return bytes_; }
  bool empty() const noexcept { return bytes_.empty(); }
  void clear() noexcept { bytes_.clear(); }

 private:
  Bytes bytes_;
};

/// Two sessions of a muxer, and what is under way between them.
class Mux {
 public:
  explicit Mux(std::string_view protocol)
      : dialer(make_mux_session(protocol, MuxSession::Role::dialer, to_listener_)),
        listener(make_mux_session(protocol, MuxSession::Role::listener, to_dialer_)) {}

  const std::unique_ptr<MuxSession> dialer;
  const std::unique_ptr<MuxSession> listener;

  /// Lets everything arrive; both sides take what they get, and close when the other did. Bytes that arrived at the listener.
  std::size_t settle() {
    std::size_t arrived = 0;
    while (!to_listener_.empty() || !to_dialer_.empty()) {
      arrived += deliver(to_listener_, *listener);
      deliver(to_dialer_, *dialer);
    }
    return arrived;
  }

 private:
  static std::size_t deliver(Wire& wire, MuxSession& to) {
    std::size_t arrived = 0;
    ByteView unread = wire.bytes();
    while (const std::optional<MuxEvent> event = to.next(unread).value()) {
      if (event->kind == MuxEvent::Kind::data) {
        arrived += event->data.size();
        to.consumed(event->stream, event->data.size(), now);
      }
      if (event->kind == MuxEvent::Kind::finished) to.close_write(event->stream);
    }
    wire.clear();
    return arrived;
  }

  static constexpr Time now{std::chrono::hours(1)};
  Wire to_listener_;
  Wire to_dialer_;
};

/// A write on a stream that is there, read by the other side.
void mux_frame(State& state, std::string_view protocol) {
  Mux mux(protocol);
  const StreamId stream = mux.dialer->open().value();
  mux.settle();
  const Bytes data(size_of(state), 1);
  measure(state, data.size(), [&] {
    demand(mux.dialer->send(stream, data) == data.size());
    demand(mux.settle() == data.size());
  });
}
BENCHMARK_CAPTURE(mux_frame, yamux, yamux_protocol)->Arg(64)->Arg(1024)->Arg(limits::mux_write);
BENCHMARK_CAPTURE(mux_frame, mplex, mplex_protocol)->Arg(64)->Arg(1024)->Arg(limits::mux_write);

/// A stream from its opening to both sides' ends, with one write.
void mux_stream(State& state, std::string_view protocol) {
  Mux mux(protocol);
  const Bytes data(64, 1);
  measure(state, 0, [&] {
    const StreamId stream = mux.dialer->open().value();
    mux.dialer->send(stream, data);
    mux.dialer->close_write(stream);
    mux.settle();
    demand(mux.dialer->open_streams() == 0);
  });
}
BENCHMARK_CAPTURE(mux_stream, yamux, yamux_protocol);
BENCHMARK_CAPTURE(mux_stream, mplex, mplex_protocol);

// --- wire: the rest ---

/// Both sides, one proposal.
void multistream_negotiation(State& state) {
  measure(state, 0, [] {
    multistream::Dialer dialer({std::string(task_protocol)});
    multistream::Listener listener([](std::string_view protocol) { return protocol == task_protocol; });
    const Bytes proposal = dialer.take_output();
    ByteView unread = proposal;
    listener.receive(unread).value();
    const Bytes answer = listener.take_output();
    unread = answer;
    dialer.receive(unread).value();
    demand(dialer.done());
  });
}
BENCHMARK(multistream_negotiation);

const mdns::Announcement& announcement() {
  static const mdns::Announcement announced{
      "0123456789abcdefghijklmnopqrstuv",
      test::provider().peer_id(),
      {Multiaddr::from_text("/ip4/192.168.1.20/tcp/4001").value(), Multiaddr::from_text("/ip6/fd00::20/tcp/4001").value()},
      std::chrono::seconds(120)};
  return announced;
}

void mdns_encode(State& state) {
  measure(state, 0, [] { demand(mdns::encode_response(announcement()).size() == 1); });
}
BENCHMARK(mdns_encode);

void mdns_decode(State& state) {
  const Bytes packet = mdns::encode_response(announcement()).front();
  measure(state, 0, [&packet] { demand(mdns::decode(packet).value().peers.size() == 1); });
}
BENCHMARK(mdns_decode);

// --- task ---

void task_write(State& state) {
  const Task task = *parse_task(as_bytes(test::task_payload)).task;
  measure(state, test::task_payload.size(), [&task] { DoNotOptimize(task.to_json()); });
}
BENCHMARK(task_write);

void task_read(State& state) {
  measure(state, test::task_payload.size(), [] { demand(parse_task(as_bytes(test::task_payload)).task.has_value()); });
}
BENCHMARK(task_read);

void result_write(State& state) {
  const TaskResult result = parse_result(as_bytes(test::result_payload)).value();
  measure(state, test::result_payload.size(), [&result] { DoNotOptimize(result.to_json()); });
}
BENCHMARK(result_write);

void result_read(State& state) {
  measure(state, test::result_payload.size(), [] { demand(parse_result(as_bytes(test::result_payload)).has_value()); });
}
BENCHMARK(result_read);

}  // namespace
}  // namespace p2p

BENCHMARK_MAIN();
