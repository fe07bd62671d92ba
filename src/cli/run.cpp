#include "base/limits.hpp"
#include "cli/survey.hpp"
#include "task/files.hpp"
#include "task/manager.hpp"
#include "task/receipt.hpp"

#include <unistd.h>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>

namespace p2p::cli {
namespace {

namespace json = boost::json;

/// Whoever runs a model goes first: a mock waits for others that were found and have not answered yet, so long, and for others to be found,
/// so long after the last one was. Running agents answer a search within milliseconds of each other.
constexpr std::chrono::milliseconds mock_patience{250};
constexpr std::size_t types_told = 16;  // of what others take, where nobody takes the task
constexpr std::chrono::milliseconds mock_quiet{8};

/// Of what a peer says, as much as fits into a sentence of ours.
std::string shortened(std::string_view text) { return std::string(cut_text(text, limits::text_shown)); }

/// A file as a whole, or standard input. Throws Failure (usage) when it is more than a task can hold.
std::string read_all(const std::string& path) {
  const Bytes bytes =
      path == "-" ? read_descriptor(STDIN_FILENO, limits::task_frame, "standard input") : read_file(path, limits::task_frame);
  if (bytes.size() > limits::task_frame) throw Failure(Exit::usage, "that is more than a task can hold (4 MiB)");
  return std::string(as_text(bytes));
}

json::object read_input(const std::string& path) {
  const std::string text = read_all(path);
  Result<json::object> input = parse_json(as_bytes(text));
  if (!input) throw Failure(Exit::usage, "'" + path + "' holds no JSON object that a task can carry: " + input.error().reason);
  return *std::move(input);
}

std::string read_prompt(const RunOptions& options) {
  if (options.prompt && *options.prompt != "-") return *options.prompt;
  if (!options.prompt && isatty(STDIN_FILENO) != 0) {
    throw Failure(Exit::usage, "there is no prompt: give one as argument, or `-` to read it from standard input");
  }
  std::string prompt = read_all("-");
  if (prompt.ends_with('\n')) prompt.pop_back();
  return prompt;
}

/// What the task is to work on, of a file, a prompt and the options that models understand.
json::object make_input(const RunOptions& options) {
  json::object input;
  if (!options.input.empty()) input = read_input(options.input);
  const bool inference_task = options.task_type == inference;
  const bool complete = input.contains("prompt") || input.contains("messages") || (!options.input.empty() && !inference_task);
  if (complete && options.prompt) throw Failure(Exit::usage, "the prompt stands in '" + options.input + "' already; give one of the two");
  if (!complete) input["prompt"] = read_prompt(options);
  if (options.system) {
    json::array messages;
    messages.push_back({{"role", "system"}, {"content", *options.system}});
    if (json::value* const given = input.if_contains("messages"); given != nullptr && given->is_array()) {
      for (json::value& message : given->get_array()) messages.push_back(std::move(message));
    } else if (json::value* const prompt = input.if_contains("prompt")) {
      messages.push_back({{"role", "user"}, {"content", std::move(*prompt)}});
      input.erase("prompt");
    }
    input["messages"] = std::move(messages);
  }
  if (options.model) input["model"] = *options.model;
  if (options.max_tokens) input["max_tokens"] = *options.max_tokens;
  if (options.temperature && !(*options.temperature >= 0 && *options.temperature <= 1e6)) {  // nor is it NaN
    throw Failure(Exit::usage, "--temperature takes a number from 0 to 1000000");
  }
  if (options.temperature) input["temperature"] = *options.temperature;
  if (options.seed) input["seed"] = *options.seed;
  return input;
}

bool has(const std::vector<std::string>& list, const std::string& text) { return std::find(list.begin(), list.end(), text) != list.end(); }

/// One task, from the search for a provider to the answer on standard output.
class Course {
 public:
  Course(Session& session, const RunOptions& options, std::vector<PeerName> named, json::object input)
      : session_(session), options_(options), named_(std::move(named)), manager_(session.agent()), task_(manager_.make_task("")) {
    if (!options_.receipt.empty()) receipt_.emplace(options_.receipt);  // what can't be written is known before anything runs
    task_.task_type = options_.task_type;
    task_.input = std::move(input);
    task_.timeout_ms = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout).count()));
    task_.stream = options_.stream.value_or(output_is_terminal() && !options_.json);
    if (const ParsedTask parsed = parse_task(as_bytes(task_.to_json())); !parsed.task) {
      const bool no_text = parsed.problem.starts_with("not valid JSON");
      throw Failure(Exit::usage, "no provider would take this task: " + (no_text ? "a text in it is not UTF-8" : parsed.problem));
    }
    model_ = task_.model();
  }

  Awaitable<Exit> go() {
    start_ = session_.now();
    const Time deadline = start_ + options_.wait;
    const Exit exit = named_.empty() ? co_await ask_whoever_fits(deadline) : co_await ask_named(deadline);
    co_return exit;
  }

 private:
  Awaitable<Exit> ask_named(Time deadline) {
    const Time enough = start_ + options_.timeout;
    Duration pause = limits::retry_pause;
    std::vector<PeerName> asked = named_;
    for (bool again = false;; again = true) {
      if (again) deadline = session_.now() + options_.wait;
      std::vector<PeerName> unreached;
      for (const PeerName& peer : asked) {
        const Attempt attempt = co_await ask(peer, deadline, again);
        if (attempt == Attempt::answered) co_return show();
        if (attempt == Attempt::unreached) unreached.push_back(peer);
      }
      if (retries_ == 0 || unreached.empty() || session_.now() + pause >= enough) throw *failure_;
      co_await session_.pause(pause);
      note_retry(why_);
      pause = std::min<Duration>(2 * pause, limits::retry_pause_max);
      asked = std::move(unreached);
    }
  }

  enum class Attempt {
    answered,
    unreached,  // as yet
    failed
  };

  Attempt fail_to_connect(const boost::system::system_error& error) {
    Failure failure = connect_failure_of(error);
    const bool passing = failure.exit == Exit::connection;
    if (passing) why_ = message_of(error);
    // Of several peers' failures the last one is told, but that somebody else answered where one was expected.
    if (!failure_ || failure_->exit != Exit::unverified) failure_ = std::move(failure);
    return passing ? Attempt::unreached : Attempt::failed;
  }

  void note_retry(const std::string& why) {
    --retries_;
    session_.console().remark("trying again: " + shortened(why));
  }

  Awaitable<Exit> ask_whoever_fits(Time deadline) {
    Survey survey(session_, deadline);
    survey_ = &survey;
    std::exception_ptr problem;
    std::optional<Exit> exit;
    try {
      while (std::optional<Surveyed> provider = co_await next_fit(survey)) {
        name_ = provider->info->name.value_or("");
        found_ = provider->found;
        connected_ = provider->connected;
        manager_.trust(provider->peer);  // its info offers what the task asks for
        failure_.reset();
        const Attempt attempt = co_await submit(provider->peer, {});
        if (attempt != Attempt::answered) {
          lost_ = failure_;
          continue;
        }
        exit = show();
        break;
      }
    } catch (...) {
      problem = std::current_exception();
    }
    co_await survey.end();
    survey_ = nullptr;
    if (problem) std::rethrow_exception(problem);
    if (exit) co_return *exit;
    throw nobody_fits();
  }

  /// The next provider to ask. A mock is the last of those that were found together.
  Awaitable<std::optional<Surveyed>> next_fit(Survey& survey) {
    while (true) {
      Time patience = Time::max();
      if (!mocks_.empty()) patience = survey.asking() > 0 ? mocks_since_ + mock_patience : survey.last_found() + mock_quiet;
      std::optional<Surveyed> answer = co_await survey.next(patience);
      if (!answer && survey.asking() > 0 && session_.now() < mocks_since_ + mock_patience) continue;  // found in the quiet meanwhile
      if (!answer) break;
      if (answer->failure) failure_ = answer->failure;
      if (!answer->info) continue;
      const Fit fit = fit_of(*answer);
      if (fit == Fit::real) co_return answer;
      if (fit == Fit::none) continue;
      if (mocks_.empty()) mocks_since_ = session_.now();
      mocks_.push_back(*std::move(answer));
    }
    if (mocks_.empty()) co_return std::nullopt;
    Surveyed mock = std::move(mocks_.front());
    mocks_.erase(mocks_.begin());
    co_return mock;
  }

  enum class Fit { none, mock, real };

  /// Whether a peer takes the task. What those that don't have is kept, to be told.
  Fit fit_of(const Surveyed& answer) {
    if (answer.info->may_ask == false) {
      refusals_.push_back(answer.peer);
      return Fit::none;
    }
    Fit fit = Fit::none;
    const std::vector<Offer>& offers = answer.info->executors;
    const auto of_type = [this](const Offer& offer) { return offer.task_type == task_.task_type; };
    const bool has_several = std::count_if(offers.begin(), offers.end(), of_type) > 1;
    for (const Offer& offer : offers) {
      if (types_.size() < types_told) types_.insert(offer.task_type);
      if (!of_type(offer)) continue;
      std::string& has_models = offered_[answer.peer.short_text()];
      const std::vector<std::string> models = names_of(offer);
      for (const std::string& model : models) has_models += (has_models.empty() ? "" : ", ") + model;
      if (model_ && !has(models, *model_)) continue;
      if (!model_ && has_several && (offer.executor == "command" || offer.executor == "worker"))
        continue;  // which it runs for its name alone
      if (fit == Fit::none) fit = offer.executor == "mock" ? Fit::mock : Fit::real;
    }
    return fit;
  }

  Failure nobody_fits() const {
    if (lost_) return *lost_;
    if (!offered_.empty()) {
      std::string who;
      for (const auto& [peer, models] : offered_)
        who += (who.empty() ? "" : "; ") + peer + " has " + (models.empty() ? "none yet" : shortened(models));
      const std::string problem = model_ ? "no agent here has the model '" + *model_ + "'" : "the task has to name what is to run it";
      return {Exit::no_peer, problem + ": " + who + "; name one of these with --model"};
    }
    if (!refusals_.empty()) return session_.refused_by(refusals_.front());
    if (!types_.empty()) {
      std::string there_are;
      for (const std::string& type : types_) there_are += (there_are.empty() ? "" : ", ") + shortened(type);
      return {Exit::no_peer, "no agent here takes tasks of type " + options_.task_type + "; there are: " + there_are};
    }
    if (failure_) return *failure_;
    return session_.nobody();
  }

  /// Asks one peer that the user named. When it is not to be had, why is in failure_.
  Awaitable<Attempt> ask(PeerName peer, Time deadline, bool again) {
    PeerId provider;
    try {
      co_await session_.find(peer, deadline);
      found_ = session_.now();
      provider = co_await session_.connect(peer, deadline);
      manager_.trust(provider);
      connected_ = session_.now();
    } catch (const boost::system::system_error& error) {
      co_return fail_to_connect(error);
    } catch (const Failure& not_found) {
      if (again) co_return Attempt::unreached;  // it was heard of, and is not at once again
      failure_ = not_found;
      co_return Attempt::failed;
    }
    std::vector<Multiaddr> addresses;
    if (peer.address) addresses.push_back(*peer.address);
    co_return co_await submit(provider, std::move(addresses));
  }

  /// As above, for a peer that is connected. From the moment that the task was sent every failure is final.
  Awaitable<Attempt> submit(PeerId provider, std::vector<Multiaddr> addresses) {
    provider_ = provider;
    Attempt attempt = Attempt::failed;
    bool sent = false;
    const std::function<void(const Update&)> on_update = [this](const Update& update) { show(update); };
    const std::function<void(const std::string&)> on_sent = [&](const std::string&) {
      sent = true;
      if (survey_ != nullptr) survey_->stop();
    };
    Retries retries;
    retries.times = retries_;
    retries.addresses = std::move(addresses);
    retries.on_retry = [this](const std::string& why) { note_retry(why); };
    try {
      answer_ = co_await manager_.submit(provider_, task_, on_update, on_sent, std::move(retries));
      answered_ = session_.now();
      co_return Attempt::answered;
    } catch (const boost::system::system_error& error) {
      // Who said that it takes tasks, and does not want to have said so once it has one, has the prompt.
      const bool deceived = sent && survey_ != nullptr;
      if (is(error, Errc::unsupported) && !deceived) {
        failure_ = Failure(Exit::no_peer, provider_.text() + " does not run tasks: start a provider with `p2p-agent serve`");
      } else if (sent) {
        end_line();
        const Exit exit = is(error, Errc::unsupported) ? Exit::connection : failure_of(error).exit;
        throw Failure(exit, "no result from " + provider_.text() + ": " + with_advice(error) + shown_hint());
      } else if (is(error, Errc::invalid)) {
        throw failure_of(error);
      } else {
        attempt = fail_to_connect(error);
      }
    }
    session_.agent().disconnect(provider_);
    co_return attempt;
  }

  void show(const Update& update) {
    json::object event{{"event", "update"}, {"seq", update.seq}};
    if (update.text) event["text"] = *update.text;
    if (update.data) event["data"] = *update.data;
    if (update.state) event["state"] = *update.state;
    if (update.position) event["position"] = *update.position;
    session_.console().event(event);
    if (update.position) session_.console().remark("waiting, with " + std::to_string(*update.position) + " before");
    if (!update.text) return;
    session_.console().output(*update.text);
    shown_ += *update.text;
  }

  Exit show() {
    const TaskResult& result = answer_.result;
    json::object event{{"event", "result"}, {"status", name_of(result.status)}};
    if (result.text) event["text"] = *result.text;
    if (result.output) event["output"] = *result.output;
    if (result.error) {
      json::object& error = event["error"].emplace_object();
      error["code"] = result.error->code;
      error["message"] = result.error->message;
      if (result.error->retry_after_ms) error["retry_after_ms"] = *result.error->retry_after_ms;
    }
    event["provider"] = provider_.text();
    if (!name_.empty()) event["name"] = name_;
    event["task_id"] = task_.task_id;
    if (!result.executor.empty()) event["executor"] = result.executor;
    if (result.model) event["model"] = *result.model;
    if (result.finish_reason) event["finish_reason"] = *result.finish_reason;
    if (result.usage) {
      event["usage"] = json::object{{"prompt_tokens", result.usage->prompt_tokens}, {"completion_tokens", result.usage->completion_tokens}};
    }
    event["timings"] = json::object{{"discover_ms", milliseconds_of(found_ - start_)},
                                    {"connect_ms", milliseconds_of(connected_ - found_)},
                                    {"task_ms", milliseconds_of(answered_ - connected_)}};
    session_.console().event(event);
    if (result.text && !task_.stream) {
      session_.console().output(*result.text);
      shown_ = *result.text;
    }
    if (result.output) {
      end_line();
      shown_ = json::serialize(*result.output);
      session_.console().output(shown_);
    }
    end_line();
    say_who_answered();
    keep_receipt();
    if (result.status == Status::completed) return Exit::done;
    const std::string message = std::string(name_of(result.status)) + " by " + provider_.text() + ", " + shortened(result.error->code) +
                                ": " + shortened(result.error->message) +
                                (result.error->code == "not_allowed" ? session_.identity_hint() : "");
    throw Failure(result.error->code == "deadline_exceeded" ? Exit::timeout : Exit::not_completed, message, true);
  }

  void keep_receipt() {
    if (!receipt_) return;
    try {
      receipt_->commit(make_receipt(answer_.task_envelope, answer_.result_envelope));
    } catch (const boost::system::system_error& error) {
      throw Failure(Exit::usage, "the task has its result, and its receipt is not kept: " + message_of(error));
    }
  }

  void say_who_answered() const {
    const TaskResult& result = answer_.result;
    if (result.executor.empty()) return;
    std::string line =
        (name_.empty() ? "" : name_ + " ") + provider_.text().substr(0, 4) + provider_.short_text() + " · " + shortened(result.executor);
    if (result.model) line += " " + shortened(*result.model);
    line += " · " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(answered_ - connected_).count()) + " ms";
    if (result.executor == "mock") line += " · a mock answered, no model ran";
    session_.console().remark(line);
  }

  /// Output that does not end its last line is given the line feed that a terminal and a pipe expect.
  void end_line() {
    if (!shown_.empty() && shown_.back() != '\n') session_.console().output("\n");
  }

  std::string shown_hint() const { return shown_.empty() ? "" : "; what was printed so far is not confirmed"; }

  Session& session_;
  const RunOptions& options_;
  const std::vector<PeerName> named_;
  unsigned retries_ = options_.retries;  // that are left
  TaskManager manager_;
  Survey* survey_ = nullptr;  // while nobody was named, and it is asked who fits
  Task task_;
  std::optional<std::string> model_;
  PeerId provider_;
  std::string name_;  // of the provider, where it has one
  Answer answer_;
  std::string shown_;
  std::optional<DurableFile> receipt_;
  std::optional<Failure> failure_;
  std::optional<Failure> lost_;                 // why one that would have taken the task did not get it
  std::string why_;                             // it could not connect, without advice
  std::vector<Surveyed> mocks_;                 // that wait to be asked
  std::map<std::string, std::string> offered_;  // by peer, the models that there are
  std::set<std::string> types_;                 // of tasks that somebody takes
  std::vector<PeerId> refusals_;                // who runs nothing for us
  Time start_{};
  Time mocks_since_{};
  Time found_{};
  Time connected_{};
  Time answered_{};
};

}  // namespace

Exit run(const RunOptions& options) {
  std::vector<PeerName> named;
  for (const std::string& text : options.peers) named.push_back(parse_peer(text));
  const bool mdns = named.empty() || std::any_of(named.begin(), named.end(), [](const PeerName& peer) { return !peer.address; });
  json::object input = make_input(options);
  Session session(options, mdns);
  Course course(session, options, std::move(named), std::move(input));
  return session.run([&course] { return course.go(); });
}

}  // namespace p2p::cli
