#pragma once
// A network in memory with a clock of its own: many agents on one thread, no sockets, no waiting. Time stands still while anything can run
// and then jumps to the next thing that is due, so a time-out of ten minutes takes none, and the same seed gives the same course.

#include "network/agent.hpp"
#include "support/random.hpp"

#include <boost/asio/io_context.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

namespace p2p::test {

class SimHost;
struct SimAgent;

/// What befalls one direction of a connection once so many of its bytes have arrived.
struct Fault {
  enum class Kind : std::uint8_t {
    cut,         ///< the connection breaks for both ends, and what is under way is lost
    half_close,  ///< the receiver reads the end, as if the sender had finished; the other direction goes on
    stall,       ///< nothing more arrives, not even the end, and nobody is told
    corrupt,     ///< the next byte arrives with a bit changed
  };
  Kind kind;
  bool from_dialer;     ///< in what the dialer sends, else in what the listener sends
  std::uint64_t after;  ///< bytes
};

/// One link to which every host is attached.
class SimNetwork {
 public:
  explicit SimNetwork(std::uint64_t seed = 1);
  ~SimNetwork();

  /// A host with the next free address, 10.0.0.1 and up, or with another one.
  SimHost& add_host(std::string ip = {});
  Loop loop() { return context_.get_executor(); }
  Clock& clock() noexcept;
  /// Somebody sets the date; the time that passes stays the same.
  void set_date(std::chrono::hours forward);
  /// Every machine is suspended, and resumes when so much time has passed: what was due meanwhile is late.
  void suspend(Duration time);
  SeededRandom& random() noexcept { return random_; }

  /// Runs `work` to its end. Throws what it throws, and std::logic_error when nothing is left that could wake it.
  void run(Awaitable<void> work);
  /// The same between the start and the stop of some agents.
  void run(std::vector<SimAgent*> agents, std::function<Awaitable<void>()> work);

  /// From one host to another.
  Duration latency = std::chrono::microseconds(100);
  /// Bytes of one direction of a connection that were written and not read yet.
  std::size_t pipe_size = 256 * 1024;
  /// How much of what has arrived a read gives: part of it, chosen at random; all that it has room for; a single byte.
  enum class Reads : std::uint8_t { parts, all, bytes };
  Reads reads = Reads::parts;
  /// What is written to a connection within this time arrives as one.
  Duration gathering{0};
  /// Of the next connection that is made.
  std::optional<Fault> next_fault;
  /// When a fault came to pass last.
  std::optional<Time> faulted;
  /// Bytes that have arrived, over all connections.
  std::uint64_t carried_from_dialers = 0;
  std::uint64_t carried_from_listeners = 0;
  /// Calls of write(), over all connections.
  std::uint64_t writes_of_dialers = 0;
  std::uint64_t writes_of_listeners = 0;
  /// Connections that an end still holds.
  std::size_t connections() const;
  /// Of a thousand datagrams, how many don't reach a receiver, chosen at random for each. An agent hears itself always.
  unsigned datagrams_lost = 0;
  /// What was sent so far; a multicast counts once.
  std::uint64_t datagrams = 0;
  std::uint64_t datagram_bytes = 0;
  /// Every line that a test wants to compare between two runs.
  std::string journal;

  class SimClock;
  struct State;

 private:
  boost::asio::io_context context_{1};
  std::unique_ptr<SimClock> clock_;
  SeededRandom random_;
  std::shared_ptr<State> state_;
  std::vector<std::unique_ptr<SimHost>> hosts_;
};

class SimHost final : public Transport, public Multicast, public WorkerPool, public Logger {
 public:
  SimHost(SimNetwork& network, std::shared_ptr<SimNetwork::State> state, std::string ip, std::uint64_t seed);

  Environment environment();
  const std::string& ip() const noexcept { return ip_; }
  /// Nothing leaves the host and nothing reaches it any more; nobody is told. What connections sent meanwhile arrives when it is plugged in
  /// again, datagrams are lost.
  void unplug();
  void plug_in();
  /// Every connection of the host breaks, as when its processes are killed.
  void kill_connections();
  /// Nothing listens on it any more.
  void close_listeners();
  bool has_interface = true;
  /// Sockets on the mDNS port, and others for multicast, can't be opened.
  bool refuses_groups = false;
  bool refuses_datagrams = false;
  std::vector<std::string> log;
  /// Computations that the worker pool was given.
  std::uint64_t pooled = 0;
  /// When connections were dialled.
  std::vector<Time> dials;

  // Transport
  std::unique_ptr<ByteStream> dial(const Multiaddr& address) override;
  std::unique_ptr<Listener> listen(const Multiaddr& address) override;
  std::vector<Interface> interfaces() override;
  // Multicast
  std::unique_ptr<DatagramSocket> open_group(const Interface& interface, Family family) override;
  std::unique_ptr<DatagramSocket> open_ephemeral(const Interface& interface, Family family) override;
  // WorkerPool
  Awaitable<void> run(std::function<void()> work) override;
  // Logger
  bool wants(Level) const noexcept override { return true; }
  void write(Level level, std::string_view message) override;

 private:
  SimNetwork& network_;
  std::shared_ptr<SimNetwork::State> state_;
  const std::string ip_;
  SeededRandom random_;
};

/// An agent on a host of its own.
struct SimAgent {
  SimAgent(SimNetwork& network, AgentOptions options, AgentEvents events = {}, std::string ip = {});
  SimHost& host;
  Agent agent;
};
/// Waits for some of the network's time.
Awaitable<void> pause(SimNetwork& network, Duration duration);
/// `work` without what it returns.
template <class T>
Awaitable<void> discard(Awaitable<T> work) {
  co_await std::move(work);
}
/// What `work` ends with: its error, with its message, or Errc{} when it has none.
Awaitable<Errc> error_of(Awaitable<void> work, std::string* message = nullptr);

/// Options of an agent that listens on its host's address.
AgentOptions listening(std::vector<std::string> muxers = {std::string(yamux_protocol), std::string(mplex_protocol)});
/// Options of one that only looks for others.
AgentOptions looking(std::vector<std::string> muxers = {std::string(yamux_protocol), std::string(mplex_protocol)});

}  // namespace p2p::test
