#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/api/include/torch/nn/module.h>
#include <torch/csrc/api/include/torch/nn/modules/container/any.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torch/csrc/jit/api/module.h>
#include <torchrev/detail/callable.h>
#include <torchrev/export.h>

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace torchrev {

using at::Tensor;

namespace detail {
class BranchFacts;
}

/// One residual function, F or G of a reversible block, whatever it is made
/// of. A handle: copies share the module, its parameters and its buffers, so
/// the module given is the module trained.
///
/// A branch maps x to a tensor of the shape (or what the coupling asks for, see
/// Coupling::value_sizes), dtype and device of x. It may draw
/// random numbers, read and write its buffers, and behave differently in train
/// and eval mode: it is run again in backward exactly as it ran.
///
/// Context: extra tensors (an attention mask, an encoder output) that a call
/// hands to its branches after x. By default a branch gets x alone; see
/// `context()`. A TorchScript branch takes as many as its schema has.
///
/// Requires:  the branch is a function of x, context, its parameters, buffers
///            and random numbers; it does not write to x in place.
/// Thread-safety: as for torch::nn::Module.
///
/// Example:
/// ```
/// torchrev::Branch f = torch::nn::Sequential(
///     torch::nn::LayerNorm(torch::nn::LayerNormOptions({64})),
///     torch::nn::Linear(64, 64));
/// ```
class TORCHREV_API Branch {
 public:
  /// `fn(x, context, parameters)`.
  using Function =
      std::function<Tensor(const Tensor&, at::TensorList, at::TensorList)>;

  /// From a module whose `forward(Tensor x, Tensor context...)` returns one
  /// Tensor.
  template <
      typename M,
      typename = std::enable_if_t<std::is_base_of<torch::nn::Module, M>::value>>
  /* implicit */ Branch(std::shared_ptr<M> module)
      : Branch(checked(std::move(module))) {}

  /// From torch::nn::Sequential, torch::nn::Linear, any ModuleHolder.
  template <typename M>
  /* implicit */ Branch(const torch::nn::ModuleHolder<M>& holder)
      : Branch(holder.ptr()) {}

  /// From a module whose type is known at run time alone.
  /// @throws c10::ValueError if it is empty.
  /* implicit */ Branch(torch::nn::AnyModule module);

  /// From a TorchScript module with a method forward(Tensor x, context...) that
  /// returns one Tensor.
  /// @throws c10::ValueError if there is no such method.
  /* implicit */ Branch(torch::jit::Module module);

  /// A plain function. Every tensor that it uses and that requires grad has to
  /// be among `parameters` or in the context, and is to be taken from the
  /// arguments; one that is captured instead is an error at the first call.
  ///
  /// @param fn         `fn(x, context, parameters)`.
  /// @param parameters trained; `fn` gets them in this order.
  /// @param buffers    what `fn` may write to, captured by it.
  /// @throws c10::ValueError if `fn` is empty or a tensor is undefined.
  static Branch function(
      Function fn,
      std::vector<Tensor> parameters = {},
      std::vector<Tensor> buffers = {});

  /// This branch, but called with all context tensors of the call after x.
  Branch context() const;
  /// This branch, but called with context tensors `indices` after x.
  Branch context(std::vector<int64_t> indices) const;
  /// This branch, but all its buffers count as state that forward may change.
  /// By default those of more than 1 MiB count as constant.
  Branch mutable_buffers() const;
  /// A branch over a deep copy of the module (torch::nn::Module::clone), on
  /// `device` if given. What a function captures is shared, its parameters and
  /// buffers are copied.
  Branch clone(
      const torch::optional<c10::Device>& device = torch::nullopt) const;

  /// The module that holds parameters and buffers: the one given, or for a
  /// function and a TorchScript module one that shares their tensors.
  std::shared_ptr<torch::nn::Module> module() const;
  /// The parameters, trained or frozen, as they are now.
  std::vector<Tensor> parameters() const;
  /// The buffers, as they are now.
  std::vector<Tensor> buffers() const;

  /// Calls the branch; `context` is the whole list of the call, from which the
  /// branch takes what it asked for.
  /// @throws c10::IndexError if the branch asked for a context tensor that the
  ///         call does not have.
  Tensor operator()(const Tensor& x, at::TensorList context = {}) const;

  /// The context tensors that this branch asked for, in its order.
  /// @throws c10::IndexError as `operator()`.
  std::vector<Tensor> select(at::TensorList context) const;

  /// For the library: what the handle holds.
  detail::Callable& callable() const {
    return *callable_;
  }
  /// Whether mutable_buffers() made it.
  bool has_mutable_buffers() const {
    return mutable_buffers_;
  }
  /// For the library: what earlier calls have shown; copies share it.
  detail::BranchFacts& facts() const {
    return *facts_;
  }

 private:
  enum class Routing { kDefault, kAll, kSome };

  explicit Branch(std::shared_ptr<detail::Callable> callable);

  template <typename M>
  static std::shared_ptr<detail::Callable> checked(std::shared_ptr<M> module) {
    check_not_null(module.get());
    return std::make_shared<detail::TypedModule<M>>(std::move(module));
  }
  static void check_not_null(const void* module);

  std::shared_ptr<detail::Callable> callable_;
  std::shared_ptr<detail::BranchFacts> facts_;
  Routing routing_ = Routing::kDefault;
  std::vector<int64_t> indices_;
  bool mutable_buffers_ = false;
};

/// The two residual functions of one block.
struct BranchPair {
  /// y1 = x1 + F(x2)
  Branch f;
  /// y2 = x2 + G(y1)
  Branch g;
};

}  // namespace torchrev
