#pragma once
// A network of the test's own, so that it meets nobody else's agents.

namespace p2p::test {

/// Moves this process, and what it starts from now on, into a network namespace with nothing but a loopback interface. False where that is
/// not to be had (another system than Linux, or no right to it). Before any thread is started.
bool enter_own_network();

}  // namespace p2p::test
