#pragma once

#include "build.h"

/// What happens between forward and backward, and what branches keep.

namespace torchrev {
namespace test {
namespace differential {

/// Makes the change of `program`, if there is something that it can change.
void make_change(
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& context,
    const std::vector<Tensor>& outputs);

/// The tensors that branches keep in members and attributes and that have a
/// graph.
std::vector<Tensor> auxiliaries(const Model& model);
/// Ends them: a graph that a branch keeps, and that keeps the branch, would not
/// go with the model.
void drop_auxiliaries(const Model& model);

/// Errors that are right where plain autograd computes: for each, what its
/// message contains.
std::vector<std::vector<std::string>> expected_errors(const Program& program);

/// Whether plain autograd, too, may refuse the change.
bool may_be_refused(const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
