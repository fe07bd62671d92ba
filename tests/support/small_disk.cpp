#include "support/small_disk.hpp"

#ifdef __linux__
#include "support/temporary.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <exception>
#include <stdexcept>
#endif

namespace p2p::test {

#ifdef __linux__

namespace {

bool put(const char* path, const std::string& text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool done = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(file);
  return done;
}

bool enter_own_mounts() {
  if (unshare(CLONE_NEWNS) == 0) return true;
  const std::string user = "0 " + std::to_string(getuid()) + " 1";
  const std::string group = "0 " + std::to_string(getgid()) + " 1";
  return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put("/proc/self/setgroups", "deny") && put("/proc/self/uid_map", user) &&
         put("/proc/self/gid_map", group);
}

}  // namespace

std::optional<std::string> on_small_disk(const std::string& directory, std::size_t bytes, const std::function<std::string()>& work) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return std::nullopt;
  const pid_t child = fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    const std::string options = "size=" + std::to_string(bytes);
    if (!enter_own_mounts() || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", directory.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      _exit(1);
    }
    std::string told;
    try {
      told = work();
    } catch (const std::exception& error) {
      told = error.what();
    }
    _exit(write(ends[1], told.data(), told.size()) == static_cast<ssize_t>(told.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string told;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 0; (count = read(ends[0], buffer.data(), buffer.size())) > 0;)
    told.append(buffer.data(), static_cast<std::size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return std::nullopt;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? told : "the process died";
}

void make_read_only(const std::string& directory) {
  if (mount(nullptr, directory.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    throw std::runtime_error("cannot make it read-only");
}

int silent_name_server(const std::string& directory) {
  const std::string resolver = directory + "/resolv.conf";
  const std::string sources = directory + "/nsswitch.conf";
  write_file(resolver, "nameserver 127.0.5.3\noptions timeout:30 attempts:5\n");
  write_file(sources, "hosts: dns\n");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(53);
  address.sin_addr.s_addr = htonl(0x7f000503);
  const timeval patience{10, 0};
  const int server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool done = mount(resolver.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0 &&
                    mount(sources.c_str(), "/etc/nsswitch.conf", nullptr, MS_BIND, nullptr) == 0 &&
                    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
                    bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  return done ? server : -1;
}

#else

std::optional<std::string> on_small_disk(const std::string&, std::size_t, const std::function<std::string()>&) { return std::nullopt; }
void make_read_only(const std::string&) {}
int silent_name_server(const std::string&) { return -1; }

#endif

}  // namespace p2p::test
