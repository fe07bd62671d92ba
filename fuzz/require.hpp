#pragma once
// What a fuzz target says must hold, in every build.

#include <cstdlib>

namespace p2p::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace p2p::fuzz
