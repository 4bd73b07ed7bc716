// Time and bytes of one training step, interleaved: plain autograd, the floor
// of recomputing, and torchrev with the options that were asked for.

#include <fmt/format.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include "examples/memory_meter.h"
#include "measure.h"

namespace torchrev_benchmark {
namespace {

constexpr double kMiB = 1 << 20;

struct Arguments {
  int64_t depth = 8;
  int64_t width = 512;
  int64_t tokens = 512;
  int64_t batch = 1;
  int64_t head_groups = 1;
  int64_t rounds = 15;
  int threads = 1;
  std::vector<int64_t> chunks_g;
  std::vector<int64_t> store_last;
  std::vector<int64_t> save_every;
  bool unguarded = false;
  std::string csv;
};

void add_options(CLI::App& app, Arguments& arguments) {
  const auto number = [&app](const char* name, auto& value, const char* text) {
    app.add_option(name, value, text)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  number("--depth", arguments.depth, "Blocks in the stack");
  number("--width", arguments.width, "Of a stream; a multiple of 8");
  number("--tokens", arguments.tokens, "Of a sequence");
  number("--batch", arguments.batch, "Sequences");
  app.add_option(
         "--head-groups",
         arguments.head_groups,
         "Blocks that share the 8 heads of an attention")
      ->check(CLI::IsMember({1, 2, 4, 8}))
      ->capture_default_str();
  number("--rounds", arguments.rounds, "Each takes a step of every variant");
  number("--threads", arguments.threads, "Of LibTorch");
  const auto list = [&app](const char* name, auto& values, const char* text) {
    app.add_option(name, values, text)
        ->check(CLI::NonNegativeNumber)
        ->delimiter(',');
  };
  list("--store-last", arguments.store_last, "A variant for each, e.g. 2,4");
  list("--save-every", arguments.save_every, "A variant for each");
  // Attention is no function of single positions: there is no --chunks-f.
  list("--chunks-g", arguments.chunks_g, "A variant for each");
  app.add_flag(
      "--unguarded", arguments.unguarded, "A variant without the drift guard");
  app.add_option("--csv", arguments.csv, "Write the table to this file, too");
}

struct Variant {
  std::string name;
  torchrev::ReversibleOptions options;
  std::unique_ptr<Step> step;
  std::vector<Cost> costs;  // one a round
  double difference = 0;    // of gradients, from those of plain autograd
};

// The first two are plain autograd and the floor.
std::vector<Variant> variants_of(
    const Arguments& arguments, const Blocks& blocks) {
  using Options = torchrev::ReversibleOptions;
  std::vector<Variant> variants;
  variants.push_back({"plain", {}, plain_step(blocks), {}, 0});
  variants.push_back({"floor", {}, floor_step(blocks), {}, 0});
  const auto add = [&](std::string name, const Options& options) {
    auto step = torchrev_step(blocks, options);
    variants.push_back({std::move(name), options, std::move(step), {}, 0});
  };
  const auto add_each = [&](const char* name, auto& values, auto set) {
    for (const auto value : values) {
      Options options;
      (options.*set)(value);
      add(fmt::format("torchrev {}={}", name, value), options);
    }
  };
  using Set = Options& (Options::*)(const int64_t&);
  add("torchrev", {});
  if (arguments.unguarded) {
    add("torchrev, no drift guard", Options().drift_tolerance(torch::nullopt));
  }
  add_each("store_last", arguments.store_last, Set(&Options::store_last));
  add_each("save_every", arguments.save_every, Set(&Options::save_every));
  add_each("chunks_g", arguments.chunks_g, Set(&Options::chunks_g));
  return variants;
}

// Also the round that warms up.
void compare_gradients(const Problem& problem, std::vector<Variant>& variants) {
  const auto expected = problem.gradients(*variants[0].step);
  for (auto& variant : variants) {
    variant.difference =
        largest_difference(problem.gradients(*variant.step), expected);
  }
}

// Each round starts with another variant: a step may run faster or slower for
// the heap that the step before it left.
void run_rounds(
    const Problem& problem, std::vector<Variant>& variants, int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < variants.size(); ++i) {
      auto& variant = variants[(i + round) % variants.size()];
      variant.costs.push_back(problem.measure(*variant.step));
    }
  }
}

// Of the times of two variants, round by round, in ascending order.
std::vector<double> ratios(const Variant& a, const Variant& b) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < a.costs.size(); ++round) {
    ratios.push_back(a.costs[round].seconds / b.costs[round].seconds);
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios;
}

double median_seconds(const Variant& variant) {
  std::vector<double> seconds;
  for (const auto& cost : variant.costs) {
    seconds.push_back(cost.seconds);
  }
  return median(std::move(seconds));
}

void print(const Arguments& arguments, const std::vector<Variant>& variants) {
  fmt::print(
      "{} blocks of attention and feed-forward, two streams of {} x {} x {}, "
      "{} threads, {} rounds\n\n{:24} {:>8} {:>23} {:>8} {:>13} {:>9} {:>11} "
      "{:>10}\n",
      arguments.depth,
      arguments.batch,
      arguments.tokens,
      arguments.width,
      arguments.threads,
      arguments.rounds,
      "",
      "step ms",
      "x plain: min/median/max",
      "x floor",
      "retained MiB",
      "peak MiB",
      "allocations",
      "difference");
  for (const auto& variant : variants) {
    const auto plain = ratios(variant, variants[0]);
    const auto& cost = variant.costs.back();
    fmt::print(
        "{:24} {:8.1f} {:9.3f} {:6.3f} {:6.3f} {:8.3f} {:13.2f} {:9.2f} {:11} "
        "{:10.1e}\n",
        variant.name,
        1e3 * median_seconds(variant),
        plain.front(),
        median(plain),
        plain.back(),
        median(ratios(variant, variants[1])),
        cost.retained / kMiB,
        cost.peak / kMiB,
        cost.allocations,
        variant.difference);
  }
}

void write_csv(
    const Arguments& arguments, const std::vector<Variant>& variants) {
  std::ofstream file(arguments.csv);
  file << "variant,depth,width,tokens,batch,threads,rounds,store_last,"
          "save_every,chunks_g,step_ms,x_plain_min,x_plain,"
          "x_plain_max,x_floor,retained_bytes,peak_bytes,allocations,"
          "difference\n";
  for (const auto& variant : variants) {
    const auto plain = ratios(variant, variants[0]);
    const auto& cost = variant.costs.back();
    file << fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{:.3f},{:.4f},{:.4f},{:.4f},{:.4f},"
        "{},{},{},{:.2e}\n",
        variant.name,
        arguments.depth,
        arguments.width,
        arguments.tokens,
        arguments.batch,
        arguments.threads,
        arguments.rounds,
        variant.options.store_last(),
        variant.options.save_every(),
        variant.options.chunks_g(),
        1e3 * median_seconds(variant),
        plain.front(),
        median(plain),
        plain.back(),
        median(ratios(variant, variants[1])),
        cost.retained,
        cost.peak,
        cost.allocations,
        variant.difference);
  }
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + arguments.csv);
  }
}

bool gradients_agree(const std::vector<Variant>& variants) {
  return std::all_of(
      variants.begin(), variants.end(), [](const Variant& variant) {
        return variant.difference <= kLargestRounding;
      });
}

int run(const Arguments& arguments) {
  torch::set_num_threads(arguments.threads);
  torch::manual_seed(0);
  const auto blocks = transformer_blocks(
      arguments.depth, arguments.width, arguments.head_groups);
  const Problem problem(
      blocks, arguments.batch, arguments.tokens, arguments.width);
  auto variants = variants_of(arguments, blocks);
  compare_gradients(problem, variants);
  run_rounds(problem, variants, arguments.rounds);
  print(arguments, variants);
  if (!arguments.csv.empty()) {
    write_csv(arguments, variants);
  }
  if (!gradients_agree(variants)) {
    fmt::print(stderr, "Gradients differ: these times mean nothing.\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace torchrev_benchmark

int main(int argc, char** argv) {
  using namespace torchrev_benchmark;
  torchrev_examples::MemoryMeter::install();
  Arguments arguments;
  CLI::App app(
      "Measures one training step of plain autograd, of the floor of "
      "recomputing, and of torchrev: CPU time, and bytes of tensors.",
      "benchmark_step");
  add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  try {
    return run(arguments);
  } catch (const c10::Error& error) {
    fmt::print(stderr, "{}\n", error.what_without_backtrace());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}
