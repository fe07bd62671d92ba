#pragma once
// One vocabulary of errors for the whole project. Pure code (base to wire, task/message) returns Result<T>; coroutines call .value() on it,
// which throws boost::system::system_error, the type that Asio throws as well. Another code is added only for a caller that behaves
// differently because of it; what exactly went wrong is the reason, a string literal.

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>
#include <boost/system/system_error.hpp>
#include <string>

namespace p2p {

enum class Errc {
  malformed = 1,  ///< bytes that break the protocol; whoever sent them is dropped
  too_large,      ///< a length or count above its limit
  unverified,     ///< a signature, key, hash or PeerId that does not hold
  unsupported,    ///< the other side does not speak the protocol asked for
  unreachable,    ///< no connection could be made
  closed,         ///< the connection or stream ended, by either side
  timed_out,      ///< a deadline passed
  cancelled,      ///< stopped by whoever asked
  exhausted,      ///< a local limit is reached; try again later
  no_peer,        ///< nobody was found
  invalid,        ///< an argument that cannot be right (usage)
};

const boost::system::error_category& error_category() noexcept;

inline boost::system::error_code make_error_code(Errc code) noexcept { return {static_cast<int>(code), error_category()}; }

/// What went wrong and why. `reason` is a string literal: it outlives everything and holds no secret.
struct Error {
  Errc code;
  const char* reason;
};

[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& where);

template <class T>
using Result = boost::system::result<T, Error>;

/// Throws `code` with a message made for a person.
[[noreturn]] void fail(Errc code, const std::string& message);

inline bool is(const boost::system::system_error& error, Errc code) noexcept { return error.code() == make_error_code(code); }

/// The message without the category's text that system_error appends.
std::string message_of(const std::exception& error);

}  // namespace p2p

namespace boost::system {
template <>
struct is_error_code_enum<p2p::Errc> : std::true_type {};
}  // namespace boost::system

// Pure code only: co_await inside a statement expression crashes g++ 12. Binds the value of a Result or returns its error.
#define P2P_CONCAT_(a, b) a##b
#define P2P_CONCAT(a, b) P2P_CONCAT_(a, b)
#define TRY_ASSIGN(declaration, expression) TRY_ASSIGN_(P2P_CONCAT(result_, __LINE__), declaration, expression)
#define TRY_ASSIGN_(temporary, declaration, expression) \
  auto temporary = (expression);                        \
  if (!temporary) return temporary.error();             \
  declaration = std::move(*temporary)
#define TRY(expression)                                                         \
  do {                                                                          \
    if (auto try_result = (expression); !try_result) return try_result.error(); \
  } while (false)
