#pragma once
// TCP by the operating system.

#include "network/transport.hpp"

namespace p2p {

class TcpTransport final : public Transport {
 public:
  TcpTransport(Loop loop, Clock& clock) : loop_(std::move(loop)), clock_(clock) {}

  std::unique_ptr<ByteStream> dial(const Multiaddr& address) override;
  std::unique_ptr<Listener> listen(const Multiaddr& address) override;
  std::vector<Interface> interfaces() override;

 private:
  Loop loop_;
  Clock& clock_;
};

}  // namespace p2p
