// Makes interop_agent write down what its peers say, as inputs for the fuzz targets: the linker sends the calls of these functions here
// (CMakeLists.txt), and here they are passed on. The folder is that of the environment's P2P_RECORD.

#include "identity/envelope.hpp"
#include "task/message.hpp"
#include "wire/identify.hpp"
#include "wire/mdns.hpp"
#include "wire/multistream.hpp"
#include "wire/mux_session.hpp"
#include "wire/noise.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace p2p {
namespace {

constexpr std::size_t most = 4096;  // bytes of an input

void record(const char* target, ByteView bytes) {
  const char* const root = std::getenv("P2P_RECORD");
  if (root == nullptr || bytes.empty()) return;
  const std::string_view text = as_text(bytes.first(std::min(bytes.size(), most)));
  const std::filesystem::path folder = std::filesystem::path(root) / target;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / std::to_string(std::hash<std::string_view>()(text)), std::ios::binary) << text;
}

void record(const Multiaddr& address) {
  record("multiaddr_bytes", address.bytes());
  record("multiaddr_text", as_bytes(address.text()));
}

void record(const PeerId& id) {
  record("peer_id", id.bytes());
  record("peer_id", as_bytes(id.text()));
}

/// Passes everything on, and records what it has been given when it goes.
class Recorded final : public MuxSession {
 public:
  Recorded(std::string_view protocol, Role role, std::unique_ptr<MuxSession> session) : session_(std::move(session)) {
    if (protocol == yamux_protocol) said_.push_back(role == Role::dialer ? 0 : 1);  // as the target takes it
    target_ = protocol == yamux_protocol ? "yamux" : "mplex";
  }
  ~Recorded() override { record(target_, said_); }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  Result<std::optional<MuxEvent>> next(ByteView& in) override {
    const ByteView before = in;
    auto event = session_->next(in);
    if (said_.size() < most) append(said_, before.first(before.size() - in.size()));
    return event;
  }
  Result<StreamId> open() override { return session_->open(); }
  std::size_t send(StreamId stream, ByteView data) override { return session_->send(stream, data); }
  void consumed(StreamId stream, std::size_t count, Time now) override { session_->consumed(stream, count, now); }
  void close_write(StreamId stream) override { session_->close_write(stream); }
  void reset(StreamId stream) override { session_->reset(stream); }
  bool ping(Time now) override { return session_->ping(now); }
  void pong(Time now) override { session_->pong(now); }
  void go_away() override { session_->go_away(); }
  std::optional<StreamId> congested() const override { return session_->congested(); }
  std::size_t open_streams() const override { return session_->open_streams(); }
  std::size_t outbound_streams() const override { return session_->outbound_streams(); }

 private:
  std::unique_ptr<MuxSession> session_;
  Bytes said_;
  const char* target_;
};

}  // namespace

// A member function is called like one that takes its object first.
#define WRAP(symbol, name, Returned, parameters)             \
  Returned real_##name parameters __asm__("__real_" symbol); \
  Returned name parameters __asm__("__wrap_" symbol);        \
  Returned name parameters

WRAP("_ZN3p2p11multistream6Dialer7receiveERSt4spanIKhLm18446744073709551615EE", dialer, Result<void>,
     (multistream::Dialer * self, ByteView& in)) {
  record("multistream", in);
  return real_dialer(self, in);
}

WRAP("_ZN3p2p11multistream8Listener7receiveERSt4spanIKhLm18446744073709551615EE", listener, Result<void>,
     (multistream::Listener * self, ByteView& in)) {
  record("multistream", in);
  return real_listener(self, in);
}

WRAP("_ZN3p2p14NoiseHandshake7receiveERSt4spanIKhLm18446744073709551615EE", noise, Result<void>, (NoiseHandshake * self, ByteView& in)) {
  record("noise_handshake", in);
  return real_noise(self, in);
}

WRAP("_ZN3p2p8Identify5mergeESt4spanIKhLm18446744073709551615EE", identify, Result<void>, (Identify * self, ByteView in)) {
  record("identify", in);
  const Result<void> merged = real_identify(self, in);
  for (const Multiaddr& address : self->listen_addrs) record(address);
  if (self->observed_addr) record(*self->observed_addr);
  if (self->public_key) record("peer_id", self->public_key->encoded());
  return merged;
}

WRAP("_ZN3p2p4mdns6decodeESt4spanIKhLm18446744073709551615EE", mdns_packet, Result<mdns::Packet>, (ByteView in)) {
  record("mdns", in);
  Result<mdns::Packet> packet = real_mdns_packet(in);
  if (!packet) return packet;
  for (const mdns::Peer& peer : packet->peers) {
    record(peer.id);
    for (const Multiaddr& address : peer.addresses) record(address);
  }
  return packet;
}

WRAP("_ZN3p2p13open_envelopeESt4spanIKhLm18446744073709551615EESt17basic_string_viewIcSt11char_traitsIcEERKNS_8VerifierE", envelope,
     Result<Envelope>, (ByteView in, std::string_view domain, const Verifier& expected)) {
  record("envelope", in);
  return real_envelope(in, domain, expected);
}

WRAP("_ZN3p2p10parse_taskESt4spanIKhLm18446744073709551615EE", task, ParsedTask, (ByteView in)) {
  record("task", in);
  record("json", in);
  return real_task(in);
}

WRAP("_ZN3p2p12parse_resultESt4spanIKhLm18446744073709551615EESt17basic_string_viewIcSt11char_traitsIcEE", result, Result<TaskResult>,
     (ByteView in, std::string_view task_type)) {
  record("result", in);
  record("json", in);
  return real_result(in, task_type);
}

WRAP("_ZN3p2p12parse_updateESt4spanIKhLm18446744073709551615EESt17basic_string_viewIcSt11char_traitsIcEE", update, Result<Update>,
     (ByteView in, std::string_view task_type)) {
  record("update_info", in);
  record("json", in);
  return real_update(in, task_type);
}

WRAP("_ZN3p2p10parse_infoESt4spanIKhLm18446744073709551615EE", info, Result<Info>, (ByteView in)) {
  record("update_info", in);
  record("json", in);
  return real_info(in);
}

WRAP("_ZN3p2p16make_mux_sessionESt17basic_string_viewIcSt11char_traitsIcEENS_10MuxSession4RoleERNS_8ByteSinkE", session,
     std::unique_ptr<MuxSession>, (std::string_view protocol, MuxSession::Role role, ByteSink& out)) {
  return std::make_unique<Recorded>(protocol, role, real_session(protocol, role, out));
}

}  // namespace p2p
