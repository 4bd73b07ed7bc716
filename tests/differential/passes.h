#pragma once

#include "run.h"

/// Backward passes, as a program asks for them.

namespace torchrev {
namespace test {
namespace differential {

class Passes {
 public:
  /// `leaves`: what may get a gradient, the `inputs` streams first. Gradients
  /// that are returned go to `record`.
  Passes(
      Way way,
      const Program& program,
      const std::vector<NamedTensor>& leaves,
      std::size_t inputs,
      Record& record)
      : way_(way),
        program_(program),
        leaves_(leaves),
        inputs_(inputs),
        record_(record) {}

  /// Asks for gradients of `loss`, which dies unless the graph is retained.
  void operator()(Tensor loss, bool retain);

 private:
  using Wanted = std::function<bool(std::size_t)>;

  bool in_part(std::size_t leaf, int64_t rotation = 0) const;
  std::vector<Tensor> leaves_of(const Wanted& wanted) const;
  std::vector<Tensor> gradients(
      const Tensor& of,
      const Wanted& wanted,
      bool retain,
      bool create_graph = false);
  void backward_of_part(const Tensor& loss, bool retain);
  void parts(const Tensor& loss, bool retain);
  void inputs_and_rest(const Tensor& loss, bool inputs_first, bool retain);
  bool is_inner(const Tensor& loss, std::size_t leaf) const;
  void from_inner_nodes(Tensor loss, bool retain);
  void second_order(const Tensor& loss, bool retain);

  Way way_;
  const Program& program_;
  const std::vector<NamedTensor>& leaves_;
  std::size_t inputs_;
  Record& record_;
};

}  // namespace differential
}  // namespace test
}  // namespace torchrev
