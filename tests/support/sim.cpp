#include "support/sim.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <list>
#include <set>
#include <stdexcept>

namespace p2p::test {

namespace asio = boost::asio;

class SimNetwork::SimClock final : public Clock {
 public:
  Time now() const override { return now_; }
  WallTime date() const override {
    return WallTime(std::chrono::milliseconds(1'768'645'800'000)) + date_set_ +
           std::chrono::floor<std::chrono::milliseconds>(now_ - Time{});
  }
  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    auto held = std::make_shared<std::function<void()>>(std::move(call));
    due_.push({std::max(when, now_), next_++, held, nullptr});
    return std::make_unique<PendingCall>(std::move(held));
  }
  /// The same, never taken back.
  void at(Time when, std::function<void()> call) {
    auto held = std::make_shared<std::function<void()>>(std::move(call));
    due_.push({std::max(when, now_), next_++, held, held});
  }
  /// Makes the next call that is due; false when there is none.
  bool advance() {
    while (!due_.empty()) {
      const Due next = due_.top();
      due_.pop();
      if (const auto call = next.call.lock()) {
        now_ = std::max(now_, next.when);
        const std::function<void()> held = *call;
        held();
        return true;
      }
    }
    return false;
  }

 private:
  struct PendingCall final : Pending {
    explicit PendingCall(std::shared_ptr<std::function<void()>> call) : held(std::move(call)) {}
    std::shared_ptr<std::function<void()>> held;
  };
  struct Due {
    Time when;
    std::uint64_t order;
    std::weak_ptr<std::function<void()>> call;
    std::shared_ptr<std::function<void()>> kept;  // when nobody else does
    bool operator<(const Due& other) const { return std::pair(when, order) > std::pair(other.when, other.order); }
  };

  friend class SimNetwork;

  Time now_{std::chrono::seconds(1)};
  std::chrono::hours date_set_{0};
  std::uint64_t next_ = 0;
  std::priority_queue<Due> due_;
};

namespace {

constexpr std::uint16_t first_port = 40000;
constexpr std::uint16_t mdns_port = 5353;

/// One direction of a connection.
struct Pipe {
  Pipe(const Loop& loop, std::uint64_t& carried_in_all, std::uint64_t& writes_in_all)
      : total(carried_in_all), writes(writes_in_all), readable(loop), writable(loop) {}
  std::deque<std::uint8_t> arrived;
  std::size_t under_way = 0;
  Bytes gathered;  // of that, what leaves together
  bool finished = false;
  bool broken = false;
  std::optional<Fault> fault;
  bool deaf = false;  // nothing arrives any more
  std::uint64_t carried = 0;
  std::uint64_t& total;
  std::uint64_t& writes;
  Event readable;
  Event writable;

  void fail() {
    broken = true;
    readable.notify();
    writable.notify();
  }
};

struct Wire {
  explicit Wire(SimNetwork& owner)
      : network(owner),
        a_to_b(owner.loop(), owner.carried_from_dialers, owner.writes_of_dialers),
        b_to_a(owner.loop(), owner.carried_from_listeners, owner.writes_of_listeners) {}

  void cut() {
    for (Pipe* const pipe : {&a_to_b, &b_to_a}) {
      pipe->deaf = true;
      pipe->fail();
    }
  }
  void deliver(Pipe& pipe, Bytes bytes) {
    if (pipe.deaf) return;
    pipe.under_way -= bytes.size();
    const bool strikes = pipe.fault && pipe.carried + bytes.size() > pipe.fault->after;
    const std::size_t place = strikes ? static_cast<std::size_t>(pipe.fault->after - pipe.carried) : bytes.size();
    if (strikes && pipe.fault->kind == Fault::Kind::corrupt) {
      bytes[place] ^= static_cast<std::uint8_t>(1U << pipe.fault->after % 8);
    } else {
      bytes.resize(place);
    }
    pipe.arrived.insert(pipe.arrived.end(), bytes.begin(), bytes.end());
    pipe.carried += bytes.size();
    pipe.total += bytes.size();
    if (!strikes) return;
    network.faulted = network.clock().now();
    switch (std::exchange(pipe.fault, std::nullopt)->kind) {
      case Fault::Kind::cut: return cut();
      case Fault::Kind::half_close: pipe.finished = true; [[fallthrough]];
      case Fault::Kind::stall: pipe.deaf = true; return;
      case Fault::Kind::corrupt: return;
    }
  }

  SimNetwork& network;
  std::string a;
  std::string b;
  Pipe a_to_b;
  Pipe b_to_a;
};

}  // namespace

// What all hosts share. It outlives every socket that points to it.
struct SimNetwork::State {
  State(SimNetwork& owner, SimClock& clock_of_network) : network(owner), loop(owner.loop()), clock(clock_of_network) {}

  struct Port {
    explicit Port(const Loop& loop) : incoming(loop) {}
    std::deque<std::unique_ptr<ByteStream>> waiting;
    Event incoming;
    bool closed = false;
  };
  struct Socket {
    explicit Socket(const Loop& loop) : incoming(loop) {}
    std::string ip;
    std::uint16_t port = 0;
    bool group = false;
    std::deque<Datagram> waiting;
    Event incoming;
    bool closed = false;
  };

  bool reachable(const std::string& from, const std::string& to) const { return !unplugged.contains(from) && !unplugged.contains(to); }
  /// Until `attempt` succeeds it is made again whenever a host is plugged in.
  void deliver(std::function<bool()> attempt) {
    if (!attempt()) undelivered.push_back(std::move(attempt));
  }
  void plug_in(const std::string& ip) {
    unplugged.erase(ip);
    std::erase_if(undelivered, [](const std::function<bool()>& attempt) { return attempt(); });
  }

  SimNetwork& network;
  Loop loop;
  SimClock& clock;
  std::set<std::string> unplugged;
  std::list<std::function<bool()>> undelivered;  // in the order in which it was sent
  std::map<std::pair<std::string, std::uint16_t>, std::shared_ptr<Port>> ports;
  std::vector<std::weak_ptr<Wire>> wires;
  std::vector<std::weak_ptr<Socket>> sockets;
  std::uint16_t next_port = first_port;
};

namespace {

class SimStream final : public ByteStream {
 public:
  SimStream(std::shared_ptr<SimNetwork::State> state, Multiaddr local, Multiaddr remote)
      : state_(std::move(state)), connecting_(state_->loop), local_(std::move(local)), remote_(std::move(remote)) {}
  SimStream(std::shared_ptr<SimNetwork::State> state, Multiaddr local, Multiaddr remote, std::shared_ptr<Wire> wire, bool first)
      : SimStream(std::move(state), std::move(local), std::move(remote)) {
    attach(std::move(wire), first);
  }
  ~SimStream() override { close(); }

  Awaitable<void> connect(Duration patience) override {
    const TcpAddress target = tcp_address(remote_).value();
    const std::string here = tcp_address(local_).value().host;
    const Time deadline = state_->clock.now() + patience;
    if (state_->reachable(here, target.host)) {
      co_await wait_until(state_->clock.now() + 2 * state_->network.latency);
    }
    if (closed_) fail(Errc::unreachable, "could not connect to " + remote_.text() + ": closed");
    if (!state_->reachable(here, target.host)) {
      co_await wait_until(deadline);
      fail(Errc::unreachable, "could not connect to " + remote_.text() + ": no answer in time");
    }
    const auto port = state_->ports.find({target.host, target.port});
    if (port == state_->ports.end() || port->second->closed)
      fail(Errc::unreachable, "could not connect to " + remote_.text() + ": refused");
    auto wire = std::make_shared<Wire>(state_->network);
    wire->a = here;
    wire->b = target.host;
    if (const std::optional<Fault> fault = std::exchange(state_->network.next_fault, std::nullopt)) {
      (fault->from_dialer ? wire->a_to_b : wire->b_to_a).fault = fault;
    }
    state_->wires.push_back(wire);
    port->second->waiting.push_back(std::make_unique<SimStream>(state_, remote_, local_, wire, false));
    port->second->incoming.notify();
    attach(std::move(wire), true);
  }

  Awaitable<void> wait_readable() override {
    while (in_->arrived.empty() && !in_->finished && !in_->broken && !closed_) co_await in_->readable.wait();
  }

  Awaitable<std::size_t> read_some(ByteSpan into) override {
    co_await wait_readable();
    if (closed_ || (in_->arrived.empty() && in_->broken)) fail(Errc::closed, "the connection broke");
    // However much has arrived, what one read gives is for the network to choose.
    SimNetwork& network = state_->network;
    const std::size_t most = std::min(into.size(), in_->arrived.size());
    std::size_t count = most;
    if (most > 1 && network.reads == SimNetwork::Reads::parts) count = 1 + network.random().below(most);
    if (most > 1 && network.reads == SimNetwork::Reads::bytes) count = 1;
    std::copy_n(in_->arrived.begin(), count, into.begin());
    in_->arrived.erase(in_->arrived.begin(), in_->arrived.begin() + static_cast<std::ptrdiff_t>(count));
    in_->writable.notify();
    co_return count;
  }

  Awaitable<void> write(ByteView bytes) override {
    ++out_->writes;
    while (!bytes.empty()) {
      if (closed_ || out_->broken) fail(Errc::closed, "the connection broke");
      const std::size_t used = out_->arrived.size() + out_->under_way;
      if (used >= state_->network.pipe_size) {
        co_await out_->writable.wait();
        continue;
      }
      const ByteView part = bytes.first(std::min(bytes.size(), state_->network.pipe_size - used));
      bytes = bytes.subspan(part.size());
      out_->under_way += part.size();
      if (state_->network.gathering == Duration{}) {
        send([bytes_sent = Bytes(part.begin(), part.end())](Wire& wire, Pipe& pipe) { wire.deliver(pipe, bytes_sent); });
      } else {
        if (out_->gathered.empty()) send([](Wire& wire, Pipe& pipe) { wire.deliver(pipe, std::exchange(pipe.gathered, {})); });
        append(out_->gathered, part);
      }
    }
  }

  void close() noexcept override {
    if (closed_) return;
    closed_ = true;
    connecting_.notify();
    if (wire_ == nullptr) return;
    in_->readable.notify();
    out_->writable.notify();
    send([](Wire&, Pipe& pipe) {
      if (!pipe.deaf) pipe.finished = true;
    });
    // What the other side still writes meets nobody.
    in_->broken = true;
    in_->writable.notify();
  }

  const Multiaddr& remote_address() const override { return remote_; }

 private:
  void attach(std::shared_ptr<Wire> wire, bool first) {
    wire_ = std::move(wire);
    out_ = first ? &wire_->a_to_b : &wire_->b_to_a;
    in_ = first ? &wire_->b_to_a : &wire_->a_to_b;
  }

  void send(std::function<void(Wire&, Pipe&)> deliver) {
    state_->clock.at(state_->clock.now() + state_->network.latency + state_->network.gathering,
                     [state = state_, wire = wire_, pipe = out_, deliver = std::move(deliver)] {
                       state->deliver([&reached = *state, wire, pipe, deliver] {
                         if (!reached.reachable(wire->a, wire->b)) return false;
                         deliver(*wire, *pipe);
                         pipe->readable.notify();
                         return true;
                       });
                     });
  }

  Awaitable<void> wait_until(Time when) {
    const Timer timer = state_->clock.schedule(when, [this] { connecting_.notify(); });
    while (!closed_ && state_->clock.now() < when) co_await connecting_.wait();
  }

  std::shared_ptr<SimNetwork::State> state_;
  Event connecting_;
  Multiaddr local_;
  Multiaddr remote_;
  std::shared_ptr<Wire> wire_;
  Pipe* out_ = nullptr;
  Pipe* in_ = nullptr;
  bool closed_ = false;
};

class SimListener final : public Listener {
 public:
  SimListener(std::shared_ptr<SimNetwork::State::Port> port, Multiaddr address) : port_(std::move(port)), address_(std::move(address)) {}

  Awaitable<std::unique_ptr<ByteStream>> accept() override {
    while (port_->waiting.empty() && !port_->closed) co_await port_->incoming.wait();
    if (port_->closed) fail(Errc::closed, "the listener was closed");
    std::unique_ptr<ByteStream> stream = std::move(port_->waiting.front());
    port_->waiting.pop_front();
    co_return stream;
  }
  void close() noexcept override {
    port_->closed = true;
    port_->incoming.notify();
  }
  const Multiaddr& address() const override { return address_; }

 private:
  std::shared_ptr<SimNetwork::State::Port> port_;
  Multiaddr address_;
};

class SimSocket final : public DatagramSocket {
 public:
  SimSocket(std::shared_ptr<SimNetwork::State> state, std::shared_ptr<SimNetwork::State::Socket> socket)
      : state_(std::move(state)), socket_(std::move(socket)) {}
  ~SimSocket() override { close(); }

  Awaitable<Datagram> receive() override {
    while (socket_->waiting.empty() && !socket_->closed) co_await socket_->incoming.wait();
    if (socket_->closed) fail(Errc::closed, "the socket was closed");
    Datagram datagram = std::move(socket_->waiting.front());
    socket_->waiting.pop_front();
    co_return datagram;
  }
  void send_to_group(ByteView bytes) override {
    deliver(bytes, true, [](const SimNetwork::State::Socket& socket) { return socket.group; });
  }
  void send_to(ByteView bytes, const std::string& ip, std::uint16_t port) override {
    deliver(bytes, false, [ip, port](const SimNetwork::State::Socket& socket) { return socket.ip == ip && socket.port == port; });
  }
  void close() noexcept override {
    socket_->closed = true;
    socket_->incoming.notify();
  }

 private:
  template <class Wanted>
  void deliver(ByteView bytes, bool to_group, Wanted wanted) {
    SimNetwork& network = state_->network;
    ++network.datagrams;
    network.datagram_bytes += bytes.size();
    std::vector<std::weak_ptr<SimNetwork::State::Socket>> receivers;
    for (const auto& weak : state_->sockets) {
      const auto socket = weak.lock();
      if (!socket || !wanted(*socket)) continue;
      const bool lost = network.datagrams_lost > 0 && socket != socket_ && network.random().below(1000) < network.datagrams_lost;
      if (!lost) receivers.push_back(weak);
    }
    state_->clock.at(state_->clock.now() + network.latency,
                     [state = state_, receivers = std::move(receivers),
                      datagram = Datagram{Bytes(bytes.begin(), bytes.end()), socket_->ip, socket_->port, to_group}] {
                       for (const auto& weak : receivers) {
                         const auto to = weak.lock();
                         if (!to || to->closed || (datagram.source_ip != to->ip && !state->reachable(datagram.source_ip, to->ip))) continue;
                         to->waiting.push_back(datagram);
                         to->incoming.notify();
                       }
                     });
  }

  std::shared_ptr<SimNetwork::State> state_;
  std::shared_ptr<SimNetwork::State::Socket> socket_;
};

}  // namespace

SimNetwork::SimNetwork(std::uint64_t seed)
    : clock_(std::make_unique<SimClock>()), random_(seed), state_(std::make_shared<State>(*this, *clock_)) {}
SimNetwork::~SimNetwork() {
  // Connections that nobody accepted wait in their ports, and point back to what holds them.
  for (const auto& [address, port] : state_->ports) std::exchange(port->waiting, {});
}

void SimNetwork::set_date(std::chrono::hours forward) { clock_->date_set_ += forward; }
void SimNetwork::suspend(Duration time) { clock_->now_ += time; }
Clock& SimNetwork::clock() noexcept { return *clock_; }

std::size_t SimNetwork::connections() const {
  std::erase_if(state_->wires, [](const std::weak_ptr<Wire>& wire) { return wire.expired(); });
  return state_->wires.size();
}

SimHost& SimNetwork::add_host(std::string ip) {
  if (ip.empty()) ip = "10.0." + std::to_string(hosts_.size() / 250) + "." + std::to_string(hosts_.size() % 250 + 1);
  hosts_.push_back(std::make_unique<SimHost>(*this, state_, std::move(ip), random_.below(UINT64_MAX)));
  return *hosts_.back();
}

void SimNetwork::run(Awaitable<void> work) {
  bool done = false;
  std::exception_ptr failure;
  asio::co_spawn(context_, std::move(work), [&](const std::exception_ptr& thrown) {
    done = true;
    failure = thrown;
  });
  while (true) {
    context_.restart();
    context_.poll();
    if (done) break;
    if (!clock_->advance()) throw std::logic_error("everybody waits and nothing is due");
  }
  if (failure) std::rethrow_exception(failure);
}

void SimNetwork::run(std::vector<SimAgent*> agents, std::function<Awaitable<void>()> work) {
  const auto course = [&]() -> Awaitable<void> {
    for (SimAgent* const one : agents) one->agent.start();
    co_await work();
    for (SimAgent* const one : agents) co_await one->agent.stop();
  };
  run(course());
}

SimHost::SimHost(SimNetwork& network, std::shared_ptr<SimNetwork::State> state, std::string ip, std::uint64_t seed)
    : network_(network), state_(std::move(state)), ip_(std::move(ip)), random_(seed) {}

Environment SimHost::environment() { return {network_.loop(), network_.clock(), random_, *this, *this, *this, *this}; }

void SimHost::unplug() { state_->unplugged.insert(ip_); }
void SimHost::plug_in() { state_->plug_in(ip_); }

void SimHost::kill_connections() {
  for (const auto& weak : state_->wires) {
    const auto wire = weak.lock();
    if (!wire || (wire->a != ip_ && wire->b != ip_)) continue;
    wire->cut();
  }
}

void SimHost::close_listeners() {
  for (const auto& [address, port] : state_->ports) {
    if (address.first != ip_) continue;
    port->closed = true;
    port->incoming.notify();
  }
}

std::unique_ptr<ByteStream> SimHost::dial(const Multiaddr& address) {
  dials.push_back(state_->clock.now());
  tcp_address(address).value();
  return std::make_unique<SimStream>(state_, Multiaddr::tcp(ip_, state_->next_port++).value(), address.without_peer_id());
}

std::unique_ptr<Listener> SimHost::listen(const Multiaddr& address) {
  const std::uint16_t wanted = tcp_address(address).value().port;
  const std::uint16_t port = wanted == 0 ? state_->next_port++ : wanted;
  auto shared = std::make_shared<SimNetwork::State::Port>(network_.loop());
  state_->ports[{ip_, port}] = shared;
  return std::make_unique<SimListener>(std::move(shared), Multiaddr::tcp(ip_, port).value());
}

std::vector<Interface> SimHost::interfaces() {
  if (!has_interface) return {};
  return {{"eth0", 2, false, {{ip_, 16}}}};
}

std::unique_ptr<DatagramSocket> SimHost::open_group(const Interface&, Family) {
  if (refuses_groups) fail(Errc::unreachable, "the port is taken");
  auto socket = std::make_shared<SimNetwork::State::Socket>(network_.loop());
  socket->ip = ip_;
  socket->port = mdns_port;
  socket->group = true;
  state_->sockets.push_back(socket);
  return std::make_unique<SimSocket>(state_, std::move(socket));
}

std::unique_ptr<DatagramSocket> SimHost::open_ephemeral(const Interface&, Family) {
  if (refuses_datagrams) fail(Errc::unreachable, "there is no multicast");
  auto socket = std::make_shared<SimNetwork::State::Socket>(network_.loop());
  socket->ip = ip_;
  socket->port = state_->next_port++;
  state_->sockets.push_back(socket);
  return std::make_unique<SimSocket>(state_, std::move(socket));
}

Awaitable<void> SimHost::run(std::function<void()> work) {
  ++pooled;
  work();
  co_return;
}

void SimHost::write(Level, std::string_view message) {
  log.emplace_back(message);
  if (std::getenv("P2P_SIM_LOG") != nullptr) std::fprintf(stderr, "%s: %s\n", ip_.c_str(), log.back().c_str());
}

SimAgent::SimAgent(SimNetwork& network, AgentOptions options, AgentEvents events, std::string ip)
    : host(network.add_host(std::move(ip))),
      agent(host.environment(), KeyPair::generate(host.environment().random), std::move(options), std::move(events)) {}

Awaitable<void> pause(SimNetwork& network, Duration duration) {
  co_await sleep_until(network.clock(), network.loop(), network.clock().now() + duration);
}

Awaitable<Errc> error_of(Awaitable<void> work, std::string* message) {
  try {
    co_await std::move(work);
  } catch (const boost::system::system_error& error) {
    if (message != nullptr) *message = message_of(error);
    co_return static_cast<Errc>(error.code().value());
  }
  co_return Errc{};
}

AgentOptions listening(std::vector<std::string> muxers) {
  AgentOptions options = looking(std::move(muxers));
  options.listen = {Multiaddr::tcp("0.0.0.0", 0).value()};
  return options;
}

AgentOptions looking(std::vector<std::string> muxers) {
  AgentOptions options;
  options.muxers = std::move(muxers);
  return options;
}

}  // namespace p2p::test
