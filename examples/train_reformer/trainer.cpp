#include "trainer.h"

#include <torch/nn/functional/loss.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "../common/error.h"
#include "../common/gradients.h"
#include "../common/progress.h"
#include "../memory_meter.h"

namespace train_reformer {
namespace {

using torchrev_examples::MemoryMeter;
using torchrev_examples::seconds_now;

constexpr double kWarmUpSteps = 40;
constexpr double kLargestNorm = 1.0;
constexpr int64_t kValidationPieces = 128;

State make_state(const Arguments& arguments) {
  torch::manual_seed(static_cast<uint64_t>(arguments.seed));
  ReformerLM model(arguments.shape, arguments.reversible);
  torch::optim::Adam optimizer(
      model->parameters(),
      torch::optim::AdamOptions(arguments.lr).betas({0.9, 0.98}));
  return {arguments.shape, model, std::move(optimizer), /*step=*/0};
}

}  // namespace

Trainer::Trainer(const Arguments& arguments, const Corpus& corpus)
    : corpus_(corpus),
      batch_(arguments.batch),
      lr_(arguments.lr),
      state_(make_state(arguments)) {
  corpus.check_length(arguments.shape.context);
  torchrev_examples::allocate_gradients(state_.model->parameters());
}

torch::Tensor Trainer::loss(const Batch& batch) {
  const auto logits = state_.model->forward(batch.input);  // [N, T, 256]
  const auto nats = torch::nn::functional::cross_entropy(
      logits.flatten(0, 1), batch.target.flatten());
  return nats / std::log(2.0);
}

/// Depends on the step alone, so that a run in parts equals one in one go.
void Trainer::set_learning_rate() {
  const auto step = static_cast<double>(state_.step);
  const auto factor =
      std::min(step / kWarmUpSteps, std::sqrt(kWarmUpSteps / step));
  for (auto& group : state_.optimizer.param_groups()) {
    group.options().set_lr(lr_ * factor);
  }
}

StepReport Trainer::step() {
  auto& meter = MemoryMeter::install();
  const auto begin = seconds_now();
  ++state_.step;
  set_learning_rate();
  torchrev_examples::zero_gradients(state_.model->parameters());
  const auto batch = corpus_.draw(batch_, state_.shape.context);
  const auto before = meter.live();
  meter.reset_peak();
  const auto bits = loss(batch);
  bits.backward();
  const auto peak = meter.peak() - before;
  const auto value = bits.item<double>();
  if (!std::isfinite(value)) {
    torchrev_examples::fail(
        fmt::format("a finite loss at step {}", state_.step),
        fmt::format("{}", value),
        "Choose a smaller --lr.");
  }
  torch::nn::utils::clip_grad_norm_(state_.model->parameters(), kLargestNorm);
  state_.optimizer.step();
  return {state_.step, value, seconds_now() - begin, peak};
}

double Trainer::validate() {
  torch::NoGradGuard no_grad;
  const auto all = corpus_.validation(kValidationPieces, state_.shape.context);
  double sum = 0;
  for (int64_t begin = 0; begin < kValidationPieces; begin += batch_) {
    const auto end = std::min(begin + batch_, kValidationPieces);
    const auto bits =
        loss({all.input.slice(0, begin, end), all.target.slice(0, begin, end)});
    sum += bits.item<double>() * static_cast<double>(end - begin);
  }
  return sum / kValidationPieces;
}

}  // namespace train_reformer
