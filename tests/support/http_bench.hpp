#pragma once
// A loop with real sockets on 127.0.0.1 and a clock that the test holds.

#include "network/system.hpp"
#include "support/manual_clock.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <string>
#include <vector>

namespace p2p::test {

/// Lets everything run that can.
inline Awaitable<void> turn(Loop loop) { co_await boost::asio::post(loop, boost::asio::use_awaitable); }

class HttpBench final : public Logger {
 public:
  bool wants(Level) const noexcept override { return true; }
  void write(Level, std::string_view message) override { log.emplace_back(message); }

  void run(const std::function<Awaitable<void>()>& work) { system_.run(work()); }

 private:
  System system_;

 public:
  ManualClock clock{system_.loop()};
  const Environment environment{system_.loop(),
                                clock,
                                system_.environment().random,
                                system_.environment().transport,
                                system_.environment().multicast,
                                system_.environment().pool,
                                *this};
  std::vector<std::string> log;
};

}  // namespace p2p::test
