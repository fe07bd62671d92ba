#include "network/admission.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <boost/asio/ip/address_v6.hpp>

namespace p2p {
namespace {

constexpr auto burst = limits::handshake_burst * limits::handshake_pace;
constexpr auto longest = limits::pending_handshakes_address * limits::handshake_pace;  // that anybody waits, unless handshakes are dear

}  // namespace

std::string host_of(const Multiaddr& address) {
  const Result<TcpAddress> tcp = tcp_address(address);
  return tcp ? tcp->host : std::string();
}

std::string scarce_part(const std::string& ip) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address_v6(ip, error);
  if (error || address.is_v4_mapped()) return ip;
  const auto bytes = address.to_bytes();
  return to_hex(ByteView(bytes).first(8));
}

Admission::Guest::~Guest() {
  if (admission_ == nullptr) return;
  --address_->second.guests;
  if (connected_) {
    --address_->second.connections;
  } else {
    admission_->leave(handshake_);
  }
}

void Admission::Guest::connected() {
  connected_ = true;
  ++address_->second.connections;
  admission_->leave(handshake_);
}

void Admission::Guest::was_dear(Time now) {
  Time& paced = address_->second.paced;
  paced = std::max(
      paced, std::min<Time>(paced + (limits::handshake_dear - 1) * limits::handshake_pace, now + burst + limits::handshake_dear * longest));
}

Admission::Guest Admission::receive(const std::string& ip, ByteStream& channel, Time now) {
  // Whoever has gone is remembered for as long as its pace counts.
  std::erase_if(addresses_, [now](const auto& entry) { return entry.second.guests == 0 && entry.second.paced <= now; });
  const auto address = addresses_.try_emplace(ip).first;
  if (address->second.handshakes >= limits::pending_handshakes_address) {
    drop(std::find_if(pending_.begin(), pending_.end(), [address](const Handshake& one) { return one.address == address; }));
  } else if (pending_.size() >= limits::pending_handshakes) {
    drop(std::max_element(pending_.begin(), pending_.end(), [](const Handshake& one, const Handshake& other) {
      return one.address->second.handshakes < other.address->second.handshakes;
    }));  // the first of these: the oldest
  }
  ++address->second.guests;
  ++address->second.handshakes;
  return {*this, address, pending_.insert(pending_.end(), Handshake{&channel, address})};
}

Time Admission::turn(const Guest& guest, Time now) {
  Time& paced = guest.address_->second.paced;
  paced = std::max(paced, std::min<Time>(std::max(paced, now) + limits::handshake_pace, now + burst + longest));
  const bool alone = addresses_.size() == 1;
  return alone ? now : std::max<Time>(now, paced - burst);
}

void Admission::drop(Handshakes::iterator handshake) {
  handshake->dropped = true;
  --handshake->address->second.handshakes;
  dropped_.splice(dropped_.end(), pending_, handshake);
  handshake->channel->close();
}

void Admission::leave(Handshakes::iterator handshake) {
  if (!handshake->dropped) --handshake->address->second.handshakes;
  (handshake->dropped ? dropped_ : pending_).erase(handshake);
}

void Admission::close() {
  for (const Handshake& one : pending_) one.channel->close();
}

}  // namespace p2p
