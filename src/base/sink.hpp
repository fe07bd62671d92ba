#pragma once
// Where a machine writes its bytes, so that frames are gathered in the buffer that is sent, without a copy in between.

#include "base/bytes.hpp"

namespace p2p {

class ByteSink {
 public:
  virtual void append(ByteView bytes) = 0;

 protected:
  ~ByteSink() = default;
};

}  // namespace p2p
