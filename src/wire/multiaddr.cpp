#include "wire/multiaddr.hpp"

#include "base/base58.hpp"
#include "base/coding.hpp"
#include "base/limits.hpp"

#include <arpa/inet.h>
#include <charconv>

namespace p2p {
namespace {

enum class Value : std::uint8_t { none, ip4, ip6, port, octet, number, text, path, escaped, peer, hash };

constexpr std::size_t max_digest = 64;  // bytes, those of SHA-512; its text stays below limits::base_text

struct Protocol {
  std::string_view name;
  std::uint64_t code;
  Value value;
};

namespace code {
constexpr std::uint64_t ip4 = 4, tcp = 6, ip6 = 41, ip6zone = 42, dns = 53, dns4 = 54, dns6 = 55, p2p = 421;
}

constexpr Protocol protocols[] = {
    {"ip4", code::ip4, Value::ip4},
    {"tcp", code::tcp, Value::port},
    {"dccp", 33, Value::port},
    {"ip6", code::ip6, Value::ip6},
    {"ip6zone", code::ip6zone, Value::text},
    {"ipcidr", 43, Value::octet},
    {"dns", code::dns, Value::text},
    {"dns4", code::dns4, Value::text},
    {"dns6", code::dns6, Value::text},
    {"dnsaddr", 56, Value::text},
    {"sctp", 132, Value::port},
    {"udp", 273, Value::port},
    {"webrtc-direct", 280, Value::none},
    {"webrtc", 281, Value::none},
    {"p2p-circuit", 290, Value::none},
    {"udt", 301, Value::none},
    {"utp", 302, Value::none},
    {"unix", 400, Value::path},
    {"p2p", code::p2p, Value::peer},
    {"https", 443, Value::none},
    {"tls", 448, Value::none},
    {"sni", 449, Value::text},
    {"noise", 454, Value::none},
    {"quic", 460, Value::none},
    {"quic-v1", 461, Value::none},
    {"webtransport", 465, Value::none},
    {"certhash", 466, Value::hash},
    {"ws", 477, Value::none},
    {"wss", 478, Value::none},
    {"http", 480, Value::none},
    {"http-path", 481, Value::escaped},
    {"memory", 777, Value::number},
};

const Protocol* by_name(std::string_view name) noexcept {
  if (name == "ipfs") name = "p2p";
  for (const Protocol& protocol : protocols) {
    if (protocol.name == name) return &protocol;
  }
  return nullptr;
}

const Protocol* by_code(std::uint64_t number) noexcept {
  for (const Protocol& protocol : protocols) {
    if (protocol.code == number) return &protocol;
  }
  return nullptr;
}

/// Bytes of a value without a length prefix; nothing for those that have one.
std::optional<std::size_t> fixed_size(Value value) noexcept {
  switch (value) {
    case Value::none: return 0;
    case Value::octet: return 1;
    case Value::port: return 2;
    case Value::ip4: return 4;
    case Value::number: return 8;
    case Value::ip6: return 16;
    default: return std::nullopt;
  }
}

template <class T>
Result<T> decimal(std::string_view text) {
  T number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    return Error{Errc::malformed, "not a number, or out of range"};
  return number;
}

template <std::size_t size>
Result<Bytes> parse_ip(int family, std::string_view text) {
  Bytes raw(size);
  const std::string terminated(text);
  // inet_pton stops at a zero byte, wherever it is.
  if (text.find('\0') != std::string_view::npos || inet_pton(family, terminated.c_str(), raw.data()) != 1)
    return Error{Errc::malformed, "not an IP address of that family"};
  return raw;
}

template <std::size_t size>
std::string print_ip(int family, ByteView raw) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, raw.data(), text, sizeof text);
  return text;
}

Bytes big_endian(std::uint64_t value, std::size_t size) {
  Bytes raw(size);
  for (std::size_t i = 0; i < size; ++i) raw[size - 1 - i] = static_cast<std::uint8_t>(value >> (8 * i));
  return raw;
}

std::uint64_t big_endian(ByteView raw) noexcept {
  std::uint64_t value = 0;
  for (const std::uint8_t byte : raw) value = value << 8 | byte;
  return value;
}

std::string base64url(ByteView raw) {
  static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  std::uint32_t pending = 0;
  unsigned bits = 0;
  for (const std::uint8_t byte : raw) {
    pending = pending << 8 | byte;
    for (bits += 8; bits >= 6; bits -= 6) text += alphabet[pending >> (bits - 6) & 63];
  }
  if (bits > 0) text += alphabet[pending << (6 - bits) & 63];
  return text;
}

bool unreserved(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (unreserved(c)) {
      out += c;
    } else {
      static constexpr char digits[] = "0123456789ABCDEF";
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

Result<Bytes> percent_decode(std::string_view text) {
  Bytes out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(static_cast<std::uint8_t>(text[i]));
      continue;
    }
    std::uint8_t byte = 0;
    const char* const digits = text.data() + i + 1;
    if (i + 2 >= text.size() || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
      return Error{Errc::malformed, "bad percent-encoding"};
    }
    out.push_back(byte);
    i += 2;
  }
  return out;
}

/// What a variable-length value must satisfy, however it arrived.
Result<void> check_value(Value value, ByteView raw) {
  switch (value) {
    case Value::text:
      if (raw.empty()) return Error{Errc::malformed, "empty value"};
      for (const std::uint8_t byte : raw) {
        if (byte == '/' || byte <= 0x20 || byte >= 0x7f) return Error{Errc::malformed, "value with another character than printable ASCII"};
      }
      break;
    case Value::path:
      // Text knows no other path: the slash before it belongs to it, and one behind it is dropped.
      if (raw.size() < 2 || raw.front() != '/' || raw.back() == '/') return Error{Errc::malformed, "not an absolute path"};
      [[fallthrough]];
    case Value::escaped:
      if (raw.empty()) return Error{Errc::malformed, "empty path"};
      for (const std::uint8_t byte : raw) {
        if (byte < 0x20 || byte == 0x7f) return Error{Errc::malformed, "path with a control character"};
      }
      break;
    case Value::peer: TRY(PeerId::from_bytes(raw)); break;
    case Value::hash: {
      Reader reader(raw);
      TRY(reader.uvarint());
      TRY(reader.length_prefixed(max_digest));
      if (!reader.empty()) return Error{Errc::malformed, "bytes behind a multihash"};
      break;
    }
    default: break;
  }
  return {};
}

Result<Bytes> parse_value(Value value, std::string_view text) {
  switch (value) {
    case Value::ip4: return parse_ip<4>(AF_INET, text);
    case Value::ip6: return parse_ip<16>(AF_INET6, text);
    case Value::port: {
      TRY_ASSIGN(const std::uint16_t port, decimal<std::uint16_t>(text));
      return big_endian(port, 2);
    }
    case Value::octet: {
      TRY_ASSIGN(const std::uint8_t octet, decimal<std::uint8_t>(text));
      return big_endian(octet, 1);
    }
    case Value::number: {
      TRY_ASSIGN(const std::uint64_t number, decimal<std::uint64_t>(text));
      return big_endian(number, 8);
    }
    case Value::peer: {
      TRY_ASSIGN(const PeerId id, PeerId::from_text(text));
      return Bytes(id.bytes().begin(), id.bytes().end());
    }
    case Value::hash: return multibase_decode(text);
    case Value::escaped: return percent_decode(text);
    default: return to_bytes(text);
  }
}

std::string print_value(Value value, ByteView raw) {
  switch (value) {
    case Value::ip4: return print_ip<4>(AF_INET, raw);
    case Value::ip6: return print_ip<16>(AF_INET6, raw);
    case Value::port:
    case Value::octet:
    case Value::number: return std::to_string(big_endian(raw));
    case Value::peer: return PeerId::from_bytes(raw)->text();
    case Value::hash: return "u" + base64url(raw);
    case Value::escaped: return percent_encode(as_text(raw));
    default: return std::string(as_text(raw));
  }
}

void put_part(Bytes& out, const Protocol& protocol, ByteView raw) {
  put_uvarint(out, protocol.code);
  if (!fixed_size(protocol.value)) put_uvarint(out, raw.size());
  append(out, raw);
}

struct Part {
  const Protocol* protocol;
  ByteView value;
  std::size_t offset;  ///< where the part begins
};

Result<std::vector<Part>> split(ByteView bytes) {
  if (bytes.size() > limits::multiaddr_bytes) return Error{Errc::too_large, "multiaddr above its limit"};
  std::vector<Part> parts;
  Reader reader(bytes);
  while (!reader.empty()) {
    if (!parts.empty() && parts.back().protocol->value == Value::path)
      return Error{Errc::malformed, "a path is the last part of a multiaddr"};
    if (parts.size() == limits::multiaddr_parts) return Error{Errc::too_large, "multiaddr of too many parts"};
    const std::size_t offset = bytes.size() - reader.rest().size();
    TRY_ASSIGN(const std::uint64_t number, reader.uvarint());
    const Protocol* const protocol = by_code(number);
    if (protocol == nullptr) return Error{Errc::malformed, "multiaddr with an unknown protocol"};
    const std::optional<std::size_t> size = fixed_size(protocol->value);
    TRY_ASSIGN(const ByteView value, size ? reader.bytes(*size) : reader.length_prefixed(limits::multiaddr_bytes));
    TRY(check_value(protocol->value, value));
    parts.push_back({protocol, value, offset});
  }
  if (parts.empty()) return Error{Errc::malformed, "empty multiaddr"};
  return parts;
}

// The parts of an address that was checked when it was made.
std::vector<Part> parts_of(const Bytes& bytes) { return bytes.empty() ? std::vector<Part>() : split(bytes).value(); }

std::size_t end_without_peer_id(const Bytes& bytes) {
  const std::vector<Part> parts = parts_of(bytes);
  return !parts.empty() && parts.back().protocol->code == code::p2p ? parts.back().offset : bytes.size();
}

}  // namespace

Result<Multiaddr> Multiaddr::from_text(std::string_view text) {
  if (text.size() > limits::multiaddr_text) return Error{Errc::too_large, "multiaddr text above its limit"};
  if (!text.starts_with('/')) return Error{Errc::malformed, "a multiaddr starts with a slash"};
  if (text.size() > 1 && text.ends_with('/')) text.remove_suffix(1);
  Bytes bytes;
  std::string_view rest = text.substr(1);
  bool more = true;
  const auto take = [&rest, &more]() {
    const std::size_t slash = rest.find('/');
    const std::string_view piece = rest.substr(0, slash);
    more = slash != std::string_view::npos;
    rest = more ? rest.substr(slash + 1) : std::string_view();
    return piece;
  };
  while (more) {
    const Protocol* const protocol = by_name(take());
    if (protocol == nullptr) return Error{Errc::malformed, "unknown protocol name in a multiaddr"};
    Bytes value;
    if (protocol->value != Value::none) {
      if (!more) return Error{Errc::malformed, "a protocol without its value"};
      std::string whole;
      if (protocol->value == Value::path) {
        whole = "/" + std::string(rest);
        more = false;
      } else {
        whole = take();
      }
      TRY_ASSIGN(value, parse_value(protocol->value, whole));
    }
    put_part(bytes, *protocol, value);
  }
  return from_bytes(bytes);
}

Result<Multiaddr> Multiaddr::from_bytes(ByteView bytes) {
  TRY(split(bytes));
  return Multiaddr(Bytes(bytes.begin(), bytes.end()));
}

Result<Multiaddr> Multiaddr::tcp(std::string_view ip, std::uint16_t port, std::string_view zone) {
  const bool six = ip.find(':') != std::string_view::npos;
  std::string text;
  if (!zone.empty()) text += "/ip6zone/" + std::string(zone);
  text += (six ? "/ip6/" : "/ip4/") + std::string(ip) + "/tcp/" + std::to_string(port);
  return from_text(text);
}

std::string Multiaddr::text() const {
  std::string text;
  for (const Part& part : parts_of(bytes_)) {
    text += '/';
    text += part.protocol->name;
    if (part.protocol->value == Value::none) continue;
    const std::string value = print_value(part.protocol->value, part.value);
    if (!value.starts_with('/')) text += '/';
    text += value;
  }
  return text;
}

std::optional<PeerId> Multiaddr::peer_id() const {
  const std::vector<Part> parts = parts_of(bytes_);
  if (parts.empty() || parts.back().protocol->code != code::p2p) return std::nullopt;
  return *PeerId::from_bytes(parts.back().value);
}

Multiaddr Multiaddr::with_peer_id(const PeerId& id) const {
  Bytes bytes(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(end_without_peer_id(bytes_)));
  put_part(bytes, *by_code(code::p2p), id.bytes());
  return Multiaddr(std::move(bytes));
}

Multiaddr Multiaddr::without_peer_id() const {
  return Multiaddr(Bytes(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(end_without_peer_id(bytes_))));
}

Result<TcpAddress> tcp_address(const Multiaddr& address) {
  const Bytes bytes(address.bytes().begin(), address.bytes().end());
  std::vector<Part> parts = parts_of(bytes);
  if (!parts.empty() && parts.back().protocol->code == code::p2p) parts.pop_back();
  TcpAddress tcp{};
  bool has_host = false;
  bool has_port = false;
  for (const Part& part : parts) {
    // A zone stands before the address (go) or behind it (rust).
    if (part.protocol->code == code::ip6zone && tcp.zone.empty() && !has_port && (!has_host || tcp.kind == TcpAddress::Host::ip6)) {
      tcp.zone = print_value(part.protocol->value, part.value);
      continue;
    }
    if (part.protocol->code == code::tcp && has_host && !has_port) {
      tcp.port = load_u16(part.value.data());
      has_port = true;
      continue;
    }
    if (has_host) return Error{Errc::unsupported, "only ip4, ip6, dns, dns4 and dns6 over tcp can be dialled"};
    switch (part.protocol->code) {
      case code::ip4: tcp.kind = TcpAddress::Host::ip4; break;
      case code::ip6: tcp.kind = TcpAddress::Host::ip6; break;
      case code::dns: tcp.kind = TcpAddress::Host::dns; break;
      case code::dns4: tcp.kind = TcpAddress::Host::dns4; break;
      case code::dns6: tcp.kind = TcpAddress::Host::dns6; break;
      default: return Error{Errc::unsupported, "only ip4, ip6, dns, dns4 and dns6 over tcp can be dialled"};
    }
    tcp.host = print_value(part.protocol->value, part.value);
    has_host = true;
  }
  if (!has_port || (!tcp.zone.empty() && tcp.kind != TcpAddress::Host::ip6)) {
    return Error{Errc::unsupported, "only ip4, ip6, dns, dns4 and dns6 over tcp can be dialled"};
  }
  return tcp;
}

Reach reach_of(std::string_view ip) {
  if (const Result<Bytes> four = parse_ip<4>(AF_INET, ip)) {
    const Bytes& a = *four;
    if (a[0] == 127) return Reach::loopback;
    if (a[0] == 169 && a[1] == 254) return Reach::link_local;
    if (a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) || (a[0] == 100 && (a[1] & 0xc0) == 64)) {
      return Reach::private_network;
    }
    return a[0] == 0 || a[0] >= 224 ? Reach::unusable : Reach::global;
  }
  const Result<Bytes> six = parse_ip<16>(AF_INET6, ip);
  if (!six) return Reach::unusable;
  const Bytes& a = *six;
  if (equal(ByteView(a).first(12), Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})) {
    return reach_of(print_ip<4>(AF_INET, ByteView(a).subspan(12)));
  }
  if (equal(ByteView(a).first(15), Bytes(15)) && a[15] <= 1) return a[15] == 1 ? Reach::loopback : Reach::unusable;
  if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) return Reach::link_local;
  if ((a[0] & 0xfe) == 0xfc) return Reach::private_network;
  return a[0] == 0xff ? Reach::unusable : Reach::global;
}

}  // namespace p2p
