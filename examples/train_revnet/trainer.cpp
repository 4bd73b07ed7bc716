#include "trainer.h"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "../common/error.h"
#include "../common/gradients.h"
#include "../common/progress.h"
#include "network.h"

namespace train_revnet {
namespace {

constexpr double kMomentum = 0.9;
constexpr double kWeightDecay = 5e-4;
constexpr double kWarmUp = 0.2;  // of the run
constexpr int64_t kTestBatch = 500;
constexpr double kPi = 3.14159265358979323846;

torch::nn::AnyModule new_network(const Run& run, const Shape& shape) {
  torch::manual_seed(static_cast<uint64_t>(run.seed));
  return make_network(run.model, shape);
}

}  // namespace

Trainer::Trainer(
    const Arguments& arguments,
    const Run& run,
    const FashionMnist& data,
    int64_t step)
    : network(new_network(run, arguments.shape)),
      optimizer(
          network.ptr()->parameters(),
          torch::optim::SGDOptions(arguments.lr)
              .momentum(kMomentum)
              .weight_decay(kWeightDecay)
              .nesterov(true)),
      arguments_(arguments),
      data_(data),
      seed_(run.seed),
      step_(step) {
  torchrev_examples::allocate_gradients(network.ptr()->parameters());
}

int64_t Trainer::steps_an_epoch(const Arguments& arguments) {
  return arguments.images / arguments.batch;
}

Examples Trainer::draw() {
  const auto steps = steps_an_epoch(arguments_);
  const auto position = (step_ - 1) % steps;
  if (position == 0 || !order_.defined()) {
    const auto epoch = (step_ - 1) / steps;
    order_ = torch::randperm(
        data_.training.size(),
        generator_of(seed_, "order", epoch),
        torch::dtype(torch::kLong));
  }
  const auto begin = position * arguments_.batch;
  return augmented(
      data_.training,
      order_.slice(0, begin, begin + arguments_.batch),
      generator_of(seed_, "augmentation", step_));
}

void Trainer::set_learning_rate() {
  const auto last = arguments_.epochs * steps_an_epoch(arguments_);
  const auto done = static_cast<double>(step_) / static_cast<double>(last);
  const auto factor =
      done < kWarmUp
          ? done / kWarmUp
          : (1 + std::cos(kPi * (done - kWarmUp) / (1 - kWarmUp))) / 2;
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(arguments_.lr * factor);
  }
}

StepReport Trainer::step() {
  const auto begin = torchrev_examples::seconds_now();
  ++step_;
  set_learning_rate();
  torchrev_examples::zero_gradients(network.ptr()->parameters());
  const auto batch = draw();
  const auto pass =
      forward_backward(network, normalised(batch.images), batch.labels);
  if (!std::isfinite(pass.loss)) {
    torchrev_examples::fail(
        fmt::format("a finite loss at step {}", step_),
        fmt::format("{}", pass.loss),
        "Choose a smaller --lr.");
  }
  optimizer.step();
  return {pass.loss, torchrev_examples::seconds_now() - begin, pass.peak_bytes};
}

double Trainer::test() {
  torch::NoGradGuard no_grad;
  network.ptr()->eval();
  const auto& [images, labels] = data_.test;
  int64_t right = 0;
  for (int64_t begin = 0; begin < data_.test.size(); begin += kTestBatch) {
    const auto end = std::min(begin + kTestBatch, data_.test.size());
    const auto logits =
        network.forward<torch::Tensor>(normalised(images.slice(0, begin, end)));
    right +=
        logits.argmax(1).eq(labels.slice(0, begin, end)).sum().item<int64_t>();
  }
  network.ptr()->train();
  return 100.0 * static_cast<double>(right) /
         static_cast<double>(data_.test.size());
}

}  // namespace train_revnet
