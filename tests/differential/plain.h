#pragma once

#include "support/support.h"

/// What plain autograd computes in place of the library, also within branches.

namespace torchrev {
namespace test {
namespace differential {

enum class Way { kReversible, kPlain };

/// How stacks within branches run in this thread while it lives; otherwise they
/// are reversible.
class Within {
 public:
  explicit Within(Way way);
  ~Within();
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

  static Way way();

 private:
  Way outer_;
};

/// A stack as a function of two streams, or of one tensor.
struct PlainStack {
  const Blocks& blocks;
  const ReversibleOptions& options;
  bool inverse = false;

  std::vector<Tensor> streams(
      const Tensor& x1,
      const Tensor& x2,
      const std::vector<Tensor>& context) const;
  Tensor residual(const Tensor& x, const std::vector<Tensor>& context) const;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
