#pragma once

#include <torchrev/export.h>

/// The operators torch.ops.torchrev.*, for TorchScript and for eager Python
/// with scripted branches. Loaded with torch.ops.load_library, or by linking.
///
///   torchrev::reversible_block(Any f, Any g, Tensor x1, Tensor x2, *, ...)
///       -> (Tensor, Tensor)
///   torchrev::reversible_sequence(Any blocks, Tensor x1, Tensor x2, *, ...)
///       -> (Tensor, Tensor)
///
/// `f` and `g` are modules with one tensor in and out; `blocks` is a ModuleList
/// whose items each have submodules `f` and `g`. Keywords and their defaults
/// are those of ReversibleOptions.

namespace torchrev {
namespace detail {

/// Always true. Called by the initialiser below, so that a program which uses
/// the operators by name only still links the library that registers them.
TORCHREV_API bool ops_registered() noexcept;

inline const bool ops_anchor = ops_registered();

}  // namespace detail
}  // namespace torchrev
