#include "network/udp.hpp"

#include "base/limits.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <boost/asio/ip/multicast.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace p2p {
namespace {

namespace asio = boost::asio;
namespace multicast = asio::ip::multicast;
using asio::ip::udp;

constexpr std::uint16_t mdns_port = 5353;
constexpr int mdns_hops = 255;

udp::endpoint group_of(Multicast::Family family, unsigned index) {
  if (family == Multicast::Family::ip4) return {asio::ip::make_address_v4("224.0.0.251"), mdns_port};
  asio::ip::address_v6 group = asio::ip::make_address_v6("ff02::fb");
  group.scope_id(index);
  return {group, mdns_port};
}

// The IPv4 address by which the interface is named to the socket.
asio::ip::address_v4 own_ip4(const Interface& interface) {
  for (const InterfaceAddress& address : interface.addresses) {
    boost::system::error_code error;
    asio::ip::address_v4 ip = asio::ip::make_address_v4(address.ip, error);
    if (!error) return ip;
  }
  fail(Errc::unreachable, interface.name + " has no IPv4 address");
}

class UdpSocket final : public DatagramSocket {
 public:
  UdpSocket(const Loop& loop, const Interface& interface, Multicast::Family family, bool in_group)
      : socket_(loop), group_(group_of(family, interface.index)), link_scope_(interface.index) {
    const bool v4 = family == Multicast::Family::ip4;
    const udp protocol = v4 ? udp::v4() : udp::v6();
    socket_.open(protocol);
    socket_.non_blocking(true);
    if (!v4) socket_.set_option(asio::ip::v6_only(true));
    if (in_group) {
      socket_.set_option(udp::socket::reuse_address(true));
#ifndef __linux__
      // Where the option above does not share a port. Linux shares it, and must not have this one: its early demultiplexing then hands a
      // datagram from the wire to any one of the process's sockets, say that of lo, whichever interface it came through.
      socket_.set_option(asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>(true));
#endif
      hear_own_groups_only(v4);
    }
    socket_.bind({protocol, in_group ? mdns_port : std::uint16_t{0}});
    socket_.set_option(multicast::hops(mdns_hops));
    socket_.set_option(multicast::enable_loopback(true));
    if (v4) {
      const asio::ip::address_v4 own = own_ip4(interface);
      socket_.set_option(multicast::outbound_interface(own));
      if (in_group) socket_.set_option(multicast::join_group(group_.address().to_v4(), own));
    } else {
      socket_.set_option(multicast::outbound_interface(interface.index));
      if (in_group) socket_.set_option(multicast::join_group(group_.address().to_v6(), interface.index));
    }
  }

  Awaitable<Datagram> receive() override {
    while (true) {
      Bytes buffer(limits::mdns_packet);
      udp::endpoint source;
      boost::system::error_code error;
      const std::size_t count =
          co_await socket_.async_receive_from(asio::buffer(buffer), source, asio::redirect_error(asio::use_awaitable, error));
      if (!socket_.is_open()) fail(Errc::closed, "the socket was closed");
      if (error) continue;  // an ICMP error of something sent before
      buffer.resize(count);
      asio::ip::address ip = source.address();
      if (ip.is_v6() && ip.to_v6().scope_id() != 0) {
        if (ip.to_v6().scope_id() != link_scope_) continue;  // Linux gives who is in an IPv6 group on one interface what comes by any
        asio::ip::address_v6 bare = ip.to_v6();
        bare.scope_id(0);
        ip = bare;
      }
      co_return Datagram{std::move(buffer), ip.to_string(), source.port()};
    }
  }

  void send_to_group(ByteView bytes) override { send(bytes, group_); }

  void send_to(ByteView bytes, const std::string& ip, std::uint16_t port) override {
    boost::system::error_code error;
    asio::ip::address address = asio::ip::make_address(ip, error);
    if (error) return;
    if (address.is_v6() && address.to_v6().is_link_local()) {
      asio::ip::address_v6 scoped = address.to_v6();
      scoped.scope_id(link_scope_);
      address = scoped;
    }
    send(bytes, {address, port});
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  void send(ByteView bytes, const udp::endpoint& to) {
    boost::system::error_code ignored;
    socket_.send_to(asio::buffer(bytes.data(), bytes.size()), to, 0, ignored);
  }

  // Linux hands a socket the datagrams of every group that anyone on the machine has joined, whatever the interface, unless told otherwise.
  // macOS and the BSDs go by the socket's own memberships without being asked.
  void hear_own_groups_only([[maybe_unused]] bool v4) {
#if defined(IP_MULTICAST_ALL)
    const int off = 0;
    if (v4) setsockopt(socket_.native_handle(), IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off);
#endif
#if defined(IPV6_MULTICAST_ALL)
    if (!v4) setsockopt(socket_.native_handle(), IPPROTO_IPV6, IPV6_MULTICAST_ALL, &off, sizeof off);
#endif
  }

  udp::socket socket_;
  const udp::endpoint group_;
  const unsigned link_scope_;
};

}  // namespace

std::unique_ptr<DatagramSocket> UdpMulticast::open_group(const Interface& interface, Family family) {
  return std::make_unique<UdpSocket>(loop_, interface, family, true);
}

std::unique_ptr<DatagramSocket> UdpMulticast::open_ephemeral(const Interface& interface, Family family) {
  return std::make_unique<UdpSocket>(loop_, interface, family, false);
}

}  // namespace p2p
