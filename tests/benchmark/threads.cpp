// Two models with dropout and batch norm that train in two threads, against one
// after the other: what they wait for each other.

#include <fmt/format.h>
#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "measure.h"

namespace torchrev_benchmark {
namespace {

using torchrev::BranchPair;

struct Arguments {
  int64_t width = 256;
  int64_t rows = 256;
  int64_t depth = 8;
  int64_t steps = 20;
  int64_t rounds = 9;
};

torch::nn::Sequential branch(int64_t width) {
  return torch::nn::Sequential(
      torch::nn::BatchNorm1d(width),
      torch::nn::Linear(width, width),
      torch::nn::Dropout(0.1));
}

// One model and its input.
class Model {
 public:
  Model(const Arguments& arguments, bool reversible)
      : reversible_(reversible),
        x_(torch::randn({arguments.rows, arguments.width})) {
    for (int64_t i = 0; i < arguments.depth; ++i) {
      blocks_.push_back({branch(arguments.width), branch(arguments.width)});
    }
  }

  void train(int64_t steps) const {
    for (int64_t i = 0; i < steps; ++i) {
      const auto [y1, y2] = run();
      (y1 * y2).mean().backward();
    }
  }

 private:
  std::tuple<torch::Tensor, torch::Tensor> run() const {
    if (reversible_) {
      return torchrev::reversible_sequence(blocks_, x_, x_);
    }
    auto x1 = x_, x2 = x_;
    for (const auto& block : blocks_) {
      x1 = x1 + block.f(x2);
      x2 = x2 + block.g(x1);
    }
    return {x1, x2};
  }

  bool reversible_;
  std::vector<BranchPair> blocks_;
  torch::Tensor x_;
};

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  const std::chrono::duration<double> passed =
      std::chrono::steady_clock::now() - start;
  return passed.count();
}

void compare(const Arguments& arguments, bool reversible) {
  const Model a(arguments, reversible), b(arguments, reversible);
  const auto alone = [&] {
    a.train(arguments.steps);
    b.train(arguments.steps);
  };
  const auto together = [&] {
    std::thread thread([&] { a.train(arguments.steps); });
    b.train(arguments.steps);
    thread.join();
  };
  alone();
  std::vector<double> one_by_one, at_once, ratios;
  for (int64_t round = 0; round < arguments.rounds; ++round) {
    one_by_one.push_back(seconds_of(alone));
    at_once.push_back(seconds_of(together));
    ratios.push_back(one_by_one.back() / at_once.back());
  }
  const auto per_step = 500.0 / static_cast<double>(arguments.steps);
  fmt::print(
      "| {} | {:.2f} | {:.2f} | {:.2f} |\n",
      reversible ? "reversible" : "plain autograd",
      per_step * median(one_by_one),
      per_step * median(at_once),
      median(ratios));
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Two models in two threads against one after the other"};
  app.add_option("--width", arguments.width, "of the branches");
  app.add_option("--rows", arguments.rows, "of the input");
  app.add_option("--depth", arguments.depth, "in blocks");
  app.add_option("--steps", arguments.steps, "of each model in a round");
  app.add_option("--rounds", arguments.rounds, "whose medians are shown");
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(1);
  std::puts(
      "| two models | ms a step, one after the other | in two threads | "
      "ratio |\n|---|---|---|---|");
  compare(arguments, /*reversible=*/false);
  compare(arguments, /*reversible=*/true);
  return 0;
}

}  // namespace
}  // namespace torchrev_benchmark

int main(int argc, char** argv) {
  return torchrev_benchmark::run(argc, argv);
}
