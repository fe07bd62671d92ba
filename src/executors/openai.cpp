#include "executors/openai.hpp"

#include "executors/completion.hpp"
#include "executors/utf8.hpp"
#include "http/client.hpp"

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>

namespace p2p {
namespace {

namespace json = boost::json;

constexpr std::array<std::uint16_t, 4> usual_ports{11434, 1234, 8080, 8000};  // Ollama, LM Studio, llama.cpp, vLLM
constexpr std::size_t usual_slots = 4;
constexpr std::chrono::milliseconds try_again = limits::models_fresh_missing;

/// The names in an answer to /models, all of them, in the server's order.
std::vector<std::string> model_names(const std::string& body, const std::string& server) {
  const std::optional<json::object> object = openai::parse(body);
  const json::array* const list = object ? openai::array_in(*object, "data") : nullptr;
  if (list == nullptr) fail(Errc::malformed, server + ": it has no list of models at /v1/models; is it an OpenAI-compatible server?");
  std::vector<std::string> names;
  for (const json::value& model : *list) {
    std::optional<std::string> name = model.is_object() ? openai::text_in(model.get_object(), "id") : std::nullopt;
    if (name && !name->empty() && name->size() <= limits::model_name) names.push_back(*std::move(name));
  }
  return names;
}

/// What a task may be answered by: of all the models the first, or of one that the operator chose that one.
std::vector<std::string> offered(std::vector<std::string> names, const std::optional<std::string>& only) {
  std::vector<std::string> models;
  for (std::string& name : names) {
    if (only && name != *only && name != *only + ":latest") continue;  // Ollama adds the tag that one may leave out
    if (only) return {*only};
    if (models.size() == limits::models_offered) break;
    if (std::find(models.begin(), models.end(), name) == models.end()) models.push_back(std::move(name));
  }
  return models;
}

Outcome ended(Status status, std::string code, std::string message, std::optional<std::uint64_t> retry_after_ms = {}) {
  Outcome outcome;
  outcome.status = status;
  outcome.error = TaskError{std::move(code), std::move(message), retry_after_ms};
  return outcome;
}

/// The answer of one exchange.
class Answering {
 public:
  explicit Answering(http::Exchange& exchange) : exchange_(exchange) {}

  /// The next piece of text, never empty; nothing at the end. Throws when the answer breaks off or is wrong, with the server's words if it
  /// says itself that something failed.
  Awaitable<std::optional<std::string>> next() {
    while (true) {
      std::optional<std::string> text = completion.next();
      if (text || completion.done()) co_return text;
      const bool more = co_await read();
      if (!more) co_return std::nullopt;
    }
  }

  openai::Completion completion;

 private:
  Awaitable<bool> read() {
    Timer last;  // no model has to think about what comes behind the last word: the usage, and that this was all
    const bool whole = completion.outcome.finish_reason.has_value();
    if (whole) last = exchange_.deadline(limits::http_answer, {Errc::timed_out, "it did not end its answer"});
    std::string_view bytes;
    try {
      bytes = co_await exchange_.read();
    } catch (const boost::system::system_error&) {
      if (!whole) throw;  // otherwise what is missing is how the answer was counted
    }
    if (bytes.empty() && !whole) {
      fail(Errc::closed,
           completion.begun() ? "the server ended its answer in the middle" : "the server did not answer with a stream of events");
    }
    completion.push(bytes);
    co_return !bytes.empty();
  }

  http::Exchange& exchange_;
};

}  // namespace

struct OpenAiExecutor::Answer {
  http::Head head;
  std::string body;
};

OpenAiExecutor::OpenAiExecutor(std::string_view where, const Environment& environment, crypto::SecretText key, bool in_clear)
    : environment_(environment),
      key_(where.empty() ? crypto::SecretText() : std::move(key)),
      slots_(usual_slots),
      said_("it is not known yet whether a model server is there"),
      next_look_(environment.clock, environment.loop),
      tasks_(environment.loop) {
  const std::string_view text = key_.view();
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c >= 0x7f; })) {
    fail(Errc::invalid, "the key for the OpenAI-compatible server has blanks or other characters in it that no key has");
  }
  if (where.empty()) {
    for (const std::uint16_t port : usual_ports) {
      candidates_.push_back(std::make_unique<http::Client>(environment, http::BaseUrl{false, "127.0.0.1", port, ""}));
    }
    return;
  }
  const std::size_t hash = where.find('#');
  Result<http::BaseUrl> url = http::parse_base_url(where.substr(0, hash));
  if (hash != std::string_view::npos) only_model_ = where.substr(hash + 1);
  if (!url || (only_model_ && (only_model_->empty() || only_model_->size() > limits::model_name))) {
    fail(Errc::invalid, "'openai:" + std::string(where) + "' is not understood" +
                            (url ? "" : std::string(" (") + url.error().reason + ")") +
                            "; give openai, openai:http://HOST:PORT/v1 or openai:http://HOST:PORT/v1#MODEL");
  }
  if (url->path.ends_with("/v1")) url->path.resize(url->path.size() - 3);
  if (!key_.empty() && !in_clear && !url->tls && url->host != "localhost" && reach_of(url->host) != Reach::loopback) {
    environment.log.write(Logger::Level::warn, "the key in OPENAI_API_KEY is not sent to " + url->text() +
                                                   ", since others on the way could read it; if it is meant for that server, give it "
                                                   "with --openai-key-file");
    key_ = {};
  }
  candidates_.push_back(std::make_unique<http::Client>(environment, *std::move(url)));
}

OpenAiExecutor::~OpenAiExecutor() = default;

std::optional<TaskError> OpenAiExecutor::unready() const {
  if (server_ != nullptr) return std::nullopt;
  return TaskError{"busy", said_, static_cast<std::uint64_t>(try_again.count())};
}

void OpenAiExecutor::start() { tasks_.spawn(keep_fresh()); }

Awaitable<void> OpenAiExecutor::stop() {
  stopping_ = true;
  if (looking_ != nullptr) looking_->close();
  next_look_.notify();
  co_await tasks_.join();
}

Awaitable<void> OpenAiExecutor::keep_fresh() {
  while (!stopping_) {
    co_await look();
    if (stopping_) break;
    const Duration pause = server_ != nullptr ? Duration(limits::models_fresh) : Duration(limits::models_fresh_missing);
    next_look_.set(environment_.clock.now() + pause);
    co_await next_look_.wait();
  }
  next_look_.clear();
}

Awaitable<void> OpenAiExecutor::look() {
  const http::Client* const known = server_;
  std::string tried;
  for (const auto& candidate : candidates_) {
    if (known != nullptr && candidate.get() != known) continue;
    try {
      co_await look_at(*candidate);
      co_return;
    } catch (const boost::system::system_error& error) {
      if (stopping_) co_return;
      // One that was there and is slow now may be thinking: whoever asks it will see.
      if (known != nullptr && is(error, Errc::timed_out)) co_return;
      tried += (tried.empty() ? "" : "; ") + message_of(error);
    }
  }
  server_ = nullptr;
  models_.clear();
  say(Logger::Level::warn, "no OpenAI-compatible server is there; tried " + without_key(tried));
}

Awaitable<void> OpenAiExecutor::look_at(const http::Client& server) {
  const std::string url = server.url().text();
  const Answer answer = co_await get(server, "/v1/models");
  std::vector<std::string> names;
  const bool refused = answer.head.status == 401 || answer.head.status == 403;
  if (answer.head.status == 200) {
    names = model_names(answer.body, url);
  } else if (!refused || candidates_.size() > 1) {  // with a key that it refuses it is there nevertheless, and says so to each task
    fail(Errc::unreachable, url + ": it answers " + std::to_string(answer.head.status) + " to /v1/models: " + reason_in(answer.body));
  }
  if (server_ == nullptr) {
    slots_ = usual_slots;
    try {
      const Answer props = co_await get(server, "/props");
      const std::optional<json::object> object = props.head.status == 200 ? openai::parse(props.body) : std::nullopt;
      const std::uint64_t count = object ? openai::count_in(*object, "total_slots") : 0;
      if (count > 0) slots_ = static_cast<std::size_t>(std::min<std::uint64_t>(count, limits::server_slots));
    } catch (const boost::system::system_error&) {
      if (stopping_) throw;  // others than llama.cpp need not have it
    }
  }
  server_ = &server;
  models_ = offered(std::move(names), only_model_);
  if (refused) {
    say(Logger::Level::warn, url + " refuses the provider's key");
  } else if (only_model_ && models_.empty()) {
    say(Logger::Level::warn, url + " does not have the model " + *only_model_);
  } else {
    say(Logger::Level::info, url + " answers for " + models_there());
  }
}

Awaitable<OpenAiExecutor::Answer> OpenAiExecutor::get(const http::Client& server, std::string path) {
  http::Exchange exchange(server);
  if (stopping_) exchange.close();
  struct Looking {
    http::Exchange*& looking;
    ~Looking() { looking = nullptr; }
  } const looking{looking_ = &exchange};
  const Timer timer = exchange.deadline(limits::http_answer, {Errc::timed_out, "no answer in time"});
  http::Request request;
  request.path = std::move(path);
  request.bearer = key_;
  Answer answer;
  answer.head = co_await exchange.send(std::move(request));
  answer.body = co_await exchange.read_all();
  co_return answer;
}

Awaitable<Outcome> OpenAiExecutor::run(TaskRun& run) {
  if (std::optional<TaskError> busy = unready()) {
    Outcome rejected;
    rejected.status = Status::rejected;
    rejected.error = std::move(busy);
    co_return rejected;
  }
  http::Exchange exchange(*server_);
  struct Stopping {
    TaskRun& run;
    ~Stopping() { run.on_stop(nullptr); }
  } const stopping{run};
  run.on_stop([&exchange] { exchange.close(); });

  http::Request request;
  request.method = "POST";
  request.path = "/v1/chat/completions";
  request.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}};
  request.bearer = key_;
  request.body = request_of(run.task());

  Answering answering(exchange);
  Outcome& said = answering.completion.outcome;
  said.model = model_for(run.task());
  std::string failure;
  bool has_text = false;
  std::exception_ptr unwritten;  // what write() throws is for the provider
  try {
    Answer answer;
    answer.head = co_await exchange.send(std::move(request));
    if (answer.head.status != 200) {
      const Timer timer = exchange.deadline(limits::http_answer, {Errc::timed_out, "no answer in time"});
      std::string_view piece;
      do {
        try {
          piece = co_await exchange.read();
        } catch (const boost::system::system_error&) {
          piece = {};  // the status says enough
        }
        answer.body += piece;
      } while (!piece.empty() && answer.body.size() < limits::http_body);
      if (!run.stopped()) {
        if (answer.head.status == 404) next_look_.notify();
        co_return refusal(answer);
      }
    }
    while (!unwritten && !run.stopped()) {
      const std::optional<std::string> text = co_await answering.next();
      if (!text && !has_text && said.finish_reason == "tool_calls") {
        co_return ended(Status::failed, "executor_failed",
                        "the model wants a tool to be called, and a result has text alone; leave `tools` out");
      }
      if (!text) {
        Outcome completed = std::move(said);
        co_return completed;
      }
      has_text = has_text || !text->empty();
      try {
        co_await run.write(*text);
      } catch (const boost::system::system_error&) {
        unwritten = std::current_exception();
      }
    }
  } catch (const boost::system::system_error& error) {
    failure = message_of(error);
    if (is(error, Errc::unreachable)) next_look_.notify();
  }
  if (unwritten) std::rethrow_exception(unwritten);
  Outcome outcome = std::move(said);
  if (run.stopped()) {
    outcome.status = Status::cancelled;
  } else {
    outcome.status = Status::failed;
    outcome.error = TaskError{"executor_failed", without_key(failure), {}};
  }
  co_return outcome;
}

std::optional<std::string> OpenAiExecutor::model_for(const Task& task) const {
  const std::optional<std::string> named = task.model();
  if (named && !(models_.empty() && *named == name())) return named;
  if (only_model_) return only_model_;
  return models_.empty() ? std::nullopt : std::optional(models_.front());
}

std::string OpenAiExecutor::request_of(const Task& task) const {
  json::object request;
  for (const auto& [key, value] : task.input) {
    if (!value.is_null()) request[key] = value;
  }
  if (request.erase("prompt") > 0) request["messages"] = json::array{json::object{{"role", "user"}, {"content", task.prompt()}}};
  request.erase("model");
  request.erase("n");  // a result holds one answer, and more would cost for nothing
  if (const auto model = model_for(task)) request["model"] = *model;
  request["stream"] = true;
  request["stream_options"] = json::object{{"include_usage", true}};
  return json::serialize(request);
}

Outcome OpenAiExecutor::refusal(const Answer& answer) const {
  const std::string reason = reason_in(answer.body);
  switch (answer.head.status) {
    case 400:
    case 422: return ended(Status::rejected, "invalid_task", reason);
    case 401:
    case 403: return ended(Status::failed, "executor_failed", "the model server refused the provider's key; tell the provider: " + reason);
    case 404: return ended(Status::rejected, "unsupported_model", reason + "; there are: " + models_there());
    case 413: return ended(Status::rejected, "too_large", reason);
    case 429: {
      const auto wait = http::retry_after(answer.head, environment_.clock.date()).value_or(try_again);
      return ended(Status::rejected, "busy", reason, static_cast<std::uint64_t>(wait.count()));
    }
    default:
      return ended(Status::failed, "executor_failed", "the model server failed with " + std::to_string(answer.head.status) + ": " + reason);
  }
}

std::string OpenAiExecutor::reason_in(std::string_view body) const {
  const std::optional<json::object> object = openai::parse(std::string(body));
  std::string reason = object ? openai::error_in(*object).value_or("") : repair_utf8(body);
  reason = without_key(reason);
  reason = cut_text(reason, limits::text_shown);
  return reason.empty() ? "no reason given" : reason;
}

// Servers like to repeat a key that they refuse, or its beginning and end.
std::string OpenAiExecutor::without_key(std::string_view text) const {
  const std::string_view key = key_.view();
  const std::string_view beginning = key.substr(0, 6);
  if (beginning.empty()) return std::string(text);
  std::string out;
  for (std::size_t at = text.find(beginning); at != std::string_view::npos; at = text.find(beginning)) {
    out.append(text.substr(0, at)).append("[key]");
    text.remove_prefix(at);
    const std::size_t known = text.starts_with(key) ? key.size() : beginning.size();  // a key may hold what ends one
    text.remove_prefix(std::min(text.find_first_of(" \t\r\n\"',;", known), text.size()));
  }
  return out.append(text);
}

std::string OpenAiExecutor::models_there() const {
  std::string list;
  for (const std::string& model : models_) {
    if (list.size() + model.size() > limits::text_shown) return without_key(list) + ", …";
    list += (list.empty() ? "" : ", ") + model;
  }
  return list.empty() ? "no models" : without_key(list);
}

void OpenAiExecutor::say(Logger::Level level, std::string what) {
  if (said_ == what) return;
  said_ = std::move(what);
  environment_.log.write(std::max(level, said_at_), "openai: " + said_);  // whoever hears of a problem hears of its end
  said_at_ = level;
}

}  // namespace p2p
