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

  // False if most elements differ by more than rounding does. True where one of
  // them has none.
  bool is_like(const Sample& other) const;

 private:
  static constexpr std::size_t kElements = 8;

  bool taken_ = false;
  std::array<double, kElements> elements_{};
};

}  // namespace detail
}  // namespace torchrev
