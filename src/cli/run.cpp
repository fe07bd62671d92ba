#include "base/limits.hpp"
#include "cli/session.hpp"
#include "task/manager.hpp"

#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>

namespace p2p::cli {
namespace {

namespace json = boost::json;

std::string read_prompt(const RunOptions& options) {
  if (options.prompt && *options.prompt != "-") return *options.prompt;
  if (!options.prompt && isatty(STDIN_FILENO) != 0) {
    throw Failure(Exit::usage, "there is no prompt: give one as argument, or `-` to read it from standard input");
  }
  std::string prompt{std::istreambuf_iterator<char>(std::cin), {}};
  if (prompt.ends_with('\n')) prompt.pop_back();
  return prompt;
}

/// One task, from the search for a provider to the answer on standard output.
class Course {
 public:
  Course(Session& session, const RunOptions& options, std::vector<PeerName> named, std::string prompt)
      : session_(session),
        options_(options),
        named_(std::move(named)),
        manager_(session.agent()),
        task_(manager_.make_task(std::move(prompt))) {
    task_.timeout_ms = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(options_.timeout_s * 1000));
    task_.stream = options_.stream;
  }

  Awaitable<Exit> go() {
    start_ = session_.now();
    const Time deadline = start_ + seconds_of(options_.wait_s);
    std::vector<PeerId> wanted;
    for (const PeerName& peer : named_) {
      if (!peer.address) {
        wanted.push_back(*peer.id);
      } else if (co_await attempt(peer, deadline)) {
        co_return show();
      }
    }
    while (named_.empty() || !wanted.empty()) {
      const std::optional<PeerId> found = co_await session_.next_discovered(deadline);
      if (!found) break;
      if (!named_.empty() && std::erase(wanted, *found) == 0) continue;
      if (co_await attempt({std::nullopt, *found}, deadline)) co_return show();
    }
    throw failure_ ? *failure_ : session_.nobody(wanted.empty() ? std::nullopt : std::optional(wanted.front()));
  }

 private:
  /// Asks one peer. False when it is not to be had, and why in failure_. From the moment that the task was sent every failure is final.
  Awaitable<bool> attempt(PeerName peer, Time deadline) {
    try {
      found_ = session_.now();
      provider_ = co_await session_.connect(peer, deadline);
      connected_ = session_.now();
    } catch (const boost::system::system_error& error) {
      failure_ = connect_failure_of(error);
      co_return false;
    }
    bool sent = false;
    const std::function<void(const Update&)> on_update = [this](const Update& update) { show(update); };
    const std::function<void(const std::string&)> on_sent = [&sent](const std::string&) { sent = true; };
    try {
      answer_ = co_await manager_.submit(provider_, task_, on_update, on_sent);
      answered_ = session_.now();
      co_return true;
    } catch (const boost::system::system_error& error) {
      if (is(error, Errc::unsupported)) {
        failure_ = Failure(Exit::no_peer, provider_.text() + " does not run tasks: start a provider with `p2p-agent serve`");
      } else if (sent) {
        end_line();
        throw Failure(failure_of(error).exit, "no result from " + provider_.text() + ": " + with_advice(error) + shown_hint());
      } else if (is(error, Errc::invalid)) {
        throw failure_of(error);
      } else {
        failure_ = connect_failure_of(error);
      }
    }
    session_.agent().disconnect(provider_);
    co_return false;
  }

  void show(const Update& update) {
    json::object event{{"event", "update"}, {"seq", update.seq}};
    if (update.text) event["text"] = *update.text;
    if (update.state) event["state"] = *update.state;
    if (update.position) event["position"] = *update.position;
    session_.console().event(event);
    if (!update.text) return;
    session_.console().output(*update.text);
    shown_ += *update.text;
  }

  Exit show() {
    const TaskResult& result = answer_.result;
    json::object event{{"event", "result"}, {"status", name_of(result.status)}};
    if (result.text) event["text"] = *result.text;
    if (result.error) {
      json::object& error = event["error"].emplace_object();
      error["code"] = result.error->code;
      error["message"] = result.error->message;
      if (result.error->retry_after_ms) error["retry_after_ms"] = *result.error->retry_after_ms;
    }
    event["provider"] = provider_.text();
    event["task_id"] = task_.task_id;
    if (!result.executor.empty()) event["executor"] = result.executor;
    if (result.model) event["model"] = *result.model;
    if (result.finish_reason) event["finish_reason"] = *result.finish_reason;
    event["timings"] = json::object{{"discover_ms", milliseconds_of(found_ - start_)},
                                    {"connect_ms", milliseconds_of(connected_ - found_)},
                                    {"task_ms", milliseconds_of(answered_ - connected_)}};
    session_.console().event(event);
    if (result.text && !options_.stream) {
      session_.console().output(*result.text);
      shown_ = *result.text;
    }
    end_line();
    if (result.status == Status::completed) return Exit::done;
    const std::string message = std::string(name_of(result.status)) + " by " + provider_.text() + ", " + result.error->code + ": " +
                                std::string(cut_text(result.error->message, limits::text_shown));
    throw Failure(result.error->code == "deadline_exceeded" ? Exit::timeout : Exit::not_completed, message, true);
  }

  /// Output that does not end its last line is given the line feed that a terminal and a pipe expect.
  void end_line() {
    if (!shown_.empty() && shown_.back() != '\n') session_.console().output("\n");
  }

  std::string shown_hint() const { return shown_.empty() ? "" : "; what was printed so far is not confirmed"; }

  Session& session_;
  const RunOptions& options_;
  const std::vector<PeerName> named_;
  TaskManager manager_;
  Task task_;
  PeerId provider_;
  Answer answer_;
  std::string shown_;
  std::optional<Failure> failure_;
  Time start_{};
  Time found_{};
  Time connected_{};
  Time answered_{};
};

}  // namespace

Exit run(const RunOptions& options) {
  std::vector<PeerName> named;
  for (const std::string& text : options.peers) named.push_back(parse_peer(text));
  const bool mdns = named.empty() || std::any_of(named.begin(), named.end(), [](const PeerName& peer) { return !peer.address; });
  std::string prompt = read_prompt(options);
  Session session(options, mdns);
  Course course(session, options, std::move(named), std::move(prompt));
  return session.run([&course] { return course.go(); });
}

}  // namespace p2p::cli
