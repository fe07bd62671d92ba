// What slows each start of the program for nothing. Linked statically, OpenSSL asks the processor for its features before anything else
// runs, and once more, which then does nothing, when it is first used. Each question takes a virtual machine 5 us, and there are eight. The
// linker gives its calls to the one here (--wrap, src/CMakeLists.txt), which leaves the early one out.

#ifdef P2P_WRAPS_OPENSSL_CPUID_SETUP

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
extern "C" void __real_OPENSSL_cpuid_setup();
extern "C" void __wrap_OPENSSL_cpuid_setup();

namespace {

bool initialised = false;

/// The first of all constructors, and behind what the section .init holds.
[[gnu::constructor(101)]] void begin() { initialised = true; }

}  // namespace

extern "C" void __wrap_OPENSSL_cpuid_setup() {
  if (initialised) __real_OPENSSL_cpuid_setup();
}
// NOLINTEND(bugprone-reserved-identifier)

#endif
