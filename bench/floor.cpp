// What the machine can do, without anything of ours but src/crypto: what `make bench` compares with. Takes about 5 s and prints one line
//   {"event":"floor","tcp_rtt_ms":{"n","min","p50","p99","max"},"tcp_rtt_watched_ms","tcp_MBps","cipher_tcp_MBps","sign_us","verify_us","x25519_us","chacha_MBps"}
// with times as medians, and 10⁶ bytes a second.

#include "base/limits.hpp"
#include "crypto/crypto.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace p2p;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds tcp_time{1000};
constexpr milliseconds crypto_time{450};  // for each of four
constexpr int rtt_warm_up = 500;
constexpr std::size_t ping_size = 32;
constexpr std::size_t message_size = 300;  // bytes that a task's signature covers, about
constexpr std::size_t record_size = limits::noise_write + crypto::Aead::tag_size;
constexpr std::size_t records_at_once = 4;
constexpr std::size_t bulk_size = records_at_once * record_size;  // bytes at once without a cipher, too

/// Not a bug, but nothing can be measured without it.
int must(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), watched_(other.watched_) {}
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int descriptor() const noexcept { return descriptor_; }
  /// Does not sleep until there is something to read, and yields meanwhile.
  void watch() noexcept { watched_ = true; }
  std::size_t read_some(ByteSpan into) const {
    ssize_t count;
    while ((count = ::recv(descriptor_, into.data(), into.size(), watched_ ? MSG_DONTWAIT : 0)) < 0 && errno == EAGAIN) {
      std::this_thread::yield();
    }
    return static_cast<std::size_t>(must(static_cast<int>(count), "recv"));
  }
  /// False at the end.
  bool read(ByteSpan into) const {
    while (!into.empty()) {
      const std::size_t count = read_some(into);
      if (count == 0) return false;
      into = into.subspan(count);
    }
    return true;
  }
  void write(ByteView bytes) const {
    while (!bytes.empty()) {
      const int count = must(static_cast<int>(::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL)), "send");
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  void finish() const { ::shutdown(descriptor_, SHUT_WR); }

 private:
  int descriptor_;
  bool watched_ = false;
};

/// Two ends of a connection over 127.0.0.1.
std::pair<Socket, Socket> connection() {
  const Socket listener(must(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  must(::bind(listener.descriptor(), any, size), "bind");
  must(::listen(listener.descriptor(), 1), "listen");
  must(::getsockname(listener.descriptor(), any, &size), "getsockname");
  Socket dialer(must(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  must(::connect(dialer.descriptor(), any, size), "connect");
  Socket accepted(must(::accept(listener.descriptor(), nullptr, nullptr), "accept"));
  const int yes = 1;
  for (const Socket* const end : {&dialer, &accepted}) {
    must(::setsockopt(end->descriptor(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), "TCP_NODELAY");
  }
  return {std::move(dialer), std::move(accepted)};
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// How long each call of `work` took, in seconds, in ascending order, after some that do not count.
std::vector<double> times_of(const std::function<void()>& work, milliseconds duration, int warm_up) {
  for (int i = 0; i < warm_up; ++i) work();
  std::vector<double> times;
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  while (last < start + duration) {
    work();
    const Clock::time_point now = Clock::now();
    times.push_back(std::chrono::duration<double>(now - last).count());
    last = now;
  }
  std::sort(times.begin(), times.end());
  return times;
}

/// By nearest rank.
double quantile(const std::vector<double>& ascending, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(ascending.size())));
  return ascending[std::max<std::size_t>(rank, 1) - 1];
}

double median_of(const std::function<void()>& work) { return quantile(times_of(work, crypto_time, 20), 0.5); }

void echo(const Socket& socket) {
  Bytes ping(ping_size);
  while (socket.read(ping)) socket.write(ping);
}

/// Between two processes, as two agents are. (Two threads of one process differ by less than two runs of this do.)
std::vector<double> round_trips(bool watched) {
  auto [here, there] = connection();
  if (watched) {
    here.watch();
    there.watch();
  }
  const pid_t child = must(::fork(), "fork");
  if (child == 0) {
    { const Socket closed(std::move(here)); }  // else its end would never be seen
    echo(there);
    std::_Exit(EXIT_SUCCESS);
  }
  Bytes ping(ping_size);
  std::vector<double> times = times_of(
      [&ping, &socket = here] {
        socket.write(ping);
        socket.read(ping);
      },
      tcp_time, rtt_warm_up);
  here.finish();
  ::waitpid(child, nullptr, 0);
  return times;
}

/// Runs `send` on a thread of its own, over and over, and `receive` here until it returns 0; what it returns else is bytes. Bytes a second.
double throughput(const std::function<void(const Socket&)>& send, const std::function<std::size_t(const Socket&)>& receive) {
  auto [from, to] = connection();
  std::exception_ptr failure;
  std::thread sender([&failure, &send, &socket = from] {
    try {
      const Clock::time_point start = Clock::now();
      while (Clock::now() < start + tcp_time) send(socket);
    } catch (...) {
      failure = std::current_exception();
    }
    socket.finish();
  });
  std::size_t total = 0;
  const Clock::time_point start = Clock::now();
  try {
    while (const std::size_t count = receive(to)) total += count;
  } catch (...) {
    failure = std::current_exception();
    ::shutdown(to.descriptor(), SHUT_RDWR);
  }
  const double took = seconds_since(start);
  sender.join();
  if (failure) std::rethrow_exception(failure);
  return static_cast<double>(total) / took;
}

double plain_throughput() {
  const Bytes out(bulk_size, 1);
  Bytes in(bulk_size);
  return throughput([&out](const Socket& socket) { socket.write(out); }, [&in](const Socket& socket) { return socket.read_some(in); });
}

/// Records sealed in place by one thread and opened in place by the other, which takes as many at a time as there are; the plaintext
/// counts.
double sealed_throughput() {
  const crypto::Key key{1};
  crypto::Aead sealer(key);
  crypto::Aead opener(key);
  std::uint64_t sealed = 0;
  std::uint64_t opened = 0;
  Bytes out(records_at_once * record_size);
  Bytes in(out.size());
  std::size_t filled = 0;
  return throughput(
      [&](const Socket& socket) {
        for (std::size_t i = 0; i < records_at_once; ++i) sealer.seal(sealed++, {}, ByteSpan(out).subspan(i * record_size, record_size));
        socket.write(out);
      },
      [&](const Socket& socket) -> std::size_t {
        const std::uint64_t before = opened;
        while (opened == before) {
          const std::size_t count = socket.read_some(ByteSpan(in).subspan(filled));
          if (count == 0) return 0;
          filled += count;
          ByteSpan unread = ByteSpan(in).first(filled);
          for (; unread.size() >= record_size; unread = unread.subspan(record_size)) {
            if (!opener.open(opened++, {}, unread.first(record_size))) throw std::runtime_error("a record did not verify");
          }
          std::copy(unread.begin(), unread.end(), in.begin());
          filled = unread.size();
        }
        return (opened - before) * limits::noise_write;
      });
}

void measure() {
  const std::vector<double> trips = round_trips(false);
  const double watched_trip = quantile(round_trips(true), 0.5);
  const double plain = plain_throughput();
  const double sealed = sealed_throughput();

  const crypto::Key seed{1};
  const crypto::Key public_key = crypto::ed25519_public(seed);
  std::array<std::uint8_t, 64> secret{};
  std::copy(seed.begin(), seed.end(), secret.begin());
  std::copy(public_key.begin(), public_key.end(), secret.begin() + 32);
  Bytes message(message_size, 1);
  crypto::Signature signature{};
  const double sign = median_of([&] {
    ++message.front();
    signature = crypto::ed25519_sign(secret, message);
  });
  bool holds = true;
  const double verify = median_of([&] { holds = holds && crypto::ed25519_verify(public_key, message, signature); });
  if (!holds) throw std::runtime_error("a signature did not verify");
  crypto::Key point = crypto::x25519_public(seed);
  const double x25519 = median_of([&] { crypto::x25519(seed, point).value(); });
  crypto::Aead cipher(seed);
  Bytes record(record_size);
  std::uint64_t counter = 0;
  const double seal = median_of([&] { cipher.seal(counter++, {}, record); });

  constexpr double ms = 1e3;
  constexpr double us = 1e6;
  constexpr double mega = 1e-6;
  std::printf(
      R"({"event":"floor","tcp_rtt_ms":{"n":%zu,"min":%.4f,"p50":%.4f,"p99":%.4f,"max":%.4f},"tcp_rtt_watched_ms":%.4f,"tcp_MBps":%.0f,)"
      R"("cipher_tcp_MBps":%.0f,"sign_us":%.1f,"verify_us":%.1f,"x25519_us":%.1f,"chacha_MBps":%.0f})"
      "\n",
      trips.size(), trips.front() * ms, quantile(trips, 0.5) * ms, quantile(trips, 0.99) * ms, trips.back() * ms, watched_trip * ms,
      plain * mega, sealed * mega, sign * us, verify * us, x25519 * us, limits::noise_write / seal * mega);
}

}  // namespace

int main() {
  try {
    measure();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "floor: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
