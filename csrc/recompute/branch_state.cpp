#include "recompute/branch_state.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace torchrev {
namespace detail {

namespace {

// Larger buffers count as constant unless the branch declares them mutable.
constexpr std::size_t kLargestSnapshot = std::size_t(1) << 20;

// A buffer that is not a plain piece of memory cannot be copied back: an
// expanded one is written element by element, an inference tensor never.
bool can_be_written(const Tensor& buffer) {
  return buffer.defined() && !buffer.is_inference() &&
         at::has_internal_overlap(buffer) != at::MemOverlap::Yes;
}

}  // namespace

BufferCopies copies_of(const BufferCopies& like) {
  at::NoGradGuard no_grad;
  BufferCopies copies;
  for (const auto& item : like) {
    copies.push_back({item.buffer, item.buffer.detach().clone()});
  }
  return copies;
}

// Without raising the version of the buffer: batch norm saves its statistics
// for backward and updates them without raising it, too.
void write_back(const BufferCopies& copies) {
  at::NoGradGuard no_grad;
  for (const auto& item : copies) {
    item.buffer.variable_data().copy_(item.value);
  }
}

Buffers buffers_of(const Branch& branch) {
  Buffers buffers;
  for (const auto& buffer : branch.buffers()) {
    if (!can_be_written(buffer)) {
      continue;
    }
    const bool changing =
        buffer.nbytes() <= kLargestSnapshot || branch.has_mutable_buffers();
    (changing ? buffers.changing : buffers.constant)
        .push_back({buffer, Tensor()});
  }
  return buffers;
}

bool same_attributes(
    const std::vector<c10::IValue>& a, const std::vector<c10::IValue>& b) {
  return a.size() == b.size() &&
         std::equal(
             a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
               return x.is(y);
             });
}

void BranchState::restore(const Branch& branch) const {
  write_back(buffers);
  auto& callable = branch.callable();
  if (!same_attributes(attributes, callable.attributes())) {
    callable.set_attributes(attributes);
  }
}

}  // namespace detail
}  // namespace torchrev
