// What slows each start of the program for nothing. Linked statically, OpenSSL asks the processor for its features before main(), and once
// more, which then does nothing, when it is first used. Each question takes a virtual machine 5 us, and there are eight. The linker gives
// its calls to the one here (--wrap, src/CMakeLists.txt), which leaves the first one out.

#ifdef P2P_WRAPS_OPENSSL_CPUID_SETUP

#include <utility>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
extern "C" void __real_OPENSSL_cpuid_setup();
extern "C" void __wrap_OPENSSL_cpuid_setup();

extern "C" void __wrap_OPENSSL_cpuid_setup() {
  static bool started = false;  // before main(), where there is one thread
  if (std::exchange(started, true)) __real_OPENSSL_cpuid_setup();
}
// NOLINTEND(bugprone-reserved-identifier)

#endif
