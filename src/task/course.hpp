#pragma once
// What there is to say of a task to the streams that follow it, and saying it: states, output as it comes, and at last the result.

#include "network/stream.hpp"
#include "network/transport.hpp"
#include "task/message.hpp"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

namespace p2p {

class TaskCourse {
 public:
  /// `streamed`: states and output are told as they come, not the result alone.
  TaskCourse(Loop loop, std::string id, bool stream) : task_id(std::move(id)), streamed(stream), delivered(std::move(loop)) {}
  virtual ~TaskCourse() = default;
  TaskCourse(const TaskCourse&) = delete;
  TaskCourse& operator=(const TaskCourse&) = delete;

  /// A stream follows it; none does any more, and the last one was reset or lost its connection.
  virtual void joined() {}
  virtual void deserted(bool connection_lost) { static_cast<void>(connection_lost); }

  void enter_state(std::string name, std::optional<std::uint64_t> place = std::nullopt);
  /// There is something new to say.
  void changed();
  /// Streams that follow it.
  std::size_t followers() const noexcept { return listeners_.size(); }
  /// Everyone who follows knows all of the output.
  bool is_delivered() const;

  const std::string task_id;
  const bool streamed;
  std::string state;
  std::optional<std::uint64_t> position;
  std::string output;
  std::shared_ptr<const Bytes> result;  ///< envelope; null until it is there
  Event delivered;                      ///< notified when is_delivered() may have become true

 private:
  struct Listener;
  friend Awaitable<bool> follow(const Environment& environment, const KeyPair& keys, Stream& stream, std::shared_ptr<TaskCourse> course,
                                std::function<void()> over);
  Awaitable<void> tell(const Environment& environment, const KeyPair& keys, Stream& stream, Listener& listener, std::function<void()> over);
  static Awaitable<void> watch(const Environment& environment, Stream& stream, Listener& listener);

  std::size_t states_ = 0;  // how many there were
  std::list<Listener*> listeners_;
};

/// Behind a task on its stream: waits until both directions have ended. False if the requester says more than its task, for which the
/// stream is reset. Throws when it was reset or lost its connection before.
Awaitable<bool> ends_behind_task(const Environment& environment, Stream& stream);

/// Tells `course` on the stream to its end, in messages signed with `keys`, and sees to it that the stream ends; by then it has let go of
/// the course. Calls `over` as soon as there is nothing left but to tell its end. False if the requester said more than its task, for which
/// the stream is reset.
Awaitable<bool> follow(const Environment& environment, const KeyPair& keys, Stream& stream, std::shared_ptr<TaskCourse> course,
                       std::function<void()> over);

}  // namespace p2p
