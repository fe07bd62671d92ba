// Looks through logs for secret keys of the peers that they name. Usage: leaks FILE... Ends with 1 and the PeerIds when there are any.

#include "support/leaks.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>

int main(int count, char** names) {
  std::string text;
  for (int i = 1; i < count; ++i) {
    std::ifstream file(names[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "leaks: %s can't be read\n", names[i]);
      return 2;
    }
    text.append(std::istreambuf_iterator<char>(file), {});
    text += '\n';
  }
  const p2p::test::Leaks leaks(text);
  for (const std::string& peer : leaks.found()) std::printf("the secret key of %s stands there\n", peer.c_str());
  std::printf("leaks: %zu bytes, which name %zu peers and could hold %zu keys: %zu secrets\n", text.size(), leaks.peers().size(),
              leaks.tried(), leaks.found().size());
  return leaks.found().empty() && !leaks.peers().empty() ? 0 : 1;
}
