#pragma once

#include <ATen/core/Generator.h>
#include <torchrev/branch.h>

#include <utility>
#include <vector>

#include "recompute/generator_state.h"

namespace torchrev {
namespace detail {

// Where the default generators of the CPU and of `devices` stand.
class RandomState {
 public:
  static RandomState capture(at::ArrayRef<c10::Device> devices);
  void restore() const;
  // Whether they still stand there.
  bool is_current() const;
  bool operator==(const RandomState& other) const;

  // Calls visit(device, state) for each generator.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    visit(c10::Device(c10::kCPU), cpu_);
    for (const auto& item : devices_) {
      visit(item.first.device(), item.second);
    }
  }

 private:
  explicit RandomState(at::ArrayRef<c10::Device> devices);

  GeneratorState cpu_;
  std::vector<std::pair<at::Generator, GeneratorState>> devices_;
};

// The accelerators from whose generators `branch` may draw when it is called
// with `x`: those of `x` and of its parameters, or any that is in use where `x`
// is on the CPU.
std::vector<c10::Device> devices_drawn_from(
    const Branch& branch, const Tensor& x);

}  // namespace detail
}  // namespace torchrev
