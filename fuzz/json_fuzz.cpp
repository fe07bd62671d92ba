#include "require.hpp"
#include "same.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto object = parse_json({data, size});
  if (!object) return 0;
  const auto again = parse_json(as_bytes(boost::json::serialize(*object)));
  fuzz::require(again && fuzz::same(*object, *again));
  return 0;
}
