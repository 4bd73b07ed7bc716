#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>

namespace torchrev {
namespace detail {

// A few elements of a tensor, which tell whether another one holds the same but
// for rounding. Of tensors on the CPU alone: to read others is to wait.
class Sample {
 public:
  Sample() = default;
  explicit Sample(const at::Tensor& tensor);

  bool is_taken() const {
    return taken_;
  }

  // False if some elements differ by more than rebuilt streams make of
  // rounding. True where one of them has none.
  bool is_like(const Sample& other) const;

 private:
  static constexpr std::size_t kElements = 8;

  bool taken_ = false;
  // Of the largest element.
  double rounding_ = 0;
  std::array<double, kElements> elements_{};
};

}  // namespace detail
}  // namespace torchrev
