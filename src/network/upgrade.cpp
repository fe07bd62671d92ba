#include "network/upgrade.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace p2p {
namespace {

constexpr std::string_view noise_protocol = "/noise";
constexpr std::size_t read_size = 4 * 1024;  // a handshake takes under 600 bytes

// The inside of Noise names muxers only in the order that everybody shares, or a single one: js picks from the remote's list, and two sides
// with different orders would pick differently.
std::vector<std::string> early_muxers(const std::vector<std::string>& muxers) {
  const bool common_order = muxers.size() == 1 || muxers.front() == yamux_protocol;
  return common_order ? muxers : std::vector<std::string>();
}

// The channel, what was read from it and not used, and the deadline over all of it.
class Handshake {
 public:
  Handshake(const Environment& environment, std::unique_ptr<ByteStream> channel, Duration time)
      : channel_(std::move(channel)), timer_(environment.clock.schedule(environment.clock.now() + time, [this] {
          timed_out_ = true;
          channel_->close();
        })) {}

  Awaitable<void> write(Bytes bytes) {
    if (bytes.empty()) co_return;
    try {
      co_await channel_->write(bytes);
    } catch (const boost::system::system_error&) {
      if (timed_out_) fail(Errc::timed_out, "the peer did not finish the handshake in time");
      throw;
    }
  }

  /// Reads more behind what there is.
  Awaitable<void> read() {
    const std::size_t size = received_.size();
    received_.reserve(size + read_size);  // no more: there may be hundreds of these
    received_.resize(size + read_size);
    std::size_t count = 0;
    try {
      count = co_await channel_->read_some(ByteSpan(received_).subspan(size));
    } catch (const boost::system::system_error&) {
      if (timed_out_) fail(Errc::timed_out, "the peer did not finish the handshake in time");
      throw;
    }
    received_.resize(size + count);
    if (count == 0) fail(Errc::closed, "the peer closed the connection during the handshake");
  }

  /// Lets `machine` take what it can from the front of what was received.
  template <class Machine>
  void feed(Machine& machine) {
    ByteView rest = received_;
    machine.receive(rest).value();
    received_.erase(received_.begin(), received_.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }

  /// Runs one machine to its end, its output sent as it comes.
  template <class Machine>
  Awaitable<void> run(Machine& machine) {
    feed(machine);
    while (!machine.done()) {
      co_await write(machine.take_output());
      co_await read();
      feed(machine);
    }
  }

  /// The same inside the encrypted channel. What a record holds beyond the machine's end is kept as `plaintext`.
  template <class Machine>
  Awaitable<void> run_sealed(Machine& machine, NoiseSession& secure, Bytes first, Bytes& plaintext) {
    while (true) {
      secure.writer.append(machine.take_output());
      Bytes flight = std::exchange(first, {});
      append(flight, secure.writer.take({}));
      co_await write(std::move(flight));
      if (machine.done()) co_return;
      ByteSpan unread(received_);
      std::optional<ByteView> record = secure.reader.next(unread).value();
      if (record) {
        append(plaintext, *record);
        received_.erase(received_.begin(), received_.end() - static_cast<std::ptrdiff_t>(unread.size()));
        ByteView rest = plaintext;
        machine.receive(rest).value();
        plaintext.erase(plaintext.begin(), plaintext.end() - static_cast<std::ptrdiff_t>(rest.size()));
      } else {
        co_await read();
      }
    }
  }

  Upgraded finish(NoiseSession secure, MuxSession::Role role, std::string muxer, Bytes plaintext, Bytes unsent) {
    timer_.reset();
    return {std::move(channel_), std::move(secure), role, std::move(muxer), std::move(received_), std::move(plaintext), std::move(unsent)};
  }

 private:
  std::unique_ptr<ByteStream> channel_;
  Bytes received_;
  bool timed_out_ = false;
  Timer timer_;
};

NoiseHandshake::Parameters noise_parameters(const Environment& environment, const UpgradeOptions& options, std::optional<PeerId> expected) {
  NoiseHandshake::Parameters parameters{options.noise_static, {}, early_muxers(options.muxers), std::move(expected), options.proofs,
                                        options.proven};
  environment.random.fill(parameters.ephemeral_secret);
  return parameters;
}

/// The muxer that the lists inside Noise settle: the initiator's first one that the responder has. Nothing when a list is empty.
std::optional<std::string> early_choice(const std::vector<std::string>& initiator, const std::vector<std::string>& responder) {
  if (initiator.empty() || responder.empty()) return std::nullopt;
  for (const std::string& muxer : initiator) {
    if (std::find(responder.begin(), responder.end(), muxer) != responder.end()) return muxer;
  }
  fail(Errc::unsupported, "the peer has no muxer in common with us");
}

}  // namespace

Awaitable<Upgraded> upgrade_dialer(const Environment& environment, const UpgradeOptions& options, std::unique_ptr<ByteStream> channel,
                                   std::optional<PeerId> expected) {
  Handshake handshake(environment, std::move(channel), options.time);
  multistream::Dialer security({std::string(noise_protocol)});
  NoiseHandshake noise(NoiseHandshake::Role::initiator, noise_parameters(environment, options, std::move(expected)));
  Bytes flight = security.take_output();
  append(flight, noise.take_output());
  co_await handshake.write(std::move(flight));
  co_await handshake.run(security);
  co_await handshake.run(noise);
  Bytes message_3 = noise.take_output();
  NoiseSession secure = noise.finish();
  Bytes plaintext;
  std::optional<std::string> muxer = early_choice(early_muxers(options.muxers), secure.remote_muxers);
  if (!muxer) {
    multistream::Dialer negotiation(options.muxers);
    co_await handshake.run_sealed(negotiation, secure, std::exchange(message_3, {}), plaintext);
    muxer = negotiation.protocol();
  }
  co_return handshake.finish(std::move(secure), MuxSession::Role::dialer, *std::move(muxer), std::move(plaintext), std::move(message_3));
}

Awaitable<Upgraded> upgrade_listener(const Environment& environment, const UpgradeOptions& options, std::unique_ptr<ByteStream> channel) {
  Handshake handshake(environment, std::move(channel), options.time);
  multistream::Listener security([](std::string_view protocol) { return protocol == noise_protocol; });
  // Made before the peer's flight is there, since its keys take a while.
  NoiseHandshake noise(NoiseHandshake::Role::responder, noise_parameters(environment, options, std::nullopt));
  co_await handshake.run(security);
  handshake.feed(noise);
  Bytes flight = security.take_output();
  append(flight, noise.take_output());
  co_await handshake.write(std::move(flight));
  co_await handshake.run(noise);
  NoiseSession secure = noise.finish();
  Bytes plaintext;
  std::optional<std::string> muxer = early_choice(secure.remote_muxers, early_muxers(options.muxers));
  if (!muxer) {
    multistream::Listener negotiation([&options](std::string_view protocol) {
      return std::find(options.muxers.begin(), options.muxers.end(), protocol) != options.muxers.end();
    });
    co_await handshake.run_sealed(negotiation, secure, {}, plaintext);
    muxer = negotiation.protocol();
  }
  co_return handshake.finish(std::move(secure), MuxSession::Role::listener, *std::move(muxer), std::move(plaintext), {});
}

std::vector<std::string> parse_muxers(std::string_view list) {
  std::vector<std::string> muxers;
  for (bool more = true; more;) {
    const std::size_t comma = list.find(',');
    const std::string_view name = list.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) list.remove_prefix(comma + 1);
    const std::string_view protocol = name == "yamux" ? yamux_protocol : name == "mplex" ? mplex_protocol : std::string_view();
    if (protocol.empty()) fail(Errc::invalid, "'" + std::string(name) + "' is no muxer; give yamux, mplex, or both separated by a comma");
    if (std::find(muxers.begin(), muxers.end(), protocol) != muxers.end()) fail(Errc::invalid, "a muxer is named twice");
    muxers.emplace_back(protocol);
  }
  return muxers;
}

std::string_view muxer_name(std::string_view protocol) {
  return protocol == yamux_protocol ? "yamux" : protocol == mplex_protocol ? "mplex" : protocol;
}

}  // namespace p2p
