#include "cli/session.hpp"
#include "crypto/crypto.hpp"

namespace p2p::cli {

Exit id(const CommonOptions& options) {
  crypto::SystemRandom random;
  const KeyPair identity = identity_of(options, random);
  const Console console(options.json);
  console.event({{"event", "id"}, {"peer", identity.peer_id().text()}});
  console.line(identity.peer_id().text());
  if (options.identity.empty()) console.remark("this identity is new, and is kept nowhere: give --identity FILE for one that lasts");
  return Exit::done;
}

}  // namespace p2p::cli
