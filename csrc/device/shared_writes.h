#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace torchrev {
namespace detail {

// Orders what recomputes write to memory that others use, too: to parameters
// and buffers, which they put back. Steps of one stack wait for each other;
// those of two stacks that share a module wait here. Does nothing on the CPU.
class SharedWrites {
 public:
  // Lets the current streams wait for earlier ones on the same device.
  explicit SharedWrites(std::vector<at::Tensor> tensors);
  // Lets later ones wait for what the current streams have written meanwhile.
  ~SharedWrites();
  SharedWrites(const SharedWrites&) = delete;
  SharedWrites& operator=(const SharedWrites&) = delete;

 private:
  std::vector<at::Tensor> tensors_;
};

}  // namespace detail
}  // namespace torchrev
