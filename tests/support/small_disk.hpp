#pragma once
// A disk that is full or may not be written, and a name server that does not answer: what takes a file system of the test's own.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

namespace p2p::test {

/// Runs `work` in a process of its own, in whose mount namespace `directory` is an empty file system of that many bytes. Gives what `work`
/// returned or threw as text, or nothing where such a file system is not to be had (another system than Linux, or no right to it).
std::optional<std::string> on_small_disk(const std::string& directory, std::size_t bytes, const std::function<std::string()>& work);

/// Within `work`: no more writing there.
void make_read_only(const std::string& directory);

/// Within `work`: the system asks a name server that never answers, and waits for longer than a test may take. Its socket, where questions
/// arrive, or -1 where that is not to be had.
int silent_name_server(const std::string& directory);

}  // namespace p2p::test
