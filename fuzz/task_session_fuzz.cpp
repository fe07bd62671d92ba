// The conversation about tasks: our provider and our manager on one agent, and a peer that does what the input says on the streams of
// either. It signs messages with fields of its choice, or has another key sign them, sends raw bytes, stops reading, ends and resets
// streams, asks again, and loses its connection. What is below the streams is honest. Time is virtual.

#include "base/coding.hpp"
#include "base/limits.hpp"
#include "executors/mock.hpp"
#include "network/protocol.hpp"
#include "require.hpp"
#include "script.hpp"
#include "support/heap.hpp"
#include "support/keys.hpp"
#include "support/sim.hpp"
#include "task/manager.hpp"
#include "task/provider.hpp"
#include "task/receipt.hpp"

#include <array>
#include <map>
#include <set>

using namespace p2p;
using namespace p2p::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::size_t most_sent = 1024 * 1024;  // bytes of one script, either side: fewer than the provider remembers of its results
constexpr std::size_t most_steps = 200;
constexpr std::size_t most_talks = 24;
constexpr std::size_t heap = 8 * 1024 * 1024;  // bytes that need no reason
constexpr milliseconds max_time{5000};         // of a task at our provider

const std::string& id(std::size_t index) {
  static const std::array<std::string, 8> ids{"7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a50", "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a51",
                                              "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a52", "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a53",
                                              "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a54", std::string(nil_task_id),
                                              "7F9C24E5-2B4A-4D6F-9A37-0C1D2E3F4A50", ""};
  return ids[index % ids.size()];
}

void named(const boost::system::system_error& error, std::initializer_list<Errc> names) {
  fuzz::require(std::any_of(names.begin(), names.end(), [&error](Errc name) { return is(error, name); }));
  fuzz::require(!message_of(error).empty());
}

/// Runs a task for as long and in as many pieces as the length of its prompt says, and requires that none runs while it runs already or
/// its result is known.
class Watched final : public Executor {
 public:
  explicit Watched(std::function<bool(const TaskRun&)> was_asked) : was_asked_(std::move(was_asked)) {}

  std::string_view name() const override { return "watched"; }
  Awaitable<Outcome> run(TaskRun& run) override {
    fuzz::require(was_asked_(run));
    Known& known = known_[run.task().task_id];
    fuzz::require(run.environment().clock.now() >= known.kept_until);
    fuzz::require(std::all_of(known.runs.begin(), known.runs.end(), [](const TaskRun* other) { return other->stopped(); }));
    struct Running {
      std::set<const TaskRun*>& runs;
      const TaskRun* run;
      ~Running() { runs.erase(run); }
    } const running{known.runs, *known.runs.insert(&run).first};
    const std::size_t size = run.task().prompt().size();
    if (size % 16 == 15) fail(Errc::closed, "a prompt of such a length fails");
    MockExecutor mock({milliseconds(size % 8 * 250), 1 + size % 5});
    co_return co_await mock.run(run);
  }
  void ended(const TaskEvent& event, Time now) {
    if (event.status == "completed" || event.status == "failed") known_[event.task_id].kept_until = now + limits::results_kept_for;
  }

 private:
  struct Known {
    std::set<const TaskRun*> runs;
    Time kept_until{};
  };
  const std::function<bool(const TaskRun&)> was_asked_;
  std::map<std::string, Known> known_;  // by the task's id: there is one requester
};

/// A stream as the peer has it.
struct Talk {
  Talk(Stream of, bool asking, bool of_info, const Loop& loop)
      : stream(std::move(of)), asks(asking), info(of_info), to_write(loop), to_read(loop) {}

  Stream stream;
  const bool asks;  // or is asked
  const bool info;  // or it is about a task
  Bytes unsent;
  bool closing = false;
  bool reading = true;
  Event to_write;
  Event to_read;
  // What ours said on it: a task, or updates and a result.
  std::optional<Task> task;
  std::string sha256 = std::string(64, '0');
  std::uint64_t heard = 0;  // updates
  std::string heard_text;
  bool answered = false;
  // And the peer.
  std::uint64_t said = 0;
  std::string said_text;
};

class Course {
 public:
  explicit Course(ByteView input) : script_(input) {
    network_.reads = how_ / 4 % 2 != 0 ? SimNetwork::Reads::parts : SimNetwork::Reads::all;
    for (const bool info : {false, true}) {
      theirs_.agent.handle(std::string(info ? info_protocol : task_protocol), [this, info](Stream stream) -> Awaitable<void> {
        if (!over_) begin(std::move(stream), false, info);
        co_return;
      });
    }
  }

  void play() {
    network_.run({&ours_, &theirs_}, [this] { return course(); });
  }

 private:
  AgentOptions options() const {
    AgentOptions options = listening({std::string(how_ % 2 == 0 ? yamux_protocol : mplex_protocol)});
    options.mdns = false;
    return options;
  }
  ProviderOptions bounds() {
    ProviderOptions options;
    options.slots = 2;
    options.queue = 3;
    options.max_time = max_time;
    options.max_output = 384 * 1024;  // more than a stream's window
    options.may_ask = [this](const PeerId&) { return admits_; };
    return options;
  }

  // --- our side ---

  Awaitable<void> submit(std::uint8_t how, std::size_t amount) {
    Task task = manager_.make_task(std::string(amount, 'p'));
    task.stream = how % 2 != 0;
    Retries retries;
    if (how / 2 % 2 != 0) task.timeout_ms = 500 * (1 + how / 8 % 8);
    if (how / 2 % 4 == 3) retries = {2, theirs_.agent.addresses()};
    if (how >= 128) manager_.trust(theirs_.agent.id());
    const Time start = network_.clock().now();
    std::string told;
    const std::function<void(const Update&)> on_update = [&](const Update& update) {
      fuzz::require(task.stream && update.task_id == task.task_id);
      told += update.text.value_or("");
    };
    try {
      const Answer answer = co_await manager_.submit(theirs_.agent.id(), task, on_update, {}, retries);
      const Receipt receipt = check_receipt(make_receipt(answer.task_envelope, answer.result_envelope)).value();
      fuzz::require(receipt.requester == ours_.agent.id() && receipt.provider == theirs_.agent.id() && receipt.addressed);
      fuzz::require(receipt.task->task_id == task.task_id && receipt.task->prompt().size() == amount);
      fuzz::require(receipt.result.to_json() == answer.result.to_json());
      if (task.stream && answer.result.text) fuzz::require(told == *answer.result.text);
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::unsupported, Errc::unverified, Errc::timed_out, Errc::closed, Errc::unreachable, Errc::exhausted});
    }
    if (task.timeout_ms) {
      // and a provider that does not close is waited for
      fuzz::require(network_.clock().now() <= start + milliseconds(*task.timeout_ms) + 2 * limits::result_margin);
    }
  }
  Awaitable<void> ask_info() {
    const Time start = network_.clock().now();
    try {
      const Info info = co_await manager_.info(theirs_.agent.id());
      fuzz::require(info.recipient == ours_.agent.id_text());
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::unsupported, Errc::unverified, Errc::timed_out, Errc::closed, Errc::exhausted});
    }
    fuzz::require(network_.clock().now() <= start + limits::negotiation);
  }
  Awaitable<void> shut_down(Duration grace) {
    const Time start = network_.clock().now();
    co_await provider_.shut_down(grace);
    fuzz::require(network_.clock().now() <= start + grace + limits::close_flush + limits::deadline_patience);
    fuzz::require(provider_.running() == 0 && provider_.waiting() == 0);
  }

  // --- the peer ---

  Awaitable<void> connect() {
    try {
      co_await theirs_.agent.connect(ours_.agent.addresses());
    } catch (const boost::system::system_error&) {
      // broken again
    }
  }
  void begin(Stream stream, bool asks, bool info) {
    if (talks_.size() == most_talks) return;
    Talk& talk = *talks_.emplace_back(std::make_unique<Talk>(std::move(stream), asks, info, network_.loop()));
    peer_.spawn(write_loop(talk));
    peer_.spawn(read_loop(talk));
  }
  void open(bool info) {
    try {
      begin(theirs_.agent.open_stream_lazily(ours_.agent.id(), std::string(info ? info_protocol : task_protocol)), true, info);
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::closed, Errc::exhausted});
    }
  }
  Awaitable<void> write_loop(Talk& talk) {
    try {
      while (!over_ && (!talk.closing || !talk.unsent.empty())) {
        if (talk.unsent.empty()) co_await talk.to_write.wait();
        const Bytes flight = std::exchange(talk.unsent, {});
        if (!flight.empty()) co_await talk.stream.write(flight);
      }
      if (!over_) talk.stream.close_write();
    } catch (const boost::system::system_error&) {
      // Ours was first.
    }
  }
  Awaitable<void> read_loop(Talk& talk) {
    try {
      while (!over_) {
        if (!talk.reading) {
          co_await talk.to_read.wait();
          continue;
        }
        const std::optional<Bytes> frame = co_await read_frame(talk.stream, limits::task_frame);
        if (!frame) break;
        hear(talk, *frame);
      }
    } catch (const boost::system::system_error& error) {
      named(error, {Errc::closed, Errc::cancelled});
    }
  }
  /// What ours says is as it should be, whatever it was told.
  void hear(Talk& talk, ByteView frame) {
    const OpenedMessage message = open_message(frame, key_of(ours_.agent.id())).value();
    fuzz::require(!talk.answered);
    if (!talk.asks) {
      fuzz::require(!talk.info && message.kind == MessageKind::task && !talk.task);
      talk.task = parse_task(message.payload).task.value();
      talk.sha256 = task_hash(message.payload);
      last_task_ = talk.task->task_id;
    } else if (talk.info) {
      fuzz::require(message.kind == MessageKind::info && parse_info(message.payload)->recipient == theirs_.agent.id_text());
      talk.answered = true;
    } else if (message.kind == MessageKind::update) {
      const Update update = parse_update(message.payload).value();
      fuzz::require(update.seq == talk.heard++);
      talk.heard_text += update.text.value_or("");
    } else {
      fuzz::require(message.kind == MessageKind::result);
      const TaskResult result = parse_result(message.payload).value();
      fuzz::require(result.recipient == theirs_.agent.id_text() && asked_.contains(result.task_sha256));
      if (talk.heard > 0 && result.text) fuzz::require(*result.text == talk.heard_text);
      talk.answered = true;
    }
  }

  std::string some(std::size_t most) { return std::string(as_text(script_.bytes(most))); }
  std::string much() {
    const std::size_t amount = std::min<std::size_t>(script_.amount(), most_sent - std::min(sent_, most_sent));
    sent_ += amount;
    return std::string(amount, 'm');
  }
  std::string now() { return format_timestamp(network_.clock().date()); }

  std::string task_payload() {
    const std::uint8_t fields = script_.byte();
    Task task;
    task.task_id = id(fields % 8);
    task.stream = fields / 8 % 2 != 0;
    if (fields / 16 % 4 == 1) task.recipient = ours_.agent.id_text();
    if (fields / 16 % 4 == 2) task.recipient = theirs_.agent.id_text();
    if (fields / 64 % 2 != 0) task.timeout_ms = script_.byte() * 50;
    if (fields / 128 != 0) task.linger_ms = script_.byte() * 50;
    task.input["prompt"] = much();
    task.timestamp = now();
    return task.to_json();
  }
  std::string update_payload(Talk& talk) {
    const std::uint8_t fields = script_.byte();
    Update update;
    update.task_id = fields % 2 == 0 && talk.task ? talk.task->task_id : fields % 4 == 1 ? last_task_ : id(fields / 16);
    update.seq = fields / 4 % 2 == 0 ? talk.said++ : script_.byte();
    if (fields / 8 % 2 == 0) update.text = much();
    if (fields / 16 % 4 == 1) update.state = "running";
    if (fields / 16 % 4 == 2) {
      update.state = fields / 64 % 2 == 0 ? "queued" : some(8);
      update.position = script_.byte();
    }
    if (fields / 16 % 4 == 3) update.data.emplace()["more"] = some(script_.byte());
    talk.said_text += update.text.value_or("");
    return update.to_json();
  }
  std::string result_payload(const Talk& talk) {
    const std::uint8_t fields = script_.byte();
    const std::uint8_t more = script_.byte();
    TaskResult result;
    result.status = static_cast<Status>(fields % 4);
    result.task_id = fields / 4 % 2 == 0 && talk.task ? talk.task->task_id : id(more);
    result.task_sha256 = fields / 8 % 2 == 0 ? talk.sha256 : std::string(64, 'f');
    result.recipient = fields / 16 % 2 == 0 ? ours_.agent.id_text() : theirs_.agent.id_text();
    if (result.status != Status::rejected || more % 2 != 0) result.text = fields / 32 % 2 == 0 ? talk.said_text : much();
    if (result.status != Status::completed || more / 2 % 2 != 0) {
      result.error.emplace(TaskError{fields / 64 % 2 == 0 ? "busy" : some(8), "as the script says", {}});
      if (fields / 128 != 0) result.error->retry_after_ms = std::uint64_t{1} << more % 40;
    }
    if (more / 4 % 2 == 0) result.executor = "peer";
    result.timestamp = now();
    return result.to_json();
  }
  std::string info_payload() {
    const std::uint8_t fields = script_.byte();
    Info info;
    info.recipient = fields % 2 == 0 ? ours_.agent.id_text() : theirs_.agent.id_text();
    if (fields / 2 % 2 == 0) info.executors.push_back({std::string(inference), some(4), {some(4)}});
    info.name = some(fields / 4);
    info.timestamp = now();
    return info.to_json();
  }
  /// A message in its envelope.
  Bytes message(Talk& talk) {
    const std::uint8_t how = script_.byte();
    const auto kind = static_cast<MessageKind>(how % 4);
    std::string payload;
    if (how / 4 % 8 == 7) {
      payload = some(script_.byte());
    } else {
      switch (kind) {
        case MessageKind::task: payload = task_payload(); break;
        case MessageKind::update: payload = update_payload(talk); break;
        case MessageKind::result: payload = result_payload(talk); break;
        case MessageKind::info: payload = info_payload();
      }
    }
    if (how / 4 % 8 == 6) payload.insert(script_.amount() % (payload.size() + 1), some(script_.byte()));
    if (how / 4 % 8 == 5) payload[script_.amount() % payload.size()] = static_cast<char>(script_.byte());
    static const KeyPair stranger(std::array<std::uint8_t, KeyPair::seed_size>{3});
    const bool is_own = how < 0xc0;
    Bytes sealed = seal_message(is_own ? theirs_.agent.identity() : stranger, kind, payload);
    if (kind == MessageKind::task && is_own) {
      asked_.insert(task_hash(as_bytes(payload)));
      asked_ids_.insert(parse_task(as_bytes(payload)).task_id);
    }
    if (kind == MessageKind::task) again_ = sealed;
    return sealed;
  }
  void send(Talk& talk, ByteView bytes) {
    if (talk.closing) return;
    bytes = bytes.first(std::min(bytes.size(), 2 * most_sent - std::min(sent_, 2 * most_sent)));
    sent_ += bytes.size();
    append(talk.unsent, bytes);
    talk.to_write.notify();
  }
  void send_frame(Talk& talk, ByteView message) {
    Bytes frame;
    put_uvarint(frame, message.size());
    append(frame, message);
    send(talk, frame);
  }

  /// One step of the script; returns how long it takes.
  Duration step() {
    const std::uint8_t code = script_.byte();
    const std::size_t which = code % 16 >= 8 ? script_.byte() : 0;
    Talk* const talk = code % 16 >= 8 && !talks_.empty() ? talks_[talks_.size() - 1 - which % talks_.size()].get() : nullptr;
    Duration takes{};
    switch (code % 16) {
      case 0: open(false); break;
      case 1: {
        const std::uint8_t how = script_.byte();
        users_.spawn(submit(how, much().size()));
        break;
      }
      case 2: takes = milliseconds(script_.byte()); break;
      case 3: takes = seconds(script_.byte()) * 4; break;
      case 4: users_.spawn(connect()); break;
      case 5: (script_.byte() % 2 == 0 ? ours_ : theirs_).host.kill_connections(); break;
      case 6:
        if (script_.byte() % 2 == 0) {
          open(true);
        } else {
          users_.spawn(ask_info());
        }
        break;
      case 7: {
        const std::uint8_t how = script_.byte();
        if (how % 16 != 0) {
          admits_ = !admits_;
        } else if (!std::exchange(shut_down_, true)) {
          users_.spawn(shut_down(milliseconds(how) * 50));
        }
        break;
      }
      case 8:
        if (talk != nullptr) talk->stream.reset();
        break;
      case 9:
        if (talk == nullptr) break;
        talk->closing = true;
        talk->to_write.notify();
        break;
      case 10:
        if (talk == nullptr) break;
        talk->reading = !talk->reading;
        talk->to_read.notify();
        break;
      case 11:
        if (talk != nullptr) send_frame(*talk, again_);
        break;
      case 12: {
        const ByteView bytes = script_.bytes(script_.byte());
        if (talk != nullptr) send(*talk, bytes);
        break;
      }
      case 13:  // a part of a message
        if (talk == nullptr) break;
        send(*talk, message(*talk));
        break;
      default:
        if (talk != nullptr) send_frame(*talk, message(*talk));
    }
    return code < 128 ? takes : takes + 4 * network_.latency;
  }

  Awaitable<void> course() {
    const std::size_t before = heap_in_use();
    co_await connect();
    co_await pause(network_, milliseconds(10));  // until ours has it, too
    for (std::size_t steps = 0; !script_.empty() && steps < most_steps; ++steps) {
      const Duration takes = step();
      if (takes > Duration{}) co_await pause(network_, takes);
      fuzz::require(heap_in_use() <= before + heap + 16 * sent_);
    }
    // Silence or a broken connection, no task keeps its slot beyond the time that the provider gives.
    if (how_ / 2 % 2 != 0) theirs_.host.kill_connections();
    co_await pause(network_, max_time + limits::deadline_patience);
    fuzz::require(provider_.running() == 0 && provider_.waiting() == 0);
    if (!std::exchange(shut_down_, true)) co_await shut_down(seconds(0));
    over_ = true;
    for (const auto& talk : talks_) {
      talk->to_write.notify();
      talk->to_read.notify();
      talk->stream.reset();
    }
    ours_.agent.disconnect(theirs_.agent.id());  // who waits without a deadline
    co_await users_.join();
    co_await peer_.join();
  }

  fuzz::Script script_;
  const std::uint8_t how_ = script_.byte();
  SimNetwork network_;
  SimAgent ours_{network_, options()};
  SimAgent theirs_{network_, options()};
  bool admits_ = true;
  bool shut_down_ = false;
  Watched executor_{
      [this](const TaskRun& run) { return run.requester() == theirs_.agent.id() && asked_ids_.contains(run.task().task_id); }};
  Provider provider_{ours_.agent, executor_, bounds(), [this](const TaskEvent& event) { executor_.ended(event, network_.clock().now()); }};
  TaskManager manager_{ours_.agent};
  TaskGroup users_{network_.loop()};

  bool over_ = false;
  std::size_t sent_ = 0;
  std::vector<std::unique_ptr<Talk>> talks_;
  std::string last_task_;
  Bytes again_;
  std::set<std::string> asked_;  // hashes of the tasks that the peer signed
  std::set<std::string> asked_ids_;
  TaskGroup peer_{network_.loop()};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Course(ByteView(data, size)).play();
  return 0;
}
