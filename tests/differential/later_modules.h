#pragma once

#include <ATen/Parallel.h>

#include <atomic>
#include <future>

#include "draws.h"
#include "modules.h"

/// The modules of later kinds: each uses something that a recompute has to put
/// back, to leave alone, or to refuse.

namespace torchrev {
namespace test {
namespace differential {

/// Keeps a minimum over its calls in a buffer that is empty at first.
struct ObserverImpl : Weighted<ObserverImpl> {
  explicit ObserverImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    low = register_buffer("low", torch::zeros({0}, initial.options()));
  }
  Tensor forward(const Tensor& x) {
    const auto now = x.detach().amin(0).to(low.scalar_type());
    if (low.numel() == 0) {
      low.resize_(now.sizes());
      low.copy_(now);
    }
    low.copy_(torch::min(low, now));
    return weighted(x) + 0.1 * low.clone();
  }
  Tensor low;
};

/// Writes to a buffer of more than 1 MiB, which counts as constant unless the
/// branch, or an option, says otherwise.
struct LargeBufferImpl : Weighted<LargeBufferImpl> {
  explicit LargeBufferImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    const auto size = (1 << 20) / static_cast<int64_t>(initial.element_size());
    book = register_buffer("book", torch::zeros({size + 1}, initial.options()));
  }
  Tensor forward(const Tensor& x) {
    book.add_(0.1);
    return weighted(x) / (1 + book.narrow(0, 0, 1).clone());
  }
  Tensor book;
};

/// What a module keeps of the graph of its forward.
struct Auxiliary {
  virtual ~Auxiliary() = default;
  virtual Tensor auxiliary() const = 0;
};

/// Leaves an auxiliary loss in a member.
struct AuxiliaryImpl : Weighted<AuxiliaryImpl>, Auxiliary {
  explicit AuxiliaryImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    loss = (x * weight).square().mean();
    return weighted(x);
  }
  Tensor auxiliary() const override {
    return loss;
  }
  Tensor loss;
};

/// Computes its weight before each forward and keeps it, as hooks do that
/// normalise weights.
struct WeightNormImpl : Weighted<WeightNormImpl>, Auxiliary {
  explicit WeightNormImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    scale = register_parameter("scale", torch::ones({1}, initial.options()));
  }
  Tensor forward(const Tensor& x) {
    normalised = weight * (3 * scale / weight.norm());
    return (x * normalised).tanh();
  }
  Tensor auxiliary() const override {
    return normalised;
  }
  Tensor scale, normalised;
};

/// Counts the calls that have grad mode on.
struct GradModeImpl : Weighted<GradModeImpl> {
  explicit GradModeImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    count = register_buffer("count", torch::zeros({}, initial.options()));
  }
  Tensor forward(const Tensor& x) {
    if (at::GradMode::is_enabled()) {
      count.add_(1);
    }
    return weighted(x) / (1 + count.clone());
  }
  Tensor count;
};

/// Differentiates within its forward.
struct DifferentiatesImpl : Weighted<DifferentiatesImpl> {
  explicit DifferentiatesImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    if (!at::GradMode::is_enabled() || !x.requires_grad()) {
      return (x * weight).cos() * weight;
    }
    // Not x itself, whose hooks are for the gradient of the whole.
    const auto input = x.view_as(x);
    const auto sum = (input * weight).sin().sum();
    return torch::autograd::grad({sum}, {input}, {}, true, true)[0];
  }
};

/// Keeps its weight within bounds, in place, as an embedding with max_norm.
struct MaxNormImpl : Weighted<MaxNormImpl> {
  explicit MaxNormImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    {
      const at::NoGradGuard no_grad;
      weight.clamp_(-1.25, 1.25);
    }
    // clone: the next call may come before backward.
    return (x * weight.clone()).tanh();
  }
};

/// Its first forward sets its weight to what suits the input.
struct InitialisesImpl : Weighted<InitialisesImpl> {
  explicit InitialisesImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    ready = register_buffer("ready", torch::zeros({}, at::kLong));
  }
  Tensor forward(const Tensor& x) {
    if (ready.item<int64_t>() == 0) {
      const at::NoGradGuard no_grad;
      weight.copy_(1 / (1 + x.abs().mean(0)));
      ready.fill_(1);
    }
    return weighted(x);
  }
  Tensor ready;
};

/// Computes a part of its value in another thread.
struct ThreadPoolImpl : Weighted<ThreadPoolImpl> {
  explicit ThreadPoolImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    std::promise<Tensor> there;
    at::launch([&] { there.set_value(weighted(x)); });
    const auto here = x.sin();
    return here + there.get_future().get();
  }
};

/// Decides, and remembers what.
struct RememberImpl : Weighted<RememberImpl> {
  explicit RememberImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    const auto mask = remember("mask", x.detach() > 0.1);
    return torch::where(mask, weighted(x), x.sin());
  }
};

/// Dropout of the masks that a log of draws can give again.
struct DrawnDropoutImpl : Weighted<DrawnDropoutImpl> {
  DrawnDropoutImpl(const Tensor& initial, double p) : Weighted(initial), p(p) {
    reset();
  }
  Tensor forward(const Tensor& x) {
    return is_training() ? weighted(x) * drawn_mask(x, p) : weighted(x);
  }
  double p;
};

/// Throws while this is set.
inline std::atomic<bool>& fuse_is_blown() {
  static std::atomic<bool> blown{false};
  return blown;
}

/// Throws half-way, when its buffer has been written to.
struct FuseImpl : Weighted<FuseImpl> {
  explicit FuseImpl(const Tensor& initial) : Weighted(initial) {
    reset();
  }
  void reset() override {
    Weighted::reset();
    calls = register_buffer("calls", torch::zeros({}, at::kLong));
  }
  Tensor forward(const Tensor& x) {
    calls.add_(1);
    TORCH_CHECK(!fuse_is_blown(), "the fuse has blown");
    return weighted(x);
  }
  Tensor calls;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
