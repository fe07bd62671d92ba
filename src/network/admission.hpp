#pragma once
// Who gets in. Every inbound channel counts for the IP address that it comes from, in its handshake and as a connection later: whoever
// comes in numbers stands in nobody's way but its own.

#include "base/time.hpp"
#include "network/transport.hpp"

#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <utility>

namespace p2p {

/// The IP address in a multiaddr; empty when there is none.
std::string host_of(const Multiaddr& address);

/// What a host has few of, of its IP address: all of it; of IPv6 the first 64 bits, since those behind them are the host's to choose.
std::string scarce_part(const std::string& ip);

class Admission {
  struct Address {
    std::size_t guests = 0;
    std::size_t handshakes = 0;  // of them, and not dropped
    std::size_t connections = 0;
    Time paced{};  // when the handshakes that were let in so far would be through, one after another
  };
  using Addresses = std::map<std::string, Address>;
  struct Handshake {
    ByteStream* channel;
    Addresses::iterator address;
    bool dropped = false;
  };
  using Handshakes = std::list<Handshake>;

 public:
  /// One inbound channel, until it goes. Outlived by the admission that it comes from.
  class Guest {
   public:
    /// Nobody: what this side dialled.
    Guest() = default;
    Guest(Guest&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)),
          address_(other.address_),
          handshake_(other.handshake_),
          connected_(other.connected_) {}
    Guest& operator=(Guest&&) = delete;
    ~Guest();

    /// Its handshake is over, and it is a connection.
    void connected();
    /// Another one needed its place, and its channel is closed.
    bool dropped() const noexcept { return !connected_ && handshake_->dropped; }
    /// Its handshake cost more than usual, and counts for limits::handshake_dear of them.
    void was_dear(Time now);
    /// Connections from its address.
    std::size_t connections() const noexcept { return address_->second.connections; }
    bool is_inbound() const noexcept { return admission_ != nullptr; }

   private:
    friend class Admission;
    Guest(Admission& admission, Addresses::iterator address, Handshakes::iterator handshake)
        : admission_(&admission), address_(address), handshake_(handshake) {}

    Admission* admission_ = nullptr;
    Addresses::iterator address_{};
    Handshakes::iterator handshake_{};
    bool connected_ = false;
  };

  /// Counts a channel that was accepted. While more than limits::pending_handshakes_address of its address, or limits::pending_handshakes
  /// in all, are in their handshakes, the oldest of the address that has most is closed: whoever is honest is through in no time.
  /// `ip` is its scarce part.
  Guest receive(const std::string& ip, ByteStream& channel, Time now);
  /// When its handshake may begin. An address that is alone here has all of our time; else limits::handshake_burst of its handshakes begin
  /// at once, and one more each limits::handshake_pace.
  Time turn(const Guest& guest, Time now);
  /// Closes the channels that are in their handshakes.
  void close();

 private:
  void drop(Handshakes::iterator handshake);
  void leave(Handshakes::iterator handshake);

  Addresses addresses_;
  Handshakes pending_;  // oldest first
  Handshakes dropped_;  // closed, and not gone yet
};

}  // namespace p2p
