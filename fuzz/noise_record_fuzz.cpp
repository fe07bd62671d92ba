#include "require.hpp"
#include "wire/noise.hpp"

#include <algorithm>

using namespace p2p;

namespace {

constexpr crypto::Key key{1};

// What a reader makes of `frames`, which arrive in pieces: the plaintext until it waits for more or refuses.
Bytes read(Bytes frames, std::size_t piece) {
  NoiseReader reader{crypto::Aead(key)};
  Bytes plaintext;
  ByteSpan unread = ByteSpan(frames).first(0);
  while (true) {
    const auto record = reader.next(unread);
    if (!record) break;
    if (*record) {
      append(plaintext, **record);
      continue;
    }
    const auto arrived = static_cast<std::size_t>(unread.data() - frames.data()) + unread.size();
    if (arrived == frames.size()) break;
    unread = ByteSpan(unread.data(), unread.size() + std::min(piece, frames.size() - arrived));
  }
  return plaintext;
}

}  // namespace

// The input is what a reader gets; and its bytes say how much is written at once, where records end, and which byte is changed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  fuzz::require(read(Bytes(data, data + size), 7).empty());  // nobody can forge a record

  NoiseWriter writer{crypto::Aead(key)};
  Bytes sent;
  Bytes frames;
  for (const std::uint8_t step : input.first(std::min<std::size_t>(size, 16))) {
    const std::size_t start = sent.size();
    sent.resize(start + (step < 192 ? step : std::size_t{256} * step), step);
    writer.append(ByteView(sent).subspan(start));
    if (step % 3 == 0) writer.flush();
    if (step % 5 == 0) append(frames, writer.take({}));
  }
  append(frames, writer.take({}));
  const std::size_t piece = size == 0 ? 1 : 1 + std::size_t{data[0]} * 64;
  fuzz::require(read(frames, piece) == sent);
  if (size < 5 || data[4] == 0 || frames.empty()) return 0;

  const std::size_t at = (std::size_t{data[1]} << 16 | std::size_t{data[2]} << 8 | data[3]) % frames.size();
  frames[at] = static_cast<std::uint8_t>(frames[at] ^ data[4]);
  const Bytes before = read(frames, piece);
  fuzz::require(before.size() < sent.size() || sent.empty());
  fuzz::require(equal(before, ByteView(sent).first(before.size())));
  return 0;
}
