#include "support/openai_server.hpp"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <sstream>

namespace p2p::test {
namespace {

namespace json = boost::json;

std::string event(const json::object& object) { return "data: " + json::serialize(object) + "\n\n"; }

json::object completion(json::object choice) {
  choice["index"] = 0;
  return {{"id", "chatcmpl-1"}, {"object", "chat.completion.chunk"}, {"model", "tiny-q4"}, {"choices", json::array{std::move(choice)}}};
}

std::string chunk_of(const std::string& text) {
  std::ostringstream size;
  size << std::hex << text.size();
  return size.str() + "\r\n" + text + "\r\n";
}

}  // namespace

std::string delta(std::string_view text) {
  return event(completion({{"delta", json::object{{"content", text}}}, {"finish_reason", nullptr}}));
}
std::string finished(std::string_view reason) { return event(completion({{"delta", json::object()}, {"finish_reason", reason}})); }
std::string used(unsigned prompt_tokens, unsigned completion_tokens) {
  return event({{"model", "tiny-q4"},
                {"choices", json::array()},
                {"usage", json::object{{"prompt_tokens", prompt_tokens}, {"completion_tokens", completion_tokens}}}});
}

json::object Call::input() const { return json::parse(body).as_object(); }

Awaitable<void> Call::send(std::string bytes) {
  if (closed_) co_return;
  try {
    co_await stream_.write(as_bytes(bytes));
  } catch (const boost::system::system_error&) {
    closed_ = true;  // the client is gone, which watch() will see
  }
}

Awaitable<void> Call::answer(unsigned status, std::string content, std::string more_headers) {
  std::string head = "HTTP/1.1 " + std::to_string(status) + " So it is\r\nContent-Length: " + std::to_string(content.size()) + "\r\n";
  std::string whole = head + more_headers + "\r\n" + content;
  co_await send(std::move(whole));
}

Awaitable<void> Call::begin() {
  std::string head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  co_await send(std::move(head));
}

Awaitable<void> Call::chunk(std::string text) {
  std::string bytes = chunk_of(text);
  co_await send(std::move(bytes));
}

OpenAiServer::OpenAiServer(const Environment& environment, const Certificate* certificate, int tls_version)
    : environment_(environment),
      certificate_(certificate),
      tls_version_(tls_version),
      arrived_(environment.loop),
      tasks_(environment.loop) {
  at["/v1/models"] = [this](Call& call) -> Awaitable<void> {
    json::array data;
    for (const std::string& model : models) data.push_back(json::object{{"id", model}, {"object", "model"}});
    std::string body = json::serialize(json::object{{"object", "list"}, {"data", std::move(data)}});
    co_await call.answer(200, std::move(body));
  };
  at["/v1/chat/completions"] = [](Call& call) -> Awaitable<void> {
    co_await call.begin();
    for (const char* const word : {"Once", " upon", " a time"}) {
      std::string text = delta(word);
      co_await call.chunk(std::move(text));
    }
    std::string end = finished() + used(3, 4) + done;
    co_await call.chunk(std::move(end));
    co_await call.last_chunk();
  };
}

std::string OpenAiServer::url() const {
  return (certificate_ != nullptr ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
}

void OpenAiServer::start(std::uint16_t port) {
  if (port != 0) port_ = port;
  listener_ = environment_.transport.listen(Multiaddr::tcp("127.0.0.1", port_).value());
  port_ = tcp_address(listener_->address()).value().port;
  tasks_.spawn(accept());
}

Awaitable<void> OpenAiServer::stop() {
  listener_->close();
  for (ByteStream* const stream : open_) stream->close();
  co_await tasks_.join();
}

Awaitable<Call*> OpenAiServer::call(std::string path, std::size_t count) {
  while (true) {
    std::size_t seen = 0;
    for (Call& call : calls) {
      if (call.path == path && ++seen == count) co_return &call;
    }
    co_await arrived_.wait();
  }
}

Awaitable<void> OpenAiServer::accept() {
  try {
    while (true) {
      std::unique_ptr<ByteStream> stream = co_await listener_->accept();
      tasks_.spawn(serve(std::move(stream)));
    }
  } catch (const boost::system::system_error&) {
    // stopped
  }
}

Awaitable<void> OpenAiServer::serve(std::unique_ptr<ByteStream> stream) {
  if (certificate_ != nullptr) stream = certificate_->serve(std::move(stream), tls_version_);
  open_.push_back(stream.get());
  std::string held;
  std::array<std::uint8_t, 4096> buffer{};
  const auto more = [&]() -> Awaitable<void> {
    const std::size_t count = co_await stream->read_some(buffer);
    if (count == 0) fail(Errc::closed, "the client had not asked");
    held += as_text(ByteView(buffer).first(count));
  };
  try {
    std::size_t end = held.find("\r\n\r\n");
    while (end == std::string::npos) {
      co_await more();
      end = held.find("\r\n\r\n");
    }
    Call& kept = calls.emplace_back(*stream, environment_.loop);
    std::istringstream lines(held.substr(0, end));
    held.erase(0, end + 4);
    std::string line;
    lines >> kept.method >> kept.path;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      if (line.ends_with('\r')) line.pop_back();
      std::string name = line.substr(0, line.find(':'));
      std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      kept.headers[name] = line.substr(name.size() + 2);
    }
    const std::size_t length = kept.headers.contains("content-length") ? std::stoul(kept.headers["content-length"]) : 0;
    while (held.size() < length) co_await more();
    kept.body = std::move(held);
    arrived_.notify();
    TaskGroup watching(environment_.loop);
    watching.spawn(watch(kept));
    const auto script = at.find(kept.path);
    if (script != at.end()) {
      const Script run = script->second;
      co_await run(kept);
    } else {
      co_await kept.answer(404, "nothing is here");
    }
    stream->close();
    co_await watching.join();
    kept.over_ = true;
  } catch (const boost::system::system_error&) {
    // a client that does not like the certificate, or that went before it had asked
  }
  std::erase(open_, stream.get());
}

Awaitable<void> OpenAiServer::watch(Call& call) {
  std::array<std::uint8_t, 64> buffer{};
  try {
    while (co_await call.stream_.read_some(buffer) > 0) continue;
  } catch (const boost::system::system_error&) {
    // closed
  }
  call.closed_ = true;
  call.gone_.open();
}

}  // namespace p2p::test
