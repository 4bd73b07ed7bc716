#include "branches.h"

#include "modules.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

using namespace torch::nn;  // NOLINT: Sequential(Dropout(..), Tanh())

using Parameters = at::TensorList;

template <typename Impl, typename Argument>
Branch module(const Program& program, const Argument& argument) {
  auto result = std::make_shared<Impl>(argument);
  result->to(program.dtype);
  return result;
}

Branch batch_norm(const Program& program, bool cumulative) {
  const auto momentum =
      cumulative ? torch::nullopt : torch::optional<double>(0.3);
  return module<NormalisedImpl>(
      program, BatchNormOptions(channels(program)).momentum(momentum));
}

Branch two_dropouts(const Program& program, double p) {
  Sequential result(Dropout(p), Tanh(), Dropout(p / 2));
  if (program.domain == Domain::kTokens) {
    result->push_back(Linear(channels(program), channels(program)));
  }
  result->to(program.dtype);
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

Branch image_or_token_branch(const Program& program, Kind kind) {
  const auto width = channels(program);
  switch (kind) {
    case Kind::kLinear:
      return linear(width, program.dtype);
    case Kind::kMlp:
      return mlp(width, program.dtype);
    case Kind::kAttention:
      return attention(width, program.dtype);
    default:
      return conv(width, program.dtype);
  }
}

BuiltBranch function_branch(const Program& program, Kind kind) {
  const auto weight = sample_weight(program);
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
      return {weighted_function({weight, sample_weight(program)}), {}};
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

BuiltBranch build_kind(const Program& program, const BranchSpec& spec) {
  const auto& kind = spec.kind;
  switch (kind) {
    case Kind::kLinear:
    case Kind::kMlp:
    case Kind::kAttention:
    case Kind::kConvolution:
      return {image_or_token_branch(program, kind), {}};
    case Kind::kBatchNorm:
    case Kind::kCumulativeBatchNorm:
      return {batch_norm(program, kind == Kind::kCumulativeBatchNorm), {}};
    case Kind::kCounter:
      return {module<CounterImpl>(program, sample_weight(program)), {}};
    case Kind::kDrift:
      return {module<DriftImpl>(program, sample_weight(program)), {}};
    case Kind::kUnusedParameter:
      return {module<UnusedParameterImpl>(program, sample_weight(program)), {}};
    case Kind::kContextModule:
    case Kind::kTwoContextModule:
      return {module<ContextImpl>(program, sample_weight(program)), {}};
    case Kind::kDropout:
      return {Branch(Dropout(spec.dropout)), {}};
    case Kind::kTwoDropouts:
      return {two_dropouts(program, spec.dropout), {}};
    case Kind::kIgnoresInput:
    case Kind::kFunction:
    case Kind::kNonLeafFunction:
    case Kind::kBufferFunction:
    case Kind::kContextFunction:
      return function_branch(program, kind);
    case Kind::kScript:
    case Kind::kScriptDropout:
    case Kind::kScriptState:
    case Kind::kScriptBatchNorm:
    case Kind::kScriptContext:
      return {Branch(build_script(program, spec)), {}};
    default:
      return {parameter_free(kind), {}};
  }
}

}  // namespace

BuiltBranch build_branch(const Program& program, const BranchSpec& spec) {
  auto built = build_kind(program, spec);
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

Tensor sample_weight(const Program& program) {
  const at::IntArrayRef shape(program.shape);
  return (1 + 0.5 * torch::randn(shape.slice(1), program.dtype))
      .requires_grad_();
}

int64_t channels(const Program& program) {
  return program.domain == Domain::kTokens ? program.shape.back()
                                           : program.shape[1];
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
