#include "network/agent.hpp"

#include "base/limits.hpp"
#include "identity/envelope.hpp"

#include <algorithm>
#include <exception>

namespace p2p {
namespace {

constexpr std::string_view protocol_version = "ipfs/0.1.0";

crypto::SecretKey random_key(Random& random) {
  crypto::SecretKey key;
  random.fill(key);
  return key;
}

bool is_ip6(const std::string& ip) { return ip.find(':') != std::string::npos; }
bool is_any(const std::string& ip) { return ip == "0.0.0.0" || ip == "::"; }
/// Not any address, nor one that is of use only with a link's name.
bool stands_for_itself(const std::string& ip) { return !is_any(ip) && !(is_ip6(ip) && reach_of(ip) == Reach::link_local); }

}  // namespace

// A connection and what the peer said of itself on it.
struct Agent::Peer {
  Peer(const Environment& environment, const StreamHandlers& handlers, Upgraded upgraded, Admission::Guest guest_that_it_is,
       MemoryBudget& memory)
      : guest(std::move(guest_that_it_is)),
        connection(environment, handlers, std::move(upgraded), &memory),
        said(connection.charge(0)),
        identified(environment.loop) {}

  const Admission::Guest guest;
  Connection connection;
  Identify identify;
  MemoryCharge said;  // for it
  Latch identified;   // asked, with or without success
  bool has_identify = false;
  bool closed_here = false;
};

Agent::Agent(const Environment& environment, KeyPair identity, AgentOptions options, AgentEvents events)
    : environment_(environment),
      identity_(std::move(identity)),
      id_text_(identity_.peer_id().text()),
      options_(std::move(options)),
      events_(std::move(events)),
      dialer_(environment_, id(), [this] { return upgrade_options(); }),
      memory_(limits::memory_share(options_.memory()), environment.loop),
      news_(environment.clock, environment.loop),
      group_(environment.loop) {
  handle(std::string(ping_protocol), serve_ping);
  handle(std::string(identify_protocol), [this](Stream stream) { return serve_identify(std::move(stream)); });
  handle(std::string(identify_push_protocol), [this](Stream stream) { return serve_identify_push(std::move(stream)); });
}

Agent::~Agent() = default;

UpgradeOptions Agent::upgrade_options() {
  if (!noise_static_) noise_static_.emplace(identity_, random_key(environment_.random));
  return {*noise_static_, options_.muxers, &proofs_};
}

void Agent::handle(std::string protocol, StreamHandler handler) {
  handlers_.insert_or_assign(std::move(protocol), std::move(handler));
  own_identify_.reset();
}

Awaitable<void> Agent::run(std::function<Awaitable<void>()> work) {
  std::exception_ptr failure;
  try {
    start();
    co_await work();
  } catch (...) {
    failure = std::current_exception();
  }
  co_await stop();
  if (failure) std::rethrow_exception(failure);
}

void Agent::start() {
  for (const Multiaddr& address : options_.listen) listeners_.push_back(environment_.transport.listen(address));
  for (const auto& listener : listeners_) group_.spawn(accept(*listener));
  group_.spawn(keep_within_memory());
  if (!options_.mdns) return;
  discovery_ = std::make_unique<Discovery>(
      environment_, id(), DiscoveryOptions{!listeners_.empty(), options_.interfaces},
      [this](const Interface& interface) { return addresses_on(interface); },
      Discovery::Observer{[this](const PeerId& peer, const std::vector<Multiaddr>& addresses) {
                            if (std::find(heard_.begin(), heard_.end(), peer) == heard_.end()) heard_.push_back(peer);
                            news_.notify();
                            if (events_.discovered) events_.discovered(peer, addresses);
                          },
                          [this](const PeerId& peer) {
                            std::erase(heard_, peer);
                            if (events_.gone) events_.gone(peer);
                          }});
  discovery_->start();
}

void Agent::close() {
  stopping_ = true;
  for (const auto& listener : listeners_) listener->close();
  admission_.close();
  memory_.exceeded.notify();
  dialer_.close();
  for (Peer& peer : peers_) {
    peer.closed_here = true;
    peer.connection.close();
  }
  for (Alarm* const pause : pauses_) pause->notify();
  news_.notify();
}

Awaitable<void> Agent::pause_until(Time when) {
  Alarm alarm(environment_.clock, environment_.loop);
  alarm.set(when);
  const auto pause = pauses_.insert(pauses_.end(), &alarm);
  if (!stopping_ && environment_.clock.now() < when) co_await alarm.wait();
  pauses_.erase(pause);
  if (stopping_) fail(Errc::closed, "the agent is closing");
}

Awaitable<void> Agent::stop() {
  close();
  if (discovery_) co_await discovery_->stop();
  co_await group_.join();
}

Awaitable<void> Agent::accept(Listener& listener) {
  Logger& log = environment_.log;
  Time told = Time::min();
  while (!stopping_) {
    std::unique_ptr<ByteStream> channel;
    bool passes = true;
    try {
      channel = co_await listener.accept();
    } catch (const boost::system::system_error& error) {
      passes = is(error, Errc::exhausted);
      const Time now = environment_.clock.now();
      if (!passes && !stopping_)
        log.write(Logger::Level::error, "no longer listening on " + listener.address().text() + ": " + message_of(error));
      if (passes && now >= told + limits::accept_told) {
        log.write(Logger::Level::warn, "connections to " + listener.address().text() + " have to wait: " + message_of(error));
        told = now;
      }
    }
    if (!passes) break;
    if (channel) {
      group_.spawn(welcome(std::move(channel)));
    } else {
      co_await sleep_until(environment_.clock, environment_.loop, environment_.clock.now() + limits::accept_pause);
    }
  }
}

Awaitable<void> Agent::welcome(std::unique_ptr<ByteStream> channel) {
  const Multiaddr from = channel->remote_address();
  const Time accepted = environment_.clock.now();
  Admission::Guest guest = admission_.receive(scarce_part(host_of(from)), *channel, accepted);
  Peer* instead = nullptr;
  std::optional<Upgraded> upgraded;
  std::string problem;
  bool begun = false;
  try {
    in_the_place_of(guest);
    const Time turn = admission_.turn(guest, accepted);
    if (turn > accepted) co_await pause_until(turn);
    if (guest.dropped()) fail(Errc::exhausted, "others from there came behind it, and it waited for longest");
    UpgradeOptions options = upgrade_options();
    options.time -= environment_.clock.now() - accepted;
    begun = true;
    upgraded = co_await upgrade_listener(environment_, options, std::move(channel));
    if (upgraded->secure.remote->id() == id()) fail(Errc::unverified, "it is this agent itself");
    instead = in_the_place_of(guest);
  } catch (const boost::system::system_error& error) {
    problem = message_of(error);
  }
  if (stopping_) co_return;
  const bool was_dear = begun && (!problem.empty() || upgraded->secure.remote->key().type() != PublicKey::Type::ed25519);
  if (was_dear) guest.was_dear(environment_.clock.now());
  if (!problem.empty()) {
    environment_.log.write(Logger::Level::info, "no connection from " + from.text() + ": " + problem);
    co_return;
  }
  if (instead != nullptr) instead->connection.close("another peer needed the place");
  guest.connected();
  adopt(*std::move(upgraded), std::move(guest));
}

Agent::Peer* Agent::in_the_place_of(const Admission::Guest& guest) {
  if (guest.connections() < options_.max_connections_per_address) {
    if (peers_.size() < options_.max_connections) return nullptr;
    std::size_t alive = 0;
    Peer* silent = nullptr;  // for longest, from the address that has most
    const auto before = [](const Peer& a, const Peer& b) {
      if (a.guest.connections() != b.guest.connections()) return a.guest.connections() > b.guest.connections();
      return a.connection.heard() < b.connection.heard();
    };
    // Of those with one place each, who does not use it has it for as long as nobody new comes.
    const auto may_go = [&guest](const Peer& peer) {
      const std::size_t left = peer.guest.connections() - 1;
      return left > guest.connections() || (left == guest.connections() && guest.connections() == 0 && !peer.connection.in_use());
    };
    for (Peer& peer : peers_) {
      if (peer.connection.ended()) continue;
      ++alive;
      if (!peer.guest.is_inbound() || !may_go(peer)) continue;
      if (silent == nullptr || before(peer, *silent)) silent = &peer;
    }
    if (alive < options_.max_connections) return nullptr;
    if (silent != nullptr) return silent;
  }
  fail(Errc::exhausted, "too many connections");
}

Awaitable<void> Agent::keep_within_memory() {
  while (!stopping_) {
    co_await memory_.exceeded.wait();
    while (memory_.is_exceeded() && !stopping_) {
      Peer* const peer = largest();
      if (peer == nullptr) break;
      environment_.log.write(Logger::Level::warn, "the memory for peers is used up; ending the connection that takes most, with " +
                                                      peer->connection.peer().text() + " at " + peer->connection.remote_address().text());
      peer->connection.abort({Errc::exhausted, "the memory for peers is used up, and this connection takes most of it"});
    }
  }
}

Agent::Peer* Agent::largest() {
  // Those of an address, and before that, of what a host has few of.
  std::map<std::string, std::size_t> held;
  const auto of = [](const Peer& peer) { return host_of(peer.connection.remote_address()); };
  for (const Peer& peer : peers_) {
    if (peer.connection.ended()) continue;
    const std::string host = of(peer);
    held[host] += peer.connection.memory_held();
    if (peer.connection.host() != host) held[peer.connection.host()] += peer.connection.memory_held();
  }
  Peer* found = nullptr;
  std::tuple<std::size_t, std::size_t, std::size_t> most;
  for (Peer& peer : peers_) {
    if (peer.connection.ended()) continue;
    const std::tuple size(held[peer.connection.host()], held[of(peer)], peer.connection.memory_held());
    if (found != nullptr && size <= most) continue;
    found = &peer;
    most = size;
  }
  return found;
}

Agent::Peer& Agent::adopt(Upgraded upgraded, Admission::Guest guest) {
  const auto peer = peers_.emplace(peers_.end(), environment_, handlers_, std::move(upgraded), std::move(guest), memory_);
  peers_by_id_.emplace(peer->connection.peer(), &*peer);
  group_.spawn(look_after(peer));
  if (events_.connected) events_.connected(peer->connection);
  return *peer;
}

Awaitable<void> Agent::look_after(std::list<Peer>::iterator peer) {
  TaskGroup asking(environment_.loop);
  asking.spawn(ask_identify(*peer));
  co_await peer->connection.run();
  co_await asking.join();
  if (events_.disconnected) events_.disconnected(peer->connection);
  const PeerId id = peer->connection.peer();
  const bool closed_here = peer->closed_here;
  const auto [begin, end] = peers_by_id_.equal_range(id);
  peers_by_id_.erase(std::find_if(begin, end, [&peer](const auto& entry) { return entry.second == &*peer; }));
  peers_.erase(peer);
  if (!discovery_ || find(id) != nullptr) co_return;
  if (closed_here) {
    discovery_->disconnected(id);
  } else {
    discovery_->forget(id);
  }
}

Awaitable<void> Agent::ask_identify(Peer& peer) {
  try {
    Stream stream = peer.connection.open_stream_lazily(std::string(identify_protocol));
    co_await receive_identify(stream, peer.identify);
    peer.has_identify = true;
  } catch (const boost::system::system_error& error) {
    environment_.log.write(Logger::Level::debug, "no identify from " + peer.connection.peer().text() + ": " + message_of(error));
  }
  peer.said.set(peer.identify.memory());
  peer.identified.open();
}

// What we say of ourselves to everyone: looking for the interfaces and signing costs more than a handshake.
const Identify& Agent::own_identify() {
  const Time now = environment_.clock.now();
  if (own_identify_ && now < own_identify_->checked + limits::interfaces_fresh) return own_identify_->message;
  std::vector<Interface> interfaces = environment_.transport.interfaces();
  if (own_identify_ && own_identify_->interfaces == interfaces) {
    own_identify_->checked = now;
    return own_identify_->message;
  }
  Identify own;
  own.public_key = identity_.public_key();
  std::vector<Bytes> encoded;
  for (const Interface& interface : interfaces) {
    for (const Multiaddr& address : addresses_on(interface)) {
      if (encoded.size() == limits::identify_own_addresses) break;
      own.listen_addrs.push_back(address);
      encoded.emplace_back(address.bytes().begin(), address.bytes().end());
    }
  }
  for (const auto& [protocol, handler] : handlers_) own.protocols.push_back(protocol);
  own.protocol_version = protocol_version;
  own.agent_version = agent_version;
  if (!encoded.empty()) {
    const auto sequence = static_cast<std::uint64_t>(environment_.clock.date().time_since_epoch().count());
    own.signed_peer_record = seal_envelope(identity_, peer_record_domain, peer_record_type, encode_peer_record(id(), sequence, encoded));
  }
  own_identify_.emplace(OwnIdentify{now, std::move(interfaces), std::move(own)});
  return own_identify_->message;
}

Awaitable<void> Agent::serve_identify(Stream stream) {
  Identify own = own_identify();
  const std::optional<Multiaddr> from = stream.remote_address();
  const Result<TcpAddress> tcp = from ? tcp_address(*from) : Error{Errc::closed, "the connection has ended"};
  const bool is_ip = tcp && (tcp->kind == TcpAddress::Host::ip4 || tcp->kind == TcpAddress::Host::ip6);
  if (is_ip && tcp->zone.empty()) own.observed_addr = from;  // a name, or an interface of ours, tells the peer nothing
  co_await answer_identify(std::move(stream), own);
}

Awaitable<void> Agent::serve_identify_push(Stream stream) {
  const PeerId from = stream.peer();
  Identify pushed;
  co_await receive_identify(stream, pushed);
  Peer* const peer = find(from);
  if (peer == nullptr) co_return;
  peer->identify.replace(std::move(pushed));
  peer->said.set(peer->identify.memory());
}

Agent::Peer* Agent::find(const PeerId& id) const noexcept {
  const auto [begin, end] = peers_by_id_.equal_range(id);
  const auto at = std::find_if(begin, end, [](const auto& entry) { return !entry.second->connection.ended(); });
  return at == end ? nullptr : at->second;
}

const Connection* Agent::connection_to(const PeerId& id) const noexcept {
  const Peer* const peer = find(id);
  return peer == nullptr ? nullptr : &peer->connection;
}

void Agent::disconnect(const PeerId& id) {
  while (Peer* const peer = find(id)) {
    peer->closed_here = true;
    peer->connection.close();
  }
}

Awaitable<const Connection*> Agent::connect(PeerId peer, Time deadline) {
  if (const Connection* const connection = connection_to(peer)) co_return connection;
  std::exception_ptr failure;
  try {
    const Dialer::Known known = [this, peer] { return discovered_addresses(peer); };
    const Dialer::SaidByHost said_by_host = [this, peer](const Multiaddr& address) {
      return discovery_ && discovery_->said_by_host(peer, address);
    };
    Upgraded upgraded = co_await dialer_.dial_discovered(peer, known, said_by_host, deadline);
    co_return dialled(std::move(upgraded));
  } catch (const boost::system::system_error&) {
    failure = std::current_exception();
  }
  if (const Connection* const connection = connection_to(peer)) co_return connection;  // that the peer made meanwhile
  if (discovery_) discovery_->forget(peer);  // which asks for it again, so that who is there after all is found anew
  std::rethrow_exception(failure);
}

Awaitable<const Connection*> Agent::connect(std::vector<Multiaddr> addresses, std::optional<PeerId> expected, Time deadline) {
  Upgraded upgraded = co_await dialer_.dial(std::move(addresses), std::move(expected), deadline);
  co_return dialled(std::move(upgraded));
}

const Connection* Agent::dialled(Upgraded upgraded) {
  const Connection& connection = adopt(std::move(upgraded), {}).connection;
  if (connection.ended()) fail(Errc::closed, connection.reason());  // by what came right behind the handshake
  if (discovery_) discovery_->verified(connection.peer(), connection.remote_address().without_peer_id());
  return &connection;
}

Agent::Peer& Agent::connected(const PeerId& id) const {
  Peer* const peer = find(id);
  if (peer == nullptr) fail(Errc::closed, "there is no connection to " + id.text());
  return *peer;
}

Awaitable<Stream> Agent::open_stream(const PeerId& id, std::string protocol, Time deadline) {
  return connected(id).connection.open_stream(std::move(protocol), deadline);
}

Stream Agent::open_stream_lazily(const PeerId& id, std::string protocol) {
  return connected(id).connection.open_stream_lazily(std::move(protocol));
}

Awaitable<Duration> Agent::ping(const PeerId& id) { return connected(id).connection.ping(); }

bool Agent::speaks(const PeerId& id, std::string_view protocol) const noexcept {
  const Peer* const peer = find(id);
  return peer != nullptr &&
         std::find(peer->identify.protocols.begin(), peer->identify.protocols.end(), protocol) != peer->identify.protocols.end();
}

Awaitable<Identify> Agent::identify(PeerId id) {
  if (Peer* const peer = find(id)) co_await peer->identified.wait();
  const Peer* const peer = find(id);
  if (peer == nullptr || !peer->has_identify) fail(Errc::closed, id.text() + " did not say who it is");
  co_return peer->identify;
}

Awaitable<PeerId> Agent::next_discovered(Time deadline) {
  while (true) {
    const Time now = environment_.clock.now();
    std::erase_if(returned_, [now](const auto& entry) { return entry.second <= now - limits::mdns_news; });
    const auto next = std::find_if(heard_.begin(), heard_.end(), [this](const PeerId& peer) { return !returned_.contains(peer); });
    if (next != heard_.end()) {
      news_.clear();
      const PeerId peer = *next;
      heard_.erase(next);
      returned_.emplace(peer, now);
      co_return peer;
    }
    if (now >= deadline || stopping_) break;
    Time wake = deadline;
    for (const PeerId& peer : heard_) wake = std::min(wake, returned_.at(peer) + limits::mdns_news);
    news_.set(wake);
    co_await news_.wait();
  }
  news_.clear();
  fail(Errc::no_peer, "no peer was found in time");
}

std::vector<Multiaddr> Agent::discovered_addresses(const PeerId& peer) const {
  return discovery_ ? discovery_->addresses_of(peer) : std::vector<Multiaddr>();
}

std::vector<Source> Agent::discovered_by(const PeerId& peer) const {
  return discovery_ ? discovery_->sources_of(peer) : std::vector<Source>();
}

std::string Agent::discovery_links() const { return discovery_ ? discovery_->links() : std::string(); }

std::vector<Multiaddr> Agent::addresses_on(const Interface& interface) const {
  std::vector<Multiaddr> usual;
  std::vector<Multiaddr> link_local;  // of use only on a link that has nothing better
  for (const auto& listener : listeners_) {
    const TcpAddress bound = tcp_address(listener->address()).value();
    const bool any = is_any(bound.host);
    for (const InterfaceAddress& own : interface.addresses) {
      if (is_ip6(own.ip) != is_ip6(bound.host) || (!any && own.ip != bound.host)) continue;
      const bool local = is_ip6(own.ip) && reach_of(own.ip) == Reach::link_local;
      const std::string zone = local ? interface.name : std::string();
      const Result<Multiaddr> address = Multiaddr::tcp(own.ip, bound.port, zone);  // an interface's name may not be one of a zone
      if (address) (local ? link_local : usual).push_back(*address);
    }
  }
  return usual.empty() ? link_local : usual;
}

std::vector<Multiaddr> Agent::addresses() const {
  std::vector<Multiaddr> all;
  for (const auto& listener : listeners_) {
    if (stands_for_itself(tcp_address(listener->address()).value().host)) all.push_back(listener->address().with_peer_id(id()));
  }
  if (all.size() == listeners_.size()) return all;  // to look for the interfaces is a good part of a start
  all.clear();
  for (const Interface& interface : environment_.transport.interfaces()) {
    for (const Multiaddr& address : addresses_on(interface)) all.push_back(address.with_peer_id(id()));
  }
  return all;
}

std::vector<Multiaddr> everywhere(Transport& transport, const std::vector<std::string>& interfaces) {
  std::vector<Multiaddr> addresses;
  bool has_ip6 = false;
  for (const Interface& interface : transport.interfaces()) {
    const bool named = std::find(interfaces.begin(), interfaces.end(), interface.name) != interfaces.end();
    for (const InterfaceAddress& own : interface.addresses) {
      has_ip6 = has_ip6 || is_ip6(own.ip);
      const bool local = is_ip6(own.ip) && reach_of(own.ip) == Reach::link_local;
      if (named) addresses.push_back(Multiaddr::tcp(own.ip, 0, local ? interface.name : std::string()).value());
    }
  }
  if (!interfaces.empty()) return addresses;
  addresses.push_back(Multiaddr::tcp("0.0.0.0", 0).value());
  if (has_ip6) addresses.push_back(Multiaddr::tcp("::", 0).value());
  return addresses;
}

}  // namespace p2p
