#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/optim/sgd.h>

#include <cstdint>

#include "arguments.h"
#include "images.h"

namespace train_revnet {

/// What a training step did.
struct StepReport {
  double loss = 0;
  double seconds = 0;
  int64_t peak_bytes = 0;
};

/// Trains one network, a step at a time: stochastic gradient descent with
/// momentum, whose learning rate rises over the first fifth of the run and then
/// falls to zero along a cosine.
class Trainer {
 public:
  /// Seeds LibTorch's default generator. `data` has to outlive the trainer.
  /// @param step the last step of the run that was made before.
  Trainer(
      const Arguments& arguments,
      const Run& run,
      const FashionMnist& data,
      int64_t step);

  StepReport step();

  /// The part of the test images that are recognised, in percent.
  double test();

  static int64_t steps_an_epoch(const Arguments& arguments);

  torch::nn::AnyModule network;
  torch::optim::SGD optimizer;

 private:
  /// The images of the next step.
  Examples draw();
  void set_learning_rate();

  const Arguments& arguments_;
  const FashionMnist& data_;
  int64_t seed_;
  int64_t step_;
  /// The order of the images in this epoch.
  torch::Tensor order_;
};

}  // namespace train_revnet
