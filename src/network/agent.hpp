#pragma once
// An agent: one identity on the network. It listens and dials, keeps its connections, finds peers by mDNS, and hands streams to the
// handlers of their protocols. Everything happens on the loop of its environment.

#include "base/limits.hpp"
#include "network/admission.hpp"
#include "network/connection.hpp"
#include "network/dialer.hpp"
#include "network/discovery.hpp"
#include "network/identify.hpp"
#include "network/ping.hpp"
#include "network/shares.hpp"
#include "network/upgrade.hpp"

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace p2p {

inline constexpr std::string_view agent_version = "p2p-ai-agents/0.1.0";

struct AgentOptions {
  /// Where to listen; empty: nowhere. everywhere() gives the usual ones.
  std::vector<Multiaddr> listen = {};
  /// Muxer protocol ids in order of preference.
  std::vector<std::string> muxers = {std::string(yamux_protocol), std::string(mplex_protocol)};
  /// Find peers by mDNS; the agent is announced as well while it listens.
  bool mdns = true;
  /// Names of the interfaces that mDNS uses; empty: all.
  std::vector<std::string> interfaces = {};
  /// At once, inbound and outbound. One more from outside takes the place of one from an address that has more of them than its own, or is
  /// turned away.
  std::size_t max_connections = limits::connections;
  /// Inbound, from one IP address.
  std::size_t max_connections_per_address = limits::connections_address;
  /// Bytes. Connections and what arrives on them take at most limits::memory_share() of it: above that the largest of the address that
  /// takes most is ended. A provider's tasks take as much; then it is busy. Below limits::memory_least not all limits at once are within
  /// it, and up to limits::memory_besides nothing is left. Unless told: limits::memory_for(max_connections).
  std::optional<std::size_t> max_memory = {};

  std::size_t memory() const { return max_memory.value_or(limits::memory_for(max_connections)); }
};

/// Called on the loop. Connections are those that finished their handshakes.
struct AgentEvents {
  std::function<void(const PeerId& peer, const std::vector<Multiaddr>& addresses)> discovered;
  std::function<void(const PeerId& peer)> gone;
  std::function<void(const Connection& connection)> connected;
  std::function<void(const Connection& connection)> disconnected;
};

class Agent {
 public:
  Agent(const Environment& environment, KeyPair identity, AgentOptions options = {}, AgentEvents events = {});
  /// After stop(), or before start().
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Streams that peers open with `protocol` go to `handler`, from now on.
  void handle(std::string protocol, StreamHandler handler);

  bool handles(std::string_view protocol) const { return handlers_.contains(protocol); }

  /// Starts the agent, does `work`, and stops the agent whatever came of it. Throws what `work` throws. Once.
  Awaitable<void> run(std::function<Awaitable<void>()> work);
  /// Listens and begins discovery. Throws invalid or unreachable, with what to do.
  void start();
  /// Begins to close everything in good order. Whoever waits for something of the agent wakes with an error.
  void close();
  /// Closes, and returns when nothing of the agent runs any more. Once.
  Awaitable<void> stop();

  const PeerId& id() const noexcept { return identity_.peer_id(); }
  const std::string& id_text() const noexcept { return id_text_; }
  const KeyPair& identity() const noexcept { return identity_; }
  const Environment& environment() const noexcept { return environment_; }
  const AgentOptions& options() const noexcept { return options_; }
  /// Bytes that connections and streams hold at present.
  std::size_t memory_held() const noexcept { return memory_.held(); }
  /// Where it can be reached, each address with its PeerId.
  std::vector<Multiaddr> addresses() const;

  /// A connection to the peer: one that there is, or a new one to the addresses that discovery knows or hears meanwhile. Throws no_peer
  /// when it knows none, else as the other connect().
  Awaitable<const Connection*> connect(PeerId peer, Time deadline = Time::max());
  /// A new connection to the first of `addresses` that answers, as `expected` where that is given; a /p2p part in an address counts as
  /// well. The attempts start a quarter of a second apart. Throws unreachable, timed_out, unverified, closed. The pointer holds until the
  /// next co_await. Whatever the addresses do, it is over at `deadline`.
  Awaitable<const Connection*> connect(std::vector<Multiaddr> addresses, std::optional<PeerId> expected = std::nullopt,
                                       Time deadline = Time::max());
  /// Nothing when there is none.
  const Connection* connection_to(const PeerId& peer) const noexcept;
  void disconnect(const PeerId& peer);

  /// A stream on a connection that there is. Throws closed without one; unsupported, exhausted, timed_out as Connection::open_stream()
  /// does.
  Awaitable<Stream> open_stream(const PeerId& peer, std::string protocol, Time deadline = Time::max());
  /// The same without waiting for the agreement, as Connection has it: what is written meanwhile reaches the peer in any case.
  Stream open_stream_lazily(const PeerId& peer, std::string protocol);
  /// The time of a round trip to a peer that there is a connection to. Throws closed without one, and as Connection::ping() does.
  Awaitable<Duration> ping(const PeerId& peer);
  /// Whether the peer has said, after connecting, that it speaks `protocol`.
  bool speaks(const PeerId& peer, std::string_view protocol) const noexcept;
  /// What the peer said of itself after connecting. Throws closed if it did not.
  Awaitable<Identify> identify(PeerId peer);

  /// The peers that discovery finds, in the order in which they were heard: each once, and again when it has an address that was not known
  /// or was gone meanwhile, but not twice within limits::mdns_news, whatever anybody announces. Throws no_peer at `deadline`. One caller at
  /// a time.
  Awaitable<PeerId> next_discovered(Time deadline);
  /// Addresses by which discovery knows a peer.
  std::vector<Multiaddr> discovered_addresses(const PeerId& peer) const;
  /// Who told them, its own host among these if that did.
  std::vector<Source> discovered_by(const PeerId& peer) const;
  /// Waits; throws closed as soon as the agent closes.
  Awaitable<void> pause_until(Time when);
  /// Which interfaces discovery listens on, for messages.
  std::string discovery_links() const;

 private:
  struct Peer;
  struct OwnIdentify {
    Time checked;
    std::vector<Interface> interfaces;
    Identify message;
  };

  Awaitable<void> accept(Listener& listener);
  Awaitable<void> welcome(std::unique_ptr<ByteStream> channel);
  const Connection* dialled(Upgraded upgraded);
  Peer& adopt(Upgraded upgraded, Admission::Guest guest);
  /// Who has to go for a connection of the guest's, if anybody has to. Throws exhausted when there is no place for it in any case.
  Peer* in_the_place_of(const Admission::Guest& guest);
  Awaitable<void> keep_within_memory();
  /// The connection that holds most of the address that holds most, or null.
  Peer* largest();
  Awaitable<void> look_after(std::list<Peer>::iterator peer);
  Awaitable<void> ask_identify(Peer& peer);
  const Identify& own_identify();
  Awaitable<void> serve_identify(Stream stream);
  Awaitable<void> serve_identify_push(Stream stream);
  /// A connection of the peer's that has not ended, or null.
  Peer* find(const PeerId& peer) const noexcept;
  /// The same; throws closed.
  Peer& connected(const PeerId& peer) const;
  std::vector<Multiaddr> addresses_on(const Interface& interface) const;
  UpgradeOptions upgrade_options();

  const Environment environment_;
  const KeyPair identity_;
  const std::string id_text_;
  const AgentOptions options_;
  const AgentEvents events_;
  std::optional<NoiseStatic> noise_static_;  // made for the first connection, so that nobody waits for it who listens
  NoiseProofs proofs_;
  StreamHandlers handlers_;
  std::optional<OwnIdentify> own_identify_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unique_ptr<Discovery> discovery_;
  Admission admission_;
  Dialer dialer_;
  MemoryBudget memory_;
  std::list<Peer> peers_;  // one for each connection
  std::multimap<PeerId, Peer*> peers_by_id_;
  std::list<Alarm*> pauses_;                   // pause_until() under way
  std::deque<PeerId> heard_;                   // discovered and not yet returned by next_discovered()
  std::unordered_map<PeerId, Time> returned_;  // when, less than limits::mdns_news ago
  Alarm news_;
  bool stopping_ = false;
  TaskGroup group_;
};

/// The addresses to listen on when none is named: every one, or those of the interfaces named.
std::vector<Multiaddr> everywhere(Transport& transport, const std::vector<std::string>& interfaces = {});

}  // namespace p2p
