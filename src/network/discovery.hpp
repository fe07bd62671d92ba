#pragma once
// mDNS peer discovery: asks every link who is there, answers who asks, and keeps what was heard until its time is over.
//
// One socket on port 5353 for each interface and address family hears the group; another one on a port of its own asks as well, so that
// whoever answers by unicast is heard within a round trip (docs/wire.md).

#include "network/transport.hpp"
#include "wire/mdns.hpp"

#include <functional>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace p2p {

struct DiscoveryOptions {
  bool announce = false;                ///< answer queries, and say unasked that this agent is there
  std::vector<std::string> interfaces;  ///< names; empty: every one that is up
};

class Discovery {
 public:
  struct Observer {
    /// A peer that was not known, or has an address that was not known. The addresses are in the order in which they should be dialled.
    std::function<void(const PeerId& peer, const std::vector<Multiaddr>& addresses)> found;
    std::function<void(const PeerId& peer)> gone;
  };

  /// `addresses_on` gives this agent's own addresses on an interface.
  Discovery(const Environment& environment, const PeerId& self, DiscoveryOptions options,
            std::function<std::vector<Multiaddr>(const Interface&)> addresses_on, Observer observer);
  ~Discovery();

  /// Throws when an interface that was named does not exist, or no socket can be had on any.
  void start();
  Awaitable<void> stop();

  /// The addresses of a peer that is known now; none if it is not.
  std::vector<Multiaddr> addresses_of(const PeerId& peer) const;
  std::vector<PeerId> peers() const;
  /// The peer was found to be gone: what was heard of it is dropped.
  void forget(const PeerId& peer);
  /// The names of the interfaces that are listened on, for messages.
  std::string links() const;

 private:
  struct Link;
  struct Known;

  bool wanted(const Interface& interface) const;
  /// True when a link was opened.
  bool watch_interfaces();
  bool open_link(const Interface& interface, Multicast::Family family);
  Awaitable<void> hear(Link& link, DatagramSocket& socket);
  Awaitable<void> announce_when_due(Link& link);
  Awaitable<void> keep_asking();
  Awaitable<void> expire();
  void ask(Link& link);
  void on_datagram(Link& link, const Datagram& datagram);
  void on_query(Link& link, const Datagram& datagram, const mdns::Packet& query);
  void on_peer(Link& link, const mdns::Peer& peer);
  bool may_answer(Link& link, const std::string& source);
  mdns::Announcement announcement(const Link& link) const;

  const Environment environment_;
  const PeerId self_;
  const DiscoveryOptions options_;
  const std::function<std::vector<Multiaddr>(const Interface&)> addresses_on_;
  const Observer observer_;
  const std::string name_;
  std::string problem_;  // why a socket could not be had
  std::list<Link> links_;
  std::unordered_map<PeerId, Known> known_;
  bool stopping_ = false;
  Alarm asking_;
  Alarm expiring_;
  TaskGroup group_;
};

}  // namespace p2p
