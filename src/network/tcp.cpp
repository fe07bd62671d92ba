#include "network/tcp.hpp"

#include "network/interfaces.hpp"
#include "network/lookup.hpp"

#include <net/if.h>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

namespace p2p {
namespace {

namespace asio = boost::asio;
using asio::use_awaitable;
using asio::ip::tcp;

Multiaddr address_of(const tcp::endpoint& endpoint) {
  asio::ip::address ip = endpoint.address();
  std::string zone;
  if (ip.is_v6() && ip.to_v6().scope_id() != 0) {
    asio::ip::address_v6 bare = ip.to_v6();
    char name[IF_NAMESIZE] = {};
    if (if_indextoname(static_cast<unsigned>(bare.scope_id()), name) != nullptr) zone = name;
    bare.scope_id(0);
    ip = bare;
  }
  const Result<Multiaddr> address = Multiaddr::tcp(ip.to_string(), endpoint.port(), zone);
  return address ? *address : Multiaddr::tcp(ip.to_string(), endpoint.port()).value();  // an interface's name may not be one of a zone
}

class TcpStream final : public ByteStream {
 public:
  TcpStream(tcp::socket socket, Clock& clock, Multiaddr remote) : socket_(std::move(socket)), clock_(clock), remote_(std::move(remote)) {
    if (socket_.is_open()) connected();
  }

  Awaitable<void> connect(Duration patience) override {
    const TcpAddress target = tcp_address(remote_).value();
    bool timed_out = false;
    const Timer timer = clock_.schedule(clock_.now() + patience, [this, &timed_out] {
      timed_out = true;
      close();
    });
    try {
      co_await connect_to(target);
      connected();
    } catch (const boost::system::system_error& error) {
      const std::string why = timed_out ? "no answer in time" : error.code().message();
      const bool is_ours = error.code() == asio::error::no_descriptors || error.code() == asio::error::no_buffer_space;
      fail(is_ours ? Errc::exhausted : Errc::unreachable, "could not connect to " + remote_.text() + ": " + why);
    }
  }

  Awaitable<void> wait_readable() override {
    boost::system::error_code error;
    co_await socket_.async_wait(tcp::socket::wait_read, asio::redirect_error(use_awaitable, error));
    if (error) throw boost::system::system_error(error, "reading from " + remote_.text());
  }

  Awaitable<std::size_t> read_some(ByteSpan into) override {
    boost::system::error_code error;
    while (true) {
      const std::size_t count = socket_.read_some(asio::buffer(into.data(), into.size()), error);
      if (error != asio::error::would_block) {
        // go closes with a reset where others send a FIN; whether anything was cut off is for the protocols above to say.
        if (error == asio::error::eof || error == asio::error::connection_reset) co_return 0;
        if (error) throw boost::system::system_error(error, "reading from " + remote_.text());
        co_return count;
      }
      co_await wait_readable();
    }
  }

  Awaitable<void> write(ByteView bytes) override {
    boost::system::error_code error;
    while (!bytes.empty()) {
      const std::size_t count = socket_.write_some(asio::buffer(bytes.data(), bytes.size()), error);
      bytes = bytes.subspan(count);
      if (error == asio::error::would_block)
        co_await socket_.async_wait(tcp::socket::wait_write, asio::redirect_error(use_awaitable, error));
      if (error) throw boost::system::system_error(error, "writing to " + remote_.text());
    }
  }

  void close() noexcept override {
    closed_ = true;
    boost::system::error_code ignored;
    if (lookup_) lookup_->cancel();
    socket_.close(ignored);
  }

  const Multiaddr& remote_address() const override { return remote_; }

 private:
  Awaitable<void> connect_to(const TcpAddress& target) {
    if (target.kind == TcpAddress::Host::ip4 || target.kind == TcpAddress::Host::ip6) {
      const std::string ip = target.zone.empty() ? target.host : target.host + "%" + target.zone;
      co_await socket_.async_connect(tcp::endpoint(asio::ip::make_address(ip), target.port), use_awaitable);
      co_return;
    }
    lookup_.emplace(socket_.get_executor());
    const std::vector<tcp::endpoint> found = co_await lookup_->resolve(target.host, target.port);
    boost::system::error_code error = asio::error::host_not_found;
    for (const tcp::endpoint& endpoint : found) {
      const bool v4 = endpoint.address().is_v4();
      if ((target.kind == TcpAddress::Host::dns4 && !v4) || (target.kind == TcpAddress::Host::dns6 && v4)) continue;
      if (closed_) throw boost::system::system_error(asio::error::operation_aborted);
      boost::system::error_code ignored;
      socket_.close(ignored);
      co_await socket_.async_connect(endpoint, asio::redirect_error(use_awaitable, error));
      if (!error) co_return;
    }
    throw boost::system::system_error(error);
  }

  void connected() {
    boost::system::error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.non_blocking(true, ignored);
  }

  tcp::socket socket_;
  Clock& clock_;
  Multiaddr remote_;
  std::optional<Lookup> lookup_;
  bool closed_ = false;
};

class TcpListener final : public Listener {
 public:
  TcpListener(Loop loop, Clock& clock, const tcp::endpoint& endpoint) : loop_(std::move(loop)), clock_(clock), acceptor_(loop_) {
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    if (endpoint.address().is_v6()) acceptor_.set_option(asio::ip::v6_only(true));
    acceptor_.bind(endpoint);
    acceptor_.listen();
    address_ = address_of(acceptor_.local_endpoint());
  }

  Awaitable<std::unique_ptr<ByteStream>> accept() override {
    while (true) {
      boost::system::error_code error;
      tcp::socket socket(loop_);
      co_await acceptor_.async_accept(socket, asio::redirect_error(use_awaitable, error));
      if (!acceptor_.is_open()) fail(Errc::closed, "the listener was closed");
      if (!error) {
        const tcp::endpoint remote = socket.remote_endpoint(error);
        if (!error) co_return std::make_unique<TcpStream>(std::move(socket), clock_, address_of(remote));
      } else if (error != asio::error::connection_aborted) {  // descriptors or memory are short, or the network is down
        fail(Errc::exhausted, error.message());
      }
    }
  }

  void close() noexcept override {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  }

  const Multiaddr& address() const override { return address_; }

 private:
  Loop loop_;
  Clock& clock_;
  tcp::acceptor acceptor_;
  Multiaddr address_;
};

}  // namespace

std::unique_ptr<ByteStream> TcpTransport::dial(const Multiaddr& address) {
  tcp_address(address).value();
  return std::make_unique<TcpStream>(tcp::socket(loop_), clock_, address.without_peer_id());
}

std::unique_ptr<Listener> TcpTransport::listen(const Multiaddr& address) {
  const TcpAddress target = tcp_address(address).value();
  if (target.kind != TcpAddress::Host::ip4 && target.kind != TcpAddress::Host::ip6) {
    fail(Errc::invalid, "cannot listen on " + address.text() + ": give an /ip4 or /ip6 address");
  }
  const std::string ip = target.zone.empty() ? target.host : target.host + "%" + target.zone;
  try {
    return std::make_unique<TcpListener>(loop_, clock_, tcp::endpoint(asio::ip::make_address(ip), target.port));
  } catch (const boost::system::system_error& error) {
    fail(Errc::invalid, "cannot listen on " + address.text() + ": " + error.code().message());
  }
}

std::vector<Interface> TcpTransport::interfaces() { return machine_interfaces(); }

}  // namespace p2p
