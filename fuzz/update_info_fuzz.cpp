#include "require.hpp"
#include "task/message.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const auto update = parse_update({data, size})) {
    fuzz::require(update->state.has_value() != update->text.has_value());
    const auto again = parse_update(as_bytes(update->to_json()));
    fuzz::require(again && again->seq == update->seq && again->text == update->text && again->to_json() == update->to_json());
  }
  if (const auto info = parse_info({data, size})) {
    const auto again = parse_info(as_bytes(info->to_json()));
    fuzz::require(again && again->executors.size() == info->executors.size() && again->to_json() == info->to_json());
  }
  return 0;
}
