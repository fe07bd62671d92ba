#include "support/paths.hpp"

namespace p2p::test {

const char* const agent_program = P2P_AGENT_PROGRAM;
const char* const unruly_program = UNRULY_PROGRAM;
const char* const examples_folder = P2P_EXAMPLES;

}  // namespace p2p::test
