#include "ways.h"

#include <fmt/format.h>
#include <torchrev/torchrev.h>

#include <tuple>
#include <utility>

namespace where_memory_goes {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A layer that autograd can hold among its saved data.
struct HeldLayer : torch::CustomClassHolder {
  explicit HeldLayer(Layer held) : layer(std::move(held)) {}
  Layer layer;
};

constexpr auto kLayer = "layer";

struct CheckpointedLayer : torch::autograd::Function<CheckpointedLayer> {
  static Tensor forward(
      AutogradContext* context, const Tensor& x, const Layer& layer) {
    context->save_for_backward({x});
    context->saved_data[kLayer] =
        c10::IValue::make_capsule(c10::make_intrusive<HeldLayer>(layer));
    return plain_layer(layer, x);
  }

  static variable_list backward(AutogradContext* context, variable_list grad) {
    const auto held = context->saved_data[kLayer].toCapsule();
    const auto& layer = static_cast<const HeldLayer&>(*held).layer;
    const auto x = context->get_saved_variables()[0].detach().requires_grad_();
    const torch::AutoGradMode with_grad(true);
    torch::autograd::backward({plain_layer(layer, x)}, {grad[0]});
    return {x.grad(), Tensor()};
  }
};

std::vector<torchrev::BranchPair> blocks_of(const Layers& layers) {
  std::vector<torchrev::BranchPair> blocks;
  for (const auto& layer : layers) {
    blocks.push_back({layer.f, layer.g});
  }
  return blocks;
}

std::vector<Tensor> streams(std::tuple<Tensor, Tensor> pair) {
  return {std::get<0>(pair), std::get<1>(pair)};
}

}  // namespace

Way plain() {
  return {"plain", [](const Layers& layers, Tensor x) {
            for (const auto& layer : layers) {
              x = plain_layer(layer, x);
            }
            return std::vector<Tensor>{x};
          }};
}

Way checkpoint() {
  return {"checkpoint", [](const Layers& layers, Tensor x) {
            for (const auto& layer : layers) {
              x = CheckpointedLayer::apply(x, layer);
            }
            return std::vector<Tensor>{x};
          }};
}

Way reversible(int64_t chunks, bool drift_guard) {
  torchrev::ReversibleOptions options;
  options.chunks_g(chunks);
  if (!drift_guard) {
    options.drift_tolerance(torch::nullopt);
  }
  const auto name = chunks == 1 ? std::string("reversible")
                                : fmt::format("chunks_g({})", chunks);
  return {name, [options](const Layers& layers, const Tensor& x) {
            return streams(torchrev::reversible_sequence(
                blocks_of(layers), x, x, {}, options));
          }};
}

Way plain_pair() {
  return {"plain, two streams", [](const Layers& layers, const Tensor& x) {
            return streams(
                torchrev::additive_coupling_sequence(blocks_of(layers), x, x));
          }};
}

}  // namespace where_memory_goes
