#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

#include "../memory_meter.h"

namespace where_memory_goes {

using torch::Tensor;

/// The stream that a layer hands to the next one.
constexpr auto kNextX = "y = y_a + G(y_a), the next x";

/// What bytes are spent on.
enum class Group { kStreams, kAttention, kFeedForward };

struct Row {
  Group group;
  std::string name;
  int64_t bytes;
  /// Kept once for a whole stack, not for each of its layers.
  bool once = false;
};

/// Gives names to the bytes that a computation leaves behind, as it goes.
/// Nothing in it is computed from shapes: a row is how much the bytes of all
/// live tensors grew.
///
/// What a row counts is kept for backward only if it is still alive at the end,
/// so the sum of all rows is to be compared with what the whole computation
/// left behind.
class Ledger {
 public:
  /// What is allocated from now on.
  Ledger() : live_(meter().live()) {}

  /// Names what has been allocated, and not freed, since the row before.
  void add(Group group, std::string name, bool once = false) {
    const auto live = meter().live();
    rows_.push_back({group, std::move(name), live - live_, once});
    live_ = live;
  }

  /// The same in two rows: `result`, and what its operation left besides.
  void add(
      Group group,
      std::string name,
      const Tensor& result,
      std::string besides) {
    add(group, std::move(name));
    const auto bytes = static_cast<int64_t>(result.storage().nbytes());
    const auto rest = rows_.back().bytes - bytes;
    rows_.back().bytes = bytes;
    rows_.push_back({group, std::move(besides), rest});
  }

  /// Gives the last row another name.
  void rename(std::string name) {
    rows_.back().name = std::move(name);
  }

  const std::vector<Row>& rows() const {
    return rows_;
  }

 private:
  static torchrev_examples::MemoryMeter& meter() {
    return torchrev_examples::MemoryMeter::install();
  }

  int64_t live_;
  std::vector<Row> rows_;
};

inline int64_t bytes_of(const std::vector<Row>& rows) {
  int64_t sum = 0;
  for (const auto& row : rows) {
    sum += row.bytes;
  }
  return sum;
}

}  // namespace where_memory_goes
