#include "wire/mux_session.hpp"

#include "wire/mplex.hpp"
#include "wire/yamux.hpp"

namespace p2p {

std::unique_ptr<MuxSession> make_mux_session(std::string_view protocol, MuxSession::Role role, ByteSink& out) {
  if (protocol == yamux_protocol) return std::make_unique<YamuxSession>(role, out);
  return std::make_unique<MplexSession>(out);
}

}  // namespace p2p
