#pragma once
// How much memory is in use, where that can be asked.

#include <cstddef>

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

extern "C" __attribute__((weak)) std::size_t __sanitizer_get_current_allocated_bytes();  // NOLINT: AddressSanitizer's

namespace p2p::test {

/// Whether a sanitizer hands the memory out.
inline bool is_sanitized() { return __sanitizer_get_current_allocated_bytes != nullptr; }

/// Bytes on the heap that are in use; 0 where nobody counts them.
inline std::size_t heap_in_use() {
  if (is_sanitized()) return __sanitizer_get_current_allocated_bytes();
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  const struct mallinfo2 heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
#else
  return 0;
#endif
}

}  // namespace p2p::test
