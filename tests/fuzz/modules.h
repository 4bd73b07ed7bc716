#pragma once

#include <torch/script.h>

#include <vector>

/// Modules that operators are handed.

namespace torchrev {
namespace fuzz {

/// What stands as F and G. The first ones are good, the last ones are not.
std::vector<torch::jit::Module> make_branches();

/// Modules of other shapes than a list of blocks.
std::vector<torch::jit::Module> make_odd_lists(const torch::jit::Module& good);

}  // namespace fuzz
}  // namespace torchrev
