// The task that the Reformer paper introduces LSH attention with: a model reads
// 0 w 0 and has to write w again. Nothing but attention to the position half a
// sequence earlier solves it, so it shows whether hashing finds that position.

#include <fmt/format.h>
#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/interrupt.h"
#include "common/program.h"
#include "common/progress.h"
#include "common/step_log.h"
#include "line_plot.h"

namespace {

using torch::Tensor;
using torchrev::nn::ReformerOptions;

constexpr const char* kColumns = "step,loss,accuracy";
constexpr int64_t kTestSequences = 256;
constexpr double kWarmUpSteps = 200;

struct Arguments {
  int64_t length = 128;
  int64_t vocabulary = 127;
  int64_t width = 64;
  int64_t heads = 4;
  int64_t layers = 1;
  std::string attention = "lsh";
  int64_t rounds = 4;
  int64_t chunk_length = 16;
  int64_t batch = 32;
  int64_t steps = 1500;
  int64_t evaluate_every = 150;
  double lr = 3e-3;
  int64_t seed = 1;
  std::string csv;
  std::string plot = "duplicate_task.svg";
};

/// Sequences 0 w 0 w, w random in 1 ... vocabulary. [N, length], int64.
Tensor draw(const Arguments& arguments, int64_t count) {
  const auto word = torch::randint(
      1,
      arguments.vocabulary + 1,
      {count, arguments.length / 2 - 1},
      torch::kLong);
  const auto half =
      torch::cat({torch::zeros({count, 1}, torch::kLong), word}, 1);
  return torch::cat({half, half}, 1);
}

/// Predicts the next symbol at every position.
struct ModelImpl : torch::nn::Module {
  explicit ModelImpl(const Arguments& arguments)
      : symbols(register_module(
            "symbols",
            torch::nn::Embedding(arguments.vocabulary + 1, arguments.width))),
        positions(register_module(
            "positions",
            torch::nn::Embedding(arguments.length, arguments.width))),
        reformer(register_module(
            "reformer",
            torchrev::nn::Reformer(
                ReformerOptions(
                    arguments.width, arguments.heads, arguments.layers)
                    .dim_feedforward(4 * arguments.width)
                    .dropout(0.0)
                    .causal(true)
                    .attention(arguments.attention)
                    .num_hashes(arguments.rounds)
                    .chunk_length(arguments.chunk_length)))),
        head(register_module(
            "head",
            torch::nn::Linear(arguments.width, arguments.vocabulary + 1))) {}

  /// @param x [N, T], int64. @return logits [N, T, vocabulary + 1].
  Tensor forward(const Tensor& x) {
    return head(reformer(symbols(x) + positions(torch::arange(x.size(1)))));
  }

  /// Hashes in so many rounds from now on.
  void set_rounds(int64_t rounds) {
    for (const auto& module : modules()) {
      if (auto* attention = module->as<torchrev::nn::LSHAttention>()) {
        attention->options.num_hashes(rounds);
      }
    }
  }

  torch::nn::Embedding symbols;
  torch::nn::Embedding positions;
  torchrev::nn::Reformer reformer;
  torch::nn::Linear head;
};
TORCH_MODULE(Model);

/// What the second w is predicted from, and its symbols.
struct Prediction {
  Tensor logits;  // [N, |w|, vocabulary + 1]
  Tensor target;  // [N, |w|]
};

Prediction predict(Model& model, const Tensor& x) {
  const auto half = x.size(1) / 2;
  const auto logits = model(x.slice(1, 0, -1));
  return {logits.slice(1, half), x.slice(1, half + 1)};
}

/// The share of the symbols of the second w in `sequences` that are right.
double accuracy(Model& model, const Tensor& sequences, int64_t batch) {
  const torch::NoGradGuard no_grad;
  double right = 0;
  for (const auto& part : sequences.split(batch)) {
    const auto prediction = predict(model, part);
    right +=
        prediction.logits.argmax(-1).eq(prediction.target).sum().item<double>();
  }
  const auto symbols = sequences.size(0) * (sequences.size(1) / 2 - 1);
  return right / static_cast<double>(symbols);
}

class Training {
 public:
  explicit Training(const Arguments& arguments)
      : arguments_(arguments), test_(test_sequences(arguments)) {
    torch::manual_seed(static_cast<uint64_t>(arguments.seed));
    model_ = Model(arguments);
    optimizer_ = std::make_unique<torch::optim::Adam>(
        model_->parameters(), torch::optim::AdamOptions(arguments.lr));
  }

  /// @return the mean loss of the second w, in nats.
  double step() {
    set_learning_rate(++step_);
    optimizer_->zero_grad();
    const auto prediction = predict(model_, draw(arguments_, arguments_.batch));
    const auto loss = torch::nn::functional::cross_entropy(
        prediction.logits.flatten(0, 1), prediction.target.flatten());
    loss.backward();
    torch::nn::utils::clip_grad_norm_(model_->parameters(), 1.0);
    optimizer_->step();
    return loss.item<double>();
  }

  /// Of sequences that training does not see; hashed in `rounds` rounds.
  double test_accuracy(int64_t rounds) {
    model_->set_rounds(rounds);
    const auto share = accuracy(model_, test_, arguments_.batch);
    model_->set_rounds(arguments_.rounds);
    return share;
  }

 private:
  static Tensor test_sequences(const Arguments& arguments) {
    torch::manual_seed(static_cast<uint64_t>(arguments.seed) + 1000);
    return draw(arguments, kTestSequences);
  }

  /// Rises over the first steps, and falls to zero along a cosine.
  void set_learning_rate(int64_t step) {
    const auto done = double(step) / double(arguments_.steps);
    const auto factor = std::min(
        double(step) / kWarmUpSteps, 0.5 * (1 + std::cos(M_PI * done)));
    for (auto& group : optimizer_->param_groups()) {
      group.options().set_lr(arguments_.lr * factor);
    }
  }

  const Arguments& arguments_;
  Tensor test_;
  Model model_ = nullptr;
  std::unique_ptr<torch::optim::Adam> optimizer_;
  int64_t step_ = 0;
};

void print_rounds(const Arguments& arguments, Training& training) {
  if (arguments.attention == "full") {
    return;
  }
  fmt::print("{:<24}{:>10}\n", "rounds in evaluation", "accuracy");
  for (const int64_t rounds : {1, 2, 4, 8}) {
    fmt::print("{:<24}{:>10.4f}\n", rounds, training.test_accuracy(rounds));
  }
}

int run(const Arguments& arguments) {
  const torchrev_examples::Interrupt interrupt;
  Training training(arguments);
  torchrev_examples::StepLog log(arguments.csv, kColumns, 0);
  torchrev_examples::Progress progress(0, arguments.steps);
  torchrev_examples::LinePlot plot{
      fmt::format(
          "0 w 0 w of length {}: {} attention",
          arguments.length,
          arguments.attention),
      "steps",
      "accuracy of the second w",
      {},
      {},
      torchrev_examples::LinePlot::Scale::kLinear};
  torchrev_examples::LinePlot::Line line{"test sequences", {}};
  for (int64_t step = 1; step <= arguments.steps && !interrupt.requested();
       ++step) {
    const auto loss = training.step();
    if (step % arguments.evaluate_every == 0 || step == arguments.steps) {
      const auto share = training.test_accuracy(arguments.rounds);
      log.add(fmt::format("{},{:.6f},{:.6f}", step, loss, share));
      progress.update(
          step, fmt::format("loss {:.4f}  right {:.4f}", loss, share));
      plot.positions.push_back(std::to_string(step));
      line.values.push_back(share);
    }
  }
  progress.finish();
  plot.lines.push_back(line);
  plot.save(arguments.plot);
  print_rounds(arguments, training);
  fmt::print("The plot is in {}.\n", arguments.plot);
  return interrupt.requested() ? torchrev_examples::kInterrupted : 0;
}

void add_options(CLI::App& app, Arguments& arguments) {
  const auto number = [&](const char* name, auto& value, const char* words) {
    app.add_option(name, value, words)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  number("--length", arguments.length, "Of a sequence, even");
  number("--vocabulary", arguments.vocabulary, "Symbols besides 0");
  number("--width", arguments.width, "Of each of the two streams");
  number("--heads", arguments.heads, "Heads of the attention");
  number("--layers", arguments.layers, "Reversible blocks");
  number("--rounds", arguments.rounds, "Rounds of hashing");
  number("--chunk-length", arguments.chunk_length, "Positions in a chunk");
  number("--batch", arguments.batch, "Sequences a step");
  number("--steps", arguments.steps, "Steps of training");
  number("--evaluate-every", arguments.evaluate_every, "Steps");
  number("--lr", arguments.lr, "Highest learning rate of Adam");
  app.add_option("--seed", arguments.seed, "Of weights and sequences")
      ->capture_default_str();
  app.add_option("--attention", arguments.attention, "'lsh' or 'full'")
      ->capture_default_str();
  app.add_option("--csv", arguments.csv, "Write the curve to this file");
  app.add_option("--plot", arguments.plot, "Where the SVG file goes")
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Trains a Reformer to write a word again that it has read: 0 w 0 w.",
      "duplicate_task");
  add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  return torchrev_examples::run_program("duplicate_task", [&] {
    if (arguments.length % 2 != 0 || arguments.length < 4) {
      torchrev_examples::fail(
          "`--length` to be even, and at least 4",
          std::to_string(arguments.length),
          "A sequence is 0 w 0 w.");
    }
    return run(arguments);
  });
}
