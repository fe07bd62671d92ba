#include "wire/multistream.hpp"

#include "base/coding.hpp"
#include "base/limits.hpp"

namespace p2p::multistream {
namespace {

constexpr std::string_view not_available = "na";
constexpr std::size_t usual_output = 64;  // bytes: the header and a protocol

}  // namespace

void put_message(Bytes& out, std::string_view text) {
  put_uvarint(out, text.size() + 1);
  append(out, as_bytes(text));
  out.push_back('\n');
}

Result<std::optional<std::string_view>> next_message(ByteView& in) {
  TRY_ASSIGN(const std::optional<Uvarint> length, peek_uvarint(in));
  if (!length) return std::optional<std::string_view>();
  if (length->value == 0) return Error{Errc::malformed, "empty multistream message"};
  if (length->value > limits::multistream_message) return Error{Errc::too_large, "multistream message above its limit"};
  if (in.size() < length->size + length->value) return std::optional<std::string_view>();
  const std::string_view text = as_text(in.subspan(length->size, length->value - 1));
  if (in[length->size + length->value - 1] != '\n') return Error{Errc::malformed, "multistream message without its newline"};
  in = in.subspan(length->size + length->value);
  return std::optional(text);
}

Dialer::Dialer(std::vector<std::string> protocols) : protocols_(std::move(protocols)) {
  output_.reserve(usual_output);
  put_message(output_, header);
  put_message(output_, protocols_.front());
}

Result<void> Dialer::receive(ByteView& in) {
  while (!done_) {
    TRY_ASSIGN(const std::optional<std::string_view> message, next_message(in));
    if (!message) break;
    if (!greeted_) {
      if (*message != header) return Error{Errc::malformed, "the peer does not speak multistream-select"};
      greeted_ = true;
    } else if (*message == protocol()) {
      done_ = true;
    } else if (*message == not_available) {
      if (proposed_ + 1 == protocols_.size()) return Error{Errc::unsupported, "the peer does not speak the protocol"};
      put_message(output_, protocols_[++proposed_]);
    } else {
      return Error{Errc::malformed, "the peer answered a proposal with another protocol"};
    }
  }
  return {};
}

Result<void> Listener::receive(ByteView& in) {
  while (!done_) {
    TRY_ASSIGN(const std::optional<std::string_view> message, next_message(in));
    if (!message) break;
    if (!greeted_) {
      if (*message != header) return Error{Errc::malformed, "the peer does not speak multistream-select"};
      greeted_ = true;
      output_.reserve(usual_output);
      put_message(output_, header);
    } else if (++proposals_ > limits::multistream_proposals) {
      return Error{Errc::too_large, "too many proposals in one negotiation"};
    } else if (message->size() <= limits::protocol_name && supports_(*message)) {
      protocol_ = *message;
      put_message(output_, protocol_);
      done_ = true;
    } else {
      put_message(output_, not_available);
    }
  }
  return {};
}

}  // namespace p2p::multistream
