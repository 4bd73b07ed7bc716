#include <torchrev/coupling.h>

#include "check.h"
#include "streams/couplings.h"

namespace torchrev {

std::vector<int64_t> Coupling::value_sizes(at::IntArrayRef x) const {
  return x.vec();
}

void Coupling::pretty_print(std::ostream& stream) const {
  stream << "custom_coupling";
}

bool Coupling::is_invertible() const {
  return true;
}

std::shared_ptr<const Coupling> additive_coupling() {
  static const auto coupling =
      std::make_shared<const detail::AdditiveCoupling>();
  return coupling;
}

std::shared_ptr<const Coupling> momentum_coupling(double momentum) {
  TORCHREV_CHECK(
      ValueError,
      momentum >= 0 && momentum < 1,
      "momentum_coupling",
      "`momentum` to be in [0, 1)",
      c10::str(momentum));
  return std::make_shared<const detail::MomentumCoupling>(momentum);
}

std::shared_ptr<const Coupling> affine_coupling(int64_t dim) {
  return std::make_shared<const detail::AffineCoupling>(dim);
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
