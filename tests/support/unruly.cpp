// A child process that misbehaves as its arguments say, one after the other. Without one that ends it, it exits with 0.

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern char** environ;  // NOLINT: not declared everywhere

namespace {

constexpr unsigned longest_life = 300;  // seconds, in case that a test is broken

void write_all(int to, std::string text) {
  while (!text.empty()) {
    const ssize_t count = ::write(to, text.data(), text.size());
    if (count < 0 && errno != EINTR) _exit(99);
    text.erase(0, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
}
void say(const std::string& text) { write_all(STDOUT_FILENO, text); }

[[noreturn]] void sleep_on() {
  while (true) ::pause();
}

/// Forks; the child says who it is, does `rest` and sleeps.
template <class Rest>
void spawn(Rest rest) {
  int ready[2];
  if (::pipe(ready) != 0) _exit(98);
  if (::fork() == 0) {
    ::alarm(longest_life);
    rest();
    say("pid " + std::to_string(::getpid()) + "\n");
    write_all(ready[1], "!");
    sleep_on();
  }
  char sign = 0;
  while (::read(ready[0], &sign, 1) < 0 && errno == EINTR) {
  }
  ::close(ready[0]);
  ::close(ready[1]);
}

/// Is another process every moment: forks, and the parent goes.
[[noreturn]] void fork_on() {
  const std::time_t end = std::time(nullptr) + 20;  // in case that a test is broken
  while (std::time(nullptr) < end) {
    const pid_t child = ::fork();
    if (child > 0) _exit(0);
    if (child < 0) ::usleep(1000);
  }
  _exit(0);
}

void report(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) say("argument " + std::string(argv[i]) + "\n");
  for (char** variable = environ; *variable != nullptr; ++variable) say("variable " + std::string(*variable) + "\n");
  say("directory " + std::filesystem::current_path().string() + "\n");
  for (const auto& entry : std::filesystem::directory_iterator(".")) say("entry " + entry.path().string() + "\n");
  struct stat directory {};
  ::stat(".", &directory);
  say("mode " + std::to_string(directory.st_mode & 0777U) + "\n");
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0) say("descriptor " + std::to_string(descriptor) + "\n");
  }
  for (int number = 1; number < 32; ++number) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) say("ignored " + std::to_string(number) + "\n");
  }
  sigset_t mask;
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  for (int number = 1; number < 32; ++number) {
    if (sigismember(&mask, number) == 1) say("blocked " + std::to_string(number) + "\n");
  }
  say(::getpgrp() == ::getpid() ? "leads its group\n" : "is in a group\n");
}

void task_file() {
  const std::string path = std::getenv("P2P_TASK_FILE");
  struct stat file {};
  struct stat directory {};
  ::stat(path.c_str(), &file);
  ::stat(std::filesystem::path(path).parent_path().c_str(), &directory);
  std::ifstream in(path);
  say(std::to_string(file.st_mode & 0777U) + " " + std::to_string(directory.st_mode & 0777U) + " " +
      std::string(std::istreambuf_iterator<char>(in), {}));
}

void litter() {
  std::filesystem::create_directories("a/b/c");
  std::ofstream("a/b/c/file") << "something";
  std::filesystem::create_symlink("/", "a/b/root");
  ::chmod("a/b/c", 0);
  ::chmod("a/b", 0);
}

// The string or number behind `"name":` in a line of JSON without escapes.
std::string member(const std::string& line, const std::string& name) {
  std::size_t at = line.find("\"" + name + "\":");
  if (at == std::string::npos) return {};
  at += name.size() + 3;
  if (line[at] != '"') return line.substr(at, line.find_first_of(",}", at) - at);
  ++at;
  return line.substr(at, line.find('"', at) - at);
}

std::string read_line() {
  static std::string unread;
  std::size_t end = 0;
  while ((end = unread.find('\n')) == std::string::npos) {
    char buffer[65536];
    const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) _exit(0);
    unread.append(buffer, static_cast<std::size_t>(count));
  }
  std::string line = unread.substr(0, end);
  unread.erase(0, end + 1);
  return line;
}

/// A worker does what the prompt says.
[[noreturn]] void worker() {
  while (true) {
    const std::string line = read_line();
    const std::string id = member(line, "id");
    if (id.empty()) continue;  // a cancel that comes too late
    const std::string prompt = member(line, "prompt");
    const std::string action = prompt.substr(0, prompt.find('='));
    const std::string value = prompt.substr(std::min(prompt.size(), action.size() + 1));
    const auto text = [&id](const std::string& piece) { say("{\"id\":" + id + ",\"text\":\"" + piece + "\"}\n"); };
    const std::string done = "{\"id\":" + id + ",\"done\":true}\n";
    if (action == "pid") {
      text(std::to_string(::getpid()));
    } else if (action == "whole") {
      text("one ");
      say("{\"id\":" + id + ",\"text\":\"two\",\"done\":true,\"model\":\"real\",\"finish_reason\":\"length\"," +
          "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n");
      continue;
    } else if (action == "line") {
      std::string repeated;
      for (const char c : line) repeated += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      text(repeated);
    } else if (action == "until-cancel") {
      text("begun");
      if (member(read_line(), "cancel") != id) _exit(97);
      say(value == "error" ? "{\"id\":" + id + ",\"error\":\"cancelled\"}\n" : done);
      continue;
    } else if (action == "hang") {
      text("begun");
      ::signal(SIGTERM, SIG_IGN);
      sleep_on();
    } else if (action == "die") {
      text("some");
      write_all(STDERR_FILENO, "first line\nthe last words\n");
      _exit(std::atoi(value.c_str()));
    } else if (action == "die-after") {
      text("well");
      say(done);
      _exit(std::atoi(value.c_str()));
    } else if (action == "error") {
      say("{\"id\":" + id + ",\"error\":\"" + value + "\"}\n");
      continue;
    } else if (action == "write") {  // a line as it is, with I for the id and ' for quotes
      std::string raw = value;
      std::replace(raw.begin(), raw.end(), '\'', '"');
      if (const std::size_t at = raw.find('I'); at != std::string::npos) raw.replace(at, 1, id);
      say(raw + "\n");
    } else if (action == "twice") {
      say(done);
    } else if (action == "long") {  // a line of so many bytes
      const std::string head = "{\"id\":" + id + ",\"text\":\"";
      say(head + std::string(std::strtoul(value.c_str(), nullptr, 10) - head.size() - 2, 'x') + "\"}\n");
    } else if (action == "endless") {
      while (true) say(std::string(65536, 'x'));
    } else if (action == "close-input") {
      ::close(STDIN_FILENO);
      say(done);
      sleep_on();
    } else if (action == "close-output") {
      ::close(STDOUT_FILENO);
      ::signal(SIGTERM, SIG_IGN);
      sleep_on();
    }
    say(done);
  }
}

void act(const std::string& argument, int argc, char** argv) {
  const std::string action = argument.substr(0, argument.find('='));
  const std::string value = argument.substr(std::min(argument.size(), action.size() + 1));
  const auto number = static_cast<int>(std::strtol(value.c_str(), nullptr, 10));
  if (action == "say") say(value);
  if (action == "half") say("caf\xc3");
  if (action == "bytes") say(std::string(static_cast<std::size_t>(number), 'x'));
  if (action == "error") write_all(STDERR_FILENO, value + "\n");
  if (action == "error-bytes") write_all(STDERR_FILENO, std::string(static_cast<std::size_t>(number), 'x') + "\n");
  if (action == "pid") say("pid " + std::to_string(::getpid()) + "\n");
  if (action == "tree") {
    for (int i = 0; i < 2; ++i) spawn([] { spawn([] {}); });
  }
  if (action == "linger") spawn([] {});
  if (action == "forks") {
    for (int i = 0; i < 8; ++i) {
      if (::fork() == 0) fork_on();
    }
  }
  if (action == "escape") spawn([] { ::setsid(); });
  if (action == "ignore-term") ::signal(SIGTERM, SIG_IGN);
  if (action == "flood") {
    while (true) say(std::string(65536, 'x'));
  }
  if (action == "cat") {
    char buffer[65536];
    ssize_t count = 0;
    while ((count = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0) say(std::string(buffer, static_cast<std::size_t>(count)));
  }
  if (action == "close-input") ::close(STDIN_FILENO);
  if (action == "close-output") ::close(STDOUT_FILENO);
  if (action == "report") report(argc, argv);
  if (action == "task-file") task_file();
  if (action == "litter") litter();
  if (action == "sleep") sleep_on();
  if (action == "until-usr1") {  // says who it is and goes on when it gets the signal
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, nullptr);
    write_all(number > 0 ? number : STDOUT_FILENO, "pid " + std::to_string(::getpid()) + "\n");
    int received = 0;
    sigwait(&usr1, &received);
  }
  if (action == "exit") _exit(number);
  if (action == "die") {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(number, SIG_DFL);
    ::raise(number);
  }
  if (action == "worker") worker();
}

}  // namespace

int main(int argc, char** argv) {
  ::alarm(longest_life);
  for (int i = 1; i < argc; ++i) act(argv[i], argc, argv);
  return 0;
}
