#pragma once
// Keys by the ids that contain them.

#include "identity/identity.hpp"

namespace p2p::test {

/// Throws std::bad_optional_access for an id that is a digest.
inline Verifier key_of(const PeerId& id) { return Verifier(id.public_key().value()); }

}  // namespace p2p::test
