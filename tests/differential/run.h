#pragma once

#include "build.h"

/// Runs a program, with the library or with plain autograd.

namespace torchrev {
namespace test {
namespace differential {

/// What a program computed and what it left behind.
struct Record {
  /// Of the exception that ended it, if any.
  std::string error;
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
};

enum class Way { kReversible, kPlain };

Record run(Way way, const Program& program, const Model& model);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
