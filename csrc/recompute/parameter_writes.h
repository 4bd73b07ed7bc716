#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// How often a run has written to a parameter.
struct ParameterWrite {
  Tensor parameter;
  uint32_t times;
};

// What a branch writes to its own parameters when it runs: an embedding with
// max_norm does, and data-dependent initialisation. It is part of forward, and
// happens once: a recompute must leave the parameters as it found them.
class ParameterWrites {
 public:
  // Copies `parameters`, before a run of forward.
  explicit ParameterWrites(const std::vector<Tensor>& parameters);
  // Copies the parameters before a run that will write to them as `writes`
  // says: their versions go back by as much, so that after that run they are
  // what they are now, also for a graph that the run leaves behind.
  explicit ParameterWrites(const std::vector<ParameterWrite>& writes);

  // After such a run: gives the parameters their values and versions back.
  void restore() const;

  // What the run of forward has written.
  std::vector<ParameterWrite> since() const;
  // After that run: a write that changed nothing counts as none, so that other
  // calls that use the parameter do not take it for changed. Within a recompute
  // that the parameter is part of, its version is then what that gives back.
  void forgive_unchanged() const;

 private:
  struct Item {
    Tensor parameter;
    Tensor value;
    uint32_t version;
    uint32_t times;
  };
  void add(const Tensor& parameter, uint32_t times);

  std::vector<Item> items_;
};

}  // namespace detail
}  // namespace torchrev
