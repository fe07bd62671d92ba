#include "cli/session.hpp"

#include "base/limits.hpp"
#include "identity/key_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>

namespace p2p::cli {

struct Signals::Set : std::enable_shared_from_this<Set> {
  Set(const Loop& loop, std::function<void()> call) : signals(loop), on_signal(std::move(call)) {}

  void wait() {
    signals.async_wait([self = shared_from_this()](const boost::system::error_code& error, int) {
      if (error || !self->on_signal) return;
      self->on_signal();
      self->wait();
    });
  }

  boost::asio::signal_set signals;
  std::function<void()> on_signal;
};

Signals::Signals(const Loop& loop, std::vector<int> numbers, std::function<void()> on_signal)
    : set_(std::make_shared<Set>(loop, std::move(on_signal))) {
  for (const int number : numbers) set_->signals.add(number);
  set_->wait();
}

bool ignores_hang_up() {
  struct sigaction inherited {};
  return sigaction(SIGHUP, nullptr, &inherited) == 0 && inherited.sa_handler == SIG_IGN;
}

Signals::~Signals() {
  set_->on_signal = nullptr;
  set_->signals.cancel();
}

struct OutputWatch::Descriptor {
  Descriptor(const Loop& loop, std::function<void()> call) : stream(loop), on_broken(std::move(call)) {}
  boost::asio::posix::stream_descriptor stream;
  std::function<void()> on_broken;
};

OutputWatch::OutputWatch(const Loop& loop, std::function<void()> on_broken)
    : descriptor_(std::make_shared<Descriptor>(loop, std::move(on_broken))) {
  struct stat kind {};
  if (fstat(STDOUT_FILENO, &kind) != 0 || !(S_ISFIFO(kind.st_mode) || S_ISSOCK(kind.st_mode))) return;
  const int flags = fcntl(STDOUT_FILENO, F_GETFL);
  const int copy = flags < 0 ? -1 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return;
  descriptor_->stream.assign(copy);
  descriptor_->stream.async_wait(boost::asio::posix::stream_descriptor::wait_error,
                                 [descriptor = descriptor_](const boost::system::error_code& error) {
                                   if (!error && descriptor->on_broken) descriptor->on_broken();
                                 });
  // Asio makes non-blocking what it waits on: for whoever writes there as well, which loses what a pipe has no room for.
  fcntl(STDOUT_FILENO, F_SETFL, flags);
}

OutputWatch::~OutputWatch() {
  descriptor_->on_broken = nullptr;
  boost::system::error_code ignored;
  descriptor_->stream.close(ignored);
}

KeyPair identity_of(const CommonOptions& options, Random& random) {
  return options.identity.empty() ? KeyPair::generate(random) : load_or_create_key(options.identity, random);
}

PeerName parse_peer(const std::string& text) {
  if (!text.starts_with('/')) {
    const Result<PeerId> id = PeerId::from_text(text);
    if (!id)
      throw Failure(Exit::usage, "'" + text + "' is no peer: give a PeerId (12D3Koo…) or an address such as /ip4/192.168.1.7/tcp/4001");
    return {std::nullopt, *id};
  }
  const Result<Multiaddr> address = Multiaddr::from_text(text);
  if (!address) {
    throw Failure(Exit::usage,
                  "'" + text + "' is no multiaddr (" + address.error().reason + "): give one such as /ip4/192.168.1.7/tcp/4001");
  }
  if (const Result<TcpAddress> tcp = tcp_address(*address); !tcp || tcp->port == 0) {
    throw Failure(Exit::usage, "'" + text + "' cannot be dialled: give an ip4, ip6 or dns address over tcp, with a port");
  }
  return {*address, address->peer_id()};
}

namespace {

AgentOptions agent_options(const CommonOptions& options, bool mdns) {
  AgentOptions agent;
  agent.muxers = parse_muxers(options.muxers);
  agent.mdns = mdns;
  agent.interfaces = options.interfaces;
  return agent;
}

}  // namespace

Session::Session(const CommonOptions& options, bool mdns)
    : console_(options.json),
      has_new_identity_(options.identity.empty()),
      logger_(make_logger(options.log_level)),
      system_(logger_.get()),
      agent_(system_.environment(), identity_of(options, system_.random()), agent_options(options, mdns)) {}

Exit Session::run(const std::function<Awaitable<Exit>()>& work) {
  Exit exit = Exit::bug;
  std::vector<int> ending{SIGINT, SIGTERM};
  if (!ignores_hang_up()) ending.push_back(SIGHUP);
  auto signals = std::make_unique<Signals>(system_.loop(), ending, [this] { interrupt(); });
  auto output = std::make_unique<OutputWatch>(system_.loop(), [this] { interrupt(); });
  const auto whole = [&]() -> Awaitable<void> {
    std::exception_ptr failure;
    try {
      co_await agent_.run([&]() -> Awaitable<void> {
        std::exception_ptr failed;
        try {
          exit = co_await work();
        } catch (...) {
          failed = std::current_exception();
        }
        finished_ = true;  // whatever is heard from now on interrupts nothing
        if (failed) std::rethrow_exception(failed);
      });
    } catch (...) {
      failure = std::current_exception();
    }
    signals.reset();  // they would keep the loop alive
    output.reset();
    if (failure) std::rethrow_exception(failure);
  };
  try {
    system_.run(whole());
  } catch (const boost::system::system_error& error) {
    if (interrupted_) throw Failure(Exit::interrupted, "interrupted");
    throw failure_of(error);
  } catch (const Failure&) {
    if (interrupted_) throw Failure(Exit::interrupted, "interrupted");
    throw;
  }
  return interrupted_ ? Exit::interrupted : exit;
}

void Session::interrupt() {
  if (interrupted_) _exit(static_cast<int>(Exit::interrupted));
  interrupted_ = !finished_;
  Console::hurry();
  agent_.close();
}

Awaitable<std::optional<PeerId>> Session::next_discovered(Time deadline) {
  try {
    co_return co_await agent_.next_discovered(deadline);
  } catch (const boost::system::system_error& error) {
    if (!is(error, Errc::no_peer) || interrupted_) throw;
  }
  co_return std::nullopt;
}

Awaitable<void> Session::find(PeerName peer, Time deadline) {
  while (!peer.address && agent_.discovered_addresses(*peer.id).empty()) {
    const std::optional<PeerId> news = co_await next_discovered(deadline);
    if (!news) throw nobody(peer.id);
  }
}

Awaitable<PeerId> Session::connect(PeerName peer, Time deadline) {
  if (peer.address) {
    std::vector<Multiaddr> addresses(1, *peer.address);
    const Connection* const connection = co_await agent_.connect(std::move(addresses), peer.id);
    co_return connection->peer();
  }
  co_await find(peer, deadline);
  std::optional<boost::system::system_error> failure;
  while (true) {
    const Time dialled = now();
    try {
      const Connection* const connection = co_await agent_.connect(*peer.id);
      co_return connection->peer();
    } catch (const boost::system::system_error& error) {
      if (!failure || is(error, Errc::unverified)) failure = error;
    }
    // What was heard first may have been anybody's. The peer itself may still be heard; but nobody makes us dial all the time.
    while (agent_.discovered_addresses(*peer.id).empty()) {
      std::optional<PeerId> news;
      if (!interrupted_) news = co_await next_discovered(deadline);
      if (!news) throw boost::system::system_error(*failure);
    }
    if (!interrupted_) co_await agent_.pause_until(std::min(deadline, dialled + limits::mdns_news));
    if (now() >= deadline) throw boost::system::system_error(*failure);
  }
}

Awaitable<PeerId> Session::reach(PeerName peer, Time deadline) {
  try {
    co_return co_await connect(std::move(peer), deadline);
  } catch (const boost::system::system_error& error) {
    throw connect_failure_of(error);
  }
}

std::string Session::identity_hint() const {
  return has_new_identity_ ? "; give --identity FILE, since this identity is a new one each time" : "";
}

Failure Session::refused_by(const PeerId& peer) const {
  const std::string& self = agent_.id_text();
  return {Exit::no_peer, peer.text() + " does not run tasks for " + self + ": its owner may add `--allow " + self + "`" + identity_hint()};
}

Failure Session::nobody(const std::optional<PeerId>& asked) const {
  const std::string links = agent_.discovery_links();
  return {Exit::no_peer,
          (asked ? asked->text() + " was not found" : "no agent was found") + " in time" + (links.empty() ? "" : " on " + links) +
              ": check that `p2p-agent serve` runs on this network and that no firewall blocks UDP port 5353, or name it by its address"};
}

}  // namespace p2p::cli
