#include "network/system.hpp"

#include "network/tcp.hpp"
#include "network/udp.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <optional>
#include <thread>

namespace p2p {
namespace {

namespace asio = boost::asio;

class SystemClock final : public Clock {
 public:
  explicit SystemClock(asio::io_context& context) : context_(context) {}

  Time now() const override { return std::chrono::steady_clock::now(); }
  WallTime date() const override { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

  std::unique_ptr<Pending> schedule(Time when, std::function<void()> call) override {
    return std::make_unique<PendingTimer>(context_, when, std::move(call));
  }

 private:
  class PendingTimer final : public Pending {
   public:
    PendingTimer(asio::io_context& context, Time when, std::function<void()> call)
        : timer_(context, when), call_(std::make_shared<std::function<void()>>(std::move(call))) {
      // An expired timer can no longer be cancelled: its handler may be on its way. It then finds the call gone.
      timer_.async_wait([weak = std::weak_ptr(call_)](const boost::system::error_code& error) {
        if (error) return;
        if (const auto held = weak.lock()) (*held)();
      });
    }

   private:
    asio::steady_timer timer_;
    std::shared_ptr<std::function<void()>> call_;
  };

  asio::io_context& context_;
};

class ThreadPool final : public WorkerPool {
 public:
  explicit ThreadPool(asio::io_context& context) : context_(context) {}
  ~ThreadPool() override {
    if (threads_) threads_->join();
  }

  Awaitable<void> run(std::function<void()> work) override {
    if (!threads_) threads_.emplace(std::max(1U, std::thread::hardware_concurrency()));
    Event done(context_.get_executor());
    std::exception_ptr failure;
    asio::post(*threads_, [this, &done, &failure, &work] {
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
  asio::io_context& context_;
  std::optional<asio::thread_pool> threads_;
};

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
  asio::co_spawn(parts_->context, std::move(work), [&failure](const std::exception_ptr& thrown) { failure = thrown; });
  parts_->context.restart();
  parts_->context.run();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace p2p
