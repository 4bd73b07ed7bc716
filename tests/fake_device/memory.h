#pragma once

#include <c10/core/Allocator.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "fake_device/timeline.h"

/// The memory of the fake device: a caching allocator, which hands out what was
/// freed as soon as that is allowed, and a book of who wrote and read what.

namespace torchrev {
namespace test {

/// As CUDA's caching allocator, memory belongs to the stream that was current
/// when it was allocated. Freed, it can be handed out again at once for that
/// stream, whose work is in order; if another stream was said to use it
/// (record_stream), once that stream is done with its work so far.
class Memory {
 public:
  static Memory& instance();

  void* allocate(std::size_t bytes, const Lane& lane);
  void free(void* data);
  /// As the operator record_stream does it.
  void record_stream(const void* data, const Lane& lane);

  /// Notes that `work`, an operator `name`, reads or writes what starts at
  /// `data`. A race: it is not ordered after a write of another stream, or a
  /// write is not ordered after a read of another stream.
  void note_read(const void* data, const Work& work, const std::string& name);
  void note_write(const void* data, const Work& work, const std::string& name);

  /// The races since the last call.
  std::vector<std::string> take_races();
  int64_t live_bytes() const;

 private:
  struct Access {
    int64_t number;
    std::string name;
  };
  struct Block {
    std::size_t bytes;
    Lane owner;
    bool live = true;
    std::set<Lane> users;
    // When it can be handed out again.
    int64_t free_at = 0;
    std::map<Lane, Access> reads;
    std::map<Lane, Access> writes;
  };
  // One that was freed; null if there is none.
  void* reused(std::size_t bytes, const Lane& lane);
  void check(
      const std::map<Lane, Access>& earlier,
      const char* did,
      const char* does,
      const Work& work,
      const std::string& name);

  std::map<const void*, Block> blocks_;
  // By bytes and owner. The one that was freed last is handed out first.
  std::map<std::pair<std::size_t, Lane>, std::vector<void*>> freed_;
  std::vector<std::string> races_;
  int64_t live_bytes_ = 0;
};

/// The allocator of tensors: for the current device and stream.
c10::Allocator& fake_allocator();
/// For host memory that counts as pinned.
c10::Allocator& pinned_allocator();
bool is_pinned(const void* data);

}  // namespace test
}  // namespace torchrev
