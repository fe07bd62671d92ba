#pragma once
// The provider's side of a task: takes tasks from the network, queues them, has them run and answers with a signed result.

#include "network/agent.hpp"
#include "task/executor.hpp"
#include "task/places.hpp"
#include "task/receipt_store.hpp"
#include "task/result_memory.hpp"

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace p2p {

class TaskCourse;

/// An executor and the type of the tasks that it gets.
struct Offering {
  std::string task_type;
  Executor& executor;
};

struct ProviderOptions {
  std::optional<std::size_t> slots = {};            ///< tasks that run at once on each executor, at least 1; else what it says itself
  std::size_t queue = 16;                           ///< tasks that may wait for each executor
  std::chrono::milliseconds max_time{600'000};      ///< for a task, however long it asks for
  std::size_t max_input = limits::task_frame;       ///< bytes of a task's JSON
  std::optional<std::size_t> max_output = {};       ///< bytes of text; else what the executor says itself
  std::function<bool(const PeerId&)> may_ask = {};  ///< empty: everyone may
  ReceiptKeeper* receipts = nullptr;                ///< outlives the provider
  ResultMemory::Bounds memory = {};
};

/// The end of a task, for whoever watches the provider.
struct TaskEvent {
  PeerId requester;
  std::string task_id;
  std::string status;  ///< as in its result; "lost" when the requester was gone
  std::string code;    ///< of the error, or empty
  std::chrono::milliseconds queued{};
  std::chrono::milliseconds run{};
};

class Provider {
 public:
  /// Serves the task and info protocols on `agent`. Agent and executors outlive it; it outlives the agent's run. Throws invalid when two
  /// executors claim the same type and model.
  Provider(Agent& agent, std::vector<Offering> offerings, ProviderOptions options = {}, std::function<void(const TaskEvent&)> on_task = {});
  /// With one executor, for inference.
  Provider(Agent& agent, Executor& executor, ProviderOptions options = {}, std::function<void(const TaskEvent&)> on_task = {});
  ~Provider();
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  /// Rejects what is queued or comes now, lets what runs finish for `grace`, then cancels it; returns when every task has its result and
  /// the executors have stopped. Once, before the agent stops.
  Awaitable<void> shut_down(Duration grace);
  /// Ends the grace that shut_down() gives.
  void hurry();

  std::size_t running() const noexcept;
  std::size_t waiting() const noexcept;
  /// What it executes now, as info says it.
  std::vector<Offer> offers() const;
  /// Streams that were reset because what came on them was no valid signed task.
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  enum class Stop : std::uint8_t { lost, deadline, displaced, shutting_down };
  struct Lane;
  class Held;
  class Job;
  struct Again;
  class Idle;
  struct Route {
    Lane* lane = nullptr;
    std::optional<TaskError> error = {};  // or there is a lane
  };

  using Reception = std::variant<std::shared_ptr<TaskCourse>, TaskError>;

  Awaitable<void> serve(Stream stream);
  Awaitable<void> serve_task(Stream& stream);
  Reception receive(const Party& party, ParsedTask& parsed, const std::string& sha256, std::size_t size, Bytes& envelope);
  bool end_idle_stream();
  Awaitable<void> serve_info(Stream stream);
  Awaitable<void> reject(Stream& stream, std::string task_id, std::string sha256, TaskError why);
  std::shared_ptr<TaskCourse> course_again(const std::string& key, std::string host, const Task& task,
                                           std::shared_ptr<const Bytes> envelope);
  Awaitable<void> read_again(std::shared_ptr<Again> course);

  bool is_for_us(const Task& task) const;
  Route route(const Task& task, std::size_t size) const;
  std::optional<TaskError> enter(Job& job);
  void fill(Lane& lane);
  void leave(Job& job);
  Awaitable<void> go(std::shared_ptr<Job> job);
  Awaitable<void> run(std::shared_ptr<Job> job);
  std::string time_over(const Job& job) const;
  void finish(Job& job);
  Awaitable<void> conclude(Job& job);
  Awaitable<std::shared_ptr<const Bytes>> seal(TaskResult& result);
  void forget(const Job& job);
  bool may_ask(const PeerId& peer) const { return !options_.may_ask || options_.may_ask(peer); }
  std::size_t slots(const Lane& lane) const;
  std::uint64_t retry_after_ms(const Lane& lane) const;
  void report(const PeerId& requester, const TaskResult& result, bool lost) const;

  Agent& agent_;
  const Environment environment_;
  const ProviderOptions options_;
  const std::function<void(const TaskEvent&)> on_task_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::size_t held_ = 0;                        // bytes of memory that tasks and their output take
  std::map<std::string, std::size_t> held_by_;  // of these, those of each host
  // A job is shared by the coroutine that runs it and the streams that follow it; whichever goes last frees it.
  std::map<std::string, std::shared_ptr<Job>> jobs_;  // by requester and task id: those that the same task again joins
  std::list<Job*> unfinished_;                        // these, and those that end because nobody wants them
  ResultMemory memory_;
  std::map<std::string, std::weak_ptr<Again>> again_;  // of the results in it, those that are being told
  std::uint64_t promised_ = 0;                         // bytes of the receipts of what is not answered yet, at most
  std::size_t serving_ = 0;                            // task streams that are open
  std::map<Party, std::list<Idle*>> idle_;             // of these, in the order in which they came
  std::uint64_t refused_ = 0;
  bool shutting_down_ = false;
  bool hurried_ = false;
  Alarm progress_;  // a task or stream ended, or the grace did
  TaskGroup group_;
};

}  // namespace p2p
