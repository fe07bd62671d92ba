#pragma once
// Makes UTF-8 of whatever bytes a program writes, piece by piece. What comes out does not depend on how the bytes were cut.

#include <string>
#include <string_view>

namespace p2p {

/// Each ill-formed sequence becomes one U+FFFD, as Unicode recommends (chapter 3.9, "maximal subparts").
class Utf8Repair {
 public:
  /// What is certain now: whole code points. The beginning of one, up to three bytes, is held back.
  std::string push(std::string_view bytes);
  /// No more bytes come: U+FFFD if something was held back, else nothing. Then it is as new.
  std::string finish();

 private:
  std::string held_;
  unsigned missing_ = 0;  // bytes of the code point that begins with held_
  unsigned char low_ = 0;
  unsigned char high_ = 0;  // the next one's range
};

/// The same for text that is there as a whole.
std::string repair_utf8(std::string_view bytes);

}  // namespace p2p
