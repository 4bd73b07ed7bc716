#pragma once

#include <torchrev/coupling.h>

#include <vector>

// The couplings that come with the library.

namespace torchrev {
namespace detail {

// Arithmetic knows this type, and computes in place what it stands for.
class AdditiveCoupling final : public Coupling {
 public:
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  void pretty_print(std::ostream& stream) const override;
};

class MomentumCoupling final : public Coupling {
 public:
  explicit MomentumCoupling(double momentum) : momentum_(momentum) {}

  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  bool is_invertible() const override;
  void pretty_print(std::ostream& stream) const override;

 private:
  double momentum_;
};

class AffineCoupling final : public Coupling {
 public:
  explicit AffineCoupling(int64_t dim) : dim_(dim) {}

  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override;
  std::vector<int64_t> value_sizes(at::IntArrayRef x) const override;
  void pretty_print(std::ostream& stream) const override;

 private:
  int64_t dim_;
};

}  // namespace detail
}  // namespace torchrev
