#pragma once

#include <torch/optim/adam.h>

#include <cstdint>
#include <string>

#include "model.h"

namespace train_reformer {

/// What a run leaves behind, and what another needs to continue it bit for bit;
/// LibTorch's default CPU generator belongs to it, too.
struct State {
  Shape shape;
  ReformerLM model;
  torch::optim::Adam optimizer;
  int64_t step = 0;
};

/// See torchrev_examples::save_archive.
void save(const State& state, const std::string& path);

/// @throws UserError if there is no such file, it is not one that `save` wrote,
///         or its model has another shape; `state` may then be half loaded.
void load(State& state, const std::string& path);

}  // namespace train_reformer
