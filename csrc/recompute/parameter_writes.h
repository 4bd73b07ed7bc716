#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// What a branch writes to its own parameters when it runs: an embedding with
// max_norm does, and data-dependent initialisation. It is part of forward, and
// happens once: a recompute must leave the parameters as it found them.
class ParameterWrites {
 public:
  // Copies `parameters`; those that the runs write to get their values and
  // their versions back by restore().
  explicit ParameterWrites(const std::vector<Tensor>& parameters);
  void restore() const;

  // After a run: a write that changed nothing counts as none, so that other
  // calls that use the parameter do not take it for changed.
  void forgive_unchanged() const;

 private:
  struct Item {
    Tensor parameter;
    Tensor value;
    uint32_t version;
  };
  std::vector<Item> items_;
};

}  // namespace detail
}  // namespace torchrev
