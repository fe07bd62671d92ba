#include "base/base58.hpp"
#include "require.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  if (const auto bytes = base58_decode(text)) fuzz::require(base58_encode(*bytes) == text);
  if (const auto bytes = multibase_decode(text)) fuzz::require(multibase_decode(text).value() == *bytes);
  if (size <= 64) fuzz::require(multibase_decode("z" + base58_encode({data, size})).value() == Bytes(data, data + size));
  return 0;
}
