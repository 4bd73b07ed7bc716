#pragma once

#include <string>

#include "branches.h"

/// The model and the inputs that a program describes.

namespace torchrev {
namespace test {
namespace differential {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

struct Model {
  /// One for each of the program's branches.
  std::vector<Branch> branches;
  Blocks blocks;
  /// What may get a gradient, each tensor once.
  std::vector<NamedTensor> leaves;
  /// Makes what lives while its blocks run forward; may be empty.
  std::function<std::shared_ptr<void>()> surroundings;
};

/// The same model each time.
Model build_model(const Program& program);
/// A model of its own with the parameters of `model`, by Branch::clone.
Model clone_model(const Program& program, const Model& model);
/// Sets the mode of every branch, or the opposite of it.
void set_modes(const Program& program, const Model& model, bool opposite);

struct Arguments {
  /// x1 and x2, or x for an entry of one tensor.
  std::vector<Tensor> streams;
  /// Its encodings are made by `encode`.
  std::vector<Tensor> context;
  /// What may get a gradient: leaves and results.
  std::vector<NamedTensor> leaves;
};

/// The same arguments each time.
Arguments build_arguments(const Program& program);
/// The context of one forward call: encodings are results, not leaves.
std::vector<Tensor> encode(const Program& program, const Arguments& arguments);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
