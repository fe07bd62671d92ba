#include "cli/commands.hpp"
#include "crypto/crypto.hpp"

namespace p2p::cli {

Exit id(const CommonOptions& options) {
  crypto::SystemRandom random;
  const KeyPair identity = KeyPair::generate(random);
  const Console console(options.json);
  console.event({{"event", "id"}, {"peer", identity.peer_id().text()}});
  console.line(identity.peer_id().text());
  return Exit::done;
}

}  // namespace p2p::cli
