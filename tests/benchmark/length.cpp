// Full and LSH attention over the length of a sequence, with feed-forward
// layers as a whole and in chunks: seconds and peak bytes of a training step.

#include <fmt/format.h>
#include <torch/utils.h>
#include <torchrev/nn/reformer.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "examples/common/gradients.h"
#include "examples/line_plot.h"
#include "measure.h"

namespace torchrev_benchmark {
namespace {

using torchrev::ReversibleOptions;
using torchrev::nn::Reformer;
using torchrev::nn::ReformerOptions;
using torchrev_examples::LinePlot;

struct Arguments {
  std::vector<int64_t> lengths{1024, 2048, 4096, 8192, 16384};
  int64_t width = 256;
  int64_t heads = 4;
  int64_t layers = 2;
  int64_t chunk_length = 64;
  int64_t rounds_of_hashing = 4;
  int64_t chunks = 8;
  int64_t rounds = 1;
  std::string plots;
};

struct Way {
  std::string name;
  std::string attention;
  int64_t num_hashes;
  int64_t chunks;
};

std::vector<Way> ways(const Arguments& arguments) {
  const auto lsh = [&](int64_t rounds) {
    return fmt::format("LSH, {} round{}", rounds, rounds == 1 ? "" : "s");
  };
  const auto in_chunks = fmt::format(", {} chunks", arguments.chunks);
  const auto rounds = arguments.rounds_of_hashing;
  return {
      {"full", "full", 1, 1},
      {"full" + in_chunks, "full", 1, arguments.chunks},
      {lsh(rounds), "lsh", rounds, 1},
      {lsh(rounds) + in_chunks, "lsh", rounds, arguments.chunks},
      {lsh(1) + in_chunks, "lsh", 1, arguments.chunks}};
}

// Of one training step of a decoder, from gradients that are there.
Cost measure(const Arguments& arguments, const Way& way, int64_t length) {
  torch::manual_seed(0);
  Reformer model(
      ReformerOptions(arguments.width, arguments.heads, arguments.layers)
          .dim_feedforward(4 * arguments.width)
          .dropout(0.0)
          .causal(true)
          .attention(way.attention)
          .num_hashes(way.num_hashes)
          .chunk_length(arguments.chunk_length)
          .reversible(ReversibleOptions().duplicate().chunks_g(way.chunks)));
  torchrev_examples::allocate_gradients(model->parameters());
  const auto x = torch::randn({1, length, arguments.width});
  std::vector<double> seconds;
  Cost cost;
  for (int64_t round = 0; round < arguments.rounds; ++round) {
    torch::Tensor loss;
    cost = cost_of_step(
        [&] { loss = model->forward(x).square().mean(); },
        [&] { loss.backward(); });
    seconds.push_back(cost.seconds);
  }
  cost.seconds = median(seconds);
  return cost;
}

void run(const Arguments& arguments) {
  LinePlot time{"A training step", "length", "seconds (one thread)", {}};
  LinePlot memory{"A training step", "length", "peak MiB", {}};
  for (const auto length : arguments.lengths) {
    time.positions.push_back(std::to_string(length));
    memory.positions.push_back(std::to_string(length));
  }
  fmt::print(
      "{:28}{:>8}{:>12}{:>16}{:>12}\n",
      "attention, feed-forward",
      "length",
      "seconds",
      "retained, MiB",
      "peak, MiB");
  for (const auto& way : ways(arguments)) {
    time.lines.push_back({way.name, {}});
    memory.lines.push_back({way.name, {}});
    for (const auto length : arguments.lengths) {
      const auto cost = measure(arguments, way, length);
      const auto mib = [](int64_t bytes) { return double(bytes) / (1 << 20); };
      fmt::print(
          "{:28}{:>8}{:>12.3f}{:>16.2f}{:>12.2f}\n",
          way.name,
          length,
          cost.seconds,
          mib(cost.retained),
          mib(cost.peak));
      std::fflush(stdout);
      time.lines.back().values.push_back(cost.seconds);
      memory.lines.back().values.push_back(mib(cost.peak));
    }
  }
  if (!arguments.plots.empty()) {
    time.save(arguments.plots + "/time_over_length.svg");
    memory.save(arguments.plots + "/memory_over_length.svg");
  }
}

}  // namespace
}  // namespace torchrev_benchmark

int main(int argc, char** argv) {
  torchrev_benchmark::Arguments arguments;
  CLI::App app(
      "Measures a training step of a Reformer decoder over the length of a "
      "sequence: full and LSH attention, feed-forward layers whole and in "
      "chunks.",
      "benchmark_length");
  const auto number = [&app](const char* name, auto& value, const char* words) {
    return app.add_option(name, value, words)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  number("--lengths", arguments.lengths, "Positions")->delimiter(',');
  number("--width", arguments.width, "Of a stream");
  number("--heads", arguments.heads, "Of the attention");
  number("--layers", arguments.layers, "Reversible blocks");
  number("--chunk-length", arguments.chunk_length, "Of LSH attention");
  number("--hashes", arguments.rounds_of_hashing, "Rounds of LSH attention");
  number("--chunks", arguments.chunks, "Of the feed-forward layers");
  number("--rounds", arguments.rounds, "Steps, of which the median is printed");
  app.add_option("--plots", arguments.plots, "Folder that SVG files go to");
  CLI11_PARSE(app, argc, argv);
  torch::set_num_threads(1);
  torchrev_benchmark::run(arguments);
}
