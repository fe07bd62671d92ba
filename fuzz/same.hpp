#pragma once
// Whether two JSON values are the same. Boost.JSON reads a fraction to within a few units in the last place, so that much is allowed.

#include "task/message.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

namespace p2p::fuzz {

inline bool same(const boost::json::value& a, const boost::json::value& b);

inline bool same(const boost::json::object& a, const boost::json::object& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& one, const auto& other) { return one.key() == other.key() && same(one.value(), other.value()); });
}

inline bool same(const boost::json::value& a, const boost::json::value& b) {
  if (a.is_object() && b.is_object()) return same(a.get_object(), b.get_object());
  if (a.is_array() && b.is_array()) {
    return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(), b.get_array().end(),
                      [](const auto& one, const auto& other) { return same(one, other); });
  }
  if (a.is_double() && b.is_double()) {
    return std::abs(a.get_double() - b.get_double()) <= std::max(std::abs(a.get_double()) * 1e-15, 1e-320);
  }
  return a.kind() == b.kind() && a == b;
}

}  // namespace p2p::fuzz
