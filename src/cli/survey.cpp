#include "cli/survey.hpp"

#include "base/limits.hpp"
#include "task/manager.hpp"

#include <algorithm>

namespace p2p::cli {

std::vector<std::string> names_of(const Offer& offer) {
  if (!offer.models.empty() || offer.executor == "openai") return offer.models;
  return {offer.executor};
}

Survey::Survey(Session& session, Time deadline)
    : session_(session),
      deadline_(deadline),
      queue_([&session](const PeerId& peer) { return session.agent().discovered_by(peer); }),
      news_(session.system().environment().clock, session.system().loop()),
      group_(session.system().loop()) {
  group_.spawn(look());
}

Awaitable<void> Survey::look() {
  try {
    while (const std::optional<PeerId> peer = co_await session_.next_discovered(deadline_)) {
      if (stopped_) break;
      queue_.add(*peer);
      ask_next();
    }
  } catch (const boost::system::system_error&) {
    // interrupted, which next() says
  }
  looking_ = false;
  news_.notify();
}

void Survey::ask_next() {
  while (!stopped_ && !session_.interrupted() && session_.now() < deadline_) {
    const std::optional<PeerId> peer = queue_.next();
    if (!peer) return;
    last_found_ = session_.now();
    group_.spawn(ask(*peer));
  }
}

Awaitable<void> Survey::ask(PeerId peer) {
  const Time begun = session_.now();
  Surveyed answer{peer, session_.agent().discovered_addresses(peer), session_.now(), {}, {}, {}};
  bool failed = false;
  // Whatever its addresses do, and whether it answers or not.
  const Time until = std::max(deadline_, begun + limits::search_answer);
  try {
    const Timer hurry = session_.system().environment().clock.schedule(until, [this, peer] { session_.agent().disconnect(peer); });
    co_await session_.agent().connect(peer, until);
    answer.connected = session_.now();
    answer.addresses = session_.agent().discovered_addresses(peer);
    TaskManager manager(session_.agent());
    answer.info = co_await manager.info(peer);
  } catch (const boost::system::system_error& error) {
    if (!is(error, Errc::unsupported)) {
      answer.failure = connect_failure_of(error);
      failed = true;
    }
  }
  answers_.push_back(std::move(answer));
  ++resting_;
  news_.notify();
  if (failed) co_await rest(begun + limits::search_failure);
  --resting_;
  queue_.done(peer);
  ask_next();
  news_.notify();
  if (!failed) co_return;
  co_await rest(begun + limits::mdns_news);  // nobody is dialled twice in that time
  queue_.again(peer);
  ask_next();
}

Awaitable<void> Survey::rest(Time until) {
  if (stopped_ || session_.interrupted()) co_return;
  try {
    co_await session_.agent().pause_until(until);
  } catch (const boost::system::system_error&) {
    // the agent closes
  }
}

Awaitable<void> Survey::end() {
  stop();
  session_.agent().close();
  co_await group_.join();
}

Awaitable<std::optional<Surveyed>> Survey::next(Time patience) {
  if (patience != Time::max()) news_.set(patience);
  while (answers_.empty() && (looking_ || asking() > 0) && session_.now() < patience && !session_.interrupted()) co_await news_.wait();
  news_.clear();
  if (session_.interrupted()) fail(Errc::cancelled, "interrupted");
  if (answers_.empty()) co_return std::nullopt;
  Surveyed answer = std::move(answers_.front());
  answers_.pop_front();
  co_return answer;
}

}  // namespace p2p::cli
