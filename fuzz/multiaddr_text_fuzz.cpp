#include "require.hpp"
#include "wire/multiaddr.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  (void)reach_of(text);
  const auto address = Multiaddr::from_text(text);
  if (!address) return 0;
  fuzz::require(Multiaddr::from_bytes(address->bytes()).value() == *address);
  // Only percent-encoding can make the text longer than what was read.
  if (const auto again = Multiaddr::from_text(address->text()))
    fuzz::require(*again == *address);
  else
    fuzz::require(again.error().code == Errc::too_large);
  return 0;
}
