#pragma once
// Names of hosts, by the operating system.

#include "network/async.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace p2p {

/// One look-up. The system cannot be stopped while it looks for a name, which may take half a minute: who waits here goes on at cancel().
class Lookup {
 public:
  explicit Lookup(const Loop& loop);

  /// Once. Throws what the system says of the name, or operation_aborted behind cancel().
  Awaitable<std::vector<boost::asio::ip::tcp::endpoint>> resolve(std::string host, std::uint16_t port);
  void cancel();

 private:
  struct Course;
  std::shared_ptr<Course> course_;  // shared with the resolver, which may end when nobody is here any more
};

}  // namespace p2p
