#include "identity/key_file.hpp"

#include "base/limits.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <system_error>

namespace p2p {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const noexcept { return number_; }

 private:
  int number_;
};

[[noreturn]] void refuse(const std::string& what, int error) {
  fail(Errc::invalid, "cannot " + what + ": " + std::generic_category().message(error));
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Nothing when there is no such file.
std::optional<KeyPair> load(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));  // a pipe would be waited for otherwise
  if (file.number() < 0 && errno == ENOENT) return std::nullopt;
  struct stat status {};
  if (file.number() < 0 || fstat(file.number(), &status) != 0) refuse("read the identity " + path, errno);
  if (!S_ISREG(status.st_mode)) fail(Errc::invalid, path + " is not a regular file: give one to keep the identity in");
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    fail(Errc::invalid, "others may use the identity " + path + ": make it yours alone with `chmod 600 " + path + "`");
  }
  crypto::Secret<limits::key_file + 1> content;
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t count = read(file.number(), content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse("read the identity " + path, errno);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  if (size > limits::key_file) fail(Errc::invalid, path + " is too large to be an identity: check the file's name");
  Result<KeyPair> keys = KeyPair::decode(ByteView(content).first(size));
  if (keys) return std::move(*keys);
  const std::string next = ": check the file's name, or give one that does not exist yet, to have a new identity made";
  if (keys.error().code == Errc::unsupported) fail(Errc::invalid, path + " holds a key of another type than Ed25519" + next);
  fail(Errc::invalid, path + " holds no undamaged identity (" + keys.error().reason + ")" + next);
}

/// A file beside `path`, under a name that nobody has.
std::string create_temporary(const std::string& path, Random& random, int& descriptor) {
  while (true) {
    std::array<std::uint8_t, 8> arbitrary;
    random.fill(arbitrary);
    std::string name = path + ".tmp-" + to_hex(arbitrary);
    descriptor = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor >= 0) return name;
    if (errno != EEXIST) refuse("create the identity " + path, errno);
  }
}

bool write_synced(int descriptor, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return fsync(descriptor) == 0;
}

/// Puts a new key at `path`, unless somebody else has put one there meanwhile.
void create(const std::string& path, Random& random) {
  const auto encoded = KeyPair::generate(random).encode();
  int number = -1;
  const std::string temporary = create_temporary(path, random, number);
  const Descriptor file(number);
  // The name comes to a file that is complete, and to the first one alone: a link replaces nothing.
  const bool done =
      fchmod(number, 0600) == 0 && write_synced(number, encoded) && (link(temporary.c_str(), path.c_str()) == 0 || errno == EEXIST);
  const int error = errno;
  unlink(temporary.c_str());
  if (!done) refuse("create the identity " + path, error);
  const Descriptor directory(open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number() >= 0) fsync(directory.number());
}

}  // namespace

KeyPair load_or_create_key(const std::string& path, Random& random) {
  if (std::optional<KeyPair> keys = load(path)) return std::move(*keys);
  create(path, random);
  if (std::optional<KeyPair> keys = load(path)) return std::move(*keys);
  fail(Errc::invalid, path + " is a link to nowhere: give a file to keep the identity in");
}

}  // namespace p2p
