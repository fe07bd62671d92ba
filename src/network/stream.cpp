#include "network/stream.hpp"

#include "base/limits.hpp"
#include "network/connection.hpp"
#include "network/stream_state.hpp"

#include <algorithm>
#include <utility>

namespace p2p {

Stream::~Stream() {
  if (state_ == nullptr || (state_->finished && state_->write_closed)) return;
  reset();
}

Awaitable<ByteView> Stream::read() { return state_->negotiation ? read_agreed() : read_arrived(); }

Awaitable<ByteView> Stream::read_agreed() {
  co_await agree();
  co_return co_await read_arrived();
}

Awaitable<ByteView> Stream::read_arrived() {
  State& state = *state_;
  if (state.handed_offset < state.handed.size()) {
    const std::size_t offset = std::exchange(state.handed_offset, state.handed.size());
    co_return ByteView(state.handed).subspan(offset);
  }
  state.handed.clear();
  state.handed_offset = 0;
  state.waiting = true;
  while (state.arrived.empty() && !state.finished && !state.failure) co_await state.readable.wait();
  state.waiting = false;
  std::swap(state.arrived, state.handed);
  state.handed_offset = state.handed.size();
  state.count_memory();
  if (!state.handed.empty()) {
    if (Connection* const connection = state.connection) {
      connection->session_->consumed(state.id, state.handed.size(), state.clock.now());
      connection->relieved_.notify();
      if (connection->writer_.size() > 0) connection->flush_soon();  // a window that grew
    }
    co_return ByteView(state.handed);
  }
  if (!state.finished) throw_exception_from_error(*state.failure, BOOST_CURRENT_LOCATION);
  co_return ByteView();
}

void Stream::unread(std::size_t count) noexcept { state_->handed_offset = state_->handed.size() - count; }

template <class Negotiation>
Awaitable<Result<bool>> Stream::negotiate(Negotiation& negotiation, Bytes& partial) {
  const ByteView bytes = co_await read_arrived();
  if (bytes.empty()) co_return false;
  append(partial, bytes);
  ByteView rest = partial;
  const Result<void> taken = negotiation.receive(rest);
  if (!taken) co_return taken.error();
  if (negotiation.done()) {
    unread(rest.size());  // all of it came last, since it lies behind what was not whole before
  } else {
    partial.erase(partial.begin(), partial.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }
  co_return true;
}

Awaitable<void> Stream::agree() {
  multistream::Dialer& negotiation = *state_->negotiation;
  Bytes partial;
  while (!negotiation.done()) {
    const Result<bool> more = co_await negotiate(negotiation, partial);
    if (!more.value()) fail(Errc::closed, "the peer closed the stream instead of agreeing on its protocol");
  }
  state_->negotiation.reset();
}

Awaitable<void> Stream::accept(multistream::Listener& negotiation) {
  Bytes partial;
  while (!negotiation.done()) {
    const Result<bool> more = co_await negotiate(negotiation, partial);
    // What was refused is said also when something else is wrong: behind a refused proposal stands what was meant for its protocol.
    co_await write(negotiation.take_output());
    if (!more.value()) co_return;
  }
}

Awaitable<void> Stream::write(ByteView bytes) {
  State& state = *state_;
  while (!bytes.empty()) {
    if (state.failure) throw_exception_from_error(*state.failure, BOOST_CURRENT_LOCATION);
    if (state.write_closed) fail(Errc::closed, "written to after the write side was closed");
    Connection& connection = *state.connection;
    if (connection.writer_.size() >= limits::write_buffer) {
      // A window that grows wakes it as well, as often as the peer likes.
      if (!std::exchange(state.blocked, true)) connection.blocked_.push_back(state_);
      connection.count_memory();
      co_await state.writable.wait();
      continue;
    }
    const std::size_t sent = connection.session_->send(state.id, bytes.first(std::min(bytes.size(), limits::stream_write)));
    connection.flush_soon();
    bytes = bytes.subspan(sent);
    if (sent == 0) co_await state.writable.wait();
  }
}

void Stream::close_write() {
  if (Connection* const connection = end_write()) connection->flush_soon();
}

void Stream::close_write_lazily() {
  if (!state_->finished) return close_write();
  if (Connection* const connection = end_write()) connection->flush_lazily();
}

Connection* Stream::end_write() {
  State& state = *state_;
  Connection* const connection = state.connection;
  if (state.write_closed || connection == nullptr) return nullptr;
  state.write_closed = true;
  connection->session_->close_write(state.id);
  if (state.finished) {
    connection->forget(state);
    state.readable.notify();  // wait_end()
  }
  return connection;
}

void Stream::reset(Error reason) {
  const std::shared_ptr<State> state = state_;  // erasing it from the connection must not free it under us
  if (Connection* const connection = state->connection) {
    connection->session_->reset(state->id);
    connection->flush_soon();
    connection->relieved_.notify();
    connection->streams_.erase(state->id);
  }
  state->fail(reason);
}

Awaitable<void> Stream::wait_end() {
  State& state = *state_;
  state.waiting = true;
  while (!state.failure && !(state.finished && state.write_closed)) co_await state.readable.wait();
  state.waiting = false;
  if (state.failure) throw_exception_from_error(*state.failure, BOOST_CURRENT_LOCATION);
}

Awaitable<void> Stream::finish(Duration patience) {
  close_write();
  const Timer timer = deadline(patience, "the peer did not close its side of the stream");
  while (!(co_await read()).empty()) {
  }
}

bool Stream::connection_ended() const noexcept { return state_->connection_ended; }
bool Stream::ended() const noexcept { return state_->finished || state_->failure; }
const std::shared_ptr<const Verifier>& Stream::peer_key() const noexcept { return state_->peer_key; }
std::optional<Multiaddr> Stream::remote_address() const {
  if (state_->connection == nullptr) return std::nullopt;
  return state_->connection->remote_address();
}
std::string Stream::host() const { return state_->connection == nullptr ? std::string() : state_->connection->host(); }
Clock& Stream::clock() const noexcept { return state_->clock; }
MemoryCharge Stream::charge(std::size_t bytes) const { return state_->memory.further(bytes); }

Timer Stream::deadline(Duration patience, const char* reason) {
  return state_->clock.schedule(state_->clock.now() + patience, [state = std::weak_ptr<State>(state_), reason] {
    if (std::shared_ptr<State> held = state.lock()) {
      Stream stream(std::move(held));
      if (!stream.state_->failure) stream.reset({Errc::timed_out, reason});
      stream.state_.reset();  // it was not ours
    }
  });
}

}  // namespace p2p
