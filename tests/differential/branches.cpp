#include "branches.h"

#include "later_modules.h"
#include "modules.h"
#include "nested.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

using namespace torch::nn;  // NOLINT: Sequential(Dropout(..), Tanh())

using Parameters = at::TensorList;

template <typename Impl, typename Argument>
Branch module(const StackSpec& stack, const Argument& argument) {
  auto result = std::make_shared<Impl>(argument);
  result->to(stack.dtype);
  return result;
}

Branch batch_norm(const StackSpec& stack, bool cumulative) {
  const auto momentum =
      cumulative ? torch::nullopt : torch::optional<double>(0.3);
  return module<NormalisedImpl>(
      stack, BatchNormOptions(channels(stack)).momentum(momentum));
}

Branch two_dropouts(const StackSpec& stack, double p) {
  Sequential result(Dropout(p), Tanh(), Dropout(p / 2));
  if (stack.domain == Domain::kTokens) {
    result->push_back(Linear(channels(stack), channels(stack)));
  }
  result->to(stack.dtype);
  return result;
}

using Body = std::function<Tensor(const Tensor&)>;

Branch function(const Body& body) {
  return Branch::function(
      [body](const Tensor& x, at::TensorList, Parameters) { return body(x); });
}

Branch weighted_function(const std::vector<Tensor>& parameters) {
  return Branch::function(
      [](const Tensor& x, at::TensorList, Parameters parameters) {
        return (x * parameters[0] + parameters[1]).tanh();
      },
      parameters);
}

Branch buffer_function(const Tensor& weight, const Tensor& count) {
  return Branch::function(
      [count](const Tensor& x, at::TensorList, Parameters parameters) {
        count.add_(1);
        return (x * parameters[0]).tanh() / count.clone();
      },
      {weight},
      {count});
}

Branch context_function(const Tensor& weight) {
  return Branch::function(
      [](const Tensor& x, at::TensorList context, Parameters parameters) {
        auto out = (x * parameters[0]).tanh();
        for (const Tensor& tensor : context) {
          out = mix(out, tensor);
        }
        return out;
      },
      {weight});
}

// One normal number: the generator keeps the second of each pair.
Tensor noise(const Tensor& x) {
  return x.tanh() * torch::randn({1}, x.options());
}

// Its value depends on the order of the strides of its input. (Dropout's does,
// too: random numbers are drawn in the order of memory.)
Tensor depends_on_strides(const Tensor& x) {
  return x.stride(1) >= x.stride(-1) ? x.tanh() : x.sin();
}

Branch parameter_free(Kind kind) {
  switch (kind) {
    case Kind::kNoise:
      return function(noise);
    case Kind::kTanh:
      return function([](const Tensor& x) { return x.tanh(); });
    case Kind::kStrides:
      return function(depends_on_strides);
    case Kind::kConstant:
      return function([](const Tensor& x) { return torch::full_like(x, 0.5); });
    case Kind::kIdentity:
      return function([](const Tensor& x) { return x; });
    default:
      return function([](const Tensor& x) { return x.detach().sin(); });
  }
}

Branch image_or_token_branch(const StackSpec& stack, Kind kind) {
  const auto width = channels(stack);
  switch (kind) {
    case Kind::kLinear:
      return linear(width, stack.dtype);
    case Kind::kMlp:
      return mlp(width, stack.dtype);
    case Kind::kAttention:
      return attention(width, stack.dtype);
    default:
      return conv(width, stack.dtype);
  }
}

BuiltBranch function_branch(const StackSpec& stack, Kind kind) {
  const auto weight = sample_weight(stack);
  switch (kind) {
    case Kind::kIgnoresInput:
      return {
          Branch::function(
              [](const Tensor& x, at::TensorList, Parameters parameters) {
                return parameters[0].sin().expand_as(x);
              },
              {weight}),
          {}};
    case Kind::kFunction:
      return {weighted_function({weight, sample_weight(stack)}), {}};
    case Kind::kNonLeafFunction:
      return {weighted_function({weight * 2, weight}), {weight}};
    case Kind::kBufferFunction:
      return {
          buffer_function(
              weight, torch::ones({1}, weight.options().requires_grad(false))),
          {}};
    default:
      return {context_function(weight), {}};
  }
}

// A module of the later kinds, made of one weight.
Branch later_module(const StackSpec& stack, Kind kind) {
  const auto weight = sample_weight(stack);
  switch (kind) {
    case Kind::kObserver:
      return module<ObserverImpl>(stack, weight);
    case Kind::kLargeBuffer:
      return module<LargeBufferImpl>(stack, weight);
    case Kind::kAuxiliary:
      return module<AuxiliaryImpl>(stack, weight);
    case Kind::kWeightNorm:
      return module<WeightNormImpl>(stack, weight);
    case Kind::kGradMode:
      return module<GradModeImpl>(stack, weight);
    case Kind::kDifferentiates:
      return module<DifferentiatesImpl>(stack, weight);
    case Kind::kMaxNorm:
      return module<MaxNormImpl>(stack, weight);
    case Kind::kInitialises:
      return module<InitialisesImpl>(stack, weight);
    case Kind::kThreadPool:
      return module<ThreadPoolImpl>(stack, weight);
    case Kind::kRemember:
      return module<RememberImpl>(stack, weight);
    default:
      return module<FuseImpl>(stack, weight);
  }
}

Branch later_branch(const StackSpec& stack, const BranchSpec& spec) {
  switch (spec.kind) {
    case Kind::kStack:
    case Kind::kStackModule:
    case Kind::kStackFunction:
      return build_stack_branch(stack, spec);
    case Kind::kDrawnDropout: {
      const auto dropout = std::make_shared<DrawnDropoutImpl>(
          sample_weight(stack), spec.dropout);
      dropout->to(stack.dtype);
      return dropout;
    }
    case Kind::kScriptStack:
    case Kind::kScriptLists:
    case Kind::kScriptDictionaries:
    case Kind::kScriptObserver:
    case Kind::kScriptAuxiliary:
    case Kind::kScriptTree:
      return build_later_script(stack, spec);
    default:
      return later_module(stack, spec.kind);
  }
}

BuiltBranch build_kind(const StackSpec& stack, const BranchSpec& spec) {
  const auto& kind = spec.kind;
  switch (kind) {
    case Kind::kLinear:
    case Kind::kMlp:
    case Kind::kAttention:
    case Kind::kConvolution:
      return {image_or_token_branch(stack, kind), {}};
    case Kind::kBatchNorm:
    case Kind::kCumulativeBatchNorm:
      return {batch_norm(stack, kind == Kind::kCumulativeBatchNorm), {}};
    case Kind::kCounter:
      return {module<CounterImpl>(stack, sample_weight(stack)), {}};
    case Kind::kDrift:
      return {module<DriftImpl>(stack, sample_weight(stack)), {}};
    case Kind::kUnusedParameter:
      return {module<UnusedParameterImpl>(stack, sample_weight(stack)), {}};
    case Kind::kContextModule:
    case Kind::kTwoContextModule:
      return {module<ContextImpl>(stack, sample_weight(stack)), {}};
    case Kind::kDropout:
      return {Branch(Dropout(spec.dropout)), {}};
    case Kind::kTwoDropouts:
      return {two_dropouts(stack, spec.dropout), {}};
    case Kind::kIgnoresInput:
    case Kind::kFunction:
    case Kind::kNonLeafFunction:
    case Kind::kBufferFunction:
    case Kind::kContextFunction:
      return function_branch(stack, kind);
    case Kind::kScript:
    case Kind::kScriptDropout:
    case Kind::kScriptState:
    case Kind::kScriptBatchNorm:
    case Kind::kScriptContext:
      return {Branch(build_script(stack, spec)), {}};
    default:
      return static_cast<int>(kind) < kFirstKinds
                 ? BuiltBranch{parameter_free(kind), {}}
                 : BuiltBranch{later_branch(stack, spec), {}};
  }
}

}  // namespace

BuiltBranch build_branch(const StackSpec& stack, const BranchSpec& spec) {
  auto built = build_kind(stack, spec);
  const auto context = traits(spec.kind).context;
  if (context < 0) {
    built.branch = built.branch.context();
  } else if (context > 0) {
    built.branch = built.branch.context(spec.context);
  }
  if (spec.mutable_buffers) {
    built.branch = built.branch.mutable_buffers();
  }
  return built;
}

Tensor sample_weight(const StackSpec& stack) {
  const at::IntArrayRef shape(stack.shape);
  return (1 + 0.5 * torch::randn(shape.slice(1), stack.dtype)).requires_grad_();
}

int64_t channels(const StackSpec& stack) {
  return stack.domain == Domain::kTokens ? stack.shape.back() : stack.shape[1];
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
