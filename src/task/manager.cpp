#include "task/manager.hpp"

#include "base/limits.hpp"
#include "network/protocol.hpp"
#include "task/sealing.hpp"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <span>

namespace p2p {
namespace {

using std::chrono::milliseconds;

/// The updates of one attempt as they come: in order, for this task, and in sum what the result says.
class Updates {
 public:
  explicit Updates(const Task& task) : task_(task) {}

  void take(const Update& update) {
    if (!task_.stream) fail(Errc::unverified, "the provider sent updates that were not asked for");
    if (update.task_id != task_.task_id) fail(Errc::unverified, "the provider sent an update for another task");
    if (update.seq != next_seq_++) fail(Errc::unverified, "the provider left out an update");
    if ((!update.text || update.text->empty()) && ++without_text_ > limits::state_updates)
      fail(Errc::unverified, "the provider sends updates without end");
    if (update.text) text_ += *update.text;
    if (update.data) data_ += boost::json::serialize(*update.data).size();
    if (text_.size() > limits::task_frame || data_ > limits::task_frame) {
      fail(Errc::unverified, "the provider sends more output than a result can hold");
    }
  }

  const std::string& text() const noexcept { return text_; }

 private:
  const Task& task_;
  std::uint64_t next_seq_ = 0;
  std::size_t without_text_ = 0;
  std::size_t data_ = 0;  // bytes
  std::string text_;
};

/// What is no message at all does not verify either.
[[noreturn]] void rethrow_unverified(const boost::system::system_error& error) {
  if (is(error, Errc::malformed) || is(error, Errc::too_large)) fail(Errc::unverified, "the provider's answer is " + message_of(error));
  throw error;
}

void check_result(const TaskResult& result, const Task& task, const std::string& sha256, const std::string& self, const Updates& updates) {
  if (result.task_sha256 != sha256) fail(Errc::unverified, "the result answers another task: its hash is different");
  const bool rejected_unread = result.status == Status::rejected && result.task_id == nil_task_id;
  if (result.task_id != task.task_id && !rejected_unread) fail(Errc::unverified, "the result answers another task: its id is different");
  if (result.recipient != self) fail(Errc::unverified, "the result is meant for another peer");
  if (task.stream && result.text && *result.text != updates.text())
    fail(Errc::unverified, "the updates do not add up to the result's output");
}

}  // namespace

TaskManager::TaskManager(Agent& agent) : agent_(agent) {
  if (agent.handles(info_protocol)) return;  // a provider's
  agent.handle(std::string(info_protocol), [&agent](Stream stream) { return answer_info(agent, std::move(stream), Info()); });
}

Task TaskManager::make_task(std::string prompt) const {
  Task task;
  task.task_id = new_task_id(agent_.environment().random);
  task.input["prompt"] = prompt;
  task.timestamp = format_timestamp(agent_.environment().clock.date());
  return task;
}

// One task, and what came of it so far.
struct TaskManager::Sent {
  Task task;
  std::string sha256;
  Time deadline = Time::max();
  std::function<void(const Update&)> on_update;
  std::function<void(const std::string& payload)> on_sent;
  std::string told = {};  // output that on_update knows
  Answer answer = {};

  /// Another attempt begins with the same output again, or the two are not of one run.
  void tell(Update update, const std::string& text) {
    if (update.text) {
      const std::size_t begin = text.size() - update.text->size();  // what stands before it was compared before
      const std::size_t known = std::min(told.size(), text.size());
      if (begin < known && text.compare(begin, known - begin, told, begin, known - begin) != 0) {
        fail(Errc::unverified, "the provider ran the task again, and its output is another");
      }
      update.text = text.substr(known);
      if (update.text->empty()) return;
      told += *update.text;
    }
    if (on_update) on_update(update);
  }
};

Awaitable<Answer> TaskManager::submit(PeerId provider, Task task, std::function<void(const Update&)> on_update,
                                      std::function<void(const std::string& payload)> on_sent, Retries retries) {
  const Environment& environment = agent_.environment();
  task.recipient = provider.text();
  if (retries.times > 0) task.linger_ms = std::max<std::uint64_t>(task.linger_ms, limits::linger_on_retry.count());
  Sent sent{std::move(task), {}, Time::max(), std::move(on_update), std::move(on_sent)};
  Answer& answer = sent.answer;
  answer.task_payload = sent.task.to_json();
  answer.task_envelope = co_await seal_on(environment, agent_.identity(), MessageKind::task, answer.task_payload);
  if (answer.task_envelope.size() > limits::task_frame) fail(Errc::invalid, "the task is larger than 4 MiB; send less");
  sent.sha256 = task_hash(as_bytes(answer.task_payload));
  if (sent.task.timeout_ms) sent.deadline = environment.clock.now() + milliseconds(*sent.task.timeout_ms) + limits::result_margin;

  // What discovery knows of a peer is forgotten with its connection, and heard again only some time after that.
  const bool named = !retries.addresses.empty();
  std::vector<Multiaddr> known = std::move(retries.addresses);
  if (!named && retries.times > 0) known = agent_.discovered_addresses(provider);
  Duration pause = limits::retry_pause;
  Time dialled = Time::min();
  for (unsigned attempt = 0;; ++attempt) {
    std::exception_ptr broken;
    std::string why;
    Time next;
    try {
      if (attempt > 0 && agent_.connection_to(provider) == nullptr) {
        std::vector<Multiaddr> addresses;
        const auto add = [&addresses](std::span<const Multiaddr> more) {
          for (const Multiaddr& one : more) {
            if (std::find(addresses.begin(), addresses.end(), one) == addresses.end()) addresses.push_back(one);
          }
        };
        if (!named) {  // the one that was verified, if any, then what is heard by now
          add(std::span(known).first(std::min<std::size_t>(known.size(), 1)));
          add(agent_.discovered_addresses(provider));
        }
        add(known);
        dialled = environment.clock.now();
        co_await agent_.connect(std::move(addresses), provider, sent.deadline);
      }
      co_await exchange(provider, sent);
      if (answer.result.status != Status::rejected || answer.result.error->code != "busy") co_return std::move(answer);
      why = answer.result.error->message;
      next =
          environment.clock.now() + milliseconds(std::min<std::uint64_t>(
                                        answer.result.error->retry_after_ms.value_or(limits::retry_pause.count()), limits::timeout_ms_max));
    } catch (const boost::system::system_error& error) {
      const bool passing =
          is(error, Errc::closed) || is(error, Errc::unreachable) || is(error, Errc::timed_out) || is(error, Errc::no_peer);
      if (!passing) throw;
      broken = std::current_exception();
      why = message_of(error);
      next = environment.clock.now() + pause;
      pause = std::min<Duration>(2 * pause, limits::retry_pause_max);
    }
    if (!named) next = std::max<Time>(next, dialled + limits::mdns_news);  // what anybody may have announced
    if (attempt == retries.times || next >= sent.deadline) {
      if (broken) std::rethrow_exception(broken);
      co_return std::move(answer);
    }
    if (retries.on_retry) retries.on_retry(why);
    co_await agent_.pause_until(next);
  }
}

Awaitable<void> TaskManager::exchange(const PeerId& provider, Sent& sent) {
  const Environment& environment = agent_.environment();
  Answer& answer = sent.answer;
  const bool takes_tasks = trusted_.contains(provider) || agent_.speaks(provider, task_protocol);
  std::optional<Stream> opened;
  if (takes_tasks) {
    opened.emplace(agent_.open_stream_lazily(provider, std::string(task_protocol)));
  } else {
    opened.emplace(co_await agent_.open_stream(provider, std::string(task_protocol), sent.deadline));
  }
  Stream& stream = *opened;
  Timer deadline;
  if (sent.deadline != Time::max()) {
    deadline = stream.deadline(sent.deadline - environment.clock.now(), "the task's time is over and the provider did not answer");
  }
  if (sent.on_sent) std::exchange(sent.on_sent, nullptr)(answer.task_payload);  // a peer that takes nearly all of it has the prompt, too
  co_await write_frame(stream, answer.task_envelope);

  Updates updates(sent.task);
  try {
    while (true) {
      std::optional<Bytes> envelope = co_await read_frame(stream, limits::task_frame);
      if (!envelope) fail(Errc::closed, "the provider closed the stream without a result");
      OpenedMessage message = co_await open_on(environment, *envelope, stream.peer_key());
      if (message.kind == MessageKind::update) {
        Update update = parse_update(message.payload, sent.task.task_type).value();
        updates.take(update);
        sent.tell(std::move(update), updates.text());
        continue;
      }
      if (message.kind != MessageKind::result) fail(Errc::unverified, "the provider answered with another kind of message than a result");
      answer.result = parse_result(message.payload, sent.task.task_type).value();
      answer.result_payload = std::move(message.payload);
      answer.result_envelope = *std::move(envelope);
      break;
    }
  } catch (const boost::system::system_error& error) {
    rethrow_unverified(error);
  }
  check_result(answer.result, sent.task, sent.sha256, agent_.id_text(), updates);
  if (answer.result.text && updates.text().size() < sent.told.size()) {
    fail(Errc::unverified, "the provider ran the task again, and its output is shorter");
  }

  // The result is the last message. The provider closes right behind it; one that doesn't is not waited for.
  stream.close_write_lazily();
  deadline = stream.deadline(limits::result_margin, "the provider did not close the stream");
  try {
    if (!(co_await stream.read()).empty()) fail(Errc::unverified, "the provider sent more behind its result");
  } catch (const boost::system::system_error& error) {
    if (is(error, Errc::unverified)) throw;
  }
}

Awaitable<Info> TaskManager::info(PeerId provider) {
  Stream stream = agent_.open_stream_lazily(provider, std::string(info_protocol));
  stream.close_write();
  const Timer deadline = stream.deadline(limits::negotiation, "the peer did not say what it executes");
  try {
    const std::optional<Bytes> envelope = co_await read_frame(stream, limits::info_frame);
    if (!envelope) fail(Errc::closed, "the peer did not say what it executes");
    const Bytes payload = co_await open_on(agent_.environment(), *envelope, stream.peer_key(), MessageKind::info);
    Info info = parse_info(payload).value();
    if (info.recipient != agent_.id_text()) fail(Errc::unverified, "the peer's info is meant for another peer");
    if (!info.executors.empty() && trusted_.size() < limits::mdns_peers) trust(provider);
    co_return info;
  } catch (const boost::system::system_error& error) {
    rethrow_unverified(error);
  }
}

}  // namespace p2p
