#pragma once
// From a bare channel to a secured, multiplexed one: multistream-select for /noise, the Noise handshake, then the muxer, agreed on inside
// Noise (early) when both sides name some there, by multistream-select otherwise.

#include "base/limits.hpp"
#include "network/connection.hpp"
#include "network/transport.hpp"

#include <optional>
#include <string>
#include <vector>

namespace p2p {

struct UpgradeOptions {
  const NoiseStatic& noise_static;  ///< outlives the handshakes
  std::vector<std::string> muxers;  ///< in order of preference, not empty
  NoiseProofs* proofs = nullptr;    ///< outlives the handshakes; see NoiseHandshake::Parameters
  PeerId* proven = nullptr;         ///< the same
  Duration time = limits::handshake;
};

/// Everything that can be sent together is: the dialer's first flight is header, proposal and Noise message 1; its message 3 leaves with
/// the connection's first frames when the muxer was agreed on early. Ends within the time of the options. Throws timed_out, closed,
/// malformed, unsupported, unverified (`expected` is not who answered).
Awaitable<Upgraded> upgrade_dialer(const Environment& environment, const UpgradeOptions& options, std::unique_ptr<ByteStream> channel,
                                   std::optional<PeerId> expected);
Awaitable<Upgraded> upgrade_listener(const Environment& environment, const UpgradeOptions& options, std::unique_ptr<ByteStream> channel);

/// The muxers in `list` ("yamux", "mplex", separated by commas) as protocol ids. Throws invalid.
std::vector<std::string> parse_muxers(std::string_view list);
/// "yamux" for /yamux/1.0.0, for people.
std::string_view muxer_name(std::string_view protocol);

}  // namespace p2p
