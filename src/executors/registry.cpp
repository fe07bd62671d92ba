#include "executors/registry.hpp"

#include "executors/command.hpp"
#include "executors/mock.hpp"
#include "executors/openai.hpp"
#include "executors/worker.hpp"

#include <array>

namespace p2p {
namespace {

struct Kind {
  std::string_view name;
  std::string_view synopsis;
  bool needs_permission;
  std::unique_ptr<Executor> (*make)(std::string_view rest, const Environment& environment, const ExecutorSettings& settings);
};

std::unique_ptr<Executor> make_mock(std::string_view rest, const Environment&, const ExecutorSettings&) {
  return std::make_unique<MockExecutor>(parse_mock_options(rest));
}

std::unique_ptr<Executor> make_program(std::string_view rest, bool worker, const Environment& environment,
                                       const ExecutorSettings& settings) {
  std::vector<std::string> words = split_words(rest);
  std::string name = words.empty() ? std::string() : file_name(words.front());
  return make_command_executor(std::move(name), std::move(words), worker, environment, settings);
}

std::unique_ptr<Executor> make_command(std::string_view rest, const Environment& environment, const ExecutorSettings& settings) {
  return make_program(rest, false, environment, settings);
}

std::unique_ptr<Executor> make_worker(std::string_view rest, const Environment& environment, const ExecutorSettings& settings) {
  return make_program(rest, true, environment, settings);
}

std::unique_ptr<Executor> make_openai(std::string_view rest, const Environment& environment, const ExecutorSettings& settings) {
  return std::make_unique<OpenAiExecutor>(rest, environment, settings.openai_key, settings.openai_key_in_clear);
}

constexpr std::array kinds{
    Kind{"mock", "mock[:delay=MS,pieces=N]", false, make_mock},
    Kind{"command", "command:PROGRAM ARG…", true, make_command},
    Kind{"worker", "worker:PROGRAM ARG…", true, make_worker},
    Kind{"openai", "openai[:BASE_URL[#MODEL]]", true, make_openai},
};

const Kind& kind_of(std::string_view spec) {
  const std::string_view name = spec.substr(0, spec.find(':'));
  for (const Kind& kind : kinds) {
    if (kind.name == name) return kind;
  }
  fail(Errc::invalid, "'" + std::string(spec) + "' is no executor; there are " + executor_kinds());
}

}  // namespace

std::unique_ptr<Executor> make_executor(std::string_view spec, const Environment& environment, const ExecutorSettings& settings) {
  const Kind& kind = kind_of(spec);
  const std::string_view rest = spec.substr(std::min(spec.size(), kind.name.size() + 1));
  return kind.make(rest, environment, settings);
}

std::unique_ptr<Executor> make_command_executor(std::string name, std::vector<std::string> arguments, bool worker,
                                                const Environment& environment, const ExecutorSettings& settings) {
  Program program = find_program(std::move(arguments));
  if (worker) return std::make_unique<WorkerExecutor>(environment, std::move(name), std::move(program), settings.command_output);
  return std::make_unique<CommandExecutor>(std::move(name), std::move(program), settings.command_output);
}

bool needs_permission(std::string_view spec) { return kind_of(spec).needs_permission; }

std::string executor_kinds() {
  std::string list;
  for (const Kind& kind : kinds) list += (list.empty() ? "" : ", ") + std::string(kind.synopsis);
  return list;
}

}  // namespace p2p
