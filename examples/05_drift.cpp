// How far rounding carries the gradients of a deep reversible stack from those
// of plain autograd, for each setting that bounds it: a table over depth, and
// the same as a plot.

#include <fmt/format.h>
#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "line_plot.h"

namespace {

using torchrev::ReversibleOptions;
using torchrev_examples::LinePlot;

struct Arguments {
  std::vector<int64_t> depths{4, 8, 16, 32, 64, 128, 256};
  int64_t width = 32;
  bool unnormalised = false;
  std::string plot = "drift.svg";
};

struct Setting {
  const char* name;
  torch::Dtype dtype;
  ReversibleOptions options;
};

std::vector<Setting> settings() {
  const auto off = [] {
    return ReversibleOptions().drift_tolerance(torch::nullopt);
  };
  return {
      {"bfloat16", torch::kBFloat16, off()},
      {"bfloat16, float32 streams",
       torch::kBFloat16,
       off().stream_dtype(torch::kFloat)},
      {"float32", torch::kFloat, off()},
      {"float32, save_every(8)", torch::kFloat, off().save_every(8)},
      {"float32, float64 streams",
       torch::kFloat,
       off().stream_dtype(torch::kDouble)},
      {"float32, fraction_bits(10)", torch::kFloat, off().fraction_bits(10)}};
}

torch::nn::Sequential branch(const Arguments& arguments, torch::Dtype dtype) {
  const auto width = arguments.width;
  auto layers =
      arguments.unnormalised
          ? torch::nn::Sequential(
                torch::nn::Linear(width, width), torch::nn::ReLU())
          : torch::nn::Sequential(
                torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})),
                torch::nn::Linear(width, 2 * width),
                torch::nn::GELU(),
                torch::nn::Linear(2 * width, width));
  layers->to(dtype);
  return layers;
}

/// The error of the gradients of the first block, on which those of all others
/// have added up.
double drift_of(
    const Arguments& arguments, int64_t depth, const Setting& setting) {
  torch::manual_seed(1);
  torchrev::nn::ReversibleSequential stack(setting.options);
  for (int64_t block = 0; block < depth; ++block) {
    stack->push_back(
        branch(arguments, setting.dtype), branch(arguments, setting.dtype));
  }
  const auto x = torch::randn({64, 2 * arguments.width}).to(setting.dtype);
  try {
    return stack->drift(x).front().gradient;
  } catch (const c10::ValueError& error) {
    // An un-normalised stack grows out of every grid.
    fmt::print(stderr, "{}\n", error.what_without_backtrace());
    return NAN;
  }
}

void run(const Arguments& arguments) {
  LinePlot plot{
      "Gradients of the first block: rebuilt, relative to plain autograd",
      "blocks",
      "relative error",
      {}};
  fmt::print("{:28}", "blocks");
  for (const auto depth : arguments.depths) {
    plot.positions.push_back(std::to_string(depth));
    fmt::print("{:>9}", depth);
  }
  fmt::print("\n");
  for (const auto& setting : settings()) {
    fmt::print("{:28}", setting.name);
    std::vector<double> errors;
    for (const auto depth : arguments.depths) {
      errors.push_back(drift_of(arguments, depth, setting));
      fmt::print("{:>9.1e}", errors.back());
      std::fflush(stdout);
    }
    fmt::print("\n");
    plot.lines.push_back({setting.name, errors});
  }
  plot.save(arguments.plot);
  fmt::print("The plot is in {}.\n", arguments.plot);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Measures the drift of a deep reversible stack over depth, for each "
      "setting that bounds it.",
      "drift");
  app.add_option("--depths", arguments.depths, "Blocks in the stack")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--width", arguments.width, "Of a stream")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag(
      "--unnormalised",
      arguments.unnormalised,
      "Linear and ReLU, without a layer norm that keeps errors small");
  app.add_option("--plot", arguments.plot, "Where the SVG file goes")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
