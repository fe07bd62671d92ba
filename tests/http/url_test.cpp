#include "http/client.hpp"

#include <gtest/gtest.h>

namespace p2p::http {
namespace {

TEST(BaseUrl, SaysWhereAServerIs) {
  struct Case {
    const char* text;
    bool tls;
    const char* host;
    unsigned port;
    const char* path;
    const char* authority;
  };
  for (const Case& expected :
       {Case{"http://127.0.0.1:8080", false, "127.0.0.1", 8080, "", "127.0.0.1:8080"},
        Case{"http://localhost/", false, "localhost", 80, "", "localhost"},
        Case{"https://api.example.com/v1", true, "api.example.com", 443, "/v1", "api.example.com"},
        Case{"HTTPS://api.example.com:8443/a/v1//", true, "api.example.com", 8443, "/a/v1", "api.example.com:8443"},
        Case{"http://[::1]:8000/v1/", false, "::1", 8000, "/v1", "[::1]:8000"}, Case{"http://h:/x%20y", false, "h", 80, "/x%20y", "h"},
        Case{"http://h:65535", false, "h", 65535, "", "h:65535"}}) {
    const Result<BaseUrl> url = parse_base_url(expected.text);
    ASSERT_TRUE(url) << expected.text;
    EXPECT_EQ(url->tls, expected.tls) << expected.text;
    EXPECT_EQ(url->host, expected.host) << expected.text;
    EXPECT_EQ(url->port, expected.port) << expected.text;
    EXPECT_EQ(url->path, expected.path) << expected.text;
    EXPECT_EQ(url->authority(), expected.authority) << expected.text;
    const Result<BaseUrl> again = parse_base_url(url->text());
    ASSERT_TRUE(again) << url->text();
    EXPECT_EQ(again->text(), url->text());
  }
}

TEST(BaseUrl, IsRefusedWhenItIsAnythingElse) {
  for (const char* const text :
       {"", "127.0.0.1:8080", "localhost:8080", "/v1", "ftp://h/", "http://", "http:///v1", "http://h:0", "http://h:65536", "http://h:x",
        "http://user:secret@h/", "http://h/?key=1", "http://h/#x", "http://h /", "http://h%0d%0ax/", "http://h%2fx/", "http://h\r\nx/"}) {
    EXPECT_FALSE(parse_base_url(text)) << text;
  }
}

TEST(RetryAfter, IsSecondsOrADate) {
  const WallTime now = std::chrono::sys_days(std::chrono::year(1994) / 11 / 6) + std::chrono::hours(8) + std::chrono::minutes(49);
  const auto said = [now](const char* text) -> long {
    const auto wait = retry_after({429, {{"retry-after", text}}}, now);
    return wait ? static_cast<long>(wait->count()) : -1;
  };
  EXPECT_EQ(said("0"), 0);
  EXPECT_EQ(said("7"), 7000);
  EXPECT_EQ(said("86400"), 86'400'000);
  EXPECT_EQ(said("86401"), 86'400'000);
  EXPECT_EQ(said("Sun, 06 Nov 1994 08:49:37 GMT"), 37'000);
  EXPECT_EQ(said("Sat, 05 Nov 1994 08:49:37 GMT"), 0);
  for (const char* const nothing :
       {"", "-1", "1.5", "soon", "99999999999", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"}) {
    EXPECT_EQ(said(nothing), -1) << nothing;
  }
  EXPECT_FALSE(retry_after({429, {}}, now));
}

}  // namespace
}  // namespace p2p::http
