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
constexpr milliseconds delay_each_peer{1};           // if that comes to more: what a thousand have to say takes a second
constexpr milliseconds more_known_answers{400};      // and up to delay_spread more, for the packets behind a truncated one; section 7.2
constexpr seconds multicast_interval{1};             // section 6: at most one multicast of a record a second
constexpr unsigned announcements = 2;                // at start and when the addresses change, a second apart
constexpr int refresh_percent[] = {80, 85, 90, 95};  // of a record's time, each up to refresh_spread later; section 5.2
constexpr int refresh_spread = 2;

// Who said so first, and when it was said last.
struct Told {
  std::string source;
  Time heard;
  bool verified = false;
};

// Of a full list, what makes room for one more from `source`: what was not heard of for longest, among what the source says that says most.
// Nothing that was verified. So whoever floods a list displaces nobody's but its own.
template <class List, class ToldOf>
auto crowded_out(List& list, const std::string& source, ToldOf told_of) {
  std::unordered_map<std::string_view, std::size_t> share;
  ++share[source];
  for (const auto& each : list) ++share[told_of(each).source];
  auto out = list.end();
  std::size_t most = 0;
  for (auto at = list.begin(); at != list.end(); ++at) {
    const Told& told = told_of(*at);
    const std::size_t of_source = share[told.source];
    if (told.verified || of_source < most) continue;
    if (out == list.end() || of_source > most || told.heard < told_of(*out).heard) {
      out = at;
      most = of_source;
    }
  }
  return out;
}

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
  Bytes one_shot;  // what this agent asked and will hear itself, as one of the group
  std::vector<Bytes> echoes;
  std::set<std::string> wanted;  // instances that somebody knows and this agent doesn't
  Time wanted_due = Time::max();

  // Answering
  Alarm answer_due;
  Multicasting peers;
  Multicasting services;
  std::size_t packets = 1;  // that an announcement takes, each under a name of its own
  unsigned announcements_left = 0;
  struct Unfinished {
    std::size_t unlisted;  // of those packets
    Time due;
  };
  std::map<std::string, Unfinished> unfinished;  // sources whose known answers go on
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
    Told told;
    Multiaddr address;
    bool own_link;
    bool of_source;  // an address of the source itself
    Time expires;
  };
  // An instance under which the peer announces itself on a link: one for each packet that its addresses take.
  struct Name {
    std::string text;
    std::uint64_t link;
    Time heard;
    seconds ttl;
    Time refresh;  // when to ask for it again

    Time expires() const { return heard + ttl; }
    bool fresh(Time now) const { return now - heard <= ttl / 2; }
    bool ending(Time now) const {
      return ttl >= limits::mdns_refresh_ttl && now - heard >= ttl * (refresh_percent[0] - refresh_spread) / 100;
    }
    void refresh_behind(Time when, Random& random) {
      refresh = Time::max();
      if (ttl < limits::mdns_refresh_ttl) return;
      const auto percent = [this](int of_ttl) { return microseconds(ttl) * of_ttl / 100; };
      for (const int due : refresh_percent) {
        if (heard + percent(due) <= when) continue;
        refresh = heard + percent(due) + microseconds(random.below(percent(refresh_spread).count()));
        break;
      }
    }
  };
  Told told;
  std::vector<Name> names;
  std::vector<Heard> heard;

  // What was verified comes first; then whatever each source says, its second only behind everybody's first, and the own link's before
  // others.
  std::vector<Multiaddr> addresses() const {
    std::multimap<std::pair<bool, std::size_t>, const Multiaddr*> ranked;
    std::map<std::string_view, std::size_t> said;
    for (const bool own_link : {true, false}) {
      for (const Heard& one : heard) {
        if (one.own_link == own_link) ranked.emplace(std::pair(!one.told.verified, said[one.told.source]++), &one.address);
      }
    }
    std::vector<Multiaddr> list;
    for (const auto& [rank, address] : ranked) list.push_back(*address);
    return list;
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

void Discovery::watch_interfaces() {
  const std::vector<Interface> interfaces = environment_.transport.interfaces();
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

void Discovery::open_link(const Interface& interface, Multicast::Family family) {
  for (const Link& link : links_) {
    if (!link.closed && link.interface == interface && link.family == family) return;
  }
  Link& link = links_.emplace_back(environment_, interface, family, next_link_++);
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
    return;
  }
  if (link.group) group_.spawn(hear(link, *link.group));
  if (link.ephemeral) group_.spawn(hear(link, *link.ephemeral));
  link.running = (link.group ? 1U : 0U) + (link.ephemeral ? 1U : 0U);
  if (options_.announce) {
    link.announcements_left = announcements;
    link.peers.due = environment_.clock.now();
    ++link.running;
    group_.spawn(answer_when_due(link));
  }
  ask_once(link);
  link.schedule.next = environment_.clock.now() + jitter();
}

Duration Discovery::jitter() {
  const microseconds spread = std::max<microseconds>(delay_spread, delay_each_peer * static_cast<std::int64_t>(known_.size()));
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
  if (!names.empty() && link.group) link.group->send_to_group(mdns::encode_instance_query(names));
  link.wanted.clear();
  link.wanted_due = Time::max();
}

// Somebody has asked this link: there is time until the next question, and whoever was about to be asked for is being asked for.
void Discovery::asked(Link& link) {
  const Time now = environment_.clock.now();
  link.asked = now;
  link.schedule.next = now + link.schedule.interval + jitter();
  link.schedule.interval = std::min<Duration>(2 * link.schedule.interval, limits::mdns_query_interval);
  refresh_due_ = Time::max();
  for (auto& [id, known] : known_) {
    for (Known::Name& name : known.names) {
      const Time soon = now + name.ttl * refresh_spread / 100;
      if (name.link == link.number && name.refresh <= soon) name.refresh_behind(soon, environment_.random);
      refresh_due_ = std::min(refresh_due_, name.refresh);
    }
  }
}

// Asks again as at the start, but for the first question.
void Discovery::ask_soon() {
  for (Link& link : links_) {
    link.schedule.interval = first_query_interval;
    link.schedule.next = std::min(link.schedule.next, environment_.clock.now() + query_spacing + jitter());
  }
  asking_.notify();
}

void Discovery::refresh() {
  const Time now = environment_.clock.now();
  refresh_due_ = Time::max();
  for (auto& [id, known] : known_) {
    for (Known::Name& name : known.names) {
      if (name.refresh <= now) {
        for (Link& link : links_) {
          if (link.number == name.link) link.schedule.next = std::min(link.schedule.next, link.asked + query_spacing);
        }
        name.refresh_behind(now, environment_.random);
      }
      refresh_due_ = std::min(refresh_due_, name.refresh);
    }
  }
}

Awaitable<void> Discovery::keep_asking() {
  Time next_check = environment_.clock.now() + interface_check;
  while (!stopping_) {
    const Time now = environment_.clock.now();
    if (now >= next_check) {
      next_check = now + interface_check;
      watch_interfaces();
    }
    if (now >= refresh_due_) refresh();
    Time next = std::min(next_check, refresh_due_);
    for (Link& link : links_) {
      if (link.closed) continue;
      if (now >= link.schedule.next) ask(link);
      if (now >= link.wanted_due) ask_for_wanted(link);
      next = std::min({next, link.schedule.next, link.wanted_due});
    }
    asking_.set(next);
    co_await asking_.wait();
  }
  asking_.clear();
}

// Whoever is known for more than half of its time still, and this agent itself if the group has heard it lately.
std::vector<mdns::KnownAnswer> Discovery::known_answers(const Link& link) const {
  const Time now = environment_.clock.now();
  std::vector<mdns::KnownAnswer> answers;
  const auto add = [&](const std::string& name, Time expires) {
    if (answers.size() == limits::mdns_peers) return;  // a peer may have made up more names than there are peers
    answers.push_back({name, std::chrono::duration_cast<seconds>(expires - now)});
  };
  if (link.peers.given && now - *link.peers.given <= limits::mdns_ttl / 2) {
    for (std::size_t i = 0; i < link.packets; ++i) add(mdns::instance_name(name_, i), *link.peers.given + limits::mdns_ttl);
  }
  for (const auto& [id, known] : known_) {
    for (const Known::Name& name : known.names) {
      if (name.link == link.number && name.fresh(now) && mdns::speakable(name.text)) add(name.text, name.expires());
    }
  }
  return answers;
}

bool Discovery::knows(const Link& link, const std::string& name) const {
  const auto at = names_.find(name);
  if (at == names_.end()) return false;
  const auto known = known_.find(at->second);
  if (known == known_.end()) return false;
  const std::vector<Known::Name>& names = known->second.names;
  const Time now = environment_.clock.now();
  return std::any_of(names.begin(), names.end(), [&](const Known::Name& one) {
    return one.link == link.number && one.text == name && !one.ending(now);  // who asks so does not have that one answer
  });
}

void Discovery::on_question(Link& link, const Datagram& datagram, const mdns::Packet& query) {
  for (const std::string& name : query.asks_for) link.wanted.erase(name);
  if (query.asks_for_peers && (datagram.source_port == mdns_port || !query.wants_unicast)) {  // the group will hear the answers
    link.own_schedule = link.schedule;
    asked(link);
  }
  const Time now = environment_.clock.now();
  for (const mdns::KnownAnswer& each : query.known) {
    if (!mdns::speakable(each.name) || knows(link, each.name) || is_own(link, each.name) || link.wanted.contains(each.name)) continue;
    if (link.wanted.size() < limits::mdns_wanted) {
      link.wanted.insert(each.name);
      if (link.wanted_due == Time::max()) {
        link.wanted_due = now + jitter();
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
  }
  --link.running;
}

void Discovery::on_datagram(Link& link, const Datagram& datagram) {
  const Result<mdns::Packet> packet = mdns::decode(datagram.bytes);
  if (!packet) return;  // whoever sent it, the others are still heard
  if (!packet->response) {
    if (!on_link(link.interface, datagram.source_ip)) return;
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
    const auto at = names_.find(name);
    if (at != names_.end()) on_goodbye(PeerId(at->second), datagram.source_ip);
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
  auto& budget = link.sources.try_emplace(source, Link::Budget{most, now}).first->second;
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

void Discovery::plan(Link& link, Multicasting& what, Time when) {
  if (what.given) when = std::max(when, *what.given + multicast_interval);
  if (!what.due || when < *what.due) what.due = when;
  link.answer_due.notify();
}

void Discovery::answer(Link& link, const Datagram& datagram, const mdns::Packet& query) {
  const std::string& source = datagram.source_ip;
  const Time now = environment_.clock.now();
  const auto listed = static_cast<std::size_t>(std::count_if(query.known.begin(), query.known.end(), [&](const mdns::KnownAnswer& each) {
    return each.ttl >= limits::mdns_ttl / 2 && is_own(link, each.name);
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
  } else if (unfinished != link.unfinished.end()) {
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

void Discovery::on_peer(Link& link, const mdns::Peer& peer, const std::string& source) {
  if (peer.id == self_) return;
  link.wanted.erase(peer.name);
  if (peer.ttl == seconds(0)) return on_goodbye(peer.id, source);
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
    heard.push_back({{source, now}, std::move(dialled), own_link, tcp->host == source, now + peer.ttl});
  }
  if (heard.empty()) return;
  if (!known_.contains(peer.id) && known_.size() == limits::mdns_peers) {
    const auto out = crowded_out(known_, source, [](const auto& entry) -> const Told& { return entry.second.told; });
    if (out == known_.end()) return;
    drop(out->first);
  }
  Known& known = known_.try_emplace(peer.id, Known{{source, now}, {}, {}}).first->second;
  known.told.heard = now;
  on_name(link, known, peer);
  bool news = false;
  for (Known::Heard& one : heard) {
    const auto at = std::find_if(known.heard.begin(), known.heard.end(), [&one](const auto& old) { return old.address == one.address; });
    if (at != known.heard.end()) {
      at->told.heard = now;
      if (one.of_source) at->told.source = source;
      at->expires = std::max(at->expires, one.expires);
      at->own_link = at->own_link || one.own_link;
      continue;
    }
    if (known.heard.size() == limits::mdns_addresses) {
      const auto out = crowded_out(known.heard, source, [](const Known::Heard& other) -> const Told& { return other.told; });
      if (out == known.heard.end()) break;
      known.heard.erase(out);
    }
    known.heard.push_back(std::move(one));
    news = true;
  }
  if (news && now + peer.ttl < expiry_due_) {
    expiry_due_ = now + peer.ttl;
    expiring_.notify();
  }
  if (news) observer_.found(peer.id, known.addresses());
}

void Discovery::on_name(Link& link, Known& known, const mdns::Peer& peer) {
  // A name that is not the service's instance is rust's, who has another one in each packet: the last one stands for all.
  const bool passing = !mdns::speakable(peer.name);
  auto name = std::find_if(known.names.begin(), known.names.end(), [&](const Known::Name& one) {
    return one.link == link.number && (one.text == peer.name || (passing && !mdns::speakable(one.text)));
  });
  if (name == known.names.end()) {
    if (known.names.size() == limits::mdns_addresses) return;
    name = known.names.insert(name, {peer.name, link.number, {}, {}, {}});
  }
  const Time now = environment_.clock.now();
  if (name->expires() > now + peer.ttl) return;
  if (name->text != peer.name) names_.erase(std::exchange(name->text, peer.name));
  names_.insert_or_assign(peer.name, peer.id);
  name->heard = now;
  name->ttl = peer.ttl;
  name->refresh_behind(now, environment_.random);
  if (name->refresh < refresh_due_) {
    refresh_due_ = name->refresh;
    asking_.notify();
  }
}

Awaitable<void> Discovery::expire() {
  while (!stopping_) {
    const Time now = environment_.clock.now();
    if (now >= expiry_due_) {
      expiry_due_ = Time::max();
      std::vector<PeerId> over;
      for (auto& [id, known] : known_) {
        std::erase_if(known.heard, [now](const Known::Heard& one) { return one.expires <= now; });
        if (known.heard.empty()) over.push_back(id);
        const std::size_t names_over = std::erase_if(known.names, [this, now](const Known::Name& name) {
          if (name.expires() > now) return false;
          names_.erase(name.text);
          return true;
        });
        if (names_over > 0) {  // on another link one of them may still be known
          for (const Known::Name& name : known.names) names_.try_emplace(name.text, id);
        }
        for (const Known::Heard& one : known.heard) expiry_due_ = std::min(expiry_due_, one.expires);
      }
      for (const PeerId& id : over) drop(id);
      if (!over.empty() && known_.empty()) ask_soon();
    }
    if (expiry_due_ != Time::max()) expiring_.set(expiry_due_);
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

void Discovery::verified(const PeerId& peer, const Multiaddr& address) {
  const auto at = known_.find(peer);
  if (at == known_.end()) return;
  for (Known::Heard& one : at->second.heard) {
    if (one.address == address) one.told.verified = at->second.told.verified = true;
  }
}

// Counts for what the same source has said, so that nobody says another one's.
void Discovery::on_goodbye(const PeerId& peer, const std::string& source) {
  const auto at = known_.find(peer);
  if (at == known_.end()) return;
  std::erase_if(at->second.heard, [&source](const Known::Heard& one) { return one.told.source == source; });
  if (at->second.heard.empty()) drop(peer);
}

void Discovery::forget(const PeerId& peer) {
  if (!known_.contains(peer)) return;
  drop(peer);
  ask_soon();  // it may be there all the same (RFC 6762 section 10.4)
}

void Discovery::drop(const PeerId& peer) {
  const PeerId id = peer;  // it may live in what is erased
  const auto at = known_.find(id);
  if (at == known_.end()) return;
  for (const Known::Name& name : at->second.names) names_.erase(name.text);
  known_.erase(at);
  observer_.gone(id);
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
