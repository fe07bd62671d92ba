#pragma once
// Whether an event loop that has nothing to do sleeps, or looks again for a moment.

#include "base/time.hpp"

#include <algorithm>

namespace p2p {

/// A thread that sleeps takes tens of microseconds to wake, as long as a peer on this machine or link takes for much of what it answers. So
/// where sleeps turn out to be short, the loop watches for more a while before it sleeps again. Where they don't, as on idle connections,
/// it sleeps at once. So it does while others want the processor, who would keep it for longer than that and whom the wake-up of a sleeper
/// interrupts: at first for a moment, since a program that starts wants it, too, and a stream whose reader sleeps behind each piece takes a
/// third longer. And so it does when it watches in vain too often, as somebody could make it do who sends something now and then.
class Watch {
 public:
  static constexpr std::chrono::microseconds patience{400};     // as long as a peer takes to check a signature, sign, and answer
  static constexpr std::chrono::microseconds short_sleep{800};  // with what was done first after it
  static constexpr std::chrono::microseconds others_turn{500};  // a processor that nobody wants comes back in a few
  static constexpr std::chrono::milliseconds for_others{1};     // without watching, behind such a turn; twice as long behind the next one
  static constexpr std::chrono::seconds most_for_others{1};     // at most; and behind as long without such a turn it begins anew
  static constexpr int most_credit = 16;                        // one for each time that it did not watch in vain
  static constexpr int price = 4;                               // of having done so
  static constexpr std::chrono::milliseconds pause{10};         // without watching, when there is no credit left

  explicit Watch(Time now) noexcept : worked_(now) {}

  /// Something was done until `now`.
  void worked(Time now) noexcept {
    if (watched_) credit_ = std::min(credit_ + 1, most_credit);
    watched_ = false;
    worked_ = now;
  }
  /// Whether to look again.
  bool goes_on(Time now) const noexcept { return watching_ && now - worked_ < patience; }
  /// It looks again. The processor was offered to others meanwhile.
  void yielded(Time from, Time to) noexcept {
    watched_ = true;
    if (to - from < others_turn) return;
    rest_ = to < rested_ + most_for_others ? std::min<Duration>(2 * rest_, most_for_others) : Duration(for_others);
    rested_ = to + rest_;
    rest_until(rested_);
  }
  /// It slept, and did the first of what woke it.
  void slept(Time from, Time to) noexcept {
    if (watched_) credit_ -= price;
    watched_ = false;
    if (credit_ <= 0) {
      rest_until(to + pause);
      credit_ = price;
    }
    worked_ = to;
    watching_ = to - from < short_sleep && to >= not_before_;
  }

 private:
  void rest_until(Time when) noexcept {
    watching_ = false;
    not_before_ = std::max(not_before_, when);
  }

  Time worked_;
  Time not_before_{};
  Duration rest_ = for_others;  // the last one for others
  Time rested_{};               // and its end
  int credit_ = most_credit;
  bool watching_ = true;
  bool watched_ = false;  // since something was done
};

}  // namespace p2p
