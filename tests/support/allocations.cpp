#include "support/allocations.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace {

std::atomic<std::size_t> count{0};

}  // namespace

std::size_t p2p::test::allocations() noexcept { return count.load(std::memory_order_relaxed); }

#ifdef __GLIBC__

// What a program defines comes before the C library's own, for all libraries that it loads.

namespace {

void* counted(void* memory) {
  count.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t size);                           // NOLINT: glibc's
void* __libc_calloc(std::size_t number, std::size_t size);       // NOLINT
void* __libc_realloc(void* memory, std::size_t size);            // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT

void* malloc(std::size_t size) { return counted(__libc_malloc(size)); }
void* calloc(std::size_t number, std::size_t size) { return counted(__libc_calloc(number, size)); }
void* realloc(void* memory, std::size_t size) { return counted(__libc_realloc(memory, size)); }
void* memalign(std::size_t alignment, std::size_t size) { return counted(__libc_memalign(alignment, size)); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"

#endif
