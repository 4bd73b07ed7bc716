#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torchrev/branch.h>

#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// A buffer and a copy of what it held.
struct BufferCopy {
  Tensor buffer;
  Tensor value;
};
using BufferCopies = std::vector<BufferCopy>;

// Copies of what the buffers of `like` hold now.
BufferCopies copies_of(const BufferCopies& like);

// Writes each copy into its buffer.
void write_back(const BufferCopies& copies);

// The buffers of a branch, without values: those that its forward may change,
// and those that count as constant, because they take more than 1 MiB and the
// branch does not declare them mutable.
struct Buffers {
  BufferCopies changing;
  BufferCopies constant;
};
Buffers buffers_of(const Branch& branch);

bool same_attributes(
    const std::vector<c10::IValue>& a, const std::vector<c10::IValue>& b);

// What a branch holds besides its parameters and may change when it runs.
struct BranchState {
  std::vector<c10::IValue> attributes;
  BufferCopies buffers;

  // Puts it back into the branch that it was taken from.
  void restore(const Branch& branch) const;
};

}  // namespace detail
}  // namespace torchrev
