#pragma once
// The server's side of TLS, with a certificate made for the occasion.

#include "network/transport.hpp"

#include <memory>
#include <string>

namespace p2p::test {

/// A key and a certificate for `name` (a host name or an IPv4 address) that it signed itself.
class Certificate {
 public:
  explicit Certificate(const std::string& name);
  ~Certificate();

  std::string pem() const;
  /// TLS over `stream`. The certificate outlives it. `version` is the newest that is spoken, as OpenSSL numbers them; 0: any.
  std::unique_ptr<ByteStream> serve(std::unique_ptr<ByteStream> stream, int version = 0) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace p2p::test
