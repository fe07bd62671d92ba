// What an OpenAI-compatible server answers, as the executor for such servers and the HTTP client under it read it. The input is what comes
// on one connection after the other, over the loopback interface; time is virtual. Behind a byte 0xff stands what happens there:
//
//   |     what came until here is read before more comes
//   *N    what stands there since the last of these comes 2^N times
//   wN    so many tenths of a second pass
//   s     the task is stopped
//   ;     the connection ends, and the next one begins
//   !     the same, with the request not read

#include "executors/openai.hpp"
#include "executors/utf8.hpp"
#include "network/tcp.hpp"
#include "require.hpp"
#include "script.hpp"
#include "support/heap.hpp"
#include "support/recorded_run.hpp"
#include "support/sim.hpp"

#include <array>
#include <set>
#include <thread>

using namespace p2p;
using namespace p2p::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::size_t most_sent = 5 * 256 * 1024;  // bytes of one script: more than any limit
constexpr std::size_t most_pieces = 400;
constexpr std::size_t heap = 8 * 1024 * 1024;  // bytes that need no reason
constexpr seconds patience{60};                // with one task
constexpr std::array<std::string_view, 3> keys{"sk-fuzz-0123456789", "", "\"sk-,fuzz-0123456789"};
constexpr std::string_view models = "HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"},{}]}";

class Course {
 public:
  explicit Course(ByteView input) : script_(input) {}

  void play() { network_.run(course()); }

 private:
  bool has_models() const { return how_ % 2 == 0; }  // and the script begins with the answer to a task

  // --- the server ---

  Awaitable<void> accept() {
    try {
      while (true) {
        std::unique_ptr<ByteStream> stream = co_await listener_->accept();
        open_.insert(stream.get());
        server_.spawn(serve(std::move(stream)));
      }
    } catch (const boost::system::system_error&) {
      // closed
    }
  }
  Awaitable<void> serve(std::unique_ptr<ByteStream> stream) {
    try {
      const bool well = has_models() && running_ == nullptr;
      if (well || !next_is_unread()) co_await hear(*stream);
      if (well) {
        co_await stream->write(as_bytes(models));
      } else {
        while (!script_.empty() && ++pieces_ <= most_pieces) {
          const bool more = co_await piece(*stream);
          if (!more) break;
        }
      }
    } catch (const boost::system::system_error&) {
      // the client has gone
    }
    open_.erase(stream.get());
  }
  Awaitable<void> hear(ByteStream& stream) {
    std::string request;
    Bytes buffer(4096);
    while (request.find("\r\n\r\n") == std::string::npos) {
      const std::size_t count = co_await stream.read_some(buffer);
      if (count == 0) fail(Errc::closed, "the client is gone");
      request += as_text(ByteView(buffer).first(count));
    }
    fuzz::require(request.starts_with("GET /v1/models HTTP/1.1\r\n") || request.starts_with("GET /props HTTP/1.1\r\n") ||
                  request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    fuzz::require((request.find("Bearer " + std::string(key_)) != std::string::npos) == !key_.empty());
  }
  bool next_is_unread() {
    fuzz::Script ahead = script_;
    return ahead.byte() == 0xff && ahead.byte() == '!';
  }
  /// What stands up to the next mark; false at the end of the connection.
  Awaitable<bool> piece(ByteStream& stream) {
    std::string bytes;
    char mark = ';';
    while (!script_.empty()) {
      const auto next = static_cast<char>(script_.byte());
      if (next == '\xff') {
        mark = static_cast<char>(script_.byte());
        if (std::string_view("|*ws;!").find(mark) != std::string_view::npos) break;
      }
      bytes += next;
    }
    if (mark == '*') {
      const std::string unit = bytes;
      for (std::size_t times = std::size_t{1} << script_.byte() % 22; times > 1 && sent_ + bytes.size() < most_sent; --times) bytes += unit;
    }
    sent_ += bytes.size();
    co_await stream.write(as_bytes(bytes));
    co_await pause(network_, mark == 'w' ? milliseconds(100) * script_.byte() : milliseconds(1));
    fuzz::require(heap_in_use() <= before_ + heap + sent_ + 4 * (running_ != nullptr ? running_->output.size() : 0));
    if (mark == 's' && running_ != nullptr) running_->stop();
    co_return mark != ';' && mark != '!';
  }
  /// Something is due always, also while bytes are on their way through the system.
  void tick() {
    fuzz::require(++ticks_ < 4000);
    if (ticks_ > 1000) std::this_thread::sleep_for(milliseconds(1));
    tick_ = network_.clock().schedule(network_.clock().now() + seconds(1), [this] { tick(); });
  }

  // --- our side ---

  /// Text that others see.
  void shown(std::string_view text) const {
    fuzz::require(!text.empty() && text.size() <= 5 * limits::text_shown && repair_utf8(text) == text);
    fuzz::require(key_.empty() || text.find(key_) == std::string_view::npos);
  }
  void check(const OpenAiExecutor& executor) const {
    const std::vector<std::string> names = executor.models();
    fuzz::require(names.size() <= limits::models_offered && std::set(names.begin(), names.end()).size() == names.size());
    for (const std::string& name : names) fuzz::require(!name.empty() && name.size() <= limits::model_name && repair_utf8(name) == name);
    fuzz::require(executor.slots() >= 1 && executor.slots() <= limits::server_slots);
    if (const auto why = executor.unready()) shown(why->message);
  }
  void check(const Outcome& outcome, const RecordedRun& run) const {
    static const std::set<std::string_view> codes{"executor_failed", "busy", "invalid_task", "unsupported_model", "too_large"};
    const bool ends_well = outcome.status == Status::completed || outcome.status == Status::cancelled;
    fuzz::require(outcome.error.has_value() == !ends_well && (run.stopped() || outcome.status != Status::cancelled));
    if (outcome.error) {
      fuzz::require(codes.contains(outcome.error->code) && outcome.error->retry_after_ms.value_or(0) <= 86'400'000);
      shown(outcome.error->message);
    }
    if (outcome.status == Status::rejected) fuzz::require(run.output.empty());
    for (const std::string& text : run.pieces) fuzz::require(!text.empty() && repair_utf8(text) == text);
    for (const std::string& text : {outcome.model.value_or(""), outcome.finish_reason.value_or("")}) {
      fuzz::require(text.size() <= std::max(limits::model_name, limits::text_shown) && repair_utf8(text) == text);
    }
  }

  Awaitable<void> course() {
    static std::uint16_t port = 0;  // one for all, or the system runs out of them
    TcpTransport transport(network_.loop(), network_.clock());
    listener_ = transport.listen(Multiaddr::tcp("127.0.0.1", port).value());
    port = tcp_address(listener_->address()).value().port;
    before_ = heap_in_use();
    tick();
    server_.spawn(accept());
    const Environment environment = host_.environment();
    OpenAiExecutor executor("http://127.0.0.1:" + std::to_string(port) + (how_ / 2 % 2 == 0 ? "/v1" : "/v1#b"), environment, key_);
    executor.start();
    for (int looks = 0; looks < 25 && executor.unready(); ++looks) co_await pause(network_, seconds(1));
    check(executor);

    Task task;
    task.input["prompt"] = "hi";
    RecordedRun run(environment, task, how_ / 4 % 2 == 0 ? limits::task_frame : 16);
    running_ = &run;
    const Time start = network_.clock().now();
    const Timer timer = network_.clock().schedule(start + patience, [&run] { run.stop(); });
    try {
      const Outcome outcome = co_await executor.run(run);
      check(outcome, run);
    } catch (const boost::system::system_error& error) {
      fuzz::require(is(error, Errc::too_large));  // what write() threw
    }
    fuzz::require(network_.clock().now() <= start + patience);
    running_ = nullptr;
    check(executor);

    const Time end = network_.clock().now();
    co_await executor.stop();
    fuzz::require(network_.clock().now() == end);
    for (const std::string& line : host_.log) shown(line);
    listener_->close();
    for (ByteStream* const stream : open_) stream->close();
    co_await server_.join();
    tick_.reset();
  }

  fuzz::Script script_;
  const std::uint8_t how_ = script_.byte();
  const std::string_view key_ = keys[how_ / 16 % keys.size()];
  SimNetwork network_;
  SimHost& host_ = network_.add_host();
  std::unique_ptr<Listener> listener_;
  std::set<ByteStream*> open_;
  RecordedRun* running_ = nullptr;
  std::size_t sent_ = 0;
  std::size_t pieces_ = 0;
  std::size_t before_ = 0;
  int ticks_ = 0;
  Timer tick_;
  TaskGroup server_{network_.loop()};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Course(ByteView(data, size)).play();
  return 0;
}
