#include "http/client.hpp"

#include <algorithm>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

namespace p2p::http {
namespace {

std::uint16_t usual_port(bool tls) { return tls ? 443 : 80; }

// Of a name or an address, after decoding: nothing that could end a line, a host or a port where it is written into one.
bool of_a_host(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == ':';
}

}  // namespace

std::string BaseUrl::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == usual_port(tls) ? name : name + ":" + std::to_string(port);
}

std::string BaseUrl::text() const { return (tls ? "https://" : "http://") + authority() + path; }

Result<BaseUrl> parse_base_url(std::string_view text) {
  const auto parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (!parsed) return Error{Errc::invalid, "not a URL such as http://HOST:PORT/v1"};
  BaseUrl url;
  switch (parsed->scheme_id()) {
    case boost::urls::scheme::http: break;
    case boost::urls::scheme::https: url.tls = true; break;
    default: return Error{Errc::invalid, "not a URL of http or https"};
  }
  if (parsed->has_userinfo()) return Error{Errc::invalid, "a URL must not hold a name or password: others can see it"};
  if (parsed->has_query() || parsed->has_fragment()) return Error{Errc::invalid, "a base URL ends with its path"};
  url.host = parsed->host_address();
  if (url.host.empty() || !std::all_of(url.host.begin(), url.host.end(), of_a_host)) return Error{Errc::invalid, "a URL without a host"};
  url.port = parsed->port().empty() ? usual_port(url.tls) : parsed->port_number();
  if (url.port == 0) return Error{Errc::invalid, "a URL whose port is not one of 1 to 65535"};
  // Boost 1.81 takes what stands behind a port for a path.
  if (!parsed->encoded_path().empty() && parsed->encoded_path().front() != '/')
    return Error{Errc::invalid, "a URL whose port is no number"};
  url.path = std::string_view(parsed->encoded_path().data(), parsed->encoded_path().size());
  while (url.path.ends_with('/')) url.path.pop_back();
  return url;
}

}  // namespace p2p::http
