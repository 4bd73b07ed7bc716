#pragma once

#include <cstdint>
#include <vector>

#include "arguments.h"
#include "checkpoint.h"
#include "corpus.h"

namespace train_reformer {

/// What a training step did.
struct StepReport {
  int64_t step = 0;
  double bits_per_byte = 0;
  double seconds = 0;
  /// The most that forward and backward held at a time, beyond what was there
  /// before: parameters, gradients and the optimiser's state.
  int64_t peak_bytes = 0;
};

/// Trains one model, a step at a time.
class Trainer {
 public:
  /// Seeds LibTorch's default generator. `corpus` has to outlive the trainer.
  Trainer(const Arguments& arguments, const Corpus& corpus);

  StepReport step();

  /// Bits per byte over the validation part.
  double validate();

  State& state() {
    return state_;
  }

 private:
  /// Bits per byte of the predictions for `batch`, differentiable.
  torch::Tensor loss(const Batch& batch);
  void set_learning_rate();

  const Corpus& corpus_;
  int64_t batch_;
  double lr_;
  State state_;
};

}  // namespace train_reformer
