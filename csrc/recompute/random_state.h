#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <utility>
#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// The states of the default generators of the CPU and of `devices`.
//
// The state of the CPU generator is copied as it is, 2.5 KiB: the tensor that
// Generator::get_state makes takes longer than a small branch runs.
class RandomState {
 public:
  static RandomState capture(at::ArrayRef<c10::Device> devices);
  void restore() const;
  bool operator==(const RandomState& other) const;

 private:
  at::mt19937_data_pod cpu_;
  torch::optional<float> cpu_float_;
  torch::optional<double> cpu_double_;
  std::vector<std::pair<at::Generator, Tensor>> devices_;
};

// The accelerators from whose generators `branch` may draw when it is called
// with `x`: those of `x` and of its parameters, or any that is in use where `x`
// is on the CPU.
std::vector<c10::Device> devices_drawn_from(
    const Branch& branch, const Tensor& x);

}  // namespace detail
}  // namespace torchrev
