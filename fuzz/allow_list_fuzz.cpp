// The file of those who may ask, which its owner may change while it is read.

#include "require.hpp"
#include "task/allow_list.hpp"

using namespace p2p;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  PeerIds listed;
  try {
    listed = parse_allow_list(as_text({data, size}), "list");
  } catch (const boost::system::system_error& error) {
    fuzz::require(is(error, Errc::invalid) && message_of(error).starts_with("list:"));
    return 0;
  }
  std::string again;
  for (const PeerId& peer : listed) again += "\t" + peer.text() + " # one\r\n\n";
  fuzz::require(parse_allow_list(again, "list") == listed);
  return 0;
}
