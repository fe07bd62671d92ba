// What a peer says, on the terminal of somebody else.

#include "support/program.hpp"

#if __has_include(<pty.h>)
#include <pty.h>
#else
#include <util.h>
#endif
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <optional>

namespace p2p::test {
namespace {

/// What a terminal gets to see of the program. Nothing where there are no terminals.
std::optional<std::string> on_terminal(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  int terminal = -1;
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid < 0) return std::nullopt;
  if (pid == 0) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    setenv("P2P_AGENT_INTERFACE", "lo", 1);
    setenv("TERM", "xterm", 1);
    execv(argv[0], argv.data());
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
  // A title, a bell, a cleared screen, a colour in the one byte that some terminals take for ESC [, a line over the last one, text that
  // runs from right to left from here on, in both ways to say so, and two dashes, which are their neighbours and no harm.
  const std::string paint =
      "\x1b]0;mine\x07\x1b[2J\xc2\x9b"
      "31m\rgone\x08\x7f \xe2\x80\xae\xe2\x81\xa7 \xe2\x80\x93\xe2\x80\x94";
  const std::optional<std::string> on_screen = on_terminal({"run", "--peer", serving.address, "hello " + paint + "\nnext\tline"});
  if (!on_screen) GTEST_SKIP() << "there are no terminals here: " << std::strerror(errno);
  const std::string& shown = *on_screen;
  EXPECT_NE(shown.find("Processed: hello \\x1b]0;mine\\x07\\x1b[2J\\x9b31m\\x0dgone\\x08\\x7f \\u202e\\u2067 \xe2\x80\x93\xe2\x80\x94"),
            std::string::npos)
      << shown;
  for (const char* const part : {"\x1b]", "\x1b[2J", "\xc2\x9b", "\x07", "\x08", "\x7f", "\rgone", "\xe2\x80\xae", "\xe2\x81\xa7"})
    EXPECT_EQ(shown.find(part), std::string::npos);
  // Lines and tabs are for whoever reads.
  EXPECT_NE(shown.find("next\tline"), std::string::npos) << shown;
  // As JSON it is the same text, and paints nothing either.
  const std::string event = on_terminal({"run", "--json", "--peer", serving.address, paint}).value_or("");
  for (const char* const part : {"\xc2\x9b", "\x7f", "\xe2\x80\xae", "\xe2\x81\xa7"}) EXPECT_EQ(event.find(part), std::string::npos);
  EXPECT_EQ(text_of(parsed(event.substr(0, event.find('\r'))), "text"), "Processed: " + paint);
  // A pipe gets what there is.
  EXPECT_EQ(run({"run", "--peer", serving.address, paint}).output, "Processed: " + paint + "\n");
}

}  // namespace
}  // namespace p2p::test
