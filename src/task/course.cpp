#include "task/course.hpp"

#include "network/protocol.hpp"
#include "task/sealing.hpp"

#include <algorithm>
#include <utility>

namespace p2p {

// A stream that follows a course.
struct TaskCourse::Listener {
  Listener(const Environment& environment, TaskCourse& followed) : course(&followed), changed(environment.clock, environment.loop) {}

  TaskCourse* course;  // null when it was told

  Alarm changed;  // something to say, or the requester is gone
  bool gone = false;
  bool said_more = false;
  std::size_t told_states = 0;
  Time told_place = Time::min();  // when it was told its place in the queue
  std::size_t told_bytes = 0;
};

void TaskCourse::enter_state(std::string name, std::optional<std::uint64_t> place) {
  if (state == name && position == place) return;
  state = std::move(name);
  position = place;
  ++states_;
  changed();
}

void TaskCourse::changed() {
  for (Listener* const listener : listeners_) listener->changed.notify();
}

bool TaskCourse::is_delivered() const {
  return !streamed || std::all_of(listeners_.begin(), listeners_.end(),
                                  [this](const Listener* listener) { return listener->gone || listener->told_bytes == output.size(); });
}

Awaitable<bool> follow(const Environment& environment, const KeyPair& keys, Stream& stream, std::shared_ptr<TaskCourse> course,
                       std::function<void()> over) {
  TaskCourse::Listener listener(environment, *course);
  const auto at = course->listeners_.insert(course->listeners_.end(), &listener);
  course->joined();
  TaskGroup watching(environment.loop);
  const bool is_over = course->result != nullptr;  // nothing to cancel: that the requester is gone shows in what is written
  if (!is_over) watching.spawn(TaskCourse::watch(environment, stream, listener));
  bool complete = false;
  try {
    co_await course->tell(environment, keys, stream, listener, std::move(over));
    complete = true;
    stream.close_write();
  } catch (const boost::system::system_error& error) {
    environment.log.write(Logger::Level::info, "task " + course->task_id + " of " + stream.peer().text() + ": " + message_of(error));
  }
  course->listeners_.erase(at);
  course->delivered.notify();
  if (!complete) {
    if (course->listeners_.empty()) course->deserted(stream.connection_ended());
    stream.reset();
  }
  listener.course = nullptr;
  course.reset();  // which may be megabytes, and the requester takes its time
  const Timer timer = stream.deadline(limits::close_wait, "the requester did not close the stream");
  if (is_over) watching.spawn(TaskCourse::watch(environment, stream, listener));
  co_await watching.join();
  co_return !listener.said_more;
}

Awaitable<bool> ends_behind_task(const Environment& environment, Stream& stream) {
  const ByteView more = co_await stream.read();
  if (more.empty()) {  // the requester has nothing more to say, and waits
    co_await stream.wait_end();
    co_return true;
  }
  environment.log.write(Logger::Level::warn, "a second message behind the task of " + stream.peer().text());
  stream.reset({Errc::malformed, "a second message behind the task"});
  co_return false;
}

// While a task runs its stream is watched, to see the reset that cancels it.
Awaitable<void> TaskCourse::watch(const Environment& environment, Stream& stream, Listener& listener) {
  try {
    listener.said_more = !co_await ends_behind_task(environment, stream);
    if (!listener.said_more) co_return;
  } catch (const boost::system::system_error&) {
    // reset, or the connection is gone
  }
  listener.gone = true;
  listener.changed.notify();
  if (listener.course != nullptr) listener.course->delivered.notify();
}

Awaitable<void> TaskCourse::tell(const Environment& environment, const KeyPair& keys, Stream& stream, Listener& listener,
                                 std::function<void()> over) {
  std::uint64_t seq = 0;
  while (!listener.gone) {
    if (result && over) std::exchange(over, nullptr)();
    Update update;
    if (streamed && listener.told_states != states_) {
      // Who leaves the queue moves all who are behind: that is not signed for each of them each time.
      if (position && !result && environment.clock.now() < listener.told_place + limits::position_pause) {
        listener.changed.set(listener.told_place + limits::position_pause);
        co_await listener.changed.wait();
        continue;
      }
      if (position) listener.told_place = environment.clock.now();
      update.state = state;
      update.position = position;
      listener.told_states = states_;
    } else if (streamed && listener.told_bytes < output.size()) {
      update.text = cut_text(std::string_view(output).substr(listener.told_bytes), limits::update_text);
    } else if (!result) {
      co_await listener.changed.wait();
      continue;
    }
    const Timer timer = stream.deadline(limits::message_wait, "the requester does not take what it asked for");
    if (!update.state && !update.text) {
      co_await write_frame(stream, *result);
      co_return;
    }
    update.task_id = task_id;
    update.seq = seq++;
    const Bytes envelope = co_await seal_on(environment, keys, MessageKind::update, update.to_json());
    const std::size_t told = update.text ? update.text->size() : 0;
    update.text.reset();  // the peer may take its time
    co_await write_frame(stream, envelope);
    if (told == 0) continue;
    listener.told_bytes += told;
    delivered.notify();
  }
  fail(Errc::closed, "the requester is gone");
}

}  // namespace p2p
