#include "network/clock.hpp"

namespace p2p {

Awaitable<void> sleep_until(Clock& clock, Loop loop, Time when) {
  Event due(std::move(loop));
  const Timer timer = clock.schedule(when, [&due] { due.notify(); });
  co_await due.wait();
}

}  // namespace p2p
