#pragma once
// The executor that has tasks answered by a server of OpenAI's chat API: llama.cpp, Ollama, vLLM, LM Studio, LocalAI or OpenAI itself.

#include "crypto/crypto.hpp"
#include "task/executor.hpp"

#include <memory>

namespace p2p {

namespace http {
class Client;
class Exchange;
struct BaseUrl;
}  // namespace http

/// What a task's input holds goes to the server's /chat/completions as it is, but that a prompt becomes a message of the user and that the
/// answer is always streamed: a server that streams sees when nobody listens any more. The models are the server's.
class OpenAiExecutor final : public Executor {
 public:
  /// `where` is BASE_URL or BASE_URL#MODEL; empty, it looks on this machine where such servers usually are. The key, if there is one, is
  /// sent only to a server that BASE_URL names, and stands in no message. Unless it may go `in_clear`, it goes to another machine over TLS
  /// alone, and a warning tells when it does not. Throws invalid. What environment refers to outlives the executor.
  OpenAiExecutor(std::string_view where, const Environment& environment, crypto::SecretText key, bool in_clear = true);
  ~OpenAiExecutor() override;

  std::string_view name() const override { return "openai"; }
  std::vector<std::string> models() const override { return models_; }
  std::optional<TaskError> unready() const override;
  /// Known once the server has answered; it may change with each one that is found.
  std::size_t slots() const override { return slots_; }
  void start() override;
  Awaitable<void> stop() override;
  Awaitable<Outcome> run(TaskRun& run) override;

 private:
  struct Answer;

  Awaitable<void> keep_fresh();
  Awaitable<void> look();
  Awaitable<void> look_at(const http::Client& server);
  Awaitable<Answer> get(const http::Client& server, std::string path);
  std::string request_of(const Task& task) const;
  std::optional<std::string> model_for(const Task& task) const;
  Outcome refusal(const Answer& answer) const;
  std::string reason_in(std::string_view body) const;
  std::string without_key(std::string_view text) const;
  std::string models_there() const;
  void say(Logger::Level level, std::string what);

  const Environment environment_;
  crypto::SecretText key_;
  std::vector<std::unique_ptr<http::Client>> candidates_;
  std::optional<std::string> only_model_;
  const http::Client* server_ = nullptr;  // one of them, while it is there
  std::vector<std::string> models_;
  std::size_t slots_;
  std::string said_;  // of the server's state, last
  Logger::Level said_at_ = Logger::Level::info;
  http::Exchange* looking_ = nullptr;  // what a look waits for
  bool stopping_ = false;
  Alarm next_look_;
  TaskGroup tasks_;
};

}  // namespace p2p
