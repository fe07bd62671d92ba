#include "executors/program.hpp"

#include "base/limits.hpp"
#include "executors/utf8.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

namespace p2p {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

std::string home() {
  const passwd* const user = ::getpwuid(::getuid());
  return user == nullptr ? "/" : user->pw_dir;
}

bool is_program(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

std::string find_path(const std::string& name, const std::string& search) {
  const auto absolute = [](const std::string& path) { return fs::absolute(path).lexically_normal().string(); };
  if (name.find('/') != std::string::npos) {
    struct stat found {};
    if (::stat(name.c_str(), &found) != 0) fail(Errc::invalid, "there is no program '" + name + "': " + std::strerror(errno));
    if (!S_ISREG(found.st_mode)) fail(Errc::invalid, "'" + name + "' is no program but a directory or device");
    if (!is_program(name)) fail(Errc::invalid, "'" + name + "' is not executable; `chmod +x` makes it so");
    return absolute(name);
  }
  for (std::size_t at = 0; at <= search.size();) {
    const std::size_t end = std::min(search.find(':', at), search.size());
    const std::string directory = search.substr(at, end - at);
    const std::string path = (directory.empty() ? "." : directory) + "/" + name;
    if (is_program(path)) return absolute(path);
    at = end + 1;
  }
  fail(Errc::invalid, "there is no program '" + name + "' in PATH; give its path, such as ./" + name);
}

/// Opens up each directory below, so that its content can be removed.
void unlock(const fs::path& directory) {
  std::error_code error;
  fs::permissions(directory, fs::perms::owner_all, fs::perm_options::add, error);
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->symlink_status(ignored).type() == fs::file_type::directory) unlock(entry->path());
  }
}

std::string work_in(const std::string& root) { return root + "/work"; }

/// Returns what stood in the way. Whoever was killed a moment ago may still be writing its last file: so it is tried more than once.
std::error_code remove_tree(const std::string& root, const std::vector<std::string>& files) {
  // Where a program left nothing behind, this takes no descriptor, of which there may be none.
  for (const std::string& file : files) ::unlink(file.c_str());
  if (::rmdir(work_in(root).c_str()) == 0 && ::rmdir(root.c_str()) == 0) return {};
  std::error_code error;
  for (int attempt = 0; attempt < 5; ++attempt) {
    fs::remove_all(root, error);
    if (!error) break;
    unlock(root);
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return error;
}

}  // namespace

Program find_program(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.front().empty()) fail(Errc::invalid, "there is no program to run; give one and its arguments");
  Program program;
  const std::string path = variable("PATH", "/usr/local/bin:/usr/bin:/bin");
  program.path = find_path(arguments.front(), path);
  program.arguments = std::move(arguments);
  program.temporary = variable("TMPDIR", "/tmp");
  program.environment = {"PATH=" + path, "HOME=" + variable("HOME", home()), "LANG=" + variable("LANG", "C.UTF-8"),
                         "TMPDIR=" + program.temporary};
  return program;
}

std::string file_name(std::string_view path) { return std::string(path.substr(path.rfind('/') + 1)); }

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool blank = c == ' ' || c == '\t' || c == '\n';
    if (quote == 0 && blank) {
      in_word = false;
      continue;
    }
    if (!std::exchange(in_word, true)) words.emplace_back();
    std::string& word = words.back();
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'') {
      if (i + 1 == text.size()) fail(Errc::invalid, "a backslash at the end of '" + std::string(text) + "' quotes nothing");
      const char next = text[++i];
      if (quote == '"' && std::string_view("$`\"\\").find(next) == std::string_view::npos) word += c;
      word += next;
    } else {
      word += c;
    }
  }
  if (quote != 0) fail(Errc::invalid, "a quote in '" + std::string(text) + "' is not closed");
  return words;
}

void check_executor_name(std::string_view name) {
  bool fits = !name.empty() && name.size() <= limits::model_name && repair_utf8(name) == name;
  for (const char c : name) fits = fits && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  if (!fits) {
    fail(Errc::invalid,
         "an executor is named with 1 to " + std::to_string(limits::model_name) + " bytes of printable text; give another name with --as");
  }
}

Workplace::Workplace(const std::string& temporary) : root_(temporary + "/p2p-agent-XXXXXX") {
  const bool made = ::mkdtemp(root_.data()) != nullptr;
  if (made && ::mkdir(directory().c_str(), 0700) == 0) return;
  const std::string why = std::strerror(errno);
  if (made) ::rmdir(root_.c_str());
  fail(Errc::exhausted, "no temporary directory in " + temporary + ": " + why);
}

std::string Workplace::directory() const { return work_in(root_); }

Workplace::~Workplace() {
  if (!root_.empty()) remove_tree(root_, files_);
}

std::string Workplace::add_file(const std::string& name, std::string_view content) {
  const std::string& path = files_.emplace_back(root_ + "/" + name);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool written = file >= 0;
  while (written && !content.empty()) {
    const ssize_t count = ::write(file, content.data(), content.size());
    if (count >= 0) content.remove_prefix(static_cast<std::size_t>(count));
    written = count >= 0 || errno == EINTR;
  }
  const int error = errno;
  if (file >= 0) ::close(file);
  if (!written) fail(Errc::exhausted, "could not write " + path + ": " + std::strerror(error));
  return path;
}

Awaitable<void> Workplace::remove(const Environment& environment) {
  const std::string root = std::exchange(root_, {});
  std::error_code error;
  const std::function<void()> work = [this, &root, &error] { error = remove_tree(root, files_); };
  co_await environment.pool.run(work);
  if (error) environment.log.write(Logger::Level::warn, "could not remove " + root + ": " + error.message());
}

}  // namespace p2p
