#include "wire/identify.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "wire.pb.h"

#include <algorithm>

namespace p2p {
namespace {

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// For people: nothing says in which encoding it is, or that it is in one at all.
std::string legible(std::string text) {
  text.resize(std::min(text.size(), limits::agent_version));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

}  // namespace

Bytes Identify::encode() const {
  proto::Identify message;
  if (public_key) message.set_public_key(public_key->encoded().data(), public_key->encoded().size());
  for (const Multiaddr& address : listen_addrs) message.add_listen_addrs(address.bytes().data(), address.bytes().size());
  for (const std::string& protocol : protocols) message.add_protocols(protocol);
  if (observed_addr) message.set_observed_addr(observed_addr->bytes().data(), observed_addr->bytes().size());
  message.set_protocol_version(protocol_version);
  message.set_agent_version(agent_version);
  if (!signed_peer_record.empty()) message.set_signed_peer_record(signed_peer_record.data(), signed_peer_record.size());
  const std::string encoded = message.SerializeAsString();
  Bytes framed;
  put_uvarint(framed, encoded.size());
  append(framed, as_bytes(encoded));
  return framed;
}

Result<void> Identify::merge(ByteView protobuf) {
  proto::Identify message;
  if (!message.ParseFromArray(protobuf.data(), static_cast<int>(protobuf.size()))) return Error{Errc::malformed, "not an identify message"};
  if (message.has_public_key()) {
    TRY_ASSIGN(public_key, PublicKey::decode(as_bytes(message.public_key())));
  }
  for (const std::string& raw : message.listen_addrs()) {
    const Result<Multiaddr> address = Multiaddr::from_bytes(as_bytes(raw));
    if (!address || std::find(listen_addrs.begin(), listen_addrs.end(), *address) != listen_addrs.end()) continue;
    if (listen_addrs.size() < limits::identify_addresses) listen_addrs.push_back(*address);
  }
  for (const std::string& protocol : message.protocols()) {
    if (protocol.size() > limits::protocol_name || !printable(protocol)) continue;
    if (std::find(protocols.begin(), protocols.end(), protocol) != protocols.end()) continue;
    if (protocols.size() < limits::identify_protocols) protocols.push_back(protocol);
  }
  if (message.has_observed_addr()) {
    if (const Result<Multiaddr> address = Multiaddr::from_bytes(as_bytes(message.observed_addr()))) observed_addr = *address;
  }
  if (message.has_protocol_version()) protocol_version = legible(message.protocol_version());
  if (message.has_agent_version()) agent_version = legible(message.agent_version());
  if (message.has_signed_peer_record()) signed_peer_record = to_bytes(message.signed_peer_record());
  return {};
}

std::size_t Identify::memory() const noexcept {
  std::size_t sum = protocol_version.capacity() + agent_version.capacity() + signed_peer_record.capacity();
  for (const Multiaddr& address : listen_addrs) sum += sizeof address + address.bytes().size();
  for (const std::string& protocol : protocols) sum += sizeof protocol + protocol.capacity();
  return sum;
}

void Identify::replace(Identify said) {
  if (said.public_key) public_key = std::move(said.public_key);
  if (!said.listen_addrs.empty()) listen_addrs = std::move(said.listen_addrs);
  if (!said.protocols.empty()) protocols = std::move(said.protocols);
  if (said.observed_addr) observed_addr = std::move(said.observed_addr);
  if (!said.protocol_version.empty()) protocol_version = std::move(said.protocol_version);
  if (!said.agent_version.empty()) agent_version = std::move(said.agent_version);
  if (!said.signed_peer_record.empty()) signed_peer_record = std::move(said.signed_peer_record);
}

}  // namespace p2p
