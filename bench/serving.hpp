#pragma once
// What runs that look at what providers leave behind share: a provider on a thread of its own, and what the process holds.

#include "p2p_agents.hpp"

#include <unistd.h>
#include <atomic>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

namespace p2p::bench {

inline AgentOptions quiet(bool listen) {
  AgentOptions options;
  if (listen) options.listen = {Multiaddr::tcp("127.0.0.1", 0).value()};
  options.mdns = false;
  return options;
}

/// The timers that a clock has running, of however many loops.
using TimerCount = std::atomic<std::int64_t>;

/// The system's clock, which counts the timers that somebody holds.
class CountingClock final : public Clock {
 public:
  CountingClock(Clock& clock, TimerCount& count) : clock_(clock), count_(count) {}

  Time now() const override { return clock_.now(); }
  WallTime date() const override { return clock_.date(); }
  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    return std::make_unique<Counted>(clock_.schedule(when, std::move(call)), count_);
  }

 private:
  struct Counted final : Pending {
    Counted(std::unique_ptr<Pending> timer, TimerCount& count) : timer_(std::move(timer)), count_(count) { ++count_; }
    ~Counted() override { --count_; }
    const std::unique_ptr<Pending> timer_;
    TimerCount& count_;
  };

  Clock& clock_;
  TimerCount& count_;
};

/// A system whose timers are counted. What transports do with their own is not.
class CountedSystem {
 public:
  explicit CountedSystem(TimerCount& count) : clock_(system_.environment().clock, count) {}

  Environment environment() {
    const Environment& own = system_.environment();
    return {own.loop, clock_, own.random, own.transport, own.multicast, own.pool, own.log};
  }
  void run(Awaitable<void> work) { system_.run(std::move(work)); }

 private:
  System system_;
  CountingClock clock_;
};

/// What a provider offers, the executors of it that are its alone, and where it keeps receipts, if anywhere.
struct Offered {
  std::vector<std::unique_ptr<Executor>> executors;
  std::vector<Offering> offerings;
  std::unique_ptr<ReceiptKeeper> receipts = {};
};

/// A provider on a thread of its own, until it goes; what runs then is cancelled.
class Serving {
 public:
  using Make = std::function<Offered(const Environment& environment)>;

  /// `make` is called on the thread.
  Serving(Make make, ProviderOptions options, TimerCount& timers, std::function<void(const TaskEvent&)> on_task = {})
      : thread_([this, make = std::move(make), options = std::move(options), &timers, on_task = std::move(on_task)] {
          serve(make, options, timers, on_task);
        }) {
    addresses = listening_.get_future().get();
  }
  ~Serving() {
    stop_.set_value();
    thread_.join();
  }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

  /// Asked on the provider's own loop.
  std::size_t running() {
    std::promise<std::size_t> answer;
    boost::asio::post(loop_, [&] { answer.set_value(provider_->running() + provider_->waiting()); });
    return answer.get_future().get();
  }
  std::size_t connections() const { return connections_; }

  std::vector<Multiaddr> addresses;

 private:
  void serve(const Make& make, const ProviderOptions& options, TimerCount& timers, const std::function<void(const TaskEvent&)>& on_task) {
    CountedSystem system(timers);
    const Environment environment = system.environment();
    const Offered offered = make(environment);
    ProviderOptions keeping = options;
    keeping.receipts = offered.receipts.get();
    AgentEvents events;
    events.connected = [this](const Connection&) { ++connections_; };
    events.disconnected = [this](const Connection&) { --connections_; };
    Agent agent(environment, KeyPair::generate(environment.random), quiet(true), events);
    Provider provider(agent, offered.offerings, keeping, on_task);
    loop_ = environment.loop;
    provider_ = &provider;
    const auto work = [&]() -> Awaitable<void> {
      for (const auto& executor : offered.executors) {
        while (executor->unready()) {
          co_await sleep_until(environment.clock, environment.loop, environment.clock.now() + std::chrono::milliseconds(5));
        }
      }
      listening_.set_value(agent.addresses());
      const std::function<void()> wait = [this] { stop_.get_future().wait(); };
      co_await environment.pool.run(wait);
      co_await provider.shut_down(Duration::zero());
    };
    system.run(agent.run(work));
  }

  Loop loop_;
  Provider* provider_ = nullptr;
  std::atomic<std::size_t> connections_{0};
  std::promise<std::vector<Multiaddr>> listening_;
  std::promise<void> stop_;
  std::thread thread_;
};

inline double resident_mib() {
  std::ifstream file("/proc/self/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1024 * 1024);
}

/// Entries of a directory of /proc/self: "fd" for the open descriptors, "task" for the threads.
inline std::size_t count_of(const char* directory) {
  std::error_code error;
  std::size_t count = 0;
  for (auto at = std::filesystem::directory_iterator(std::string("/proc/self/") + directory, error);
       at != std::filesystem::directory_iterator(); ++at) {
    ++count;
  }
  return count;
}

}  // namespace p2p::bench
