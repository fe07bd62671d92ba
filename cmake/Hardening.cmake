# What makes a bug in optimised builds an end of the program rather than a way in: bounds that the C library checks where it can, canaries on
# the stack, addresses that nobody can guess, tables of the linker that are read-only before main(), and locals that are zero where the source
# leaves them unset. What the compiler or linker does not have is left out; scripts/hardened tells what a program was built with.

include(CheckCXXCompilerFlag)
include(CheckLinkerFlag)
include(CheckPIESupported)

check_pie_supported(LANGUAGES CXX)

# Distributions that set it themselves set it differently.
add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)

check_cxx_compiler_flag(-ftrivial-auto-var-init=zero P2P_ZEROED_LOCALS)
if(P2P_ZEROED_LOCALS)
  add_compile_options(-ftrivial-auto-var-init=zero)
endif()

if(NOT APPLE)  # where the linker does the like by itself
  check_linker_flag(CXX -Wl,-z,relro,-z,now P2P_READ_ONLY_TABLES)
  if(P2P_READ_ONLY_TABLES)
    add_link_options(-Wl,-z,relro,-z,now)
  endif()
endif()
