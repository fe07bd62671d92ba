#pragma once
// base58btc (Bitcoin's alphabet, big-endian; each leading zero byte is a leading '1') and the other bases in which PeerIds are written.

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <string>
#include <string_view>

namespace p2p {

std::string base58_encode(ByteView bytes);

/// Errors: malformed (a character outside the alphabet), too_large (more than limits::base_text characters: the cost is quadratic).
Result<Bytes> base58_decode(std::string_view text);

/// A multibase text: prefix z (base58btc), b or B (base32, RFC 4648, no padding), k (base36) or u (base64url, no padding).
/// Errors: malformed, too_large.
Result<Bytes> multibase_decode(std::string_view text);

}  // namespace p2p
