#include "base/error.hpp"

#include <gtest/gtest.h>
#include <set>
#include <stdexcept>

namespace p2p {
namespace {

constexpr Errc all[] = {Errc::malformed, Errc::too_large, Errc::unverified, Errc::unsupported, Errc::unreachable, Errc::closed,
                        Errc::timed_out, Errc::cancelled, Errc::exhausted,  Errc::no_peer,     Errc::invalid};

TEST(Errors, EachHaveATextOfTheirOwn) {
  std::set<std::string> texts;
  for (const Errc code : all) texts.insert(make_error_code(code).message());
  EXPECT_EQ(texts.size(), std::size(all));
  EXPECT_EQ(texts.count("unknown error"), 0U);
  EXPECT_EQ(boost::system::error_code(0, error_category()).message(), "unknown error");
  EXPECT_EQ(boost::system::error_code(12, error_category()).message(), "unknown error");
}

TEST(Errors, AreThrownWithTheirReasonWhenAValueIsAskedFor) {
  const Result<int> result = Error{Errc::too_large, "frame above its limit"};
  try {
    (void)result.value();
    FAIL() << "nothing was thrown";
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::too_large));
    EXPECT_FALSE(is(error, Errc::malformed));
    EXPECT_EQ(message_of(error), "frame above its limit");
  }
}

TEST(Errors, AreTheirCodeToWhoeverComparesCodes) {
  const boost::system::error_code code = Errc::closed;
  EXPECT_EQ(code, make_error_code(Errc::closed));
  EXPECT_NE(code, boost::system::errc::make_error_code(boost::system::errc::timed_out));
}

TEST(Errors, ThatFailThrowsSayWhatTheyWereTold) {
  try {
    fail(Errc::no_peer, "nobody offers: inference");
    FAIL() << "nothing was thrown";
  } catch (const boost::system::system_error& error) {
    EXPECT_TRUE(is(error, Errc::no_peer));
    EXPECT_EQ(message_of(error), "nobody offers: inference");
  }
}

TEST(Errors, OfOthersKeepTheirMessage) {
  EXPECT_EQ(message_of(std::runtime_error("no such thing: closed")), "no such thing: closed");
  const boost::system::error_code refused = boost::system::errc::make_error_code(boost::system::errc::connection_refused);
  EXPECT_EQ(message_of(boost::system::system_error(refused, "connect")), "connect");
  EXPECT_NE(message_of(boost::system::system_error(refused)), "");
}

Result<int> doubled(const Result<int>& in) {
  TRY_ASSIGN(const int value, in);
  return 2 * value;
}

Result<int> seven_if(const Result<void>& in) {
  TRY(in);
  return 7;
}

TEST(Errors, ArePassedOnByTry) {
  EXPECT_EQ(doubled(21).value(), 42);
  EXPECT_EQ(doubled(Error{Errc::malformed, "x"}).error().code, Errc::malformed);
  EXPECT_EQ(seven_if({}).value(), 7);
  EXPECT_EQ(seven_if(Error{Errc::closed, "y"}).error().code, Errc::closed);
}

}  // namespace
}  // namespace p2p
