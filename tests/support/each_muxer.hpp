#pragma once
// Tests that are done over each muxer: a suite with the muxer's protocol as its parameter.

#include "network/upgrade.hpp"

#include <gtest/gtest.h>
#include <string>

namespace p2p::test {

inline const auto each_muxer = testing::Values(std::string(yamux_protocol), std::string(mplex_protocol));
inline std::string name_of_muxer(const testing::TestParamInfo<std::string>& one) { return std::string(muxer_name(one.param)); }

}  // namespace p2p::test
