#include "base/error.hpp"

#include <boost/throw_exception.hpp>

namespace p2p {
namespace {

class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "p2p"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::malformed: return "malformed";
      case Errc::too_large: return "too large";
      case Errc::unverified: return "not verified";
      case Errc::unsupported: return "not supported";
      case Errc::unreachable: return "unreachable";
      case Errc::closed: return "closed";
      case Errc::timed_out: return "timed out";
      case Errc::cancelled: return "cancelled";
      case Errc::exhausted: return "limit reached";
      case Errc::no_peer: return "no peer";
      case Errc::invalid: return "invalid";
    }
    return "unknown error";
  }
};

}  // namespace

const boost::system::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  boost::throw_exception(boost::system::system_error(make_error_code(error.code), error.reason), where);
}

void fail(Errc code, const std::string& message) { throw boost::system::system_error(make_error_code(code), message); }

std::string message_of(const std::exception& error) {
  std::string whole = error.what();
  const auto* system = dynamic_cast<const boost::system::system_error*>(&error);
  if (system == nullptr) return whole;
  const std::size_t end = whole.rfind(": " + system->code().message());
  return end == std::string::npos || end == 0 ? whole : whole.substr(0, end);
}

}  // namespace p2p
