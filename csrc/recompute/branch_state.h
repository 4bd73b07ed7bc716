#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <vector>

#include "recompute/attributes.h"

namespace torchrev {
namespace detail {

using at::Tensor;

// A buffer and a copy of what it held.
struct BufferCopy {
  Tensor buffer;
  Tensor value;
};
using BufferCopies = std::vector<BufferCopy>;

// Whether a copy can be written back: not to an expanded buffer, which is not a
// plain piece of memory, nor to an inference tensor.
bool can_be_written(const Tensor& buffer);

// Whether a buffer is copied without being declared mutable: up to 1 MiB.
bool is_small(const Tensor& buffer);

Tensor copy_of(const Tensor& tensor);

// Copies of what the buffers of `like` hold now.
BufferCopies copies_of(const BufferCopies& like);
// Copies of all buffers of `branch` that its forward may change.
BufferCopies copies_of_buffers(const Branch& branch);

// Writes each copy into its buffer.
void write_back(const BufferCopies& copies);

// What a branch holds besides its parameters and may change when it runs.
struct BranchState {
  Attributes attributes;
  BufferCopies buffers;

  // Puts it back into the branch that it was taken from.
  void restore(const Branch& branch) const;
};

}  // namespace detail
}  // namespace torchrev
