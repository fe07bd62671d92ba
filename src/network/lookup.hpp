#pragma once
// Names of hosts, by the operating system.

#include "network/async.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace p2p {

/// One look-up. The system cannot be stopped while it looks for a name, which may take half a minute. So that neither who waits here nor
/// the end of the program waits for it then, each has a thread that nobody joins, of limits::look_ups at most: the one exception to that
/// nothing is detached.
class Lookup {
 public:
  explicit Lookup(const Loop& loop);
  ~Lookup();
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  /// Once. Throws what the system says of the name, operation_aborted behind cancel(), host_not_found_try_again when too many are under
  /// way.
  Awaitable<std::vector<boost::asio::ip::tcp::endpoint>> resolve(std::string host, std::uint16_t port);
  void cancel();

 private:
  struct Course;
  struct Wanted;
  std::shared_ptr<Course> course_;  // shared with who waits
  std::shared_ptr<Wanted> wanted_;  // shared with the thread, which may end when nobody is here any more
};

}  // namespace p2p
