#pragma once

#include <torch/torch.h>
#include <torchrev/torchrev.h>

/// The modules among the branches: what they are made of matters less than
/// which state they read and write.

namespace torchrev {
namespace test {
namespace differential {

/// A module whose parameter can be replaced by another tensor.
struct Replaceable {
  virtual ~Replaceable() = default;
  virtual Tensor parameter() const = 0;
  /// `registered`: in the list of parameters, too, not only in the member.
  virtual void replace(const Tensor& value, bool registered) = 0;
};

/// tanh(x weight): the part of the modules below that is trained.
template <typename Impl>
struct Weighted : torch::nn::Cloneable<Impl>, Replaceable {
  explicit Weighted(const Tensor& initial) : initial(initial.detach()) {}
  void reset() override {
    weight = this->register_parameter("weight", initial.clone());
  }
  Tensor weighted(const Tensor& x) const {
    return (x * weight).tanh();
  }
  Tensor parameter() const override {
    return weight;
  }
  void replace(const Tensor& value, bool registered) override {
    weight = value;
    if (registered) {
      this->parameters_["weight"] = value;
    }
  }
  Tensor initial, weight;
};

/// Counts its calls in place.
struct CounterImpl : Weighted<CounterImpl> {
  explicit CounterImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    calls = register_buffer("calls", torch::zeros({}, at::kLong));
  }
  Tensor forward(const Tensor& x) {
    calls.add_(1);
    return weighted(x);
  }
  Tensor calls;
};

/// Its output depends on the buffer that it updates.
struct DriftImpl : Weighted<DriftImpl> {
  explicit DriftImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    level = register_buffer("level", torch::ones({1}, initial.options()));
  }
  Tensor forward(const Tensor& x) {
    if (is_training()) {
      level.mul_(0.5).add_(x.detach().mean());
    }
    // clone: the next call may come before backward.
    return weighted(x) * level.clone();
  }
  Tensor level;
};

struct UnusedParameterImpl : Weighted<UnusedParameterImpl> {
  explicit UnusedParameterImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    unused = register_parameter("unused", initial.clone());
    Weighted::reset();
  }
  Tensor forward(const Tensor& x) {
    return weighted(x);
  }
  Tensor unused;
};

/// `context` gathers, masks or scales; undefined, it does nothing.
inline Tensor mix(const Tensor& x, const Tensor& context) {
  if (!context.defined()) {
    return x;
  }
  if (context.scalar_type() == at::kBool) {
    return x.masked_fill(context, 0.25);
  }
  return context.scalar_type() == at::kLong ? x.index_select(-1, context)
                                            : x * context;
}

struct ContextImpl : Weighted<ContextImpl> {
  explicit ContextImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(
      const Tensor& x, const Tensor& first = {}, const Tensor& second = {}) {
    return mix(mix(weighted(x), first), second);
  }
};

/// Normalises the channels of tokens [N, T, C] or images [N, C, H, W].
struct NormalisedImpl : torch::nn::Cloneable<NormalisedImpl> {
  explicit NormalisedImpl(const torch::nn::BatchNormOptions& options)
      : options(options) {
    reset();
  }
  void reset() override {
    norm = register_module("norm", torch::nn::BatchNorm1d(options));
  }
  Tensor forward(const Tensor& x) {
    const bool tokens = x.dim() == 3;
    // [N T, C] or [N, C, H W]
    const auto flat = tokens ? x.reshape({-1, x.size(-1)})
                             : x.reshape({x.size(0), x.size(1), -1});
    return norm->forward(flat).reshape(x.sizes()).tanh();
  }
  torch::nn::BatchNormOptions options;
  torch::nn::BatchNorm1d norm = nullptr;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
