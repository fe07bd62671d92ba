#include "base/coding.hpp"
#include "require.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  const auto read = peek_uvarint(input);
  if (!read || !*read) return 0;
  Bytes written;
  put_uvarint(written, (*read)->value);
  fuzz::require(equal(written, input.first((*read)->size)));
  fuzz::require(uvarint_size((*read)->value) == written.size());
  return 0;
}
