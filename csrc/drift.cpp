#include <torchrev/drift.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "check.h"
#include "observer.h"
#include "trial.h"
#include "verdict.h"

namespace torchrev {

namespace {

using detail::StackCall;
using detail::StreamPair;

// |found - expected| / |expected| of all pairs together; an undefined gradient
// is zero.
template <typename Tensors>
double relative_error(const Tensors& found, const Tensors& expected) {
  double difference = 0;
  double scale = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!found[i].defined() && !expected[i].defined()) {
      continue;
    }
    const auto wide = [](const Tensor& x, const Tensor& like) {
      return (x.defined() ? x : at::zeros_like(like)).to(at::kDouble);
    };
    const auto a = wide(found[i], expected[i]);
    const auto b = wide(expected[i], found[i]);
    difference += (a - b).square().sum().template item<double>();
    scale += b.square().sum().template item<double>();
  }
  return difference == 0 ? 0 : std::sqrt(difference / scale);
}

// Keeps the streams before each block, and compares.
class Recorder final : public detail::StreamObserver {
 public:
  explicit Recorder(std::size_t depth) : errors_(depth) {}

  void in_forward(int64_t step, const StreamPair& pair) override {
    const at::NoGradGuard no_grad;
    originals_[step] = {pair[0].clone(), pair[1].clone()};
  }
  void rebuilt(int64_t step, const StreamPair& pair) override {
    const auto original = originals_.find(step);
    if (original != originals_.end()) {
      const at::NoGradGuard no_grad;
      errors_[step / 2] = relative_error(pair, original->second);
    }
  }
  const std::vector<double>& errors() const {
    return errors_;
  }

 private:
  std::map<int64_t, StreamPair> originals_;
  std::vector<double> errors_;
};

std::vector<Tensor> run(
    const StackCall& call, std::shared_ptr<Recorder> recorder) {
  const auto y = detail::run_observed(
      call.blocks,
      {call.x[0], call.x[1]},
      call.context,
      call.options,
      std::move(recorder));
  return {y[0], y[1]};
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const BlockDrift& drift) {
  return stream << fmt::format(
             "reconstruction {:.1e}, gradient {:.1e}",
             drift.reconstruction,
             drift.gradient);
}

std::vector<BlockDrift> drift(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context,
    const ReversibleOptions& options) {
  constexpr auto kEntry = "drift";
  detail::check_blocks(kEntry, blocks.size());
  detail::check_options(kEntry, options);
  detail::check_streams(kEntry, "x1", x1, "x2", x2);
  const auto recorder = std::make_shared<Recorder>(blocks.size());
  // Inputs that require grad, so that the streams before block 0 are rebuilt.
  StackCall call{
      blocks,
      {x1.detach().requires_grad_(), x2.detach().requires_grad_()},
      context,
      options};
  const auto found = detail::gradients_of_blocks(
      call, [&](const StackCall& isolated) { return run(isolated, recorder); });
  call.options.store_last(call.depth());
  const auto expected = detail::gradients_of_blocks(
      call, [](const StackCall& isolated) { return run(isolated, nullptr); });
  std::vector<BlockDrift> drifts;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    drifts.push_back(
        {recorder->errors()[i], relative_error(found[i], expected[i])});
  }
  return drifts;
}

void check_deferred() {
  detail::judge_all();
}

}  // namespace torchrev
