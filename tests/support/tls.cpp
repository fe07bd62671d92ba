#include "support/tls.hpp"

#include "base/error.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <array>

namespace p2p::test {
namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

class TlsStream final : public ByteStream {
 public:
  TlsStream(std::unique_ptr<ByteStream> stream, SSL_CTX* context) : stream_(std::move(stream)), ssl_(SSL_new(context)) {
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl_.get());
  }

  Awaitable<void> connect(Duration) override { co_return; }
  Awaitable<void> wait_readable() override { return stream_->wait_readable(); }
  Awaitable<std::size_t> read_some(ByteSpan into) override {
    while (true) {
      std::size_t count = 0;
      const int done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &count);
      const int why = SSL_get_error(ssl_.get(), done);
      co_await flush();
      if (done == 1) co_return count;
      if (why == SSL_ERROR_ZERO_RETURN) co_return 0;
      if (why != SSL_ERROR_WANT_READ) fail(Errc::malformed, "no TLS");
      std::array<std::uint8_t, 4096> buffer{};
      const std::size_t arrived = co_await stream_->read_some(buffer);
      if (arrived == 0) co_return 0;
      BIO_write(SSL_get_rbio(ssl_.get()), buffer.data(), static_cast<int>(arrived));
    }
  }
  Awaitable<void> write(ByteView bytes) override {
    std::size_t count = 0;
    if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count) != 1) fail(Errc::malformed, "no TLS");
    co_await flush();
  }
  void close() noexcept override { stream_->close(); }
  const Multiaddr& remote_address() const override { return stream_->remote_address(); }

 private:
  Awaitable<void> flush() {
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(ssl_.get()), &data);
    const Bytes out(data, data + size);
    (void)BIO_reset(SSL_get_wbio(ssl_.get()));
    if (!out.empty()) co_await stream_->write(out);
  }

  std::unique_ptr<ByteStream> stream_;
  std::unique_ptr<SSL, Freed<SSL_free>> ssl_;
};

}  // namespace

struct Certificate::Parts {
  std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>> key{EVP_EC_gen("P-256")};
  std::unique_ptr<X509, Freed<X509_free>> certificate{X509_new()};
};

Certificate::Certificate(const std::string& name) : parts_(std::make_unique<Parts>()) {
  X509* const certificate = parts_->certificate.get();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, parts_->key.get());
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("p2p-ai-agents test"), -1, -1, 0);
  X509_set_issuer_name(certificate, subject);
  const bool address = name.find_first_not_of("0123456789.") == std::string::npos;
  const std::string alternative = (address ? "IP:" : "DNS:") + name;
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alternative.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate, parts_->key.get(), EVP_sha256());
}

Certificate::~Certificate() = default;

std::string Certificate::pem() const {
  const std::unique_ptr<BIO, Freed<BIO_free_all>> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), parts_->certificate.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::unique_ptr<ByteStream> Certificate::serve(std::unique_ptr<ByteStream> stream, int version) const {
  const std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>> context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_security_level(context.get(), 0);  // the versions that a client must refuse
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_use_certificate(context.get(), parts_->certificate.get());
  SSL_CTX_use_PrivateKey(context.get(), parts_->key.get());
  return std::make_unique<TlsStream>(std::move(stream), context.get());
}

}  // namespace p2p::test
