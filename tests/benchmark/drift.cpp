// How far rounding carries a reversible stack, for each dtype of streams and
// for exact reconstruction: errors, time and bytes over depth.

#include <fmt/format.h>
#include <torch/utils.h>
#include <torchrev/drift.h>
#include <torchrev/reversible.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

#include "examples/memory_meter.h"
#include "measure.h"

namespace torchrev_benchmark {
namespace {

using torchrev::ReversibleOptions;
using torchrev_examples::MemoryMeter;

struct Arguments {
  std::vector<int64_t> depths{8, 32, 128, 512};
  int64_t width = 64;
  int64_t tokens = 256;
  int64_t rounds = 3;
};

// Parameters, inputs and branches have `dtype`.
struct Setting {
  const char* name;
  at::ScalarType dtype;
  ReversibleOptions options;
};

std::vector<Setting> settings() {
  const auto unguarded = [] {
    return ReversibleOptions().drift_tolerance(torch::nullopt);
  };
  return {
      {"float32", torch::kFloat, unguarded()},
      {"bfloat16", torch::kBFloat16, unguarded()},
      {"bfloat16, float32 streams",
       torch::kBFloat16,
       unguarded().stream_dtype(torch::kFloat)},
      {"float32, float64 streams",
       torch::kFloat,
       unguarded().stream_dtype(torch::kDouble)},
      {"float32, exact (12 bits)",
       torch::kFloat,
       unguarded().fraction_bits(12)}};
}

struct Model {
  const char* name;
  std::function<torch::nn::Sequential(int64_t width)> branch;
};

const std::vector<Model>& models() {
  static const std::vector<Model> models{
      {"pre-norm: LayerNorm, Linear, GELU, Linear",
       [](int64_t width) {
         return torch::nn::Sequential(
             torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})),
             torch::nn::Linear(width, 4 * width),
             torch::nn::GELU(),
             torch::nn::Linear(4 * width, width));
       }},
      {"un-normalised: Linear, ReLU", [](int64_t width) {
         return torch::nn::Sequential(
             torch::nn::Linear(width, width), torch::nn::ReLU());
       }}};
  return models;
}

// A stack with its inputs, the same function in every dtype: what is drawn is
// rounded to bfloat16 first.
struct Stack {
  Stack(
      const Model& model,
      int64_t depth,
      const Arguments& arguments,
      at::ScalarType dtype) {
    torch::manual_seed(0);
    const auto convert = [dtype](const torch::Tensor& x) {
      return x.to(torch::kBFloat16).to(dtype);
    };
    const auto branch = [&] {
      auto layers = model.branch(arguments.width);
      layers->to(torch::kBFloat16);
      layers->to(dtype);
      return layers;
    };
    for (int64_t i = 0; i < depth; ++i) {
      const auto f = branch();
      blocks.push_back({f, branch()});
    }
    const auto stream = [&] {
      return convert(torch::randn({arguments.tokens, arguments.width}));
    };
    x1 = stream().requires_grad_();
    x2 = stream().requires_grad_();
    weight = stream();
    variables = {x1, x2};
    for (const auto& parameter : parameters_of(blocks)) {
      variables.push_back(parameter);
    }
  }

  // Of (y1 * weight).sum() + (y2 * weight).sum().
  std::vector<torch::Tensor> gradients(const ReversibleOptions& options) const {
    const auto y = torchrev::reversible_sequence(blocks, x1, x2, {}, options);
    return torch::autograd::grad(
        {(std::get<0>(y) * weight).sum() + (std::get<1>(y) * weight).sum()},
        variables);
  }

  Blocks blocks;
  torch::Tensor x1, x2, weight;
  std::vector<torch::Tensor> variables;
};

ReversibleOptions plain(ReversibleOptions options, int64_t depth) {
  return options.store_last(depth);
}

// |a - b| / |b|, all tensors together.
double relative_error(
    const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double difference = 0;
  double scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto reference = b[i].to(torch::kDouble);
    difference +=
        (a[i].to(torch::kDouble) - reference).square().sum().item<double>();
    scale += reference.square().sum().item<double>();
  }
  return std::sqrt(difference / scale);
}

// The share of elements that are not equal.
double differing(
    const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double count = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    count += (a[i] != b[i]).sum().item<double>();
    size += static_cast<double>(a[i].numel());
  }
  return count / size;
}

double worst_reconstruction(const Stack& stack, const Setting& setting) {
  double worst = 0;
  for (const auto& block :
       torchrev::drift(stack.blocks, stack.x1, stack.x2, {}, setting.options)) {
    // Not a number is worst of all.
    if (!std::isnan(worst) && !(block.reconstruction <= worst)) {
      worst = block.reconstruction;
    }
  }
  return worst;
}

Cost cost_of(const Stack& stack, const Setting& setting, int64_t rounds) {
  std::vector<double> seconds;
  Cost cost;
  for (int64_t round = 0; round < rounds; ++round) {
    std::vector<torch::Tensor> gradients;
    cost = cost_of_step(
        [&] { gradients = stack.gradients(setting.options); }, [] {});
    seconds.push_back(cost.seconds);
    for (const auto& gradient : gradients) {
      cost.peak -= static_cast<int64_t>(gradient.nbytes());
    }
  }
  cost.seconds = median(std::move(seconds));
  return cost;
}

void print_row(
    const Model& model,
    int64_t depth,
    const Setting& setting,
    const Arguments& arguments,
    const std::vector<torch::Tensor>& reference) {
  fmt::print("{:>5}  {:26}", depth, setting.name);
  try {
    const Stack stack(model, depth, arguments, setting.dtype);
    const auto rebuilt = stack.gradients(setting.options);
    const auto stored = stack.gradients(plain(setting.options, depth));
    const auto cost = cost_of(stack, setting, arguments.rounds);
    fmt::print(
        " {:14.1e} {:14.1e} {:14.1e} {:10.2f} {:9.1f} {:9.3f}\n",
        worst_reconstruction(stack, setting),
        relative_error(rebuilt, reference),
        relative_error(stored, reference),
        100 * differing(rebuilt, stored),
        1e3 * cost.seconds,
        static_cast<double>(cost.peak) / (1 << 20));
  } catch (const c10::Error& error) {
    // Exact reconstruction says that its range does not hold.
    fmt::print(" {}\n", error.what_without_backtrace());
  }
  std::fflush(stdout);
}

void print_table(const Model& model, const Arguments& arguments) {
  fmt::print(
      "\n{}; two streams of {} x {}\n{:>5}  {:26} {:>14} {:>14} {:>14} {:>10} "
      "{:>9} {:>9}\n",
      model.name,
      arguments.tokens,
      arguments.width,
      "depth",
      "",
      "reconstruction",
      "gradients",
      "of plain",
      "% differ",
      "step ms",
      "peak MiB");
  for (const auto depth : arguments.depths) {
    const auto reference = Stack(model, depth, arguments, torch::kDouble)
                               .gradients(plain({}, depth));
    for (const auto& setting : settings()) {
      print_row(model, depth, setting, arguments, reference);
    }
  }
}

}  // namespace
}  // namespace torchrev_benchmark

int main(int argc, char** argv) {
  using namespace torchrev_benchmark;
  MemoryMeter::install();
  Arguments arguments;
  CLI::App app(
      "Errors of rebuilt streams relative to those of forward (the worst "
      "block), of gradients relative to float64, rebuilt and in plain "
      "autograd, and how many gradients differ between the two; CPU time, and "
      "bytes of "
      "tensors beyond parameters and gradients.",
      "benchmark_drift");
  const auto number = [&app](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  number("--depths", arguments.depths, "Blocks in the stack")->delimiter(',');
  number("--width", arguments.width, "Of a stream");
  number("--tokens", arguments.tokens, "Rows of a stream");
  number("--rounds", arguments.rounds, "Timed steps");
  CLI11_PARSE(app, argc, argv);
  torch::set_num_threads(1);
  for (const auto& model : models()) {
    print_table(model, arguments);
  }
}
