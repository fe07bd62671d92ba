#pragma once
// What a stream's handle and its connection share. Only stream.cpp and connection.cpp look inside.

#include "base/error.hpp"
#include "base/limits.hpp"
#include "network/memory.hpp"
#include "network/stream.hpp"
#include "wire/multistream.hpp"
#include "wire/mux_session.hpp"

#include <optional>

namespace p2p {

struct Stream::State {
  State(Connection& owner, Loop loop, Clock& clock_of_owner, std::shared_ptr<const Verifier> key_of_peer, StreamId id_in_session,
        MemoryCharge memory_of_stream)
      : connection(&owner),
        clock(clock_of_owner),
        peer_key(std::move(key_of_peer)),
        id(id_in_session),
        memory(std::move(memory_of_stream)),
        readable(loop),
        writable(std::move(loop)) {}

  Connection* connection;  // null when it ended, or the stream was reset
  Clock& clock;
  const std::shared_ptr<const Verifier> peer_key;
  const StreamId id;
  MemoryCharge memory;  // of what arrived and what was handed out
  std::string protocol;
  bool inbound = false;
  std::optional<multistream::Dialer> negotiation;  // not finished yet

  Bytes arrived;  // not handed out
  Bytes handed;   // what read() gave last; [offset, end) is to be given again
  std::size_t handed_offset = 0;
  bool waiting = false;   // read() or wait_end() does, and nobody looks at `handed` meanwhile
  bool finished = false;  // the peer will send no more
  bool write_closed = false;
  bool blocked = false;  // waits among the connection's blocked writers
  bool connection_ended = false;
  std::optional<Error> failure;
  Event readable;
  Event writable;

  void count_memory() { memory.set(limits::stream_memory + arrived.capacity() + handed.capacity()); }
  /// A stream that waits for its peer keeps no large buffers.
  void free_buffers() {
    if (!waiting || !arrived.empty() || arrived.capacity() + handed.capacity() <= limits::stream_kept) return;
    arrived = Bytes();
    handed = Bytes();
    count_memory();
  }

  void fail(Error reason) {
    if (!failure) failure = reason;
    connection = nullptr;
    readable.notify();
    writable.notify();
  }
};

}  // namespace p2p
