#include "recompute/buffer_record.h"

#include <ATen/ops/equal.h>

#include <utility>

#include "recompute/checksum.h"

namespace torchrev {
namespace detail {

namespace {

bool is_same(const BufferCopy& copy) {
  return copy.buffer.sizes() == copy.value.sizes() &&
         copy.buffer.scalar_type() == copy.value.scalar_type() &&
         copy.buffer.device() == copy.value.device() &&
         at::equal(copy.buffer, copy.value);
}

void check_large(const Place& place, const Tensor& buffer, bool same) {
  TORCHREV_CHECK(
      ValueError,
      same,
      place.entry,
      c10::str("the buffers of more than 1 MiB of ", place, " to be constant"),
      c10::str("one of shape ", buffer.sizes(), " that its forward changed"),
      "Declare it with Branch::mutable_buffers(), or set mutable_buffers.");
}

}  // namespace

BufferRecord::BufferRecord(
    const std::vector<Tensor>& buffers,
    const BufferOptions& options,
    const std::vector<bool>* changed)
    : options_(options), known_(changed), count_(buffers.size()) {
  for (std::size_t i = 0; i < count_; ++i) {
    // What has a graph is no buffer, but what an earlier call has computed: a
    // record that held it would hold the record of that call.
    if (can_be_written(buffers[i]) && !buffers[i].grad_fn()) {
      note(buffers[i], i);
    }
  }
}

void BufferRecord::note(const Tensor& buffer, std::size_t i) {
  const bool is_declared = options_.all_mutable;
  const bool is_state = is_declared || is_small(buffer);
  if (is_state && !is_declared && known_ && !(*known_)[i] &&
      has_checksum(buffer)) {
    sums_.push_back({buffer, checksum(buffer)});
  } else if (is_state) {
    copies_.push_back({buffer, copy_of(buffer)});
    numbers_.push_back(i);
  } else if (!known_ || options_.verify_constant) {
    if (has_checksum(buffer)) {
      large_sums_.push_back({buffer, checksum(buffer)});
    } else {
      large_copies_.push_back({buffer, copy_of(buffer)});
    }
  }
}

std::vector<bool> BufferRecord::settle(
    const Place& place, const std::vector<bool>& written) {
  for (const auto& copy : std::exchange(large_copies_, {})) {
    check_large(place, copy.buffer, is_same(copy));
  }
  for (const auto& sum : std::exchange(large_sums_, {})) {
    check_large(
        place,
        sum.buffer,
        has_checksum(sum.buffer) && checksum(sum.buffer) == sum.before);
  }
  if (known_) {
    known_ = nullptr;
    return {};
  }
  std::vector<bool> changed(count_, false);
  auto copies = std::exchange(copies_, {});
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const auto number = numbers_[i];
    if ((number < written.size() && written[number]) || !is_same(copies[i])) {
      changed[number] = true;
    } else if (!options_.all_mutable && has_checksum(copies[i].buffer)) {
      sums_.push_back({copies[i].buffer, checksum(copies[i].buffer)});
      continue;
    }
    copies_.push_back(std::move(copies[i]));
  }
  numbers_.clear();
  return changed;
}

void BufferRecord::check_unchanged(const Place& place) const {
  for (const auto& sum : sums_) {
    TORCHREV_CHECK(
        ValueError,
        has_checksum(sum.buffer) && checksum(sum.buffer) == sum.before,
        place.entry,
        c10::str("the buffers of ", place, " to be as in forward"),
        c10::str(
            "one of shape ",
            sum.buffer.sizes(),
            " that has changed since, and that earlier calls of forward left "
            "alone"),
        "If forward changes it now and then, declare it with "
        "Branch::mutable_buffers(), or set mutable_buffers; if you do, call "
        "backward first.");
  }
}

}  // namespace detail
}  // namespace torchrev
