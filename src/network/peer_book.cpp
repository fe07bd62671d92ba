#include "network/peer_book.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace p2p {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

constexpr int refresh_percent[] = {80, 85, 90, 95};  // of a record's time, each up to refresh_spread later; RFC 6762 section 5.2
constexpr int refresh_spread = 2;

}  // namespace

bool PeerBook::Name::ending(Time now) const {
  return ttl >= limits::mdns_refresh_ttl && now - heard >= ttl * (refresh_percent[0] - refresh_spread) / 100;
}

void PeerBook::Name::refresh_behind(Time when, Random& random) {
  refresh = Time::max();
  if (ttl < limits::mdns_refresh_ttl) return;
  const auto percent = [this](int of_ttl) { return microseconds(ttl) * of_ttl / 100; };
  for (const int due : refresh_percent) {
    if (heard + percent(due) <= when) continue;
    refresh = heard + percent(due) + microseconds(random.below(static_cast<std::uint64_t>(percent(refresh_spread).count())));
    break;
  }
}

// Of a full list, what makes room for one more from `source`: what was not heard of for longest, among what the source says that says most.
// Nothing that was verified, and nothing of a source that says less than this one.
template <class List, class ToldOf>
auto PeerBook::crowded_out(List& list, const Source& source, ToldOf told_of) {
  Shares shares;
  shares.add(source);
  for (const auto& each : list) shares.add(told_of(each).source);
  auto out = list.end();
  Shares::Share most = shares.of(source);
  for (auto at = list.begin(); at != list.end(); ++at) {
    const Told& told = told_of(*at);
    const Shares::Share share = shares.of(told.source);
    if (told.verified || share < most) continue;
    if (out == list.end() || share > most || told.heard < told_of(*out).heard) {
      out = at;
      most = share;
    }
  }
  return out;
}

// A peer of whom others speak as well is not its first source's to lose. False if nobody else does.
bool PeerBook::hand_over(Entry& entry) {
  const auto other =
      std::find_if(entry.heard.begin(), entry.heard.end(), [&](const Heard& one) { return one.told.source != entry.told.source; });
  if (other == entry.heard.end()) return false;
  const Source crowding = std::exchange(entry.told.source, other->told.source);
  std::erase_if(entry.heard, [&](const Heard& one) { return one.told.source == crowding; });
  return true;
}

PeerBook::News PeerBook::hear(const mdns::Peer& peer, std::vector<Address> addresses, LinkNumber link, const Source& source, Time now) {
  News news;
  auto entry = peers_.find(peer.id);
  if (entry == peers_.end()) {
    if (peers_.size() == limits::mdns_peers) {
      const auto choose = [&] { return crowded_out(peers_, source, [](const auto& other) -> const Told& { return other.second.told; }); };
      auto out = choose();
      while (out != peers_.end() && hand_over(out->second)) out = choose();
      if (out == peers_.end()) return news;
      news.displaced = out->first;
      erase(out);
    }
    entry = peers_.try_emplace(peer.id, Entry{{source, now}, {}, {}}).first;
  }
  Entry& known = entry->second;
  known.told.heard = now;
  hear_name(known, peer, link, now);
  const Time expires = now + peer.ttl;
  for (Address& one : addresses) {
    const auto at = std::find_if(known.heard.begin(), known.heard.end(), [&](const Heard& old) { return old.what.address == one.address; });
    if (at != known.heard.end()) {
      at->told.heard = now;
      if (one.of_source) {
        // Somebody else may have named the peer before, and has it wait behind others that they named.
        news.addresses = news.addresses || !at->what.of_source;
        at->told.source = source;
        at->what.of_source = true;
      }
      at->expires = std::max(at->expires, expires);
      at->what.own_link = at->what.own_link || one.own_link;
      continue;
    }
    if (known.heard.size() == limits::mdns_addresses) {
      const auto out = crowded_out(known.heard, source, [](const Heard& other) -> const Told& { return other.told; });
      if (out == known.heard.end()) break;
      known.heard.erase(out);
    }
    known.heard.push_back({{source, now}, std::move(one), expires});
    news.addresses = true;
  }
  if (news.addresses) next_expiry_ = std::min(next_expiry_, expires);
  return news;
}

void PeerBook::hear_name(Entry& entry, const mdns::Peer& peer, LinkNumber link, Time now) {
  // A name that is not the service's instance is rust's, who has another one in each packet: the last one stands for all.
  const bool passing = !mdns::speakable(peer.name);
  auto name = std::find_if(entry.names.begin(), entry.names.end(), [&](const Name& one) {
    return one.link == link && (one.text == peer.name || (passing && !mdns::speakable(one.text)));
  });
  if (name == entry.names.end()) {
    if (entry.names.size() == limits::mdns_addresses) return;
    name = entry.names.insert(name, {peer.name, link, {}, {}, {}});
  }
  if (name->expires() > now + peer.ttl) return;
  if (name->text != peer.name) forget_name(std::exchange(name->text, peer.name), peer.id);
  names_.insert_or_assign(peer.name, peer.id);
  name->heard = now;
  name->ttl = peer.ttl;
  name->refresh_behind(now, random_);
  next_refresh_ = std::min(next_refresh_, name->refresh);
}

bool PeerBook::goodbye(const PeerId& peer, const std::string& ip) {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return false;
  std::erase_if(at->second.heard, [&ip](const Heard& one) { return one.told.source.ip == ip; });
  if (!at->second.heard.empty()) return false;
  erase(at);
  return true;
}

std::optional<PeerId> PeerBook::goodbye(const std::string& name, const std::string& ip) {
  const auto at = names_.find(name);
  if (at == names_.end()) return std::nullopt;
  const PeerId peer = at->second;
  return goodbye(peer, ip) ? std::optional(peer) : std::nullopt;
}

void PeerBook::verified(const PeerId& peer, const Multiaddr& address) {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return;
  for (Heard& one : at->second.heard) {
    if (one.what.address == address) one.told.verified = at->second.told.verified = true;
  }
}

void PeerBook::disconnected(const PeerId& peer) {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return;
  at->second.told.verified = false;
  for (Heard& one : at->second.heard) {
    if (std::exchange(one.told.verified, false)) next_expiry_ = std::min(next_expiry_, one.expires);
  }
}

// Another peer may have said since that it is its own.
void PeerBook::forget_name(const std::string& name, const PeerId& peer) {
  const auto at = names_.find(name);
  if (at != names_.end() && at->second == peer) names_.erase(at);
}

void PeerBook::erase(Entries::iterator at) {
  for (const Name& name : at->second.names) forget_name(name.text, at->first);
  peers_.erase(at);
}

bool PeerBook::drop(const PeerId& peer) {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return false;
  erase(at);
  return true;
}

std::vector<PeerId> PeerBook::expire(Time now) {
  std::vector<PeerId> over;
  if (now < next_expiry_) return over;
  next_expiry_ = Time::max();
  for (auto& [id, entry] : peers_) {
    std::erase_if(entry.heard, [now](const Heard& one) { return one.expires <= now && !one.told.verified; });
    if (entry.heard.empty()) over.push_back(id);
    const std::size_t names_over = std::erase_if(entry.names, [&, &peer = id](const Name& name) {
      if (name.expires() > now) return false;
      forget_name(name.text, peer);
      return true;
    });
    if (names_over > 0) {  // on another link one of them may still be known
      for (const Name& name : entry.names) names_.try_emplace(name.text, id);
    }
    for (const Heard& one : entry.heard) {
      if (!one.told.verified) next_expiry_ = std::min(next_expiry_, one.expires);
    }
  }
  for (const PeerId& id : over) drop(id);
  return over;
}

std::vector<PeerId> PeerBook::peers() const {
  std::vector<PeerId> ids;
  for (const auto& [id, entry] : peers_) ids.push_back(id);
  return ids;
}

std::vector<Multiaddr> PeerBook::addresses_of(const PeerId& peer) const {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return {};
  std::vector<const Heard*> order;
  for (const Heard& one : at->second.heard) order.push_back(&one);
  std::stable_partition(order.begin(), order.end(), [](const Heard* one) { return one->what.own_link; });
  for (const auto of_whom : {&Source::ip, &Source::scarce}) {  // each in turn, and then each /64
    std::map<std::string_view, std::size_t> said;
    std::multimap<std::size_t, const Heard*> in_turn;
    for (const Heard* const one : order) in_turn.emplace(said[one->told.source.*of_whom]++, one);
    std::transform(in_turn.begin(), in_turn.end(), order.begin(), [](const auto& entry) { return entry.second; });
  }
  std::stable_partition(order.begin(), order.end(), [](const Heard* one) { return one->told.verified; });
  std::vector<Multiaddr> list;
  for (const Heard* const one : order) list.push_back(one->what.address);
  return list;
}

std::vector<Source> PeerBook::sources_of(const PeerId& peer) const {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return {};
  std::vector<Source> sources;
  for (const Heard& one : at->second.heard) {
    if (one.what.of_source && std::find(sources.begin(), sources.end(), one.told.source) == sources.end())
      sources.push_back(one.told.source);
  }
  if (sources.empty()) sources.push_back(at->second.told.source);
  return sources;
}

bool PeerBook::said_by_host(const PeerId& peer, const Multiaddr& address) const {
  const auto at = peers_.find(peer);
  if (at == peers_.end()) return false;
  return std::any_of(at->second.heard.begin(), at->second.heard.end(),
                     [&](const Heard& one) { return one.what.of_source && one.what.address == address; });
}

void PeerBook::add_known_answers(std::vector<mdns::KnownAnswer>& answers, LinkNumber link, Time now) const {
  for (const auto& [id, entry] : peers_) {
    for (const Name& name : entry.names) {
      if (answers.size() == limits::mdns_peers) return;  // a peer may have made up more names than there are peers
      if (name.link != link || now - name.heard > name.ttl / 2 || !mdns::speakable(name.text)) continue;
      answers.push_back({name.text, std::chrono::duration_cast<seconds>(name.expires() - now)});
    }
  }
}

bool PeerBook::has_name(const std::string& name, LinkNumber link, Time now) const {
  const auto at = names_.find(name);
  if (at == names_.end()) return false;
  const auto entry = peers_.find(at->second);
  if (entry == peers_.end()) return false;
  const std::vector<Name>& names = entry->second.names;
  return std::any_of(names.begin(), names.end(), [&](const Name& one) {
    return one.link == link && one.text == name && !one.ending(now);  // who asks so does not have that one answer
  });
}

void PeerBook::asked(LinkNumber link, Time now) {
  next_refresh_ = Time::max();
  for (auto& [id, entry] : peers_) {
    for (Name& name : entry.names) {
      const Time soon = now + name.ttl * refresh_spread / 100;
      if (name.link == link && name.refresh <= soon) name.refresh_behind(soon, random_);
      next_refresh_ = std::min(next_refresh_, name.refresh);
    }
  }
}

std::set<PeerBook::LinkNumber> PeerBook::refresh(Time now) {
  std::set<LinkNumber> links;
  if (now < next_refresh_) return links;
  next_refresh_ = Time::max();
  for (auto& [id, entry] : peers_) {
    for (Name& name : entry.names) {
      if (name.refresh <= now) {
        links.insert(name.link);
        name.refresh_behind(now, random_);
      }
      next_refresh_ = std::min(next_refresh_, name.refresh);
    }
  }
  return links;
}

}  // namespace p2p
