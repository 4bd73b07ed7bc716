#pragma once

#include <ATen/core/Generator.h>
#include <torchrev/branch.h>

#include <mutex>
#include <vector>

#include "recompute/generator_state.h"

namespace torchrev {
namespace detail {

// Where the default generators of the CPU and of `devices` stand.
class RandomState {
 public:
  static RandomState capture(at::ArrayRef<c10::Device> devices);
  void restore() const;
  // Whether anything but operators of recorded branches has moved them since:
  // see GeneratorMoves.
  bool was_moved() const;
  // Whether the generators stand at the same places.
  bool operator==(const RandomState& other) const;

  // Calls visit(device, state) for each generator.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    visit(c10::Device(c10::kCPU), cpu_.state);
    for (const auto& device : devices_) {
      visit(device.generator.device(), device.state);
    }
  }

 private:
  struct Position {
    explicit Position(at::Generator of);
    bool was_moved() const;
    void restore() const;

    at::Generator generator;
    GeneratorState state;
    std::size_t other_moves;

   private:
    Position(at::Generator of, const std::lock_guard<std::mutex>& lock);
  };
  explicit RandomState(at::ArrayRef<c10::Device> devices);

  Position cpu_;
  std::vector<Position> devices_;
};

// The accelerators from whose generators `branch` may draw when it is called
// with `x`: those of `x` and of its parameters, or any that is in use where `x`
// is on the CPU.
std::vector<c10::Device> devices_drawn_from(
    const Branch& branch, const Tensor& x);

}  // namespace detail
}  // namespace torchrev
