#include "network/discovery.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace p2p {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint16_t mdns_port = 5353;
constexpr seconds first_queries[] = {seconds(0), seconds(1), seconds(3)};
constexpr seconds later_query{20};  // and up to as much again, at random
constexpr seconds interface_check{5};
constexpr milliseconds answer_delay_least{20};  // so that not everybody answers at once
constexpr std::uint64_t answer_delay_spread = 100;
constexpr seconds multicast_interval{1};  // RFC 6762 section 6: at most one multicast of a record a second
constexpr unsigned announcements = 2;     // at start and when the addresses change, a second apart

}  // namespace

// One interface and address family.
struct Discovery::Link {
  Link(const Environment& environment, Interface interface_of_link, Multicast::Family family_of_link)
      : interface(std::move(interface_of_link)), family(family_of_link), answer_due(environment.clock, environment.loop) {}

  Interface interface;
  Multicast::Family family;
  std::unique_ptr<DatagramSocket> group;  // on port 5353
  std::unique_ptr<DatagramSocket> ephemeral;
  bool closed = false;
  std::size_t running = 0;  // coroutines that look at this link

  Alarm answer_due;
  std::optional<Time> answer_at;
  Time answered{};  // the last multicast answer
  bool meta_asked = false;
  unsigned announcements_left = 0;

  struct Budget {
    double tokens;
    Time at;
  };
  std::map<std::string, Budget> sources;  // of unicast answers

  void close() {
    closed = true;
    if (group) group->close();
    if (ephemeral) ephemeral->close();
    answer_due.notify();
  }
};

struct Discovery::Known {
  struct Heard {
    Multiaddr address;
    bool own_link;
    Time expires;
  };
  std::set<std::string> names;  // under which it announces itself: one for each packet that its addresses take
  std::vector<Heard> heard;

  std::vector<Multiaddr> addresses() const {
    std::vector<Multiaddr> list;
    for (const bool own_link : {true, false}) {
      for (const Heard& one : heard) {
        if (one.own_link == own_link) list.push_back(one.address);
      }
    }
    return list;
  }
  Time expires() const {
    Time last{};
    for (const Heard& one : heard) last = std::max(last, one.expires);
    return last;
  }
};

Discovery::Discovery(const Environment& environment, const PeerId& self, DiscoveryOptions options,
                     std::function<std::vector<Multiaddr>(const Interface&)> addresses_on, Observer observer)
    : environment_(environment),
      self_(self),
      options_(std::move(options)),
      addresses_on_(std::move(addresses_on)),
      observer_(std::move(observer)),
      name_(mdns::random_name(environment.random)),
      asking_(environment.clock, environment.loop),
      expiring_(environment.clock, environment.loop),
      group_(environment.loop) {}

Discovery::~Discovery() = default;

bool Discovery::wanted(const Interface& interface) const {
  return options_.interfaces.empty() ||
         std::find(options_.interfaces.begin(), options_.interfaces.end(), interface.name) != options_.interfaces.end();
}

void Discovery::start() {
  const std::vector<Interface> interfaces = environment_.transport.interfaces();
  for (const std::string& name : options_.interfaces) {
    if (std::none_of(interfaces.begin(), interfaces.end(), [&name](const Interface& one) { return one.name == name; })) {
      fail(Errc::invalid, "there is no network interface '" + name + "' that is up and has an address");
    }
  }
  watch_interfaces();
  if (links_.empty()) {
    fail(Errc::unreachable, "mDNS discovery is not possible: " + (problem_.empty() ? "no network interface is up" : problem_));
  }
  group_.spawn(keep_asking());
  group_.spawn(expire());
}

Awaitable<void> Discovery::stop() {
  stopping_ = true;
  for (Link& link : links_) link.close();
  asking_.notify();
  expiring_.notify();
  co_await group_.join();
}

bool Discovery::watch_interfaces() {
  const std::vector<Interface> interfaces = environment_.transport.interfaces();
  for (Link& link : links_) {
    if (std::find(interfaces.begin(), interfaces.end(), link.interface) == interfaces.end()) link.close();
  }
  links_.remove_if([](const Link& link) { return link.closed && link.running == 0; });
  bool opened = false;
  for (const Interface& interface : interfaces) {
    if (!wanted(interface)) continue;
    const auto has = [&interface](bool six) {
      return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                         [six](const InterfaceAddress& address) { return (address.ip.find(':') != std::string::npos) == six; });
    };
    if (has(false)) opened = open_link(interface, Multicast::Family::ip4) || opened;
    if (has(true) && !interface.loopback) opened = open_link(interface, Multicast::Family::ip6) || opened;  // lo has no IPv6 multicast
  }
  return opened;
}

bool Discovery::open_link(const Interface& interface, Multicast::Family family) {
  for (const Link& link : links_) {
    if (!link.closed && link.interface == interface && link.family == family) return false;
  }
  Link& link = links_.emplace_back(environment_, interface, family);
  const auto open = [this, &interface](auto make) -> std::unique_ptr<DatagramSocket> {
    try {
      return make();
    } catch (const boost::system::system_error& error) {
      problem_ = interface.name + ": " + message_of(error);
      environment_.log.write(Logger::Level::debug, "no mDNS socket on " + problem_);
      return nullptr;
    }
  };
  link.group = open([&] { return environment_.multicast.open_group(interface, family); });
  link.ephemeral = open([&] { return environment_.multicast.open_ephemeral(interface, family); });
  if (link.group == nullptr && link.ephemeral == nullptr) {
    links_.pop_back();
    return false;
  }
  if (link.group) group_.spawn(hear(link, *link.group));
  if (link.ephemeral) group_.spawn(hear(link, *link.ephemeral));
  link.running = (link.group ? 1U : 0U) + (link.ephemeral ? 1U : 0U);
  if (options_.announce) {
    link.announcements_left = announcements;
    link.answer_at = environment_.clock.now();
    ++link.running;
    group_.spawn(announce_when_due(link));
  }
  ask(link);
  return true;
}

void Discovery::ask(Link& link) {
  const Bytes query = mdns::encode_query();
  if (link.group) link.group->send_to_group(query);
  if (link.ephemeral) link.ephemeral->send_to_group(query);
}

Awaitable<void> Discovery::keep_asking() {
  Time start = environment_.clock.now();
  Time next_query = start + first_queries[1];  // open_link asked first
  Time next_check = start + interface_check;
  std::size_t asked = 1;
  while (!stopping_) {
    asking_.set(std::min(next_query, next_check));
    co_await asking_.wait();
    if (stopping_) break;
    const Time now = environment_.clock.now();
    if (now >= next_check) {
      next_check = now + interface_check;
      if (watch_interfaces()) {  // a new link is asked as often as the first ones were
        start = now;
        asked = 1;
        next_query = start + first_queries[1];
      }
    }
    if (now < next_query) continue;
    for (Link& link : links_) {
      if (!link.closed) ask(link);
    }
    ++asked;
    if (asked < std::size(first_queries)) {
      next_query = start + first_queries[asked];
    } else {
      next_query = now + later_query + milliseconds(environment_.random.below(milliseconds(later_query).count()));
    }
  }
  asking_.clear();
}

Awaitable<void> Discovery::hear(Link& link, DatagramSocket& socket) {
  try {
    while (!link.closed) on_datagram(link, co_await socket.receive());
  } catch (const boost::system::system_error& error) {
    if (!link.closed) environment_.log.write(Logger::Level::debug, link.interface.name + ": " + message_of(error));
  }
  --link.running;
}

void Discovery::on_datagram(Link& link, const Datagram& datagram) {
  const Result<mdns::Packet> packet = mdns::decode(datagram.bytes);
  if (!packet) return;  // whoever sent it, the others are still heard
  if (!packet->response) {
    on_query(link, datagram, *packet);
    return;
  }
  for (const mdns::Peer& peer : packet->peers) on_peer(link, peer);
  for (const std::string& name : packet->gone) {
    const auto at = std::find_if(known_.begin(), known_.end(), [&name](const auto& entry) { return entry.second.names.contains(name); });
    if (at != known_.end()) forget(PeerId(at->first));
  }
}

bool Discovery::may_answer(Link& link, const std::string& source) {
  constexpr double most = limits::mdns_unicast_rate;
  const Time now = environment_.clock.now();
  if (link.sources.size() >= limits::mdns_unicast_sources) {
    std::erase_if(link.sources, [now](const auto& entry) { return now - entry.second.at > seconds(1); });
    if (link.sources.size() >= limits::mdns_unicast_sources) return false;
  }
  auto& budget = link.sources.try_emplace(source, Link::Budget{most, now}).first->second;
  budget.tokens = std::min(most, budget.tokens + std::chrono::duration<double>(now - budget.at).count() * most);
  budget.at = now;
  if (budget.tokens < 1) return false;
  budget.tokens -= 1;
  return true;
}

void Discovery::on_query(Link& link, const Datagram& datagram, const mdns::Packet& query) {
  if (!options_.announce || (!query.asks_for_peers && !query.asks_for_services) || !on_link(link.interface, datagram.source_ip)) return;
  if (query.asks_for_peers && datagram.source_port != mdns_port && link.group && may_answer(link, datagram.source_ip)) {
    const Bytes answer = mdns::encode_unicast_response(announcement(link), query.id);
    if (!answer.empty()) link.group->send_to(answer, datagram.source_ip, datagram.source_port);
  }
  link.meta_asked = link.meta_asked || query.asks_for_services;
  if (!link.answer_at) {
    const Time soon = environment_.clock.now() + answer_delay_least + milliseconds(environment_.random.below(answer_delay_spread));
    link.answer_at = std::max(soon, link.answered + multicast_interval);
    link.answer_due.set(*link.answer_at);
  }
}

Awaitable<void> Discovery::announce_when_due(Link& link) {
  while (!link.closed) {
    const Time now = environment_.clock.now();
    if (!link.answer_at || now < *link.answer_at) {
      if (link.answer_at) link.answer_due.set(*link.answer_at);
      co_await link.answer_due.wait();
      continue;
    }
    if (link.group) {
      for (const Bytes& packet : mdns::encode_response(announcement(link))) link.group->send_to_group(packet);
      if (std::exchange(link.meta_asked, false)) link.group->send_to_group(mdns::encode_meta_response());
    }
    link.answered = now;
    link.answer_at.reset();
    if (link.announcements_left > 0 && --link.announcements_left > 0) link.answer_at = now + multicast_interval;
  }
  link.answer_due.clear();
  --link.running;
}

mdns::Announcement Discovery::announcement(const Link& link) const {
  return {name_, self_, addresses_on_(link.interface), limits::mdns_ttl};
}

void Discovery::on_peer(Link& link, const mdns::Peer& peer) {
  if (peer.id == self_) return;
  if (peer.ttl == seconds(0)) return forget(peer.id);
  const Time now = environment_.clock.now();
  std::vector<Known::Heard> heard;
  for (const Multiaddr& address : peer.addresses) {
    const Result<TcpAddress> tcp = tcp_address(address);
    if (!tcp || (tcp->kind != TcpAddress::Host::ip4 && tcp->kind != TcpAddress::Host::ip6)) continue;
    const bool own_link = on_link(link.interface, tcp->host);
    Multiaddr dialled = address;
    switch (reach_of(tcp->host)) {
      case Reach::loopback:
        if (!link.interface.loopback) continue;
        break;
      case Reach::link_local:
        if (tcp->kind == TcpAddress::Host::ip6) {
          const Result<Multiaddr> zoned = Multiaddr::tcp(tcp->host, tcp->port, link.interface.name);
          if (!zoned) continue;
          dialled = *zoned;
        }
        break;
      case Reach::private_network: break;
      case Reach::global:
        if (!own_link) continue;
        break;
      case Reach::unusable: continue;
    }
    heard.push_back({std::move(dialled), own_link, now + peer.ttl});
  }
  if (heard.empty()) return;
  if (!known_.contains(peer.id) && known_.size() == limits::mdns_peers) {
    // Full: whoever would be forgotten first makes room.
    const auto oldest = std::min_element(known_.begin(), known_.end(),
                                         [](const auto& a, const auto& b) { return a.second.expires() < b.second.expires(); });
    forget(PeerId(oldest->first));
  }
  Known& known = known_[peer.id];
  if (known.names.size() < limits::mdns_addresses) known.names.insert(peer.name);
  bool news = false;
  for (Known::Heard& one : heard) {
    const auto at = std::find_if(known.heard.begin(), known.heard.end(), [&one](const auto& old) { return old.address == one.address; });
    if (at != known.heard.end()) {
      at->expires = std::max(at->expires, one.expires);
      at->own_link = at->own_link || one.own_link;
    } else if (known.heard.size() < limits::mdns_addresses) {
      known.heard.push_back(std::move(one));
      news = true;
    }
  }
  expiring_.notify();
  if (news) observer_.found(peer.id, known.addresses());
}

Awaitable<void> Discovery::expire() {
  while (!stopping_) {
    const Time now = environment_.clock.now();
    std::vector<PeerId> over;
    std::optional<Time> next;
    for (auto& [id, known] : known_) {
      std::erase_if(known.heard, [now](const Known::Heard& one) { return one.expires <= now; });
      if (known.heard.empty()) {
        over.push_back(id);
        continue;
      }
      for (const Known::Heard& one : known.heard) next = next ? std::min(*next, one.expires) : one.expires;
    }
    for (const PeerId& id : over) forget(id);
    if (next) expiring_.set(*next);
    co_await expiring_.wait();
  }
  expiring_.clear();
}

std::vector<Multiaddr> Discovery::addresses_of(const PeerId& peer) const {
  const auto at = known_.find(peer);
  return at == known_.end() ? std::vector<Multiaddr>() : at->second.addresses();
}

std::vector<PeerId> Discovery::peers() const {
  std::vector<PeerId> ids;
  for (const auto& [id, known] : known_) ids.push_back(id);
  return ids;
}

void Discovery::forget(const PeerId& peer) {
  const PeerId id = peer;  // it may live in what is erased
  if (known_.erase(id) > 0) observer_.gone(id);
}

std::string Discovery::links() const {
  std::string names;
  for (const Link& link : links_) {
    if (link.closed || names.find(link.interface.name) != std::string::npos) continue;
    if (!names.empty()) names += ", ";
    names += link.interface.name;
  }
  return names;
}

}  // namespace p2p
