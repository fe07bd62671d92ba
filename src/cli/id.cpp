#include "cli/session.hpp"
#include "crypto/crypto.hpp"

namespace p2p::cli {

Exit id(const CommonOptions& options) {
  crypto::SystemRandom random;
  const KeyPair identity = identity_of(options, random);
  const Console console(options.json);
  console.event({{"event", "id"}, {"peer", identity.peer_id().text()}});
  console.line(identity.peer_id().text());
  return Exit::done;
}

}  // namespace p2p::cli
