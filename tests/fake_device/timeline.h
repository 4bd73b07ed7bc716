#pragma once

#include <c10/core/Stream.h>

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

/// When work on the fake device is done, by a clock that stands still unless a
/// test advances it or the host waits, and what is ordered before what,
/// whatever the clock says.

namespace torchrev {
namespace test {

/// A stream: index of the device, number of the stream.
using Lane = std::pair<int64_t, int64_t>;
inline Lane lane_of(const c10::Stream& stream) {
  return {stream.device_index(), stream.id()};
}
std::string name_of(const Lane& lane);

/// A vector clock: how much of the work of each stream comes before a point.
class Ordering {
 public:
  void join(const Ordering& other);
  /// Counts one more piece of work on `lane`; its number.
  int64_t next(const Lane& lane) {
    return ++done_[lane];
  }
  bool covers(const Lane& lane, int64_t number) const;

 private:
  std::map<Lane, int64_t> done_;
};

/// A piece of work on a stream.
struct Work {
  Lane lane;
  int64_t number;
  /// What comes before it, itself included.
  Ordering order;
  /// When it is done.
  int64_t done;
};

/// What an event is: a point of a stream.
struct Mark {
  Ordering order;
  int64_t done = 0;
  bool captured = false;
};

class Timeline {
 public:
  static Timeline& instance();

  /// The work takes one tick, and starts once the work before it on its stream
  /// is done.
  Work enqueue(const Lane& lane);
  /// Calls `fn` once the clock has come to `time`.
  void at(int64_t time, std::function<void()> fn);

  Mark record(const Lane& lane);
  void block(const Mark& mark, const Lane& lane);
  bool query(const Mark& mark);

  /// The host waits.
  void wait(const Mark& mark);
  void wait(const Lane& lane);
  void wait_for_all();
  /// How often it did.
  int64_t waits() const;

  int64_t now() const;
  /// When all work on `lane` so far is done.
  int64_t done(const Lane& lane) const;
  /// Time passes; nobody waits.
  void advance(int64_t ticks);
  void advance_to_the_end();

  /// Between these two, waiting and asking for an event are faults, which
  /// poison the capture. Streams that wait for a captured one belong to it. An
  /// event that was captured is never complete: asking for it later is a fault,
  /// too.
  void begin_capture(const Lane& lane);
  void end_capture();
  bool is_captured(const Lane& lane) const;
  /// Those since the last call.
  std::vector<std::string> take_faults();

  /// The lock of all that is shared.
  std::recursive_mutex& mutex() const {
    return mutex_;
  }

 private:
  struct State {
    Ordering order;
    int64_t done = 0;
  };
  void pass_to(int64_t time);
  void host_waits(const Ordering& order, int64_t until, const char* for_what);
  void check_asked(const Mark& mark);
  void fault(const std::string& reason);

  mutable std::recursive_mutex mutex_;
  std::map<Lane, State> lanes_;
  // What the host has waited for comes before all that it enqueues.
  Ordering host_;
  int64_t now_ = 0;
  int64_t waits_ = 0;
  std::multimap<int64_t, std::function<void()>> later_;
  std::set<Lane> captured_;
  std::vector<std::string> faults_;
};

}  // namespace test
}  // namespace torchrev
