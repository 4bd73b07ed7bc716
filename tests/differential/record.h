#pragma once

#include "build.h"

namespace torchrev {
namespace test {
namespace differential {

/// What a program computed and what it left behind.
struct Record {
  /// Of the exception that ended it, if any, and whether backward threw it.
  std::string error;
  bool in_backward = false;
  /// Of a forward that was to throw.
  std::string interruption;
  std::vector<NamedTensor> outputs;
  /// Those that there are, in the order in which they came; `.grad` last.
  std::vector<NamedTensor> gradients;
  /// Buffers and the tensors among TorchScript attributes.
  std::vector<NamedTensor> state;
  /// The other attributes, and train / eval modes.
  std::vector<std::string> attributes;
  /// The state of the CPU generator.
  Tensor generator;
  int64_t hook_calls = 0;

  void add_gradient(const std::string& name, const Tensor& gradient);
  /// What `model` holds now.
  void add_state(const Model& model);

 private:
  // `value`, or what it contains.
  void add_attribute(const c10::IValue& value, const std::string& name);
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
