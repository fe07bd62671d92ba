#pragma once
// The bytes of a protobuf message. Nobody needs protobuf's headers for this one.

#include "base/bytes.hpp"

namespace p2p {

template <class Message>
Bytes serialized(const Message& message) {
  Bytes encoded(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(encoded.data());
  return encoded;
}

}  // namespace p2p
