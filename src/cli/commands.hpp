#pragma once
// The commands, each in a file of its own. main.cpp fills in the options from the command line.

#include "cli/console.hpp"
#include "wire/multiaddr.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace p2p::cli {

struct CommonOptions {
  bool json = false;
  std::string log_level = "warn";
  std::string muxers = "yamux,mplex";
  std::vector<std::string> interfaces;
};

/// A peer as the user names it: by PeerId, or by an address that may say the PeerId as well.
struct PeerName {
  std::optional<Multiaddr> address;
  std::optional<PeerId> id;
};
/// Throws Failure (usage) for a text that is neither, or an address that cannot be dialled.
PeerName parse_peer(const std::string& text);

struct ServeOptions : CommonOptions {
  std::vector<std::string> listen;
  std::string executor = "mock";
  std::optional<std::size_t> slots;
  std::size_t queue = 16;
  double grace_s = 10;
  bool no_mdns = false;
};

struct RunOptions : CommonOptions {
  std::optional<std::string> prompt;
  std::vector<std::string> peers;
  bool stream = false;
  double wait_s = 5;
  double timeout_s = 600;
};

struct PeersOptions : CommonOptions {
  double wait_s = 5;
};

struct PingOptions : CommonOptions {
  std::string peer;
  std::optional<unsigned> count;
  double wait_s = 5;
};

Exit serve(const ServeOptions& options);
Exit run(const RunOptions& options);
Exit peers(const PeersOptions& options);
Exit ping(const PingOptions& options);
Exit id(const CommonOptions& options);

}  // namespace p2p::cli
