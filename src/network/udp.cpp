#include "network/udp.hpp"

#include "base/limits.hpp"
#include "network/interfaces.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <boost/asio/ip/multicast.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <optional>

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
      : socket_(loop), group_(group_of(family, interface.index)), interface_(interface), in_group_(in_group) {
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
    tell_destinations(v4);
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
      boost::system::error_code error;
      co_await socket_.async_wait(udp::socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
      if (!socket_.is_open()) fail(Errc::closed, "the socket was closed");
      if (error) throw boost::system::system_error(error, "waiting for mDNS");
      if (std::optional<Datagram> datagram = read()) co_return *std::move(datagram);
    }
  }

  void send_to_group(ByteView bytes) override { send(bytes, group_); }

  void send_to(ByteView bytes, const std::string& ip, std::uint16_t port) override {
    boost::system::error_code error;
    asio::ip::address address = asio::ip::make_address(ip, error);
    if (error) return;
    if (address.is_v6() && address.to_v6().is_link_local()) {
      asio::ip::address_v6 scoped = address.to_v6();
      scoped.scope_id(interface_.index);
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

  // Nothing when there is none, or an ICMP error of something sent before, or one that did not come from this link: Linux gives who is in
  // an IPv6 group on one interface what comes by any, and what is sent to the host alone may come by any of either family.
  std::optional<Datagram> read() {
    Datagram datagram{Bytes(limits::mdns_packet), {}, 0, in_group_};
    sockaddr_storage from{};
    alignas(cmsghdr) std::array<std::uint8_t, 256> control{};
    iovec into{datagram.bytes.data(), datagram.bytes.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT);
    if (count < 0) return std::nullopt;
    datagram.bytes.resize(static_cast<std::size_t>(count));
    unsigned by = interface_.index;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
#if defined(IP_PKTINFO)
      if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
        in_pktinfo info;
        std::memcpy(&info, CMSG_DATA(part), sizeof info);
        datagram.to_group = IN_MULTICAST(ntohl(info.ipi_addr.s_addr));
        if (!datagram.to_group) by = static_cast<unsigned>(info.ipi_ifindex);
      }
#endif
#if defined(IPV6_PKTINFO)
      if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
        in6_pktinfo info;
        std::memcpy(&info, CMSG_DATA(part), sizeof info);
        datagram.to_group = IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
        by = static_cast<unsigned>(info.ipi6_ifindex);
      }
#endif
    }
    udp::endpoint source;
    source.resize(message.msg_namelen);
    std::memcpy(source.data(), &from, message.msg_namelen);
    asio::ip::address ip = source.address();
    if (ip.is_v6()) {
      asio::ip::address_v6 bare = ip.to_v6();
      bare.scope_id(0);
      ip = bare;
    }
    datagram.source_ip = ip.to_string();
    datagram.source_port = source.port();
    if (by != interface_.index && (datagram.to_group || !is_near(datagram.source_ip, by))) return std::nullopt;
    return datagram;
  }

  // RFC 6762 section 11, of what came by another interface to this host alone. This host is near by whichever it hears itself. In IPv4, who
  // has two interfaces in one subnet may be sent by either what is for the address of the other; in IPv6 an interface answers for its own
  // addresses, and a link-local one means the link that it came by.
  bool is_near(const std::string& source, unsigned by) const {
    if (!on_link(interface_, source)) return false;
    const std::vector<Interface> interfaces = machine_interfaces();
    return std::any_of(interfaces.begin(), interfaces.end(), [&](const Interface& one) {
      return one.index == by && (one.loopback || (group_.address().is_v4() && on_link(one, source)));
    });
  }

  // Each datagram then says where it was sent to, and by which interface it came.
  void tell_destinations([[maybe_unused]] bool v4) {
    [[maybe_unused]] const int on = 1;
#if defined(IP_RECVPKTINFO) && defined(__APPLE__)
    if (v4) setsockopt(socket_.native_handle(), IPPROTO_IP, IP_RECVPKTINFO, &on, sizeof on);
#elif defined(IP_PKTINFO)
    if (v4) setsockopt(socket_.native_handle(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
#endif
#if defined(IPV6_RECVPKTINFO)
    if (!v4) setsockopt(socket_.native_handle(), IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
#endif
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
  const Interface interface_;
  const bool in_group_;
};

}  // namespace

std::unique_ptr<DatagramSocket> UdpMulticast::open_group(const Interface& interface, Family family) {
  return std::make_unique<UdpSocket>(loop_, interface, family, true);
}

std::unique_ptr<DatagramSocket> UdpMulticast::open_ephemeral(const Interface& interface, Family family) {
  return std::make_unique<UdpSocket>(loop_, interface, family, false);
}

}  // namespace p2p
