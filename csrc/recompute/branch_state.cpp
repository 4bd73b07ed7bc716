#include "recompute/branch_state.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>

#include "device/handover.h"

namespace torchrev {
namespace detail {

namespace {

// Larger buffers count as constant unless the branch declares them mutable.
constexpr std::size_t kLargestSnapshot = std::size_t(1) << 20;

}  // namespace

bool can_be_written(const Tensor& buffer) {
  return buffer.defined() && !buffer.is_inference() &&
         at::has_internal_overlap(buffer) != at::MemOverlap::Yes;
}

bool is_small(const Tensor& buffer) {
  return buffer.nbytes() <= kLargestSnapshot;
}

Tensor copy_of(const Tensor& tensor) {
  const at::NoGradGuard no_grad;
  return tensor.detach().clone();
}

BufferCopies copies_of(const BufferCopies& like) {
  BufferCopies copies;
  copies.reserve(like.size());
  for (const auto& item : like) {
    copies.push_back({item.buffer, copy_of(item.buffer)});
  }
  return copies;
}

BufferCopies copies_of_buffers(const Branch& branch) {
  BufferCopies copies;
  for (const auto& buffer : branch.buffers()) {
    if (can_be_written(buffer) &&
        (is_small(buffer) || branch.has_mutable_buffers())) {
      copies.push_back({buffer, copy_of(buffer)});
    }
  }
  return copies;
}

// Without raising the version of the buffer: batch norm saves its statistics
// for backward and updates them without raising it, too. A buffer that forward
// resized (observers do) gets memory of its own again.
void write_back(const BufferCopies& copies) {
  const at::NoGradGuard no_grad;
  for (const auto& item : copies) {
    keep_for_current_stream(item.value);
    if (item.buffer.sizes() == item.value.sizes()) {
      item.buffer.variable_data().copy_(item.value);
    } else {
      item.buffer.set_data(item.value.clone());
    }
  }
}

void BranchState::restore(const Branch& branch) const {
  write_back(buffers);
  attributes.restore(branch.callable());
}

}  // namespace detail
}  // namespace torchrev
