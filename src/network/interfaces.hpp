#pragma once
// The machine's network interfaces.

#include "network/transport.hpp"

namespace p2p {

/// Those that are up, have an address and are not point-to-point; none when the system does not say.
std::vector<Interface> machine_interfaces();

}  // namespace p2p
