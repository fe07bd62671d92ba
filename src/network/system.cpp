#include "network/system.hpp"

#include "network/tcp.hpp"
#include "network/udp.hpp"
#include "network/watch.hpp"

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <sys/resource.h>
#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/set.hpp>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>
#include <tuple>
#include <vector>

namespace p2p {
namespace {

namespace asio = boost::asio;

// All timers share one of Asio's, which is armed for the earliest and left armed when that is taken back: nearly all deadlines are, and a
// system call for each would cost more than the wake-up now and then for none.
class SystemClock final : public Clock {
 public:
  explicit SystemClock(asio::io_context& context) : timer_(context) {}

  Time now() const override { return std::chrono::steady_clock::now(); }
  WallTime date() const override { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    auto pending = std::make_unique<PendingTimer>(*this, when, next_++, std::move(call));
    due_.insert(*pending);
    if (when < armed_) arm(when);
    return pending;
  }

  /// Whether the loop stays alive for a timer that was taken back.
  void keep_armed(bool keep) {
    keep_armed_ = keep;
    if (!keep && due_.empty()) disarm();
  }

 private:
  struct PendingTimer final : Pending, boost::intrusive::set_base_hook<> {
    PendingTimer(SystemClock& clock_of_it, Time when_due, std::uint64_t place_in_turn, std::function<void()> call_when_due)
        : clock(clock_of_it), when(when_due), place(place_in_turn), call(std::move(call_when_due)) {}
    ~PendingTimer() override {
      if (is_linked()) clock.take_back(*this);
    }
    friend bool operator<(const PendingTimer& a, const PendingTimer& b) { return std::tie(a.when, a.place) < std::tie(b.when, b.place); }

    SystemClock& clock;
    const Time when;
    const std::uint64_t place;  // among those of the same time
    std::function<void()> call;
  };

  void take_back(PendingTimer& pending) {
    due_.erase(due_.iterator_to(pending));
    if (!keep_armed_ && due_.empty()) disarm();
  }

  void disarm() {
    armed_ = Time::max();
    ++armings_;
    timer_.cancel();
  }

  void arm(Time when) {
    armed_ = when;
    timer_.expires_at(when);
    timer_.async_wait([this, arming = ++armings_](const boost::system::error_code& error) {
      if (error || arming != armings_) return;  // taken back, or armed anew when it was on its way
      armed_ = Time::max();
      call_due();
      if (!due_.empty() && due_.begin()->when < armed_) arm(due_.begin()->when);
    });
  }

  void call_due() {
    const Time present = now();
    const std::uint64_t first_of_next_turn = next_;
    while (!due_.empty() && due_.begin()->when <= present && due_.begin()->place < first_of_next_turn) {
      PendingTimer& pending = *due_.begin();
      due_.erase(due_.begin());
      const std::function<void()> call = std::move(pending.call);  // which may end `pending`
      call();
    }
  }

  asio::steady_timer timer_;
  boost::intrusive::set<PendingTimer> due_;  // until they are called
  std::uint64_t next_ = 0;
  Time armed_ = Time::max();
  std::uint64_t armings_ = 0;
  bool keep_armed_ = true;
};

// Its threads come with the first work. If the system has none to give, as when a command has forked without end, the loop does the work.
class ThreadPool final : public WorkerPool {
 public:
  explicit ThreadPool(asio::io_context& context) : context_(context) {}
  ~ThreadPool() override {
    more_.reset();
    for (std::thread& thread : threads_) thread.join();
  }

  Awaitable<void> run(std::function<void()> work) override {
    if (threads_.empty()) start();
    if (threads_.empty()) co_return work();
    Event done(context_.get_executor());
    std::exception_ptr failure;
    asio::post(work_, [this, &done, &failure, &work] {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
      asio::post(context_, [&done] { done.notify(); });
    });
    co_await done.wait();
    if (failure) std::rethrow_exception(failure);
  }

 private:
  void start() {
    try {
      for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) threads_.emplace_back([this] { work_.run(); });
    } catch (const std::system_error&) {  // as many as there are
    }
  }

  asio::io_context& context_;
  asio::io_context work_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> more_{work_.get_executor()};
  std::vector<std::thread> threads_;
};

std::atomic<bool> free_memory_goes_back = false;

// What work leaves free goes back to the system a second later, when nothing is to be done just then.
class FreeMemory {
 public:
  static constexpr std::chrono::seconds pause{1};  // what goes back sooner is asked for again by the next of many large messages

  void worked(Time now) noexcept {
    if (due_ == Time::max() && free_memory_goes_back.load(std::memory_order_relaxed)) due_ = now + pause;
  }
  /// Runs what is to be done next, and waits for it unless memory goes back before.
  void wait(asio::io_context& context) const {
    if (due_ == Time::max()) {
      context.run_one();
    } else {
      context.run_one_until(due_);
    }
  }
  void give_back(Time now) noexcept {
    if (now < due_) return;
    due_ = Time::max();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
  }

 private:
  Time due_ = Time::max();
};

// Runs the loop until nothing is left to do.
void run_until_done(asio::io_context& context) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  Watch watch(now());
  FreeMemory memory;
  while (!context.stopped()) {
    const bool worked = context.poll() > 0;
    const Time looked = now();
    if (worked) {
      watch.worked(looked);
      memory.worked(looked);
    } else if (watch.goes_on(looked)) {
      std::this_thread::yield();
      watch.yielded(looked, now());
    } else {
      memory.give_back(looked);
      memory.wait(context);
      const Time woken = now();
      watch.slept(looked, woken);
      memory.worked(woken);
    }
  }
}

class NoLog final : public Logger {
 public:
  bool wants(Level) const noexcept override { return false; }
  void write(Level, std::string_view) override {}
};

}  // namespace

struct System::Parts {
  explicit Parts(Logger* log)
      : transport(context.get_executor(), clock),
        multicast(context.get_executor()),
        environment{context.get_executor(), clock, random, transport, multicast, pool, log != nullptr ? *log : no_log} {}

  asio::io_context context{1};
  SystemClock clock{context};
  crypto::SystemRandom random;
  TcpTransport transport;
  UdpMulticast multicast;
  ThreadPool pool{context};
  NoLog no_log;
  Environment environment;
};

System::System(Logger* log) : parts_(std::make_unique<Parts>(log)) {}
System::~System() = default;

const Environment& System::environment() const noexcept { return parts_->environment; }
Loop System::loop() const { return parts_->context.get_executor(); }
Random& System::random() noexcept { return parts_->random; }

void System::run(Awaitable<void> work) {
  std::exception_ptr failure;
  parts_->clock.keep_armed(true);
  asio::co_spawn(parts_->context, std::move(work), [this, &failure](const std::exception_ptr& thrown) {
    failure = thrown;
    parts_->clock.keep_armed(false);
  });
  parts_->context.restart();
  run_until_done(parts_->context);
  if (failure) std::rethrow_exception(failure);
}

void give_free_memory_back() noexcept {
#ifdef __GLIBC__
  // By itself the first grows up to 32 MiB with what is freed, and the second with it.
  mallopt(M_MMAP_THRESHOLD, 8 * 1024 * 1024);
  mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
  mallopt(M_ARENA_MAX, 1);  // of the others' last block nothing goes back
  free_memory_goes_back = true;
#endif
}

void allow_descriptors(std::size_t count) {
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0 || descriptors.rlim_cur >= count) return;
  descriptors.rlim_cur = std::min<rlim_t>(count, descriptors.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur == count) return;
  fail(Errc::invalid, "the system lets this program open " + std::to_string(descriptors.rlim_max) +
                          " files and connections, and it may need " + std::to_string(count) + "; raise that with `ulimit -n`");
}

}  // namespace p2p
