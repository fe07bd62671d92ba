#include "network/connection.hpp"

#include "base/limits.hpp"
#include "network/admission.hpp"
#include "network/ping.hpp"
#include "network/stream_state.hpp"

#include <algorithm>
#include <functional>

namespace p2p {
namespace {

constexpr std::size_t work_before_flush = 16;                    // coroutines that go on before what there is to write is written
constexpr std::size_t ready_before_flush = 256;                  // and those that were ready before what was read
constexpr std::size_t input_size = 5 * NoiseWriter::full_frame;  // bytes; two of the largest frames fit as well
static_assert(input_size >= 2 * (2 + limits::noise_frame));
static_assert(limits::write_buffer == 4 * NoiseWriter::full_frame);  // as many as are written at once
constexpr std::size_t input_kept = 16 * 1024;    // of a record's beginning that waits outside such a buffer, which others need meanwhile
constexpr std::size_t much_written = 64 * 1024;  // bytes that a peer takes who is there
constexpr std::chrono::milliseconds write_that_waited{1};
constexpr Error connection_ended{Errc::closed, "the connection ended"};

// Buffers that no connection needs at present: an idle one has none. One loop runs on a thread, and all of its connections share these.
class InputBuffers {
 public:
  static Bytes take() {
    if (spare_.empty()) return Bytes(input_size);
    Bytes buffer = std::move(spare_.back());
    spare_.pop_back();
    return buffer;
  }
  static void give_back(Bytes buffer) {
    if (buffer.size() == input_size && spare_.size() < most) spare_.push_back(std::move(buffer));
  }

 private:
  static constexpr std::size_t most = 4;
  static thread_local std::vector<Bytes> spare_;
};
thread_local std::vector<Bytes> InputBuffers::spare_;

}  // namespace

Connection::Connection(const Environment& environment, const StreamHandlers& handlers, Upgraded upgraded, MemoryBudget* memory)
    : environment_(environment),
      handlers_(handlers),
      channel_(std::move(upgraded.channel)),
      writer_(std::move(upgraded.secure.writer)),
      reader_(std::move(upgraded.secure.reader)),
      peer_key_(std::move(upgraded.secure.remote)),
      host_(scarce_part(host_of(channel_->remote_address()))),
      muxer_(std::move(upgraded.muxer)),
      session_(make_mux_session(muxer_, upgraded.role, writer_)),
      memory_(std::make_shared<MemoryAccount>(memory)),
      buffers_(memory_, limits::connection_memory),
      input_(std::move(upgraded.received)),
      input_end_(input_.size()),
      first_plaintext_(std::move(upgraded.received_plaintext)),
      unsent_(std::move(upgraded.unsent)),
      output_(environment.loop),
      relieved_(environment.clock, environment.loop),
      behind_read_(environment.loop),
      group_(environment.loop),
      pings_(environment_, group_, [this] { return open_stream_lazily(std::string(ping_protocol)); }) {
  group_.spawn(write_loop());  // before there is something to write: what begins with the connection leaves in one go
}

Connection::~Connection() = default;

Awaitable<void> Connection::run() {
  heard_ = environment_.clock.now();
  session_->ping(heard_);
  check_life_at(heard_ + limits::alive_in_use);
  flush_soon();
  try {
    co_await read_loop();
  } catch (const boost::system::system_error& error) {
    if (!closing_) end(connection_ended, message_of(error));
  }
  co_await group_.join();
  close_timer_.reset();
}

Awaitable<void> Connection::read_loop() {
  process(first_plaintext_);
  first_plaintext_ = Bytes();
  while (!failure_) {
    ByteSpan unread(input_.data() + input_begin_, input_end_ - input_begin_);
    while (const std::optional<ByteView> record = reader_.next(unread).value()) {
      record_begun_.reset();
      process(*record);
    }
    input_begin_ = input_end_ - unread.size();
    if (failure_) break;
    if (negotiating_ > limits::negotiating_streams && !std::exchange(thinning_, true)) {
      group_.spawn(thin_out());
      behind_read_.notify();
    }
    if (session_->congested()) co_await relieve_congestion();
    if (!unread.empty() && !record_begun_) {
      record_begun_ = environment_.clock.now();
      if (life_check_due_ > *record_begun_ + limits::record) check_life_at(*record_begun_ + limits::record);
    }
    make_room();
    co_await channel_->wait_readable();
    if (input_.size() < input_size) {
      Bytes buffer = InputBuffers::take();
      move_to_front(buffer.data(), input_);
      input_ = std::move(buffer);
    }
    const std::size_t count = co_await channel_->read_some(ByteSpan(input_).subspan(input_end_));
    if (count == 0) fail(Errc::closed, "the peer closed the connection");
    input_end_ += count;  // coverage-self-check: a line inside a coroutine
    heard_ = environment_.clock.now();
    counters_.bytes_in += count;
  }
}

// What is left of a record moves to the front; if that is little, out of the buffer.
void Connection::make_room() {
  const ByteSpan left(input_.data() + input_begin_, input_end_ - input_begin_);
  input_end_ = left.size();
  input_begin_ = 0;
  if (left.size() < input_kept) {
    Bytes kept(left.begin(), left.end());
    std::swap(kept, input_);
    InputBuffers::give_back(std::move(kept));
  } else {
    move_to_front(input_.data(), left);
  }
  count_memory();
}

void Connection::count_memory() { buffers_.set(limits::connection_memory + input_.size() + batch_.capacity() + writer_.capacity()); }

void Connection::free_output() {
  if (writing_since_ || writer_.size() > 0) return;
  batch_ = Bytes();
  static_cast<void>(writer_.take({}));
  if (blocked_.empty()) blocked_.shrink_to_fit();
  count_memory();
}

Awaitable<void> Connection::relieve_congestion() {
  relieved_.set(environment_.clock.now() + limits::mplex_unread);
  const Time deadline = environment_.clock.now() + limits::mplex_unread;
  while (const std::optional<StreamId> stream = session_->congested()) {
    if (failure_) co_return;
    if (environment_.clock.now() >= deadline) {
      Stream(streams_.at(*stream)).reset({Errc::exhausted, "the stream was not read for too long"});
      flush_soon();
    } else {
      co_await relieved_.wait();
    }
  }
  relieved_.clear();
}

void Connection::process(ByteView plaintext) {
  // A frame's header may lie across two records. Its first bytes wait for the rest.
  Bytes joined;
  if (!partial_.empty()) {
    joined = std::exchange(partial_, {});
    append(joined, plaintext);
    plaintext = joined;
  }
  const std::size_t ready = output_.ready_before();
  while (!failure_) {
    const std::size_t before = writer_.size();
    Result<std::optional<MuxEvent>> event = session_->next(plaintext);
    owed_ += writer_.size() - before;
    if (!event) {
      flush_soon();
      event.value();
    }
    if (!*event) break;
    on_event(**event);
  }
  partial_.assign(plaintext.begin(), plaintext.end());
  // What this has woken may have more to say: it goes on first, and so does what was ready before it. But not all of a crowd.
  const bool woke = output_.ready_before() > ready;
  if (writer_.size() > 0) output_.notify_behind((woke ? std::min(ready, ready_before_flush) : 0) + work_before_flush);
  if (owed_ > limits::control_frames) {
    fail(Errc::exhausted, "the peer asks for answers and does not read them");
  }
}

void Connection::on_event(const MuxEvent& event) {
  using Kind = MuxEvent::Kind;
  if (event.kind == Kind::pong) return session_->pong(environment_.clock.now());
  if (event.kind == Kind::opened) {
    if (negotiating_ == limits::streams_inbound) return session_->reset(event.stream);  // of those that are reset some are not served yet
    ++negotiating_;
    Stream stream = begin_stream(event.stream);
    stream.state_->inbound = true;
    group_.spawn(serve(std::move(stream)));
    return;
  }
  const auto at = streams_.find(event.stream);
  if (at == streams_.end()) return;
  const std::shared_ptr<Stream::State> state = at->second;
  switch (event.kind) {
    case Kind::data:
      append(state->arrived, event.data);
      state->count_memory();
      state->readable.notify();
      return;
    case Kind::finished:
      state->finished = true;
      if (state->write_closed) forget(*state);
      state->readable.notify();
      return;
    case Kind::reset:
      streams_.erase(at);
      state->fail({Errc::closed, "the peer reset the stream"});
      return;
    default: state->writable.notify(); return;
  }
}

Stream Connection::begin_stream(StreamId id) {
  auto state =
      std::make_shared<Stream::State>(*this, environment_.loop, environment_.clock, peer_key_, id, buffers_.further(limits::stream_memory));
  streams_.emplace(id, state);
  const Time soon = environment_.clock.now() + limits::alive_in_use;
  if (life_check_due_ > soon) check_life_at(soon);
  return Stream(std::move(state));
}

bool Connection::in_use() const noexcept {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& one) { return one.second->protocol != ping_protocol; });
}

void Connection::forget(Stream::State& state) {
  state.connection = nullptr;
  streams_.erase(state.id);
}

// Of many streams that were opened at once, those agree on their protocols first that have said it already. What is left beyond the limit
// goes, the last one first.
Awaitable<void> Connection::thin_out() {
  co_await behind_read_.wait();  // and behind all streams that what was read in one go has woken
  std::vector<StreamId> undecided;
  for (const auto& [id, state] : streams_) {
    if (state->protocol.empty()) undecided.push_back(id);
  }
  std::sort(undecided.begin(), undecided.end(), std::greater());
  undecided.resize(undecided.size() - std::min(undecided.size(), limits::negotiating_streams));
  for (const StreamId id : undecided) Stream(streams_.at(id)).reset({Errc::exhausted, "too many streams are being negotiated"});
  if (!undecided.empty()) flush_soon();
  thinning_ = false;
}

Awaitable<void> Connection::serve(Stream stream) {
  StreamHandler handler;
  try {
    const Timer timer = stream.deadline(limits::negotiation, "the peer did not say which protocol the stream is for");
    multistream::Listener negotiation([this](std::string_view protocol) { return handlers_.contains(protocol); });
    co_await stream.accept(negotiation);
    if (negotiation.done()) {
      stream.state_->protocol = negotiation.protocol();
      if (const auto found = handlers_.find(negotiation.protocol()); found != handlers_.end()) handler = found->second;
      if (negotiation.protocol() == ping_protocol) make_room_for_ping();
    }
  } catch (const boost::system::system_error&) {
    // The stream's handle goes out of scope and resets it.
  }
  --negotiating_;
  if (!handler) co_return;
  try {
    co_await handler(std::move(stream));
  } catch (const boost::system::system_error&) {
    // As above; what concerns people was told by the handler.
  }
}

void Connection::make_room_for_ping() {
  std::vector<StreamId> theirs;
  for (const auto& [id, state] : streams_) {
    if (state->inbound && state->protocol == ping_protocol) theirs.push_back(id);
  }
  if (theirs.size() <= limits::ping_streams) return;
  Stream(streams_.at(*std::min_element(theirs.begin(), theirs.end())))
      .reset({Errc::exhausted, "the peer opened another stream to ping on"});
}

Stream Connection::open_stream_lazily(std::string protocol) {
  if (failure_) throw_exception_from_error(*failure_, BOOST_CURRENT_LOCATION);
  // Where the muxer has no pings they are streams, and a peer that is gone must be noticed however many are open.
  if (protocol != ping_protocol && session_->outbound_streams() + 1 >= limits::streams_outbound) {
    fail(Errc::exhausted, "too many streams are open on the connection");
  }
  const StreamId id = session_->open().value();
  Stream stream = begin_stream(id);
  stream.state_->protocol = protocol;
  stream.state_->negotiation.emplace(std::vector{std::move(protocol)});
  const Bytes proposal = stream.state_->negotiation->take_output();
  session_->send(id, proposal);  // fits any first window
  flush_soon();
  return stream;
}

Awaitable<Stream> Connection::open_stream(std::string protocol, Time deadline) {
  Stream stream = open_stream_lazily(std::move(protocol));
  const Duration left = deadline - environment_.clock.now();
  const Timer timer = left < limits::negotiation
                          ? stream.deadline(left, "the time was over before the peer said whether it speaks the protocol")
                          : stream.deadline(limits::negotiation, "the peer did not answer whether it speaks the protocol");
  co_await stream.agree();
  co_return stream;
}

// Much is written at once, and yet not all that there is to do comes before it: while this side works on the rest, the other has work
// already.
void Connection::flush_soon() { output_.notify_behind(work_before_flush); }

void Connection::flush_lazily() {
  if (lazy_flush_) return;
  lazy_flush_ = environment_.clock.schedule(environment_.clock.now() + limits::lazy_write, [this] { flush_soon(); });
}

void Connection::check_life_at(Time when) {
  if (failure_) return;
  life_check_due_ = when;
  life_check_ = environment_.clock.schedule(when, [this] { check_life(); });
}

void Connection::check_life() {
  const Time now = environment_.clock.now();
  // Nothing was read when this process stood still itself, or while a stream's reader is waited for: that is not the peer's silence.
  const bool stood_still = now > life_check_due_ + limits::alive_in_use;
  if (stood_still || session_->congested()) {
    heard_ = now;
    if (record_begun_) record_begun_ = now;
  }
  if (stood_still && writing_since_) writing_since_ = now;
  if (writing_since_ && now >= *writing_since_ + limits::write_wait) {
    return abort({Errc::exhausted, "the peer does not take what is written to it"});
  }
  free_output();
  for (const auto& [id, state] : streams_) state->free_buffers();
  if (asked_ && heard_ >= *asked_) asked_.reset();
  if (asked_ && now >= *asked_ + limits::alive_answer) return abort({Errc::closed, "the peer is gone: it does not answer any more"});
  // Bytes come, and yet nothing that could be read: a length that was changed on its way looks like this.
  if (record_begun_ && now >= *record_begun_ + limits::record) return abort({Errc::closed, "the peer does not finish what it sends"});
  const Duration patience = in_use() ? limits::alive_in_use : limits::alive_idle;
  if (!asked_ && now >= heard_ + patience && send_ping()) asked_ = now;
  Time next = heard_ + patience;
  const Time soon = now + limits::alive_in_use;
  if (asked_) {
    next = std::min<Time>(*asked_ + limits::alive_answer, soon);
  } else if (next <= now) {
    next = soon;  // nothing could be sent
  }
  if (record_begun_) next = std::min<Time>(next, *record_begun_ + limits::record);
  check_life_at(next);
}

// Whatever comes back shows that the peer is there; an answer that is none, too.
bool Connection::send_ping() {
  if (!session_->ping(environment_.clock.now())) return pings_.begin();
  flush_soon();
  return true;
}

Awaitable<void> Connection::write_loop() {
  try {
    while (true) {
      if (writer_.size() == 0) {
        if (closing_) break;
        co_await output_.wait();
        continue;
      }
      batch_ = writer_.take(std::move(batch_));
      owed_ = 0;
      lazy_flush_.reset();
      if (!unsent_.empty()) {
        batch_.insert(batch_.begin(), unsent_.begin(), unsent_.end());
        unsent_ = Bytes();
      }
      const Time begun = environment_.clock.now();
      writing_since_ = begun;
      count_memory();
      co_await channel_->write(batch_);
      writing_since_.reset();
      // What goes at once may lie in this machine's own buffers. When they are full, it is the peer who makes room.
      const Time now = environment_.clock.now();
      if (batch_.size() >= much_written && now - begun >= write_that_waited) heard_ = now;
      counters_.bytes_out += batch_.size();
      for (const std::shared_ptr<Stream::State>& state : blocked_) {
        state->blocked = false;
        state->writable.notify();
      }
      blocked_.clear();
    }
    channel_->close();
  } catch (const boost::system::system_error&) {
    // What the peer said before it went is read first: it may have cancelled what would otherwise look like cut off.
    close_soon();
  }
}

void Connection::end(Error failure, std::string reason) {
  if (failure_) return;
  failure_ = failure;
  reason_ = std::move(reason);
  environment_.log.write(Logger::Level::debug, "connection with " + peer().text() + " ended: " + reason_);
  closing_ = true;
  for (const auto& [id, state] : std::exchange(streams_, {})) {
    state->connection_ended = true;
    state->fail(failure);
  }
  memory_->close();
  blocked_.clear();
  life_check_.reset();
  lazy_flush_.reset();
  relieved_.notify();
  output_.notify();
  close_soon();  // what is still to be said (a GoAway) gets a moment
}

void Connection::close_soon() {
  close_timer_ = environment_.clock.schedule(environment_.clock.now() + limits::close_flush, [this] { channel_->close(); });
}

void Connection::close(std::string reason) {
  if (failure_) return;
  // Whoever closes on purpose has done with what is unfinished; the end of the connection alone would leave the peer in doubt.
  for (const auto& [id, state] : streams_) {
    if (!state->write_closed) session_->reset(id);
  }
  session_->go_away();
  end(connection_ended, std::move(reason));
}

void Connection::abort(Error reason) {
  end(reason, reason.reason);
  channel_->close();
}

}  // namespace p2p
