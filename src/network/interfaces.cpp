// The machine's network interfaces, by getifaddrs, which Linux and macOS both have.

#include "network/interfaces.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

namespace p2p {
namespace {

unsigned count_bits(const unsigned char* mask, std::size_t size) {
  unsigned bits = 0;
  for (std::size_t i = 0; i < size; ++i) {
    for (unsigned char byte = mask[i]; byte != 0; byte = static_cast<unsigned char>(byte << 1)) ++bits;
  }
  return bits;
}

template <class SocketAddress, class Raw>
InterfaceAddress read_address(int family, const ifaddrs& entry, Raw SocketAddress::*member) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, &(reinterpret_cast<const SocketAddress*>(entry.ifa_addr)->*member), text, sizeof text);
  unsigned bits = 0;
  if (entry.ifa_netmask != nullptr) {
    bits = count_bits(reinterpret_cast<const unsigned char*>(&(reinterpret_cast<const SocketAddress*>(entry.ifa_netmask)->*member)),
                      sizeof(Raw));
  }
  return {text, bits};
}

}  // namespace

std::vector<Interface> machine_interfaces() {
  std::vector<Interface> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_POINTOPOINT) != 0) continue;
    InterfaceAddress address;
    if (entry->ifa_addr->sa_family == AF_INET) {
      address = read_address(AF_INET, *entry, &sockaddr_in::sin_addr);
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      address = read_address(AF_INET6, *entry, &sockaddr_in6::sin6_addr);
    } else {
      continue;
    }
    auto at = std::find_if(found.begin(), found.end(), [entry](const Interface& known) { return known.name == entry->ifa_name; });
    if (at == found.end()) {
      found.push_back({entry->ifa_name, if_nametoindex(entry->ifa_name), (entry->ifa_flags & IFF_LOOPBACK) != 0, {}});
      at = found.end() - 1;
    }
    at->addresses.push_back(std::move(address));
  }
  freeifaddrs(list);
  return found;
}

bool on_link(const Interface& interface, std::string_view ip) {
  namespace ip_ = boost::asio::ip;
  boost::system::error_code error;
  const ip_::address address = ip_::make_address(std::string(ip), error);
  if (error) return false;
  if (address.is_v6() && address.to_v6().is_link_local()) return true;
  for (const InterfaceAddress& own : interface.addresses) {
    const ip_::address own_address = ip_::make_address(own.ip, error);
    if (error || own_address.is_v4() != address.is_v4()) continue;
    if (address.is_v4()) {
      const ip_::network_v4 network(own_address.to_v4(), static_cast<unsigned short>(own.prefix_bits));
      if (ip_::network_v4(address.to_v4(), static_cast<unsigned short>(own.prefix_bits)).canonical() == network.canonical()) return true;
    } else {
      const ip_::network_v6 network(own_address.to_v6(), static_cast<unsigned short>(own.prefix_bits));
      if (ip_::network_v6(address.to_v6(), static_cast<unsigned short>(own.prefix_bits)).canonical() == network.canonical()) return true;
    }
  }
  return false;
}

}  // namespace p2p
