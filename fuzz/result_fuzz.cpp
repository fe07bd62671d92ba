#include "require.hpp"
#include "task/message.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto result = parse_result({data, size});
  if (!result) return 0;
  fuzz::require((result->status == Status::completed) != result->error.has_value());
  const auto again = parse_result(as_bytes(result->to_json()));
  fuzz::require(again && again->status == result->status && again->text == result->text && again->executor == result->executor);
  fuzz::require(again->to_json() == result->to_json());
  return 0;
}
