#pragma once
// The commands, each in a file of its own. main.cpp fills in the options from the command line.

#include "base/limits.hpp"
#include "base/time.hpp"
#include "cli/console.hpp"
#include "wire/multiaddr.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace p2p::cli {

struct CommonOptions {
  bool json = false;
  std::string identity;  // key file; empty: a new identity
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
  std::vector<std::string> executors;
  std::string as;
  std::vector<std::string> command;
  bool worker = false;
  std::string openai_key_file;
  std::optional<std::size_t> slots;
  std::size_t queue = 16;
  Duration max_time = std::chrono::minutes(10);
  std::optional<std::uint64_t> max_input;
  std::optional<std::uint64_t> max_output;
  Duration grace = std::chrono::seconds(10);
  std::vector<std::string> allow;
  std::string allow_file;
  bool allow_any = false;
  std::string receipts;
  std::optional<std::uint64_t> receipts_max;
  bool no_mdns = false;
  std::optional<std::uint64_t> max_memory;
  std::size_t max_connections = limits::connections;
  std::size_t max_connections_per_address = limits::connections_address;
  bool perf = false;
  bool quiet = false;
};

struct RunOptions : CommonOptions {
  std::optional<std::string> prompt;
  std::vector<std::string> peers;
  std::string task_type = "inference";
  std::optional<std::string> model;
  std::optional<std::string> system;
  std::optional<std::uint64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<std::int64_t> seed;
  std::string input;  // file
  std::optional<bool> stream;
  std::string receipt;  // file
  unsigned retries = 0;
  Duration wait = std::chrono::seconds(5);
  Duration timeout = std::chrono::minutes(10);
};

struct SurveyOptions : CommonOptions {
  Duration wait = std::chrono::seconds(5);
};

struct PingOptions : CommonOptions {
  std::string peer;
  std::optional<unsigned> count;
  Duration wait = std::chrono::seconds(5);
};

struct BenchOptions : CommonOptions {
  std::string peer;
  std::optional<unsigned> pings;
  std::optional<unsigned> tasks;
  bool samples = false;
  std::optional<unsigned> total;
  unsigned concurrency = 64;
  std::optional<unsigned> connections;
  unsigned parallel = 1;
  std::optional<unsigned> hold;
  std::optional<unsigned> bulk;  // MiB
  std::optional<std::size_t> prompt_bytes;
  Duration wait = std::chrono::seconds(5);
};

struct VerifyOptions {
  std::string file;
  bool unaddressed = false;
  bool json = false;
};

Exit serve(const ServeOptions& options);
Exit run(const RunOptions& options);
Exit peers(const SurveyOptions& options);
Exit models(const SurveyOptions& options);
Exit ping(const PingOptions& options);
Exit bench(const BenchOptions& options);
Exit id(const CommonOptions& options);
Exit verify(const VerifyOptions& options);

}  // namespace p2p::cli
