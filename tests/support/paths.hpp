#pragma once
// Where the programs and files are that tests start and read.

namespace p2p::test {

extern const char* const agent_program;    // p2p-agent
extern const char* const unruly_program;   // the child of unruly.cpp
extern const char* const examples_folder;  // examples/

}  // namespace p2p::test
