// TCP and UDP by the operating system, in a network of the test's own.

#include "base/limits.hpp"
#include "network/lookup.hpp"
#include "network/system.hpp"
#include "support/own_network.hpp"
#include "support/sim.hpp"
#include "support/small_disk.hpp"
#include "support/temporary.hpp"

#include <gtest/gtest.h>
#include <netdb.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <cstdlib>
#include <list>
#include <map>

namespace p2p::test {
namespace {

namespace asio = boost::asio;

class Sockets : public testing::Test {
 protected:
  void SetUp() override {
    if (!enter_own_network()) GTEST_SKIP() << "there is no network of its own to be had";
  }

  /// An interface that nobody else is on, with an address of each family.
  bool add_interface(const std::string& name, const std::string& subnet) {
    const std::string other = name + "-peer";  // an interface is up when the other end of its cable is
    const std::string command = "{ ip link add " + name + " type veth peer name " + other + " && ip link set " + other +
                                " up && ip link set " + name + " up && ip address add " + subnet + ".1/24 dev " + name +
                                " && ip address add fe80::1/64 dev " + name + " nodad; } 2>/dev/null";
    return std::system(command.c_str()) == 0;
  }
  Interface interface(const std::string& name) {
    for (Interface& one : environment.transport.interfaces()) {
      if (one.name == name) return std::move(one);
    }
    fail(Errc::unreachable, "there is no " + name);
  }

  void run(const std::function<Awaitable<void>()>& work) { system.run(work()); }

  System system;
  const Environment& environment = system.environment();
  Transport& transport = environment.transport;
};

Multiaddr address(const std::string& text) { return Multiaddr::from_text(text).value(); }

Awaitable<Bytes> read_all(ByteStream& stream) {
  Bytes all;
  while (true) {
    Bytes buffer(1000);
    const std::size_t count = co_await stream.read_some(buffer);
    if (count == 0) co_return all;
    append(all, ByteView(buffer).first(count));
  }
}

// --- TCP ---

class Tcp : public Sockets {
 protected:
  /// Connects to where `listener` is under the name of `host`, which stands for its address, and sends it more than sockets hold.
  Awaitable<void> converse(Listener& listener, std::string host) {
    const std::string port = std::to_string(tcp_address(listener.address()).value().port);
    const std::unique_ptr<ByteStream> dialer = transport.dial(address(host + "/tcp/" + port));
    co_await dialer->connect(patience);
    const std::unique_ptr<ByteStream> accepted = co_await listener.accept();
    EXPECT_EQ(dialer->remote_address().text(), host + "/tcp/" + port);

    // Writing has to wait for reading.
    const Bytes sent(8 * 1024 * 1024, 7);
    Bytes received;
    TaskGroup group(environment.loop);
    group.spawn([](ByteStream& from, Bytes& into) -> Awaitable<void> { into = co_await read_all(from); }(*accepted, received));
    co_await dialer->write(sent);
    dialer->close();
    co_await group.join();
    EXPECT_TRUE(received == sent) << received.size() << " bytes";
  }

  static constexpr std::chrono::seconds patience{10};
};

TEST_F(Tcp, CarriesBytesToAnAddressOrAName) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<Listener> listener = transport.listen(address("/ip4/127.0.0.1/tcp/0"));
    for (const std::string host : {"/ip4/127.0.0.1", "/dns4/localhost", "/dns/localhost"}) co_await converse(*listener, host);
  });
}

TEST_F(Tcp, CarriesBytesOverIp6) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<Listener> listener = transport.listen(address("/ip6/::1/tcp/0"));
    std::vector<std::string> hosts{"/ip6/::1"};
    addrinfo* found = nullptr;
    addrinfo wanted{};
    wanted.ai_family = AF_INET6;
    if (getaddrinfo("localhost", nullptr, &wanted, &found) == 0) {
      freeaddrinfo(found);
      hosts.push_back("/dns6/localhost");
    }
    for (const std::string& host : hosts) co_await converse(*listener, host);
  });
}

TEST_F(Tcp, CarriesBytesToALinkLocalAddress) {
  if (!add_interface("links", "10.77.1")) GTEST_SKIP() << "`ip` can't add an interface here";
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<Listener> listener = transport.listen(address("/ip6zone/links/ip6/fe80::1/tcp/0"));
    EXPECT_EQ(tcp_address(listener->address()).value().zone, "links");
    co_await converse(*listener, "/ip6zone/links/ip6/fe80::1");
  });
}

TEST(Names, AreLookedUpSoManyAtOnce) {
  const TemporaryDirectory directory;
  const std::optional<std::string> told = on_small_disk(directory.path(), 1 << 20, [&]() -> std::string {
    if (silent_name_server(directory.path()) < 0) return "no such name server here";
    System system;
    const Environment& environment = system.environment();
    std::string said;
    const auto ask = [&]() -> Awaitable<void> {
      std::list<Lookup> under_way;
      TaskGroup group(environment.loop);
      const auto wait = [](Lookup& name) -> Awaitable<void> { co_await error_of(discard(name.resolve("slow.example", 1))); };
      for (std::size_t i = 0; i < limits::look_ups; ++i) group.spawn(wait(under_way.emplace_back(environment.loop)));
      co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + std::chrono::milliseconds(50));
      Lookup surplus(environment.loop);
      try {
        co_await surplus.resolve("slow.example", 1);
      } catch (const boost::system::system_error& error) {
        said = error.what();
      }
      for (Lookup& name : under_way) name.cancel();
      co_await group.join();
    };
    system.run(ask());
    return said;
  });
  if (!told || told == "no such name server here") GTEST_SKIP() << "no name server of its own is to be had here";
  EXPECT_TRUE(told->starts_with("too many names are looked up")) << *told;
}

TEST_F(Tcp, SaysWhyItCannotConnect) {
  const bool another = add_interface("silent", "10.77.2");
  run([&]() -> Awaitable<void> {
    const auto refusal = [this](std::string to, Duration wait) -> Awaitable<std::string> {
      const std::unique_ptr<ByteStream> dialer = transport.dial(address(to));
      std::string message;
      EXPECT_EQ(co_await error_of(dialer->connect(wait), &message), Errc::unreachable);
      co_return message;
    };
    EXPECT_EQ(co_await refusal("/ip4/127.0.0.1/tcp/1", patience), "could not connect to /ip4/127.0.0.1/tcp/1: Connection refused");
    EXPECT_EQ(co_await refusal("/dns4/localhost/tcp/1", patience), "could not connect to /dns4/localhost/tcp/1: Connection refused");
    const std::string unknown = co_await refusal("/dns4/nowhere.invalid/tcp/1", patience);
    EXPECT_TRUE(unknown.starts_with("could not connect to /dns4/nowhere.invalid/tcp/1: Host not found")) << unknown;
    if (another) {  // whatever is sent to it is lost
      const std::string silent = co_await refusal("/ip4/10.77.2.9/tcp/1", std::chrono::milliseconds(20));
      EXPECT_EQ(silent, "could not connect to /ip4/10.77.2.9/tcp/1: no answer in time");
    }
  });
}

TEST_F(Tcp, SaysWhyItCannotListen) {
  const auto refusal = [this](const std::string& at) {
    try {
      transport.listen(address(at));
    } catch (const boost::system::system_error& error) {
      EXPECT_EQ(error.code(), Errc::invalid);
      return message_of(error);
    }
    return std::string("none");
  };
  EXPECT_EQ(refusal("/dns4/localhost/tcp/0"), "cannot listen on /dns4/localhost/tcp/0: give an /ip4 or /ip6 address");
  EXPECT_EQ(refusal("/ip4/192.0.2.1/tcp/0"), "cannot listen on /ip4/192.0.2.1/tcp/0: Cannot assign requested address");
  const std::unique_ptr<Listener> first = transport.listen(address("/ip4/127.0.0.1/tcp/0"));
  EXPECT_EQ(refusal(first->address().text()), "cannot listen on " + first->address().text() + ": Address already in use");
}

TEST_F(Tcp, TellsWhoAcceptsThatTheListenerWasClosed) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<Listener> listener = transport.listen(address("/ip4/127.0.0.1/tcp/0"));
    TaskGroup group(environment.loop);
    std::optional<Errc> error;
    group.spawn([](Listener& closed, std::optional<Errc>& why) -> Awaitable<void> {
      const auto accept = [&]() -> Awaitable<void> { co_await closed.accept(); };
      why = co_await error_of(accept());
    }(*listener, error));
    listener->close();
    co_await group.join();
    EXPECT_EQ(error, Errc::closed);
  });
}

TEST_F(Tcp, TakesAResetForTheEndAndFailsToWriteBehindIt) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<Listener> listener = transport.listen(address("/ip4/127.0.0.1/tcp/0"));
    const std::unique_ptr<ByteStream> dialer = transport.dial(listener->address());
    co_await dialer->connect(patience);
    {
      const std::unique_ptr<ByteStream> accepted = co_await listener->accept();
      co_await dialer->write(as_bytes("not read"));
      co_await accepted->wait_readable();
    }
    const Bytes read = co_await read_all(*dialer);
    EXPECT_TRUE(read.empty());
    std::string message;
    co_await error_of(dialer->write(as_bytes("too late")), &message);
    EXPECT_TRUE(message.starts_with("writing to " + dialer->remote_address().text())) << message;
  });
}

// --- UDP ---

class Udp : public Sockets, public testing::WithParamInterface<Multicast::Family> {
 protected:
  void SetUp() override {
    Sockets::SetUp();
    if (IsSkipped()) return;
    if (!add_interface("here", "10.77.3") || !add_interface("there", "10.77.4")) GTEST_SKIP() << "`ip` can't add an interface here";
  }
  std::unique_ptr<DatagramSocket> open_group(const std::string& name) {
    return environment.multicast.open_group(interface(name), GetParam());
  }

  /// To a port of one of this host's addresses. Link-local ones are those of the interface.
  static void say(const std::string& text, const std::string& from, const std::string& to, std::uint16_t port, const std::string& by) {
    using asio::ip::udp;
    const auto address = [&by](const std::string& ip) { return asio::ip::make_address(ip.starts_with("fe80") ? ip + "%" + by : ip); };
    asio::io_context context;
    udp::socket socket(context, udp::endpoint(address(from), 0));
    socket.send_to(asio::buffer(text), udp::endpoint(address(to), port));
  }

  static bool ip4() { return GetParam() == Multicast::Family::ip4; }
};

TEST_P(Udp, ReachesTheGroupOfItsInterfaceAlone) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<DatagramSocket> first = open_group("here");
    const std::unique_ptr<DatagramSocket> second = open_group("here");
    const std::unique_ptr<DatagramSocket> other = open_group("there");
    first->send_to_group(as_bytes("said here"));
    other->send_to_group(as_bytes("said there"));
    for (DatagramSocket* socket : {first.get(), second.get()}) {
      const Datagram heard = co_await socket->receive();
      EXPECT_EQ(as_text(heard.bytes), "said here");
      EXPECT_EQ(heard.source_ip, ip4() ? "10.77.3.1" : "fe80::1");
      EXPECT_EQ(heard.source_port, 5353);
    }
    const Datagram heard = co_await other->receive();
    EXPECT_EQ(as_text(heard.bytes), "said there");
  });
}

TEST_P(Udp, IsAnsweredOnAPortOfItsOwn) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<DatagramSocket> group = open_group("here");
    const std::unique_ptr<DatagramSocket> asking = environment.multicast.open_ephemeral(interface("here"), GetParam());
    asking->send_to_group(as_bytes("who is there?"));
    const Datagram question = co_await group->receive();
    EXPECT_NE(question.source_port, 5353);
    group->send_to(as_bytes("lost"), "no address", question.source_port);
    group->send_to(as_bytes("I am"), question.source_ip, question.source_port);
    const Datagram answer = co_await asking->receive();
    EXPECT_EQ(as_text(answer.bytes), "I am");
    EXPECT_EQ(answer.source_port, 5353);
  });
}

TEST_P(Udp, HearsWhoSaysSomethingToItAloneOnItsLinkOrItsHost) {
  ASSERT_EQ(std::system("ip address add fe80::2/64 dev here-peer nodad && ip address add fe80::2/64 dev there-peer nodad"), 0);
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<DatagramSocket> group = open_group("here");
    const std::unique_ptr<DatagramSocket> asking = environment.multicast.open_ephemeral(interface("here"), GetParam());
    asking->send_to_group(as_bytes("who is there?"));
    const std::uint16_t port = (co_await group->receive()).source_port;
    const std::map<std::uint16_t, DatagramSocket*> sockets{{5353, group.get()}, {port, asking.get()}};
    for (const auto& [to, socket] : sockets) {
      for (int i = 0; i < 2; ++i) {  // by the second time it is known who lives where
        if (ip4()) {
          say("elsewhere", "10.77.4.1", "10.77.4.1", to, "there");
          say("near", "10.77.3.1", "127.0.0.1", to, "lo");
        } else {
          say("elsewhere", "fe80::2", "fe80::1", to, "there-peer");
          say("near", "fe80::2", "fe80::1", to, "here-peer");
        }
        const Datagram heard = co_await socket->receive();
        EXPECT_EQ(as_text(heard.bytes), "near");
        EXPECT_FALSE(heard.to_group);
      }
    }
  });
}

TEST_P(Udp, TellsWhoReceivesThatTheSocketWasClosed) {
  run([&]() -> Awaitable<void> {
    const std::unique_ptr<DatagramSocket> socket = open_group("here");
    socket->close();
    const auto receive = [&]() -> Awaitable<void> { co_await socket->receive(); };
    EXPECT_EQ(co_await error_of(receive()), Errc::closed);
  });
}

TEST_P(Udp, NeedsAnAddressOfItsFamily) {
  Interface bare = interface("here");
  std::erase_if(bare.addresses, [](const InterfaceAddress& one) { return one.ip.find('.') != std::string::npos; });
  if (ip4()) {
    EXPECT_THROW(environment.multicast.open_group(bare, GetParam()), boost::system::system_error);
  } else {
    EXPECT_NE(environment.multicast.open_group(bare, GetParam()), nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(Family, Udp, testing::Values(Multicast::Family::ip4, Multicast::Family::ip6),
                         [](const auto& one) { return one.param == Multicast::Family::ip4 ? "Ip4" : "Ip6"; });

}  // namespace
}  // namespace p2p::test
