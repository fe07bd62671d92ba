#include "cli/survey.hpp"

#include "task/manager.hpp"

namespace p2p::cli {

std::vector<std::string> names_of(const Offer& offer) {
  if (!offer.models.empty() || offer.executor == "openai") return offer.models;
  return {offer.executor};
}

namespace {

constexpr std::size_t most_at_once = 64;  // each may take as many descriptors as limits::dial_addresses

}  // namespace

Survey::Survey(Session& session, Time deadline)
    : session_(session),
      news_(session.system().environment().clock, session.system().loop()),
      room_(session.system().environment().clock, session.system().loop()),
      group_(session.system().loop()) {
  group_.spawn(look(deadline));
}

Awaitable<void> Survey::look(Time deadline) {
  try {
    while (const std::optional<PeerId> peer = co_await session_.next_discovered(deadline)) {
      if (stopped_) break;
      if (!asked_.insert(*peer).second) continue;
      while (asking_ >= most_at_once && !stopped_ && session_.now() < deadline) {
        room_.set(deadline);
        co_await room_.wait();
      }
      room_.clear();
      if (stopped_ || asking_ >= most_at_once) break;
      ++asking_;
      last_found_ = session_.now();
      group_.spawn(ask(*peer));
    }
  } catch (const boost::system::system_error&) {
    // interrupted, which next() says
  }
  looking_ = false;
  news_.notify();
}

Awaitable<void> Survey::ask(PeerId peer) {
  Surveyed answer{peer, session_.agent().discovered_addresses(peer), session_.now(), {}, {}, {}};
  try {
    co_await session_.agent().connect(peer);
    answer.connected = session_.now();
    answer.addresses = session_.agent().discovered_addresses(peer);
    TaskManager manager(session_.agent());
    answer.info = co_await manager.info(peer);
  } catch (const boost::system::system_error& error) {
    if (!is(error, Errc::unsupported)) {
      answer.failure = connect_failure_of(error);
      asked_.erase(peer);
    }
  }
  --asking_;
  room_.notify();
  answers_.push_back(std::move(answer));
  news_.notify();
}

Awaitable<std::optional<Surveyed>> Survey::next(Time patience) {
  if (patience != Time::max()) news_.set(patience);
  while (answers_.empty() && (looking_ || asking_ > 0) && session_.now() < patience && !session_.interrupted()) co_await news_.wait();
  news_.clear();
  if (session_.interrupted()) fail(Errc::cancelled, "interrupted");
  if (answers_.empty()) co_return std::nullopt;
  Surveyed answer = std::move(answers_.front());
  answers_.pop_front();
  co_return answer;
}

}  // namespace p2p::cli
