#pragma once
// The kinds of executors there are, and how the command line names them. Another kind is a file of its own and a line in registry.cpp.

#include "crypto/crypto.hpp"
#include "task/executor.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace p2p {

/// What an executor is made of beside its spec.
struct ExecutorSettings {
  crypto::SecretText openai_key;                        ///< sent to OpenAI-compatible servers; empty: none
  bool openai_key_in_clear = false;                     ///< to other machines without TLS as well
  std::size_t command_output = limits::command_output;  ///< bytes of result text that a command or worker may write
};

/// One executor from "KIND" or "KIND:REST", such as "mock:delay=200". The environment outlives it. Throws invalid, saying what is
/// understood.
std::unique_ptr<Executor> make_executor(std::string_view spec, const Environment& environment, const ExecutorSettings& settings = {});

/// The program that `arguments` begin with, as the executor "command" (or "worker") that offers the model `name`; for `serve --as NAME --
/// PROGRAM ARG…`. The environment outlives it. Throws invalid, saying what to do.
std::unique_ptr<Executor> make_command_executor(std::string name, std::vector<std::string> arguments, bool worker,
                                                const Environment& environment, const ExecutorSettings& settings = {});

/// Whether executors of this spec do work that only those should ask for who were allowed to.
bool needs_permission(std::string_view spec);

/// The specs that make_executor() takes, for people.
std::string executor_kinds();

}  // namespace p2p
