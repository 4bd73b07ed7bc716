#include <torchrev/coupling.h>

#include <ATen/WrapDimUtils.h>

namespace torchrev {

namespace {

class MomentumCoupling final : public Coupling {
 public:
  explicit MomentumCoupling(double momentum) : momentum_(momentum) {}

  Tensor forward(
      const Tensor& x, const Tensor& value, Role role) const override {
    return role == Role::kF ? x * momentum_ + value * (1 - momentum_)
                            : x + value;
  }
  Tensor inverse(
      const Tensor& y, const Tensor& value, Role role) const override {
    TORCH_CHECK_VALUE(
        momentum_ > 0,
        "torchrev::momentum_coupling: expected a `momentum` above 0 in its "
        "inverse, but got 0. Keep the activations of all blocks with "
        "store_last.");
    return role == Role::kF ? (y - value * (1 - momentum_)) / momentum_
                            : y - value;
  }

 private:
  double momentum_;
};

class AffineCoupling final : public Coupling {
 public:
  explicit AffineCoupling(int64_t dim) : dim_(dim) {}

  Tensor forward(
      const Tensor& x, const Tensor& value, Role /*role*/) const override {
    const auto halves = value.chunk(2, dim_);
    return x * halves[0].tanh().exp() + halves[1];
  }
  Tensor inverse(
      const Tensor& y, const Tensor& value, Role /*role*/) const override {
    const auto halves = value.chunk(2, dim_);
    return (y - halves[1]) / halves[0].tanh().exp();
  }
  std::vector<int64_t> value_sizes(at::IntArrayRef x) const override {
    const auto dims = static_cast<int64_t>(x.size());
    TORCH_CHECK_INDEX(
        dim_ >= -dims && dim_ < dims,
        "torchrev::affine_coupling: expected `dim` to name a dimension of a "
        "stream, but got ",
        dim_,
        " (shape ",
        x,
        ").");
    auto sizes = x.vec();
    sizes[at::maybe_wrap_dim(dim_, dims)] *= 2;
    return sizes;
  }

 private:
  int64_t dim_;
};

}  // namespace

std::vector<int64_t> Coupling::value_sizes(at::IntArrayRef x) const {
  return x.vec();
}

std::shared_ptr<const Coupling> momentum_coupling(double momentum) {
  TORCH_CHECK_VALUE(
      momentum >= 0 && momentum < 1,
      "torchrev::momentum_coupling: expected `momentum` to be in [0, 1), but "
      "got ",
      momentum,
      ".");
  return std::make_shared<MomentumCoupling>(momentum);
}

std::shared_ptr<const Coupling> affine_coupling(int64_t dim) {
  return std::make_shared<AffineCoupling>(dim);
}

std::tuple<Tensor, Tensor> additive_coupling(
    const Branch& f,
    const Branch& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context) {
  auto y1 = x1 + f(x2, context);
  auto y2 = x2 + g(y1, context);
  return {y1, y2};
}

std::tuple<Tensor, Tensor> additive_coupling_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context) {
  auto x2 = y2 - g(y1, context);
  auto x1 = y1 - f(x2, context);
  return {x1, x2};
}

std::tuple<Tensor, Tensor> additive_coupling_sequence(
    at::ArrayRef<BranchPair> blocks,
    Tensor x1,
    Tensor x2,
    at::TensorList context) {
  for (const auto& block : blocks) {
    std::tie(x1, x2) = additive_coupling(block.f, block.g, x1, x2, context);
  }
  return {x1, x2};
}

}  // namespace torchrev
