#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "../common/progress.h"
#include "commands.h"
#include "trainer.h"

namespace train_reformer {
namespace {

using torchrev_examples::mebibytes;

constexpr int64_t kDepths[] = {4, 12};
constexpr int64_t kSteps = 5;

/// A few steps of one model.
std::vector<StepReport> run(const Arguments& arguments, const Corpus& corpus) {
  Trainer trainer(arguments, corpus);
  std::vector<StepReport> reports;
  for (int64_t step = 0; step < kSteps; ++step) {
    reports.push_back(trainer.step());
  }
  return reports;
}

double median_seconds(std::vector<StepReport> reports) {
  const auto middle = reports.begin() + reports.size() / 2;
  std::nth_element(
      reports.begin(), middle, reports.end(), [](const auto& a, const auto& b) {
        return a.seconds < b.seconds;
      });
  return middle->seconds;
}

int64_t peak_bytes(const std::vector<StepReport>& reports) {
  int64_t peak = 0;
  for (const auto& report : reports) {
    peak = std::max(peak, report.peak_bytes);
  }
  return peak;
}

void print_row(
    const char* mode, int64_t depth, const std::vector<StepReport>& reports) {
  fmt::print(
      "{:<12}{:>5}{:>14.6f}{:>14.6f}{:>12}{:>10.2f}\n",
      mode,
      depth,
      reports.front().bits_per_byte,
      reports.back().bits_per_byte,
      mebibytes(peak_bytes(reports)),
      median_seconds(reports));
  std::fflush(stdout);
}

double largest_difference(
    const std::vector<StepReport>& a, const std::vector<StepReport>& b) {
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto bits = std::abs(a[i].bits_per_byte - b[i].bits_per_byte);
    difference = std::max(difference, bits);
  }
  return difference;
}

/// Both modes at one depth; returns how far apart their losses are.
double compare(Arguments arguments, int64_t depth, const Corpus& corpus) {
  arguments.shape.depth = depth;
  arguments.reversible = false;
  const auto plain = run(arguments, corpus);
  print_row("plain", depth, plain);
  arguments.reversible = true;
  const auto reversible = run(arguments, corpus);
  print_row("reversible", depth, reversible);
  return largest_difference(plain, reversible);
}

}  // namespace

void compare_modes(
    const Arguments& arguments,
    const Corpus& corpus,
    const Interrupt& interrupt) {
  fmt::print(
      "\n{:<12}{:>5}{:>14}{:>14}{:>12}{:>10}\n",
      "mode",
      "depth",
      "bits, step 1",
      fmt::format("bits, step {}", kSteps),
      "peak MiB",
      "s/step");
  double difference = 0;
  for (const auto depth : kDepths) {
    if (interrupt.requested()) {
      return;
    }
    difference = std::max(difference, compare(arguments, depth, corpus));
  }
  fmt::print(
      "largest difference of the losses: {:.1e} bits per byte\n"
      "peak: what a step holds beyond parameters, gradients and optimiser\n\n",
      difference);
}

}  // namespace train_reformer
