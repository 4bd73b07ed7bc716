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

/// @throws UserError if no file can be written beside `path`.
void check_writable(const std::string& path);

/// Writes `path` at once or not at all: a crash leaves the old file.
/// @throws UserError if it cannot be written.
void save(const State& state, const std::string& path);

/// @throws UserError if there is no such file, it is not one that `save` wrote,
///         or its model has another shape; `state` may then be half loaded.
void load(State& state, const std::string& path);

}  // namespace train_reformer
