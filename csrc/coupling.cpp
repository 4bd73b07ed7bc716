#include <torchrev/coupling.h>

namespace torchrev {

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
