#pragma once
// What an agent needs of the machine's network, as interfaces: connections, datagrams to a link, and the interfaces they go through.
// system.hpp has the real ones (TCP, UDP); tests have a network in memory with a clock of its own.

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "network/async.hpp"
#include "network/clock.hpp"
#include "wire/multiaddr.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace p2p {

/// An ordered, reliable channel of bytes. One coroutine reads and one writes at a time. Pending operations end with an error when it is
/// closed.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  /// Once, on a channel that dial() made, before anything else. Throws unreachable, with a message that names the address and why.
  virtual Awaitable<void> connect(Duration patience) = 0;

  /// Returns when read_some() has something, so that who waits need hold no buffer. Throws when the connection broke.
  virtual Awaitable<void> wait_readable() = 0;
  /// At least one byte, or 0 when the other side has finished. Throws when the connection broke.
  virtual Awaitable<std::size_t> read_some(ByteSpan into) = 0;
  /// All of `bytes`.
  virtual Awaitable<void> write(ByteView bytes) = 0;
  virtual void close() noexcept = 0;

  virtual const Multiaddr& remote_address() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;

  /// Throws when the listener was closed, and exhausted when connections wait that can't be taken for now; what concerns a single one is
  /// kept from the caller.
  virtual Awaitable<std::unique_ptr<ByteStream>> accept() = 0;
  virtual void close() noexcept = 0;
  /// Where it listens, the port filled in. The host may be unspecified (0.0.0.0, ::).
  virtual const Multiaddr& address() const = 0;
};

struct InterfaceAddress {
  std::string ip;
  unsigned prefix_bits;
};

/// A network interface that is up.
struct Interface {
  std::string name;
  unsigned index;
  bool loopback;
  std::vector<InterfaceAddress> addresses;

  friend bool operator==(const Interface& a, const Interface& b) {
    const auto same = [](const InterfaceAddress& x, const InterfaceAddress& y) { return x.ip == y.ip && x.prefix_bits == y.prefix_bits; };
    return a.name == b.name && a.index == b.index &&
           std::equal(a.addresses.begin(), a.addresses.end(), b.addresses.begin(), b.addresses.end(), same);
  }
};

/// Whether `ip` lies in one of the interface's subnets. A link-local address always does.
bool on_link(const Interface& interface, std::string_view ip);

class Transport {
 public:
  virtual ~Transport() = default;

  /// A channel to one address, to be connected. Throws unsupported for an address that is not of this transport.
  virtual std::unique_ptr<ByteStream> dial(const Multiaddr& address) = 0;
  /// Throws when the address cannot be listened on.
  virtual std::unique_ptr<Listener> listen(const Multiaddr& address) = 0;
  /// The interfaces that are up and have an address.
  virtual std::vector<Interface> interfaces() = 0;
};

struct Datagram {
  Bytes bytes;
  std::string source_ip;
  std::uint16_t source_port;
  bool to_group;  ///< sent to the mDNS group, so that others heard it as well; on a group's socket true where the system does not tell
};

/// A UDP socket for mDNS on one interface and one address family.
class DatagramSocket {
 public:
  virtual ~DatagramSocket() = default;

  /// Datagrams above limits::mdns_packet are cut. Throws when the socket was closed.
  virtual Awaitable<Datagram> receive() = 0;
  /// To the mDNS group. Best effort: a datagram that cannot be sent is lost, as one on the wire may be.
  virtual void send_to_group(ByteView bytes) = 0;
  virtual void send_to(ByteView bytes, const std::string& ip, std::uint16_t port) = 0;
  virtual void close() noexcept = 0;
};

class Multicast {
 public:
  enum class Family : std::uint8_t { ip4, ip6 };

  virtual ~Multicast() = default;
  /// A socket on port 5353 that hears the mDNS group on this interface. Throws when there can be none.
  virtual std::unique_ptr<DatagramSocket> open_group(const Interface& interface, Family family) = 0;
  /// A socket on a port of its own that sends through this interface and hears what is sent to it alone.
  virtual std::unique_ptr<DatagramSocket> open_ephemeral(const Interface& interface, Family family) = 0;
};

/// Where messages for whoever operates the agent go.
class Logger {
 public:
  enum class Level : std::uint8_t { debug, info, warn, error };

  virtual ~Logger() = default;
  virtual bool wants(Level level) const noexcept = 0;
  /// What stands in `message` may come from a peer; whoever shows it escapes it.
  virtual void write(Level level, std::string_view message) = 0;
};

/// All that an agent takes from outside. Everything outlives the agent.
struct Environment {
  Loop loop;
  Clock& clock;
  Random& random;
  Transport& transport;
  Multicast& multicast;
  WorkerPool& pool;
  Logger& log;
};

}  // namespace p2p
