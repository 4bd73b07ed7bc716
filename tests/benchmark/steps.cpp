#include "steps.h"

#include <torch/autograd.h>
#include <torchrev/coupling.h>
#include <torchrev/nn/reversible.h>

#include <functional>
#include <tuple>
#include <utility>

namespace torchrev_benchmark {
namespace {

class AutogradStep final : public Step {
 public:
  using Forward = std::function<Tensor(const Tensor&)>;

  explicit AutogradStep(Forward forward) : forward_(std::move(forward)) {}

  void forward(const Tensor& x) override {
    y_ = forward_(x);
  }

  void backward(const Tensor& weight) override {
    const auto loss = (std::exchange(y_, {}) * weight).sum();
    loss.backward();
  }

 private:
  Forward forward_;
  Tensor y_;
};

class FloorStep final : public Step {
 public:
  explicit FloorStep(const Blocks& blocks) : blocks_(blocks) {}

  void forward(const Tensor& x) override {
    at::NoGradGuard no_grad;
    x_ = x;
    const auto halves = x.chunk(2, -1);
    auto x1 = halves[0];
    auto x2 = halves[1];
    for (const auto& block : blocks_) {
      inputs_.push_back(x2);
      x1 = block.f(x2).add_(x1);
      inputs_.push_back(x1);
      x2 = block.g(x1).add_(x2);
    }
    y_ = at::cat({x1, x2}, -1);
  }

  void backward(const Tensor& weight) override {
    const auto halves = gradient_of_output(weight).chunk(2, -1);
    auto grad1 = halves[0].contiguous();
    auto grad2 = halves[1].contiguous();
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
      grad1.add_(gradient_of_input(block->g, grad2));
      grad2.add_(gradient_of_input(block->f, grad1));
    }
    deliver(at::cat({grad1, grad2}, -1));
  }

 private:
  Tensor gradient_of_output(const Tensor& weight) {
    const auto y = std::exchange(y_, {}).requires_grad_();
    (y * weight).sum().backward();
    return y.grad();
  }

  // For the last input that is still kept.
  Tensor gradient_of_input(const torchrev::Branch& branch, const Tensor& grad) {
    const auto input = inputs_.back().detach().requires_grad_();
    inputs_.pop_back();
    const auto value = branch(input);
    if (!value.requires_grad()) {  // a constant
      return torch::zeros_like(input);
    }
    torch::autograd::backward({value}, {grad});
    return input.grad();
  }

  void deliver(const Tensor& grad) {
    const auto x = std::exchange(x_, {});
    auto& sum = x.mutable_grad();
    if (sum.defined()) {
      sum.add_(grad);
    } else {
      sum = grad;
    }
  }

  Blocks blocks_;
  Tensor x_;
  std::vector<Tensor> inputs_;
  Tensor y_;
};

}  // namespace

std::unique_ptr<Step> plain_step(const Blocks& blocks) {
  return std::make_unique<AutogradStep>([blocks](const Tensor& x) {
    const auto halves = x.chunk(2, -1);
    const auto y =
        torchrev::additive_coupling_sequence(blocks, halves[0], halves[1]);
    return at::cat({std::get<0>(y), std::get<1>(y)}, -1);
  });
}

std::unique_ptr<Step> torchrev_step(
    const Blocks& blocks, const torchrev::ReversibleOptions& options) {
  torchrev::nn::ReversibleSequential stack(options);
  for (const auto& block : blocks) {
    stack->push_back(block.f, block.g);
  }
  return std::make_unique<AutogradStep>(
      [stack](const Tensor& x) mutable { return stack->forward(x); });
}

std::unique_ptr<Step> floor_step(const Blocks& blocks) {
  return std::make_unique<FloorStep>(blocks);
}

}  // namespace torchrev_benchmark
