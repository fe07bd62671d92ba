# What the library needs, all from the distribution. Static libraries are taken wherever there are some: the program then starts in half
# the time and is one file to copy.

if(NOT APPLE)
  set(Boost_USE_STATIC_LIBS ON)
  set(OPENSSL_USE_STATIC_LIBS ON)
  set(Protobuf_USE_STATIC_LIBS ON)
endif()

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json url)
find_package(OpenSSL 3 REQUIRED)
find_package(Protobuf REQUIRED)

# libsodium and ldns have no CMake package.
macro(p2p_find_library name header library)
  find_path(${name}_INCLUDE_DIR ${header})
  if(APPLE)
    find_library(${name}_LIBRARY NAMES ${library})
  else()
    find_library(${name}_LIBRARY NAMES lib${library}.a ${library})
  endif()
  if(NOT ${name}_INCLUDE_DIR OR NOT ${name}_LIBRARY)
    message(FATAL_ERROR "${library} is missing; `make deps` installs everything that is needed")
  endif()
  if(NOT TARGET p2p::${library})
    add_library(p2p::${library} UNKNOWN IMPORTED)
    set_target_properties(p2p::${library} PROPERTIES IMPORTED_LOCATION ${${name}_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${${name}_INCLUDE_DIR})
  endif()
endmacro()
p2p_find_library(SODIUM sodium.h sodium)
p2p_find_library(LDNS ldns/ldns.h ldns)
set_property(TARGET p2p::ldns PROPERTY INTERFACE_LINK_LIBRARIES OpenSSL::Crypto)
