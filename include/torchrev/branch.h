#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/api/include/torch/nn/module.h>
#include <torch/csrc/api/include/torch/nn/modules/container/any.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torch/csrc/jit/api/module.h>
#include <torchrev/export.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace torchrev {

using at::Tensor;

namespace detail {

/// What a Branch is made of: something that maps `(x, context)` to a tensor of
/// the shape of `x`, and that can say which state it reads and writes.
class TORCHREV_API Callable {
 public:
  virtual ~Callable() = default;

  /// `parameters` are those of `parameters()`, or aliases of them; only a
  /// function branch reads them, a module uses its own.
  virtual Tensor forward(
      const Tensor& x, at::TensorList context, at::TensorList parameters) = 0;

  virtual std::vector<Tensor> parameters() const = 0;
  virtual std::vector<Tensor> buffers() const = 0;

  /// State besides tensors' contents: train / eval flags, and what a
  /// TorchScript module assigns to its attributes. `set_attributes` takes what
  /// `attributes` returned.
  virtual std::vector<c10::IValue> attributes() const = 0;
  virtual void set_attributes(const std::vector<c10::IValue>& values) = 0;

  /// How many context tensors a branch takes that was not told which: none for
  /// a module, those of its schema for a TorchScript module.
  struct ContextSize {
    std::size_t least = 0;
    std::size_t most = 0;
  };
  virtual ContextSize default_context() const {
    return {};
  }

  /// Whether parameters are arguments (Branch::function).
  virtual bool takes_parameters() const {
    return false;
  }

  /// The module to register with a parent: the very module that was given, or
  /// one that mirrors its parameters and buffers.
  virtual std::shared_ptr<torch::nn::Module> module() = 0;

  virtual std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const = 0;
};

/// A Callable around a torch::nn::Module; `forward` and `clone` need its type.
class TORCHREV_API ModuleCallable : public Callable {
 public:
  explicit ModuleCallable(std::shared_ptr<torch::nn::Module> module);
  std::vector<Tensor> parameters() const override;
  std::vector<Tensor> buffers() const override;
  std::vector<c10::IValue> attributes() const override;
  void set_attributes(const std::vector<c10::IValue>& values) override;
  std::shared_ptr<torch::nn::Module> module() override;

 protected:
  std::shared_ptr<torch::nn::Module> module_;
};

/// The most context tensors that a torch::nn::Module is called with.
constexpr std::size_t kMaxContext = 8;

[[noreturn]] TORCHREV_API void throw_context_mismatch(
    const torch::nn::Module& module, std::size_t count);

template <typename M, typename Sequence, typename = void>
struct ReturnsTensor : std::false_type {};

template <std::size_t>
using ConstTensor = const Tensor&;

template <typename M, std::size_t... I>
struct ReturnsTensor<
    M,
    std::index_sequence<I...>,
    std::void_t<decltype(std::declval<M&>().forward(
        std::declval<const Tensor&>(), std::declval<ConstTensor<I>>()...))>>
    : std::is_same<
          decltype(std::declval<M&>().forward(
              std::declval<const Tensor&>(),
              std::declval<ConstTensor<I>>()...)),
          Tensor> {};

template <typename M, std::size_t N>
inline constexpr bool returns_tensor_v =
    ReturnsTensor<M, std::make_index_sequence<N>>::value;

template <typename M, std::size_t... I>
Tensor forward_with(
    M& module,
    const Tensor& x,
    at::TensorList context,
    std::index_sequence<I...>) {
  (void)context;
  return module.forward(x, context[I]...);
}

/// Calls `module.forward(x, context[0], ..., context[n - 1])`, n <= N.
template <typename M, std::size_t N = kMaxContext>
Tensor forward_module(
    const torch::nn::Module& named,
    M& module,
    const Tensor& x,
    at::TensorList context) {
  if constexpr (returns_tensor_v<M, N>) {
    if (context.size() == N) {
      return forward_with(module, x, context, std::make_index_sequence<N>());
    }
  }
  if constexpr (N > 0) {
    return forward_module<M, N - 1>(named, module, x, context);
  } else {
    throw_context_mismatch(named, context.size());
  }
}

template <typename M, std::size_t... N>
constexpr bool has_tensor_forward(std::index_sequence<N...>) {
  return (returns_tensor_v<M, N> || ...);
}

template <typename M>
class TypedModule final : public ModuleCallable {
 public:
  static_assert(
      has_tensor_forward<M>(std::make_index_sequence<kMaxContext + 1>()),
      "torchrev::Branch: a module needs a forward(Tensor x, Tensor context...) "
      "that returns one Tensor; wrap another kind in Branch::function.");

  explicit TypedModule(std::shared_ptr<M> module)
      : ModuleCallable(module), typed_(std::move(module)) {}

  Tensor forward(
      const Tensor& x,
      at::TensorList context,
      at::TensorList /*parameters*/) override {
    return forward_module(*module_, *typed_, x, context);
  }

  std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const override {
    return std::make_shared<TypedModule<M>>(
        std::dynamic_pointer_cast<M>(typed_->clone(device)));
  }

 private:
  std::shared_ptr<M> typed_;
};

}  // namespace detail

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

  /* implicit */ Branch(torch::nn::AnyModule module);
  /* implicit */ Branch(torch::jit::Module module);

  /// A plain function. Every tensor that it uses and that requires grad has to
  /// be among `parameters` or in the context, and is to be taken from the
  /// arguments; one that is captured instead is an error at the first call.
  ///
  /// @param parameters trained; `fn` gets them in this order.
  /// @param buffers    what `fn` may write to, captured by it.
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
  std::vector<Tensor> parameters() const;
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
  bool has_mutable_buffers() const {
    return mutable_buffers_;
  }
  /// For the library: set once the branch has been searched for undeclared
  /// tensors; shared by copies.
  std::atomic<bool>& searched() const {
    return *searched_;
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
  std::shared_ptr<std::atomic<bool>> searched_ =
      std::make_shared<std::atomic<bool>>(false);
  Routing routing_ = Routing::kDefault;
  std::vector<int64_t> indices_;
  bool mutable_buffers_ = false;
};

/// The two residual functions of one block.
struct BranchPair {
  Branch f;
  Branch g;
};

}  // namespace torchrev
