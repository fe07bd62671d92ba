#pragma once
// mDNS datagrams by the operating system.

#include "network/transport.hpp"

namespace p2p {

class UdpMulticast final : public Multicast {
 public:
  explicit UdpMulticast(Loop loop) : loop_(std::move(loop)) {}

  std::unique_ptr<DatagramSocket> open_group(const Interface& interface, Family family) override;
  std::unique_ptr<DatagramSocket> open_ephemeral(const Interface& interface, Family family) override;

 private:
  Loop loop_;
};

}  // namespace p2p
