#pragma once
// mDNS peer discovery: asks every link who is there, answers who asks, and keeps what was heard until its time is over.
//
// One socket on port 5353 for each interface and address family hears the group and asks it; another one on a port of its own asks first,
// so that whoever runs answers by unicast and is heard within a round trip. However many there are on a link, one asks and the others
// listen, and only who is not known to it answers (docs/wire.md).

#include "network/peer_book.hpp"
#include "network/transport.hpp"
#include "wire/mdns.hpp"

#include <functional>
#include <list>
#include <map>
#include <string>
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
  std::vector<Multiaddr> addresses_of(const PeerId& peer) const { return book_.addresses_of(peer); }
  /// See PeerBook.
  std::vector<Source> sources_of(const PeerId& peer) const { return book_.sources_of(peer); }
  bool said_by_host(const PeerId& peer, const Multiaddr& address) const { return book_.said_by_host(peer, address); }
  /// A connection to the peer was made by this address, which nobody displaces while it lasts, and which is dialled first.
  void verified(const PeerId& peer, const Multiaddr& address) { book_.verified(peer, address); }
  /// There is no connection to the peer any more, which says nothing about whether it is there.
  void disconnected(const PeerId& peer);
  /// The peer was found to be gone: what was heard of it is dropped.
  void forget(const PeerId& peer);
  /// The names of the interfaces that are listened on, for messages.
  std::string links() const;

 private:
  struct Link;
  struct Multicasting;

  bool wanted(const Interface& interface) const;
  void watch_interfaces();
  void open_link(const Interface& interface, Multicast::Family family);
  void join_group(Link& link);
  template <class Open>
  std::unique_ptr<DatagramSocket> open_socket(const Link& link, Open open);
  void run(Link& link, Awaitable<void> work);
  Awaitable<void> hear(Link& link, DatagramSocket& socket);
  void on_datagram(Link& link, const Datagram& datagram);

  // Asking, and knowing
  Awaitable<void> keep_asking();
  Awaitable<void> expire();
  void ask_once(Link& link);
  void ask(Link& link);
  void ask_for_wanted(Link& link);
  void asked(Link& link);
  void ask_soon();
  void on_question(Link& link, const Datagram& datagram, const mdns::Packet& query);
  void on_peer(Link& link, const mdns::Peer& peer, const std::string& source);
  static std::vector<PeerBook::Address> dialable(const Link& link, const mdns::Peer& peer, const std::string& source);
  std::vector<mdns::KnownAnswer> known_answers(const Link& link) const;

  // Answering
  Awaitable<void> answer_when_due(Link& link);
  void answer(Link& link, const Datagram& datagram, const mdns::Packet& query);
  bool may_answer(Link& link, const std::string& source);
  bool is_own(const Link& link, const std::string& name) const;
  bool is_announcement(const mdns::Peer& peer) const;
  void plan(Link& link, Multicasting& what, Time when);
  mdns::Announcement announcement(const Link& link) const;
  Duration jitter();

  const Environment environment_;
  const PeerId self_;
  const DiscoveryOptions options_;
  const std::function<std::vector<Multiaddr>(const Interface&)> addresses_on_;
  const Observer observer_;
  const std::string name_;
  std::string problem_;  // why a socket could not be had
  std::list<Link> links_;
  std::uint64_t next_link_ = 0;
  PeerBook book_;
  bool stopping_ = false;
  Alarm asking_;
  Alarm expiring_;
  TaskGroup group_;
};

}  // namespace p2p
