#pragma once
// The program itself as a user starts it. mDNS stays on the loopback interface.

#include "support/own_network.hpp"
#include "support/paths.hpp"
#include "support/process.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <boost/json/parse.hpp>
#include <csignal>
#include <string>
#include <vector>

namespace p2p::test {

namespace json = boost::json;
using std::chrono::seconds;

inline const std::string program = agent_program;
inline const std::vector<std::string> on_loopback{"P2P_AGENT_INTERFACE=lo"};
inline const bool alone = enter_own_network();  // other agents on this machine's loopback interface are not met

inline json::object parsed(const std::string& line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  EXPECT_FALSE(error) << "not JSON: " << line;
  return value.is_object() ? value.get_object() : json::object();
}

inline std::string text_of(const json::object& object, const char* name) {
  const json::value* const value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

struct Ended {
  int exit;
  std::string output;
  std::string errors;
};

inline Ended run(std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), program);
  Process process(std::move(arguments), on_loopback, input);
  const int exit = process.wait();
  return {exit, process.output, process.errors};
}

/// `p2p-agent serve` on loopback, which listens when it is made.
class Serving {
 public:
  explicit Serving(std::vector<std::string> arguments = {}) : process(complete(std::move(arguments)), on_loopback) {
    const json::object event = parsed(process.line());
    EXPECT_EQ(text_of(event, "event"), "listening") << process.errors;
    peer = text_of(event, "peer");
    if (const json::value* const all = event.if_contains("addrs"); all != nullptr) {
      for (const json::value& one : all->get_array()) addresses.emplace_back(one.get_string().c_str());
    }
    if (!addresses.empty()) address = addresses.front();
  }

  /// Returns when its own info says that it runs a task. Fails when none of many looks sees one.
  void wait_until_running() const {
    for (int looks = 0; looks < 100; ++looks) {
      const std::string output = run({"peers", "--json", "--wait", "0.2"}).output;
      const std::size_t at = output.find("\"peer\":\"" + peer);
      if (at != std::string::npos && output.substr(at, output.find('\n', at) - at).find("\"running\":1") != std::string::npos) return;
    }
    ADD_FAILURE() << "no task was seen to run";
  }

  Process process;
  std::string peer;
  std::vector<std::string> addresses;
  std::string address;  // the first of them

 private:
  static std::vector<std::string> complete(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program, "serve", "--json"});
    return arguments;
  }
};

/// What `attempt` gives when `good` likes it; the last of many attempts when it never does.
template <class Attempt, class Good>
auto eventually(Attempt attempt, Good good) {
  auto result = attempt();
  for (int i = 0; i < 200 && !good(result); ++i) result = attempt();
  return result;
}

}  // namespace p2p::test
