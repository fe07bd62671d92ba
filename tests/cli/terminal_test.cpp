// What a peer says, on the terminal and in the log of somebody else.

#include "base/limits.hpp"
#include "network/protocol.hpp"
#include "network/system.hpp"
#include "support/keys.hpp"
#include "support/program.hpp"
#include "task/manager.hpp"
#include "task/sealing.hpp"

#if __has_include(<pty.h>)
#include <pty.h>
#else
#include <util.h>
#endif
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>

namespace p2p::test {
namespace {

// A title, a bell, a cleared screen, a colour in the one byte that some terminals take for ESC [, a line over the last one, text that
// runs from right to left from here on, in both ways to say so, and two dashes, which are their neighbours and no harm.
const std::string paint =
    "\x1b]0;mine\x07\x1b[2J\xc2\x9b"
    "31m\rgone\x08\x7f \xe2\x80\xae\xe2\x81\xa7 \xe2\x80\x93\xe2\x80\x94";
const std::string paint_shown = "\\x1b]0;mine\\x07\\x1b[2J\\x9b31m\\x0dgone\\x08\\x7f \\u202e\\u2067 \xe2\x80\x93\xe2\x80\x94";

/// What is painted somewhere in a text. A terminal shows colours of our own and ends lines with CR LF, which is neither.
std::string brush_in(const std::string& text) {
  for (const char* const brush : {"\x1b]", "\x1b[2J", "\xc2\x9b", "\x07", "\x08", "\x7f", "\rgone", "\xe2\x80\xae", "\xe2\x81\xa7"}) {
    if (text.find(brush) != std::string::npos) return brush;
  }
  return {};
}

/// The first character in a pipe that acts on whoever shows it, and what follows; a line feed is none.
std::string control_in(const std::string& text) {
  const auto byte = [&text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool c1 = byte(i) == 0xc2 && byte(i + 1) < 0xa0;
    const std::string_view three = std::string_view(text).substr(i, 3);
    const bool turns = (three >= "\xe2\x80\xaa" && three <= "\xe2\x80\xae") || (three >= "\xe2\x81\xa6" && three <= "\xe2\x81\xa9");
    if ((byte(i) < 0x20 && byte(i) != '\n') || byte(i) == 0x7f || c1 || turns) return text.substr(i);
  }
  return {};
}

/// What a terminal gets to see of the program. Nothing where there are no terminals.
std::optional<std::string> on_terminal(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::string interface = "P2P_AGENT_INTERFACE=lo";
  std::string kind = "TERM=xterm";
  std::vector<char*> envp{interface.data(), kind.data()};
  for (char** variable = environ; *variable != nullptr; ++variable) envp.push_back(*variable);
  envp.push_back(nullptr);
  int terminal = -1;
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid < 0) return std::nullopt;
  if (pid == 0) {  // another thread may have been in the middle of something: nothing is allocated here
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  std::string shown;
  char part[4096];
  while (true) {
    const ssize_t count = read(terminal, part, sizeof part);
    if (count <= 0) break;  // Linux: an error when the other side has closed
    shown.append(part, static_cast<std::size_t>(count));
  }
  close(terminal);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << shown;
  return shown;
}

TEST(Terminal, IsNotPaintedByAPeer) {
  const Serving serving({"--listen", "/ip4/127.0.0.1/tcp/0"});
  const std::optional<std::string> on_screen = on_terminal({"run", "--peer", serving.address, "hello " + paint + "\nnext\tline"});
  if (!on_screen) GTEST_SKIP() << "there are no terminals here: " << std::strerror(errno);
  const std::string& shown = *on_screen;
  EXPECT_NE(shown.find("Processed: hello " + paint_shown), std::string::npos) << shown;
  EXPECT_EQ(brush_in(shown), "");
  // Lines and tabs are for whoever reads.
  EXPECT_NE(shown.find("next\tline"), std::string::npos) << shown;
  // As JSON it is the same text, and paints nothing either.
  const std::string event = on_terminal({"run", "--json", "--peer", serving.address, paint}).value_or("");
  EXPECT_EQ(brush_in(event), "");
  EXPECT_EQ(text_of(parsed(event.substr(0, event.find('\r'))), "text"), "Processed: " + paint);
  // A pipe gets what there is.
  EXPECT_EQ(run({"run", "--peer", serving.address, paint}).output, "Processed: " + paint + "\n");
}

/// Answers that the task has failed, and paints wherever a result has room for a provider's text.
Awaitable<void> fail_painting(const Agent& agent, Stream stream) {
  const std::optional<Bytes> envelope = co_await read_frame(stream, limits::task_frame);
  const Bytes payload = open_message(*envelope, *stream.peer_key()).value().payload;
  const Task task = *parse_task(payload).task;
  TaskResult result;
  result.task_id = task.task_id;
  result.status = Status::failed;
  result.error = TaskError{paint, paint + "\np2p-agent: all is well", {}};
  result.timestamp = task.timestamp;
  result.recipient = stream.peer().text();
  result.task_sha256 = task_hash(payload);
  result.executor = paint;
  result.model = paint;
  result.finish_reason = paint;
  const Bytes answer = seal_message(agent.identity(), MessageKind::result, result.to_json());
  co_await write_frame(stream, answer);
  co_await stream.finish(seconds(5));
}

/// Calls `visit` while there is an agent that paints with whatever it offers and answers.
void at_a_painters(const std::function<void(const std::string& peer, const std::string& address)>& visit) {
  Info offered;
  offered.executors = {{std::string(inference), paint, {paint}}};
  offered.slots = 1;
  offered.name = "\xe2\x80\xaeneo";
  System system;
  AgentOptions options;
  options.listen = {Multiaddr::tcp("127.0.0.1", 0).value()};
  options.interfaces = {"lo"};
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  agent.handle(std::string(info_protocol), [&](Stream stream) { return answer_info(agent, std::move(stream), offered); });
  agent.handle(std::string(task_protocol), [&](Stream stream) { return fail_painting(agent, std::move(stream)); });
  const std::function<void()> visiting = [&] { visit(agent.id_text(), agent.addresses().front().text()); };
  const auto serving = [&]() -> Awaitable<void> { co_await system.environment().pool.run(visiting); };
  system.run(agent.run(serving));
}

TEST(Terminal, IsNotPaintedByWhatATaskFailedOf) {
  at_a_painters([](const std::string& peer, const std::string& address) {
    const std::string sentence = "p2p-agent: failed by " + peer + ", " + paint_shown + ": " + paint_shown + "\\x0ap2p-agent: all is well";
    const Ended text = run({"run", "--peer", address, "x"});
    EXPECT_EQ(text.exit, 5);
    EXPECT_EQ(text.output, "");
    EXPECT_EQ(text.errors, sentence + "\n");
    const Ended event = run({"run", "--json", "--peer", address, "x"});
    EXPECT_EQ(event.exit, 5);
    EXPECT_EQ(event.errors, sentence + "\n");
    EXPECT_EQ(control_in(event.output), "");
    const json::object result = parsed(event.output);
    for (const char* const member : {"executor", "model", "finish_reason"}) EXPECT_EQ(text_of(result, member), paint);
    EXPECT_EQ(text_of(result.at("error").as_object(), "code"), paint);
    EXPECT_EQ(text_of(result.at("error").as_object(), "message"), paint + "\np2p-agent: all is well");
    // On a terminal, who answered is told as well.
    const std::optional<std::string> shown = on_terminal({"run", "--peer", address, "x"});
    if (!shown) GTEST_SKIP() << "there are no terminals here: " << std::strerror(errno);
    EXPECT_NE(shown->find(paint_shown + " " + paint_shown + " \xc2\xb7 "), std::string::npos) << *shown;
    EXPECT_NE(shown->find(sentence), std::string::npos) << *shown;
    EXPECT_EQ(brush_in(*shown), "");
  });
}

TEST(Terminal, IsNotPaintedByWhatAPeerOffers) {
  at_a_painters([](const std::string& peer, const std::string&) {
    const auto look = [](std::vector<std::string> arguments, const std::string& mark) {
      arguments.insert(arguments.end(), {"--wait", "300ms"});
      const auto looking = [&] { return run(arguments); };
      const Ended seen =
          eventually(looking, [&](const Ended& ended) { return (ended.output + ended.errors).find(mark) != std::string::npos; });
      EXPECT_EQ(control_in(seen.output), "") << arguments[0];
      EXPECT_EQ(control_in(seen.errors), "") << arguments[0];
      return seen;
    };
    const auto event_of = [&](const std::string& output) {  // of the painter's
      const std::size_t at = output.rfind('\n', output.find(peer)) + 1;
      return parsed(output.substr(at, output.find('\n', at) - at));
    };
    EXPECT_NE(look({"peers"}, peer).output.find("\n  inference with " + paint_shown + " " + paint_shown + "\n"), std::string::npos);
    const json::object offer = event_of(look({"peers", "--json"}, peer).output).at("executors").as_array().at(0).as_object();
    EXPECT_EQ(text_of(offer, "executor"), paint);
    EXPECT_NE(look({"models"}, peer).output.find(paint_shown + "  \\u202eneo " + peer + "  " + paint_shown), std::string::npos);
    EXPECT_EQ(text_of(event_of(look({"models", "--json"}, peer).output), "model"), paint);
    // Who has another model is said where the one asked for is nowhere.
    EXPECT_EQ(look({"run", "--model", "nobodys", "x"}, "has " + paint_shown).exit, 3);
  });
}

/// Whatever a requester may name, it names with paint.
void name_painting(const Multiaddr& address) {
  System system;
  AgentOptions options;
  options.mdns = false;
  Agent agent(system.environment(), KeyPair::generate(system.random()), options);
  const auto visit = [&]() -> Awaitable<void> {
    std::vector<Multiaddr> addresses(1, address);
    const PeerId provider = (co_await agent.connect(addresses))->peer();
    const std::string protocol = "/" + paint;
    try {
      co_await agent.open_stream(provider, protocol);
      ADD_FAILURE() << "it speaks " << protocol;
    } catch (const boost::system::system_error& error) {
      EXPECT_TRUE(is(error, Errc::unsupported)) << message_of(error);
    }
    TaskManager manager(agent);
    Task task = manager.make_task("x");
    task.input["model"] = paint;
    const Answer other_model = co_await manager.submit(provider, task);
    EXPECT_EQ(other_model.result.error.value_or(TaskError()).code, "unsupported_model");
    task.task_id = paint;
    task.task_type = paint;
    task.timestamp = paint;
    task.recipient = paint;
    const Bytes none = seal_message(agent.identity(), MessageKind::task, task.to_json());
    Stream stream = co_await agent.open_stream(provider, std::string(task_protocol));
    co_await write_frame(stream, none);
    const std::optional<Bytes> answer = co_await read_frame(stream, limits::task_frame);
    const TaskResult refused = parse_result(open_message(*answer, key_of(provider)).value().payload).value();
    EXPECT_EQ(refused.error.value_or(TaskError()).code, "invalid_task");
  };
  system.run(agent.run(visit));
}

// A prompt gets there by way of a command that complains of it.
TEST(Terminal, IsNotPaintedByTheLogOfWhatPeersSay) {
  Process serve({program, "serve", "--log-level", "debug", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--allow-any", "--as", "loud",
                 "--", "sh", "-c", "cat >&2; exit 3"},
                on_loopback);
  EXPECT_TRUE(serve.line().starts_with("serving inference with command loud"));
  const std::string address = serve.line().substr(2);
  name_painting(Multiaddr::from_text(address).value());
  const Ended asked = run({"run", "--peer", address, "hello " + paint});
  EXPECT_EQ(asked.exit, 5);
  EXPECT_NE(asked.errors.find("loud ended with exit code 3: hello " + paint_shown + "\n"), std::string::npos) << asked.errors;
  EXPECT_EQ(control_in(asked.errors), "");
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0);
  EXPECT_NE(serve.errors.find(" info loud: hello " + paint_shown + "\n"), std::string::npos) << serve.errors;
  EXPECT_NE(serve.errors.find(" debug connection with "), std::string::npos) << serve.errors;
  EXPECT_EQ(control_in(serve.errors), "");
  EXPECT_NE(serve.output.find("rejected (invalid_task)"), std::string::npos) << serve.output;
  EXPECT_EQ(control_in(serve.output), "");
}

}  // namespace
}  // namespace p2p::test
