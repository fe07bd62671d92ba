#pragma once
// An identity that outlives its program: the one file that holds a secret.

#include "identity/identity.hpp"

namespace p2p {

/// The Ed25519 key in a file, as libp2p's PrivateKey protobuf, which go-, rust- and js-libp2p read and write too. The first time it is
/// made, readable by its owner alone; of several who do so at once, all get the same. Throws invalid, with a message that says what to do:
/// the file can be read by others, is not a regular file, is larger than limits::key_file, holds another key or none, or cannot be read or
/// created.
KeyPair load_or_create_key(const std::string& path, Random& random);

}  // namespace p2p
