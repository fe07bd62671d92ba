#pragma once
// How often the whole program has asked for memory, whichever library of it did.

#include <cstddef>

namespace p2p::test {

/// Calls of malloc and its like so far, on all threads. Always 0 where the C library's are not replaced: without glibc.
std::size_t allocations() noexcept;

}  // namespace p2p::test
