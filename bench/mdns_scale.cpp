// What `make bench-mdns` measures: agents on one link, over the network in memory, that start in the same instant and stay for an hour of
// virtual time. The course is the same in every run; only CPU times differ.
//
// Usage: mdns_scale [--seed N] [--lost N] AGENTS…, where of a thousand datagrams N don't reach a receiver. Standard output, a line for each
// number of AGENTS, for bench/mdns.py: the names of the figures come first.

#include "support/sim.hpp"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>

namespace p2p::test {
namespace {

using std::chrono::seconds;

constexpr seconds beginning{10};
constexpr seconds stay{3600};

struct Options {
  std::uint64_t seed = 1;
  unsigned lost = 0;
  std::vector<std::size_t> agents;
};

double cpu_ms() { return static_cast<double>(std::clock()) * 1000 / CLOCKS_PER_SEC; }

class Scale {
 public:
  Scale(const Options& options, std::size_t count) : network_(options.seed), pairs_(count * (count - 1)) {
    network_.datagrams_lost = options.lost;
    AgentEvents events;
    events.discovered = [this](const PeerId&, const std::vector<Multiaddr>&) {
      if (++known_ == pairs_ && !all_know_) all_know_ = network_.clock().now();
    };
    events.gone = [this](const PeerId&) { --known_; };
    for (std::size_t i = 0; i < count; ++i) agents_.push_back(std::make_unique<SimAgent>(network_, listening(), events));
  }

  void run() {
    std::vector<SimAgent*> agents;
    for (const auto& each : agents_) agents.push_back(each.get());
    network_.run(agents, [this]() -> Awaitable<void> { co_await measure(); });
  }

 private:
  Awaitable<void> measure() {
    const double cpu = cpu_ms();
    const Time start = network_.clock().now();
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint64_t most = 0;
    std::size_t least_known = pairs_;
    for (seconds second{1}; second <= stay; ++second) {
      const std::uint64_t before = network_.datagrams;
      co_await sleep_until(network_.clock(), network_.loop(), start + second);
      if (second == beginning) {
        packets = network_.datagrams;
        bytes = network_.datagram_bytes;
      } else if (second > beginning) {
        most = std::max(most, network_.datagrams - before);
        least_known = std::min(least_known, known_);
      }
    }
    const double all_know = all_know_ ? std::chrono::duration<double, std::milli>(*all_know_ - start).count() : -1;
    const double rest = static_cast<double>((stay - beginning).count());
    std::printf("%zu %.1f %.4f %llu %llu %.3f %.1f %llu %.2f\n", agents_.size(), all_know,
                100 * static_cast<double>(least_known) / static_cast<double>(pairs_), static_cast<unsigned long long>(packets),
                static_cast<unsigned long long>(bytes), static_cast<double>(network_.datagrams - packets) / rest,
                static_cast<double>(network_.datagram_bytes - bytes) / rest, static_cast<unsigned long long>(most),
                (cpu_ms() - cpu) / static_cast<double>(agents_.size()));
    std::fflush(stdout);
  }

  SimNetwork network_;
  std::vector<std::unique_ptr<SimAgent>> agents_;
  const std::size_t pairs_;  // of one that knows and another one that is known
  std::size_t known_ = 0;    // of those
  std::optional<Time> all_know_;
};

Options options_of(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--seed" && i + 1 < count)
      options.seed = std::stoull(arguments[++i]);
    else if (argument == "--lost" && i + 1 < count)
      options.lost = static_cast<unsigned>(std::stoul(arguments[++i]));
    else
      options.agents.push_back(std::stoul(argument));
  }
  return options;
}

}  // namespace
}  // namespace p2p::test

int main(int count, char** arguments) {
  try {
    const p2p::test::Options options = p2p::test::options_of(count, arguments);
    std::puts("agents all_know_ms known_percent packets_10s bytes_10s packets_s bytes_s most_s cpu_ms");
    for (const std::size_t agents : options.agents) p2p::test::Scale(options, agents).run();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mdns_scale: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
