#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../common/progress.h"
#include "../line_plot.h"
#include "commands.h"
#include "network.h"

namespace train_revnet {
namespace {

using torchrev_examples::LinePlot;
using torchrev_examples::mebibytes;

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const auto value : values) {
    sum += value;
  }
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// The epochs of all runs of one model.
struct History {
  History(
      const Arguments& arguments,
      const State& state,
      const std::string& model) {
    const auto runs = arguments.runs();
    for (std::size_t run = 0; run < runs.size(); ++run) {
      if (runs[run].model == model && !state.epochs[run].empty()) {
        epochs.push_back(state.epochs[run]);
      }
    }
  }

  /// Of each seed, after the last epoch that it has.
  std::vector<double> accuracies() const {
    std::vector<double> values;
    for (const auto& run : epochs) {
      values.push_back(run.back().accuracy);
    }
    return values;
  }

  /// Over the seeds, for the epochs that all of them have.
  std::vector<double> mean_accuracies() const {
    std::vector<double> means;
    for (std::size_t epoch = 0;; ++epoch) {
      std::vector<double> values;
      for (const auto& run : epochs) {
        if (epoch < run.size()) {
          values.push_back(run[epoch].accuracy);
        }
      }
      if (values.empty() || values.size() < epochs.size()) {
        return means;
      }
      means.push_back(mean(values));
    }
  }

  double seconds_an_epoch() const {
    std::vector<double> values;
    for (const auto& run : epochs) {
      for (const auto& epoch : run) {
        values.push_back(epoch.seconds);
      }
    }
    return mean(values);
  }

  int64_t peak_bytes() const {
    int64_t peak = 0;
    for (const auto& run : epochs) {
      for (const auto& epoch : run) {
        peak = std::max(peak, epoch.peak_bytes);
      }
    }
    return peak;
  }

  std::vector<std::vector<Epoch>> epochs;
};

std::string each(const std::vector<double>& values) {
  std::string text;
  for (const auto value : values) {
    text += fmt::format("{}{:.2f}", text.empty() ? "" : " ", value);
  }
  return text;
}

void print_row(
    const Arguments& arguments,
    const std::string& model,
    const History& history) {
  const auto accuracies = history.accuracies();
  fmt::print(
      "{:<8}{:>12}{:>14.2f}{:>15}{:>14}{:>11.1f}   {}\n",
      model,
      count_parameters(make_network(model, arguments.shape)),
      mean(accuracies),
      history.peak_bytes(),
      mebibytes(history.peak_bytes()),
      history.seconds_an_epoch(),
      each(accuracies));
}

}  // namespace

void print_table(const Arguments& arguments, const State& state) {
  fmt::print(
      "\n{:<8}{:>12}{:>14}{:>15}{:>14}{:>11}   {}\n",
      "network",
      "parameters",
      "accuracy, %",
      "peak bytes",
      "peak MiB",
      "s/epoch",
      "accuracy of each seed");
  for (const auto& model : arguments.models) {
    const History history(arguments, state, model);
    if (!history.epochs.empty()) {
      print_row(arguments, model, history);
    }
  }
  fmt::print(
      "accuracy: on {} test images after the last epoch, mean over the seeds\n"
      "peak: what a step of {} images holds beyond parameters, gradients and "
      "optimiser\n\n",
      arguments.test_images,
      arguments.batch);
}

void draw_plot(const Arguments& arguments, const State& state) {
  LinePlot plot{
      "Fashion-MNIST: test accuracy, mean over seeds",
      "epochs",
      "%",
      {},
      {},
      LinePlot::Scale::kLinear};
  for (int64_t epoch = 1; epoch <= arguments.epochs; ++epoch) {
    plot.positions.push_back(std::to_string(epoch));
  }
  for (const auto& model : arguments.models) {
    const History history(arguments, state, model);
    plot.lines.push_back({model, history.mean_accuracies()});
  }
  plot.save(arguments.plot);
  fmt::print("The plot is in {}.\n", arguments.plot);
}

}  // namespace train_revnet
