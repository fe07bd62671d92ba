// Our sessions for run.py: reads inputs on standard input and prints what became of each, a line an input. README.md has the format.

#include "base/coding.hpp"
#include "wire/multistream.hpp"
#include "wire/mux_session.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <string>

using namespace p2p;

namespace {

class Dropped final : public ByteSink {
 public:
  void append(ByteView) override {}
};

/// A session, and what it has heard of each stream.
class Heard {
 public:
  Heard(std::string_view protocol, bool numbered, std::size_t opened)
      : numbered_(numbered), session_(make_mux_session(protocol, MuxSession::Role::listener, sink_)) {
    for (std::size_t i = 0; i < opened; ++i) add(session_->open().value(), true);
  }

  /// False when the session has ended. All that arrives is taken at once.
  bool hear(ByteView input) {
    std::size_t before = input.size();
    while (true) {
      const Result<std::optional<MuxEvent>> event = session_->next(input);
      if (!event) {
        error_ = event.error().reason;
        return false;
      }
      if (!*event) return true;
      heard_ += before - input.size();
      before = input.size();
      on_event(**event);
    }
  }

  const std::string& error() const noexcept { return error_; }
  std::string streams() const {
    std::string all;
    for (const auto& [label, stream] : streams_) {
      all += (all.empty() ? "" : ",") + label + "=" + stream.end + ":" + to_hex(stream.bytes);
    }
    return all;
  }

 private:
  struct Stream {
    std::string end = "open";
    Bytes bytes;
  };

  // Numbered: the stream's number, and where the header that opened it ends. Otherwise who opened it, and as which of those.
  void add(StreamId id, bool here) {
    std::string label = numbered_ ? std::to_string(id) : (here ? "o" : "t") + std::to_string(here ? opened_++ : accepted_++);
    if (numbered_ && !here) label += "@" + std::to_string(heard_);
    label_[id] = label;
    streams_[label];
  }

  void on_event(const MuxEvent& event) {
    switch (event.kind) {
      case MuxEvent::Kind::opened: return add(event.stream, false);
      case MuxEvent::Kind::data: return on_data(event.stream, event.data);
      case MuxEvent::Kind::finished: streams_.at(label_.at(event.stream)).end = "finished"; return;
      case MuxEvent::Kind::reset:
        // Behind the end of what the peer sends, this concerns the other direction alone.
        if (std::string& end = streams_.at(label_.at(event.stream)).end; end == "open") end = "reset";
        return;
      case MuxEvent::Kind::pong: return session_->pong({});
      case MuxEvent::Kind::writable: return;
    }
  }

  // The application takes everything at once, and does what the bytes tell it.
  void on_data(StreamId id, ByteView data) {
    Stream& stream = streams_.at(label_.at(id));
    append(stream.bytes, data);
    session_->consumed(id, data.size(), {});
    if (std::ranges::count(data, 'c') > 0) session_->close_write(id);
    if (std::ranges::count(data, 'r') > 0) {
      session_->reset(id);
      stream.end = "left";
    }
  }

  bool numbered_;
  Dropped sink_;
  std::unique_ptr<MuxSession> session_;
  std::map<std::string, Stream> streams_;
  std::map<StreamId, std::string> label_;
  std::size_t heard_ = 0;  // bytes
  std::size_t opened_ = 0;
  std::size_t accepted_ = 0;
  std::string error_;
};

void muxer(std::string_view protocol, bool numbered, ByteView input) {
  const std::size_t opened = input.empty() ? 0 : input[0] % 4;
  Heard whole(protocol, numbered, opened);
  if (whole.hear(input.subspan(std::min<std::size_t>(1, input.size())))) {
    std::printf("alive\t%zu\t\t%s\n", input.size(), whole.streams().c_str());
    return;
  }
  // The least of the input that ends it.
  std::size_t alive = 1;
  std::size_t dead = input.size();
  while (dead - alive > 1) {
    const std::size_t middle = alive + (dead - alive) / 2;
    (Heard(protocol, numbered, opened).hear(input.subspan(1, middle - 1)) ? alive : dead) = middle;
  }
  std::printf("dead\t%zu\t%s\t%s\n", dead, whole.error().c_str(), whole.streams().c_str());
}

template <class Machine>
void negotiate(Machine machine, ByteView input) {
  ByteView rest = input;
  const Result<void> received = machine.receive(rest);
  if (!received) {
    std::printf("refused\t%zu\t%s\t\n", input.size() - rest.size(), received.error().reason);
  } else if (machine.done()) {
    std::printf("agreed\t%zu\t\t%s:%s\n", input.size() - rest.size(), machine.protocol().c_str(), to_hex(machine.take_output()).c_str());
  } else {
    std::printf("waits\t%zu\t\t:%s\n", input.size(), to_hex(machine.take_output()).c_str());
  }
}

bool supported(std::string_view protocol) { return protocol == "/a" || protocol == "/b/1.0.0" || protocol == "/ipfs/ping/1.0.0"; }

bool read(ByteSpan into) { return std::fread(into.data(), 1, into.size(), stdin) == into.size(); }

}  // namespace

int main() {
  std::uint8_t head[5];
  while (read(head)) {
    Bytes input(load_u32(head + 1));
    if (!read(input)) return 1;
    input.shrink_to_fit();
    switch (head[0]) {
      case 'y': muxer(yamux_protocol, true, input); break;
      case 'r': muxer(yamux_protocol, false, input); break;
      case 'm': muxer(mplex_protocol, false, input); break;
      case 'l': negotiate(multistream::Listener(supported), input); break;
      case 'd': negotiate(multistream::Dialer({"/x", "/a", "/b/1.0.0"}), input); break;
      default: return 1;
    }
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
