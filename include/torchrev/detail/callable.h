#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/api/include/torch/nn/module.h>
#include <torchrev/export.h>

#include <functional>
#include <memory>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

/// What a Branch is made of: for the library, and for those who bring a kind of
/// branch of their own.

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

  /// What is trained, in a fixed order.
  virtual std::vector<Tensor> parameters() const = 0;
  /// What forward may write to, in a fixed order.
  virtual std::vector<Tensor> buffers() const = 0;

  /// State besides tensors' contents: train / eval flags, and what the
  /// attributes of a TorchScript module refer to, its parameters included.
  /// `set_attributes` takes what `attributes` returned.
  virtual std::vector<c10::IValue> attributes() const = 0;
  virtual void set_attributes(const std::vector<c10::IValue>& values) = 0;
  /// A callable that runs the same code on the same tensors with attributes of
  /// its own, which are these; null where that cannot be made.
  virtual std::shared_ptr<Callable> with_attributes(
      const std::vector<c10::IValue>& values) const {
    (void)values;
    return nullptr;
  }

  /// How many context tensors a branch takes that was not told which.
  struct ContextSize {
    std::size_t least = 0;
    std::size_t most = 0;
  };
  /// None for a module, those of its schema for a TorchScript module.
  virtual ContextSize default_context() const {
    return {};
  }

  /// Whether parameters are arguments (Branch::function).
  virtual bool takes_parameters() const {
    return false;
  }

  /// Which branches are one: what the library has seen of one of them, it knows
  /// of all.
  struct Identity {
    /// Of the module; null for a branch that is one by itself.
    const void* address = nullptr;
    /// Whether the module is gone, and its address may be another's.
    std::function<bool()> expired;
    /// Of a function: its type. `void` for a module.
    std::type_index type = typeid(void);
  };
  virtual Identity identity() const {
    return {};
  }

  /// Whether a first run without a graph spoils later ones with a graph: the
  /// executor of TorchScript specialises on what it sees.
  virtual bool needs_graph() const {
    return false;
  }

  /// The module to register with a parent: the very module that was given, or
  /// one that mirrors its parameters and buffers.
  virtual std::shared_ptr<torch::nn::Module> module() = 0;

  /// A deep copy, on `device` if given; what a function captures is shared.
  virtual std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const = 0;
};

/// A Callable around a torch::nn::Module; `forward` and `clone` need its type.
class TORCHREV_API ModuleCallable : public Callable {
 public:
  /// `module` is not null.
  explicit ModuleCallable(std::shared_ptr<torch::nn::Module> module);
  std::vector<Tensor> parameters() const override;
  std::vector<Tensor> buffers() const override;
  std::vector<c10::IValue> attributes() const override;
  void set_attributes(const std::vector<c10::IValue>& values) override;
  Identity identity() const override;
  /// Where there is a TorchScript module in it.
  bool needs_graph() const override;
  std::shared_ptr<torch::nn::Module> module() override;

 protected:
  std::shared_ptr<torch::nn::Module> module_;
};

/// The most context tensors that a torch::nn::Module is called with.
constexpr std::size_t kMaxContext = 8;

/// @throws c10::ValueError that names `module`, whose forward does not take
///         `count` context tensors.
[[noreturn]] TORCHREV_API void throw_context_mismatch(
    const torch::nn::Module& module, std::size_t count);

/// Whether `M::forward(Tensor, Tensor...)`, with as many context tensors as
/// `Sequence` has indices, returns a Tensor.
template <typename M, typename Sequence, typename = void>
struct ReturnsTensor : std::false_type {};

/// One argument for each index.
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

/// ReturnsTensor for N context tensors.
template <typename M, std::size_t N>
inline constexpr bool returns_tensor_v =
    ReturnsTensor<M, std::make_index_sequence<N>>::value;

/// module.forward(x, context[I]...)
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

/// Whether forward can be called with any of N... context tensors.
template <typename M, std::size_t... N>
constexpr bool has_tensor_forward(std::index_sequence<N...>) {
  return (returns_tensor_v<M, N> || ...);
}

/// A module whose type is known at compile time.
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
}  // namespace torchrev
