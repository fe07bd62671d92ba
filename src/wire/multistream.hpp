#pragma once
// multistream-select 1.0: two sides agree on a protocol by its name.
//
//   message   uvarint length ‖ text ‖ '\n'          the length counts the newline
//   dialer    /multistream/1.0.0   <protocol>   [<next protocol> after each "na"]…
//   listener  /multistream/1.0.0   <protocol> or "na" to each proposal
//
// https://github.com/multiformats/multistream-select. Both sides may write before the other has; whatever stands behind the last message
// belongs to the protocol agreed on.

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2p::multistream {

inline constexpr std::string_view header = "/multistream/1.0.0";

void put_message(Bytes& out, std::string_view text);

/// The message at the front of `in`, without its newline, chopped off; nothing while it is incomplete. The view looks into `in`.
/// Errors: malformed, too_large (above limits::multistream_message).
Result<std::optional<std::string_view>> next_message(ByteView& in);

/// Proposes protocols in order until one is accepted. Its output begins with the header and the first proposal. With a single protocol the
/// caller may write its own bytes behind them at once (lazy); agreement is then known at the first read.
class Dialer {
 public:
  explicit Dialer(std::vector<std::string> protocols);

  /// Takes messages off the front of `in`, none beyond the agreement. Errors: malformed; unsupported when the last proposal was refused.
  Result<void> receive(ByteView& in);
  Bytes take_output() { return std::exchange(output_, {}); }
  bool done() const noexcept { return done_; }
  /// The protocol agreed on, or the one proposed at present.
  const std::string& protocol() const noexcept { return protocols_[proposed_]; }

 private:
  std::vector<std::string> protocols_;
  std::size_t proposed_ = 0;
  bool greeted_ = false;
  bool done_ = false;
  Bytes output_;
};

/// Accepts the first proposal that is supported.
class Listener {
 public:
  explicit Listener(std::function<bool(std::string_view)> supports) : supports_(std::move(supports)) {}

  /// As Dialer's. Errors: malformed; too_large after limits::multistream_proposals proposals.
  Result<void> receive(ByteView& in);
  Bytes take_output() { return std::exchange(output_, {}); }
  bool done() const noexcept { return done_; }
  const std::string& protocol() const noexcept { return protocol_; }

 private:
  std::function<bool(std::string_view)> supports_;
  std::string protocol_;
  std::size_t proposals_ = 0;
  bool greeted_ = false;
  bool done_ = false;
  Bytes output_;
};

}  // namespace p2p::multistream
