#pragma once
// What mDNS told of other agents: their addresses, who said so, until when it holds, and the names that answers to a question go by.
// Bounded, and whoever floods it displaces nobody's but its own.

#include "base/random.hpp"
#include "base/time.hpp"
#include "network/shares.hpp"
#include "wire/mdns.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace p2p {

class PeerBook {
 public:
  using LinkNumber = std::uint64_t;

  /// One address that a response gave, as it would be dialled.
  struct Address {
    Multiaddr address;
    bool own_link;   ///< in the subnet of the link on which it was heard
    bool of_source;  ///< where the response came from itself
  };
  struct News {
    bool addresses = false;           ///< the peer, or one of its addresses, was not known, or not from where it is itself
    std::optional<PeerId> displaced;  ///< whose place it was given
  };

  explicit PeerBook(Random& random) : random_(random) {}

  /// `peer` said by `source` on `link`, with the addresses of its own that can be dialled, at least one.
  News hear(const mdns::Peer& peer, std::vector<Address> addresses, LinkNumber link, const Source& source, Time now);
  /// Counts for what the same source has said, so that nobody says another one's. True if nothing is left: the peer is not known any more.
  bool goodbye(const PeerId& peer, const std::string& ip);
  /// The same for the peer that announced itself under this name; it, if it is not known any more.
  std::optional<PeerId> goodbye(const std::string& name, const std::string& ip);
  /// A connection was made by this address, which nobody displaces and no time is over for while it lasts, and which is dialled first.
  void verified(const PeerId& peer, const Multiaddr& address);
  void disconnected(const PeerId& peer);
  bool drop(const PeerId& peer);
  /// Forgets what has had its time. The peers that are not known any more.
  std::vector<PeerId> expire(Time now);
  /// Not before anything is over; Time::max() when nothing is known.
  Time next_expiry() const noexcept { return next_expiry_; }

  std::size_t size() const noexcept { return peers_.size(); }
  std::vector<PeerId> peers() const;
  /// What was verified comes first; then whatever each source says, its second only behind everybody's first (everybody with one scarce
  /// part is one, and in turn there), and the own link's before others. None if the peer is not known.
  std::vector<Multiaddr> addresses_of(const PeerId& peer) const;
  /// Who said so: each that said an address of its own, of which one is the peer's host if that spoke at all; else whoever said it first.
  /// None if the peer is not known.
  std::vector<Source> sources_of(const PeerId& peer) const;
  /// Whether the host that this address of the peer belongs to has said so itself.
  bool said_by_host(const PeerId& peer, const Multiaddr& address) const;

  // Names, as questions and answers have them

  /// Those with more than half of their time to come (RFC 6762 section 7.1), and how much that is.
  void add_known_answers(std::vector<mdns::KnownAnswer>& answers, LinkNumber link, Time now) const;
  bool has_name(const std::string& name, LinkNumber link, Time now) const;
  /// Somebody asks: what would soon have been asked for again is being asked for.
  void asked(LinkNumber link, Time now);
  /// The links on which something has to be asked for again (section 5.2); it is taken for asked.
  std::set<LinkNumber> refresh(Time now);
  /// Not before refresh() has any.
  Time next_refresh() const noexcept { return next_refresh_; }

 private:
  // Who said so first, and when it was said last.
  struct Told {
    Source source;
    Time heard;
    bool verified = false;
  };
  struct Heard {
    Told told;
    Address what;
    Time expires;
  };
  // An instance under which the peer announces itself on a link: one for each packet that its addresses take.
  struct Name {
    std::string text;
    LinkNumber link;
    Time heard;
    std::chrono::seconds ttl;
    Time refresh;  // when to ask for it again

    Time expires() const { return heard + ttl; }
    bool ending(Time now) const;
    void refresh_behind(Time when, Random& random);
  };
  struct Entry {
    Told told;
    std::vector<Name> names;
    std::vector<Heard> heard;
  };
  using Entries = std::unordered_map<PeerId, Entry>;

  static bool hand_over(Entry& entry);
  template <class List, class ToldOf>
  static auto crowded_out(List& list, const Source& source, ToldOf told_of);
  void hear_name(Entry& entry, const mdns::Peer& peer, LinkNumber link, Time now);
  void forget_name(const std::string& name, const PeerId& peer);
  void erase(Entries::iterator at);

  Random& random_;
  Entries peers_;
  std::map<std::string, PeerId> names_;  // anybody's, and no hash of theirs is good against whoever chooses them
  Time next_expiry_ = Time::max();
  Time next_refresh_ = Time::max();
};

}  // namespace p2p
