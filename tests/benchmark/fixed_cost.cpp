// What a block costs beyond its branches: blocks that compute next to nothing,
// over depth, interleaved.

#include <fmt/format.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>

#include "measure.h"

namespace torchrev_benchmark {
namespace {

constexpr std::size_t kVariants = 4;
constexpr std::array<const char*, kVariants> kNames = {
    "plain", "floor", "torchrev", "no guard"};

struct Arguments {
  int64_t width = 16;
  int64_t max_depth = 64;
  int64_t rounds = 15;
  int64_t steps = 20;
};

// The variants at one depth.
struct Row {
  Row(int64_t depth, int64_t width)
      : depth(depth),
        blocks(tiny_blocks(depth, width)),
        problem(blocks, /*batch=*/1, /*tokens=*/1, width),
        steps{
            plain_step(blocks),
            floor_step(blocks),
            torchrev_step(blocks, {}),
            // The drift guard is a cost of a step, not of a block.
            torchrev_step(
                blocks,
                torchrev::ReversibleOptions().drift_tolerance(
                    torch::nullopt))} {}

  int64_t depth;
  Blocks blocks;
  Problem problem;
  std::array<std::unique_ptr<Step>, kVariants> steps;
  std::array<std::vector<double>, kVariants> microseconds;  // one a round
};

// Also warms up.
void check_gradients(const Row& row) {
  const auto expected = row.problem.gradients(*row.steps[0]);
  for (std::size_t i = 1; i < kVariants; ++i) {
    const auto difference =
        largest_difference(row.problem.gradients(*row.steps[i]), expected);
    if (!(difference <= kLargestRounding)) {
      throw std::runtime_error(fmt::format(
          "The gradients of {} differ by {} at depth {}: its times would mean "
          "nothing.",
          kNames[i],
          difference,
          row.depth));
    }
  }
}

std::vector<Row> measure(const Arguments& arguments) {
  std::vector<Row> rows;
  for (int64_t depth = 1; depth <= arguments.max_depth; depth *= 2) {
    rows.emplace_back(depth, arguments.width);
    check_gradients(rows.back());
  }
  for (int64_t round = 0; round < arguments.rounds; ++round) {
    for (auto& row : rows) {
      for (std::size_t i = 0; i < kVariants; ++i) {
        const auto variant = (i + round) % kVariants;
        row.microseconds[variant].push_back(
            1e6 * row.problem.seconds_of(*row.steps[variant], arguments.steps));
      }
    }
  }
  return rows;
}

// Of the line through (x, y) with the least squares.
double slope(const std::vector<double>& x, const std::vector<double>& y) {
  double sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum_x += x[i];
    sum_y += y[i];
    sum_xx += x[i] * x[i];
    sum_xy += x[i] * y[i];
  }
  const auto n = static_cast<double>(x.size());
  return (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
}

double microseconds_a_block(const std::vector<Row>& rows, std::size_t variant) {
  std::vector<double> depths;
  std::vector<double> times;
  for (const auto& row : rows) {
    depths.push_back(static_cast<double>(row.depth));
    times.push_back(median(row.microseconds[variant]));
  }
  return slope(depths, times);
}

void print(const Arguments& arguments, const std::vector<Row>& rows) {
  fmt::print(
      "Microseconds of a training step: width {}, one token, one thread, {} "
      "rounds of {} steps\n\n{:>8} {:>10} {:>10} {:>10} {:>10}\n",
      arguments.width,
      arguments.rounds,
      arguments.steps,
      "depth",
      kNames[0],
      kNames[1],
      kNames[2],
      kNames[3]);
  for (const auto& row : rows) {
    fmt::print("{:8}", row.depth);
    for (const auto& times : row.microseconds) {
      fmt::print(" {:10.1f}", median(times));
    }
    fmt::print("\n");
  }
  fmt::print("{:>8}", "a block");
  for (std::size_t i = 0; i < kVariants; ++i) {
    fmt::print(" {:10.1f}", microseconds_a_block(rows, i));
  }
  fmt::print("\n");
}

int run(const Arguments& arguments) {
  torch::set_num_threads(1);
  torch::manual_seed(0);
  print(arguments, measure(arguments));
  return 0;
}

void add_options(CLI::App& app, Arguments& arguments) {
  const auto number = [&app](const char* name, auto& value, const char* text) {
    app.add_option(name, value, text)->capture_default_str();
  };
  number("--width", arguments.width, "Of a stream");
  number("--max-depth", arguments.max_depth, "Depths are 1, 2, 4 up to this");
  number("--rounds", arguments.rounds, "Each times every variant and depth");
  number("--steps", arguments.steps, "Timed together");
  app.get_option("--width")->check(CLI::PositiveNumber);
  app.get_option("--max-depth")
      ->check(CLI::Range(int64_t(2), int64_t(1 << 20)));
  app.get_option("--rounds")->check(CLI::PositiveNumber);
  app.get_option("--steps")->check(CLI::PositiveNumber);
}

}  // namespace
}  // namespace torchrev_benchmark

int main(int argc, char** argv) {
  using namespace torchrev_benchmark;
  Arguments arguments;
  CLI::App app(
      "Measures what a block costs beyond its branches, in microseconds of CPU "
      "time.",
      "benchmark_fixed_cost");
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
