#include "network/discovery.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace p2p {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint16_t mdns_port = 5353;
constexpr seconds first_query_interval{1};  // then twice as long each time; RFC 6762 section 5.2
constexpr seconds query_spacing{1};         // the least, whoever asks
constexpr seconds interface_check{5};
constexpr milliseconds delay_least{20};  // of what many may say at once; RFC 6762 sections 5.2 and 6
constexpr milliseconds delay_spread{100};
constexpr milliseconds delay_each_peer{1};       // if that comes to more: what a thousand have to say takes a second
constexpr milliseconds more_known_answers{400};  // and up to delay_spread more, for the packets behind a truncated one; section 7.2
constexpr seconds multicast_interval{1};         // section 6: at most one multicast of a record a second
constexpr unsigned announcements = 2;            // at start and when the addresses change, a second apart

}  // namespace

// What one agent says to the group, once a second at most.
struct Discovery::Multicasting {
  std::optional<Time> due;
  std::optional<Time> given;  // the last time
};

// One interface and address family.
struct Discovery::Link {
  Link(const Environment& environment, Interface interface_of_link, Multicast::Family family_of_link, std::uint64_t number_of_link)
      : interface(std::move(interface_of_link)),
        family(family_of_link),
        number(number_of_link),
        answer_due(environment.clock, environment.loop) {}

  Interface interface;
  Multicast::Family family;
  std::uint64_t number;                   // of no other link before or after
  std::unique_ptr<DatagramSocket> group;  // on port 5353
  std::unique_ptr<DatagramSocket> ephemeral;
  bool closed = false;
  std::size_t running = 0;  // coroutines that look at this link

  // Asking. A question of somebody else's is as good as one's own (RFC 6762 section 7.3).
  struct Schedule {
    Time next;
    Duration interval = first_query_interval;  // to the one behind that
  };
  Schedule schedule;
  std::optional<Schedule> own_schedule;  // what it was before somebody else asked
  Time asked{};
  Time marked{};   // when the book was told so
  Bytes one_shot;  // what this agent asked and will hear itself, as one of the group
  std::vector<Bytes> echoes;
  std::set<std::string> wanted;  // instances that somebody knows and this agent doesn't
  Time wanted_due = Time::max();
  Time wanted_asked{};  // the last time

  // Answering
  Alarm answer_due;
  Time contested_until{};  // until when somebody else's announcement under a name of ours holds
  Multicasting peers;
  Multicasting services;
  std::size_t packets = 1;  // that an announcement takes, each under a name of its own
  unsigned announcements_left = 0;
  struct Unfinished {
    std::size_t unlisted;  // of those packets
    Time due;
  };
  std::map<std::string, Unfinished> unfinished;  // IP addresses whose known answers go on: a list is one host's
  struct Budget {
    double tokens;
    Time at;
  };
  std::map<std::string, Budget> sources;  // of unicast answers, by their scarce parts

  void close() {
    closed = true;
    if (group) group->close();
    if (ephemeral) ephemeral->close();
    answer_due.notify();
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
      book_(environment.random),
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

void Discovery::watch_interfaces() {
  const std::vector<Interface> interfaces = environment_.transport.interfaces();
  if (interfaces.empty()) return;  // it could not be seen, since there is one at least: lo
  for (Link& link : links_) {
    if (std::find(interfaces.begin(), interfaces.end(), link.interface) == interfaces.end()) link.close();
  }
  links_.remove_if([](const Link& link) { return link.closed && link.running == 0; });
  for (const Interface& interface : interfaces) {
    if (!wanted(interface)) continue;
    const auto has = [&interface](bool six) {
      return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                         [six](const InterfaceAddress& address) { return (address.ip.find(':') != std::string::npos) == six; });
    };
    if (has(false)) open_link(interface, Multicast::Family::ip4);
    if (has(true) && !interface.loopback) open_link(interface, Multicast::Family::ip6);  // lo has no IPv6 multicast
  }
}

template <class Open>
std::unique_ptr<DatagramSocket> Discovery::open_socket(const Link& link, Open open) {
  try {
    return open();
  } catch (const boost::system::system_error& error) {
    problem_ = link.interface.name + ": " + message_of(error);
    environment_.log.write(Logger::Level::debug, "no mDNS socket on " + problem_);
    return nullptr;
  }
}

void Discovery::open_link(const Interface& interface, Multicast::Family family) {
  for (Link& link : links_) {
    if (link.closed || link.interface != interface || link.family != family) continue;
    if (!link.group) join_group(link);  // whoever had the port may be gone
    return;
  }
  Link& link = links_.emplace_back(environment_, interface, family, next_link_++);
  join_group(link);
  link.ephemeral = open_socket(link, [&] { return environment_.multicast.open_ephemeral(interface, family); });
  if (!link.group && !link.ephemeral) {
    links_.pop_back();
    return;
  }
  if (link.ephemeral) run(link, hear(link, *link.ephemeral));
  if (options_.announce) run(link, answer_when_due(link));
  if (options_.announce && !link.group) {
    const std::string_view whom = family == Multicast::Family::ip4 ? "IPv4" : "IPv6";
    environment_.log.write(Logger::Level::warn, problem_ + ": nobody finds this agent there over " + std::string(whom));
  }
  ask_once(link);
  link.schedule.next = environment_.clock.now() + jitter();
}

void Discovery::join_group(Link& link) {
  link.group = open_socket(link, [&] { return environment_.multicast.open_group(link.interface, link.family); });
  if (!link.group) return;
  run(link, hear(link, *link.group));
  if (!options_.announce) return;
  link.announcements_left = announcements;
  plan(link, link.peers, environment_.clock.now());
}

void Discovery::run(Link& link, Awaitable<void> work) {
  ++link.running;
  group_.spawn(std::move(work));
}

Duration Discovery::jitter() {
  const microseconds spread = std::max<microseconds>(delay_spread, delay_each_peer * static_cast<std::int64_t>(book_.size()));
  return delay_least + microseconds(environment_.random.below(static_cast<std::uint64_t>(spread.count())));
}

// Asking

void Discovery::ask_once(Link& link) {
  if (!link.ephemeral) return;
  link.one_shot = mdns::encode_one_shot_query(static_cast<std::uint16_t>(environment_.random.below(1 << 16)));
  link.ephemeral->send_to_group(link.one_shot);
}

void Discovery::ask(Link& link) {
  if (link.group) {
    link.echoes = mdns::encode_query(known_answers(link));
    for (const Bytes& packet : link.echoes) link.group->send_to_group(packet);
  } else {
    ask_once(link);
  }
  asked(link);
}

void Discovery::ask_for_wanted(Link& link) {
  const std::vector<std::string> names(link.wanted.begin(), link.wanted.end());
  if (!names.empty() && link.group) {
    link.group->send_to_group(mdns::encode_instance_query(names));
    link.wanted_asked = environment_.clock.now();
  }
  link.wanted.clear();
  link.wanted_due = Time::max();
}

// Somebody has asked this link: there is time until the next question, and whoever was about to be asked for is being asked for.
void Discovery::asked(Link& link) {
  const Time now = environment_.clock.now();
  link.asked = now;
  link.schedule.next = now + link.schedule.interval + jitter();
  link.schedule.interval = std::min<Duration>(2 * link.schedule.interval, limits::mdns_query_interval);
  if (now < link.marked + limits::mdns_pass) return;
  link.marked = now;
  book_.asked(link.number, now);
}

// Asks again as at the start, but for the first question.
void Discovery::ask_soon() {
  for (Link& link : links_) {
    link.schedule.interval = first_query_interval;
    link.schedule.next = std::min(link.schedule.next, environment_.clock.now() + query_spacing + jitter());
  }
  asking_.notify();
}

Awaitable<void> Discovery::keep_asking() {
  Time next_check = environment_.clock.now() + interface_check;
  Time earliest_refresh{};
  while (!stopping_) {
    const Time now = environment_.clock.now();
    if (now >= next_check) {
      next_check = now + interface_check;
      watch_interfaces();
    }
    std::set<PeerBook::LinkNumber> refreshed;
    if (now >= std::max(earliest_refresh, book_.next_refresh())) {
      earliest_refresh = now + limits::mdns_pass;
      refreshed = book_.refresh(now);
    }
    Time next = next_check;
    for (Link& link : links_) {
      if (link.closed) continue;
      if (refreshed.contains(link.number)) link.schedule.next = std::min(link.schedule.next, link.asked + query_spacing);
      if (now >= link.schedule.next) ask(link);
      if (now >= link.wanted_due) ask_for_wanted(link);
      next = std::min({next, link.schedule.next, link.wanted_due});
    }
    asking_.set(std::min(next, std::max(earliest_refresh, book_.next_refresh())));
    co_await asking_.wait();
  }
  asking_.clear();
}

// Whoever is known, and this agent itself if the group has heard it lately.
std::vector<mdns::KnownAnswer> Discovery::known_answers(const Link& link) const {
  const Time now = environment_.clock.now();
  std::vector<mdns::KnownAnswer> answers;
  if (link.peers.given && now - *link.peers.given <= limits::mdns_ttl / 2) {
    const auto left = std::chrono::duration_cast<seconds>(*link.peers.given + limits::mdns_ttl - now);
    for (std::size_t i = 0; i < link.packets; ++i) answers.push_back({mdns::instance_name(name_, i), left});
  }
  book_.add_known_answers(answers, link.number, now);
  return answers;
}

// What the group did not hear is neither a question in this agent's place, nor a list that tells who is known on the link.
void Discovery::on_question(Link& link, const Datagram& datagram, const mdns::Packet& query) {
  if (!datagram.to_group) return;
  for (const std::string& name : query.asks_for) link.wanted.erase(name);
  const bool group_hears_answers = datagram.source_port == mdns_port || !query.wants_unicast;
  if (query.asks_for_peers && group_hears_answers) {
    link.own_schedule = link.schedule;
    asked(link);
  }
  const Time now = environment_.clock.now();
  for (const mdns::KnownAnswer& each : query.known) {
    if (!mdns::speakable(each.name) || book_.has_name(each.name, link.number, now)) continue;
    if (is_own(link, each.name) || link.wanted.contains(each.name)) continue;
    if (link.wanted.size() < limits::mdns_wanted) {
      link.wanted.insert(each.name);
      if (link.wanted_due == Time::max()) {
        link.wanted_due = std::max(now, link.wanted_asked + query_spacing) + jitter();
        asking_.notify();
      }
    } else if (link.own_schedule) {
      // Too much is new here: that question was not as good as one's own.
      link.schedule = *std::exchange(link.own_schedule, std::nullopt);
      link.schedule.next = std::max(link.schedule.next, now + jitter());
      asking_.notify();
    }
  }
}

Awaitable<void> Discovery::hear(Link& link, DatagramSocket& socket) {
  try {
    while (!link.closed) on_datagram(link, co_await socket.receive());
  } catch (const boost::system::system_error& error) {
    if (!link.closed) environment_.log.write(Logger::Level::debug, link.interface.name + ": " + message_of(error));
    link.close();  // and a new one is opened with the next look at the interfaces
  }
  --link.running;
}

void Discovery::on_datagram(Link& link, const Datagram& datagram) {
  const Result<mdns::Packet> packet = mdns::decode(datagram.bytes);
  if (!packet) return;  // whoever sent it, the others are still heard
  if (!on_link(link.interface, datagram.source_ip)) return;
  if (!packet->response) {
    if (datagram.bytes == link.one_shot) return link.one_shot.clear();
    const auto echo = std::find(link.echoes.begin(), link.echoes.end(), datagram.bytes);
    if (echo == link.echoes.end())
      on_question(link, datagram, *packet);
    else
      link.echoes.erase(echo);
    if (options_.announce) answer(link, datagram, *packet);
    return;
  }
  if (packet->tells_services) link.services.due.reset();  // who asked has the answer (RFC 6762 section 7.4)
  for (const mdns::Peer& peer : packet->peers) on_peer(link, peer, datagram.source_ip);
  for (const std::string& name : packet->gone) {
    if (const std::optional<PeerId> gone = book_.goodbye(name, datagram.source_ip)) observer_.gone(*gone);
  }
}

// Answering

bool Discovery::may_answer(Link& link, const std::string& source) {
  constexpr double most = limits::mdns_unicast_rate;
  const Time now = environment_.clock.now();
  if (link.sources.size() >= limits::mdns_unicast_sources) {
    std::erase_if(link.sources, [now](const auto& entry) { return now - entry.second.at > seconds(1); });
    if (link.sources.size() >= limits::mdns_unicast_sources) return false;
  }
  auto& budget = link.sources.try_emplace(scarce_part(source), Link::Budget{most, now}).first->second;
  budget.tokens = std::min(most, budget.tokens + std::chrono::duration<double>(now - budget.at).count() * most);
  budget.at = now;
  if (budget.tokens < 1) return false;
  budget.tokens -= 1;
  return true;
}

bool Discovery::is_own(const Link& link, const std::string& name) const {
  for (std::size_t i = 0; i < link.packets; ++i) {
    if (name == mdns::instance_name(name_, i)) return true;
  }
  return false;
}

// Whether this agent may have said so itself, on this link or on another one of the same segment.
bool Discovery::is_announcement(const mdns::Peer& peer) const {
  if (peer.id != self_) return false;
  std::vector<Multiaddr> own;
  for (const Link& each : links_) {
    for (const Multiaddr& address : addresses_on_(each.interface)) {
      const TcpAddress tcp = tcp_address(address).value();
      own.push_back(Multiaddr::tcp(tcp.host, tcp.port).value());  // packets have no zones
    }
  }
  return std::all_of(peer.addresses.begin(), peer.addresses.end(),
                     [&own](const Multiaddr& address) { return std::find(own.begin(), own.end(), address) != own.end(); });
}

void Discovery::plan(Link& link, Multicasting& what, Time when) {
  if (what.given) when = std::max(when, *what.given + multicast_interval);
  if (!what.due || when < *what.due) what.due = when;
  link.answer_due.notify();
}

void Discovery::answer(Link& link, const Datagram& datagram, const mdns::Packet& query) {
  const std::string& source = datagram.source_ip;
  const Time now = environment_.clock.now();
  // Who lists a name that somebody else announced as well may mean them.
  const bool contested = now < link.contested_until;
  const auto listed = static_cast<std::size_t>(std::count_if(query.known.begin(), query.known.end(), [&](const mdns::KnownAnswer& each) {
    return each.ttl >= limits::mdns_ttl / 2 && is_own(link, each.name) && !contested;
  }));
  const auto unfinished = link.unfinished.find(source);
  std::size_t unlisted = link.packets;
  if (query.asks_for_peers) {
    bool answered = listed >= unlisted;  // it knows this agent
    if (!answered && datagram.source_port != mdns_port && link.group && may_answer(link, source)) {
      const Bytes packet = mdns::encode_unicast_response(announcement(link), query);
      if (!packet.empty()) link.group->send_to(packet, source, datagram.source_port);
      answered = query.wants_unicast;  // whoever does not say so may not read that port at all: rust does not
    }
    if (answered) {
      if (unfinished != link.unfinished.end()) link.unfinished.erase(unfinished);
      unlisted = 0;
    }
  } else if (unfinished != link.unfinished.end() && datagram.to_group) {
    unlisted = unfinished->second.unlisted;
    link.unfinished.erase(unfinished);
  } else {
    unlisted = 0;
  }
  if (unlisted > listed) {
    if (query.truncated && link.unfinished.size() < limits::mdns_unfinished) {
      const milliseconds patience = more_known_answers + milliseconds(environment_.random.below(delay_spread.count()));
      link.unfinished.insert_or_assign(source, Link::Unfinished{unlisted - listed, now + patience});
      link.answer_due.notify();
    } else {
      plan(link, link.peers, now + jitter());
    }
  }
  const auto own = [&](const std::string& name) { return is_own(link, name); };
  if (std::any_of(query.asks_for.begin(), query.asks_for.end(), own)) plan(link, link.peers, now + jitter());
  if (query.asks_for_services) plan(link, link.services, now + jitter());
}

Awaitable<void> Discovery::answer_when_due(Link& link) {
  while (!link.closed) {
    const Time now = environment_.clock.now();
    std::erase_if(link.unfinished, [&](const auto& entry) {
      const bool over = entry.second.due <= now;
      if (over) plan(link, link.peers, now);
      return over;
    });
    if (link.peers.due && *link.peers.due <= now) {
      const std::vector<Bytes> packets = mdns::encode_response(announcement(link));
      link.packets = std::max<std::size_t>(1, packets.size());
      for (const Bytes& packet : packets) {
        if (link.group) link.group->send_to_group(packet);
      }
      link.peers = {std::nullopt, now};
      link.unfinished.clear();
      if (link.announcements_left > 0 && --link.announcements_left > 0) plan(link, link.peers, now);
    }
    if (link.services.due && *link.services.due <= now) {
      if (link.group) link.group->send_to_group(mdns::encode_meta_response());
      link.services = {std::nullopt, now};
    }
    Time next = std::min(link.peers.due.value_or(Time::max()), link.services.due.value_or(Time::max()));
    for (const auto& [source, unfinished] : link.unfinished) next = std::min(next, unfinished.due);
    if (next != Time::max()) link.answer_due.set(next);
    co_await link.answer_due.wait();
  }
  link.answer_due.clear();
  --link.running;
}

mdns::Announcement Discovery::announcement(const Link& link) const {
  return {name_, self_, addresses_on_(link.interface), limits::mdns_ttl};
}

// What can be dialled of the addresses that were said on this link.
std::vector<PeerBook::Address> Discovery::dialable(const Link& link, const mdns::Peer& peer, const std::string& source) {
  std::vector<PeerBook::Address> dialable;
  for (const Multiaddr& address : peer.addresses) {
    const Result<TcpAddress> tcp = tcp_address(address);
    if (!tcp || (tcp->kind != TcpAddress::Host::ip4 && tcp->kind != TcpAddress::Host::ip6)) continue;
    const Reach reach = reach_of(tcp->host);
    if (!tcp->zone.empty() && reach != Reach::link_local) continue;
    const bool own_link = on_link(link.interface, tcp->host);
    Multiaddr dialled = address;
    switch (reach) {
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
    dialable.push_back({std::move(dialled), own_link, tcp->host == source});
  }
  return dialable;
}

void Discovery::on_peer(Link& link, const mdns::Peer& peer, const std::string& source) {
  if (is_own(link, peer.name) && !is_announcement(peer)) {
    link.contested_until = std::max(link.contested_until, environment_.clock.now() + peer.ttl);
  }
  if (peer.id == self_) return;
  link.wanted.erase(peer.name);
  if (peer.ttl == seconds(0)) {
    if (book_.goodbye(peer.id, source)) observer_.gone(peer.id);
    return;
  }
  std::vector<PeerBook::Address> addresses = dialable(link, peer, source);
  if (addresses.empty()) return;
  const Time expiry = book_.next_expiry();
  const Time refresh = book_.next_refresh();
  const PeerBook::News news = book_.hear(peer, std::move(addresses), link.number, source, environment_.clock.now());
  if (book_.next_expiry() < expiry) expiring_.notify();
  if (book_.next_refresh() < refresh) asking_.notify();
  if (news.displaced) observer_.gone(*news.displaced);
  if (news.addresses) observer_.found(peer.id, book_.addresses_of(peer.id));
}

Awaitable<void> Discovery::expire() {
  Time earliest{};
  while (!stopping_) {
    const Time now = environment_.clock.now();
    if (now >= std::max(earliest, book_.next_expiry())) {
      earliest = now + limits::mdns_pass;
      const std::vector<PeerId> over = book_.expire(now);
      for (const PeerId& peer : over) observer_.gone(peer);
      if (!over.empty() && book_.size() == 0) ask_soon();
    }
    if (book_.next_expiry() != Time::max()) expiring_.set(std::max(earliest, book_.next_expiry()));
    co_await expiring_.wait();
  }
  expiring_.clear();
}

void Discovery::disconnected(const PeerId& peer) {
  book_.disconnected(peer);
  expiring_.notify();
}

void Discovery::forget(const PeerId& peer) {
  if (!book_.drop(peer)) return;
  observer_.gone(peer);
  ask_soon();  // it may be there all the same (RFC 6762 section 10.4)
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
