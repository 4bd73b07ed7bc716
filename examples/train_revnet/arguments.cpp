#include "arguments.h"

#include <CLI/CLI.hpp>

#include "../common/error.h"
#include "images.h"

namespace train_revnet {
namespace {

using torchrev_examples::check_at_least;
using torchrev_examples::fail;

// Where Debian's package dataset-fashion-mnist puts them.
constexpr const char* kDefaultData = "/usr/share/datasets/fashion-mnist";

void add_network_options(
    CLI::App& app, Arguments& arguments, std::string& model) {
  auto& shape = arguments.shape;
  app.add_option("--model", model, "'revnet', 'resnet' or 'both'")
      ->check(CLI::IsMember({"revnet", "resnet", "both"}))
      ->capture_default_str();
  app.add_option(
         "--depths",
         shape.depths,
         "Reversible blocks of each stage, even; ResNet has half as many "
         "blocks of twice the width")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--widths", shape.widths, "Channels of each stage")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--block", shape.block, "'basic' or 'bottleneck'")
      ->check(CLI::IsMember({"basic", "bottleneck"}))
      ->capture_default_str();
}

void add_training_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--seeds", arguments.seeds, "A run of each network for each")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--epochs", arguments.epochs, "Passes over the images")
      ->capture_default_str();
  app.add_option("--batch", arguments.batch, "Images a step")
      ->capture_default_str();
  app.add_option("--lr", arguments.lr, "Highest learning rate of SGD")
      ->capture_default_str();
  app.add_option(
         "--steps",
         arguments.steps,
         "End after so many steps of all runs, as with Ctrl-C; 0: never")
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads; 0: automatic")
      ->capture_default_str();
  app.add_flag(
      "--bytes",
      arguments.bytes,
      "Only measure the activations of a step at three depths");
}

void add_file_options(CLI::App& app, Arguments& arguments) {
  app.add_option(
         "--data",
         arguments.data,
         "Folder of the idx files of Fashion-MNIST, .gz or not")
      ->capture_default_str();
  app.add_option(
         "--unpacked",
         arguments.unpacked,
         "Folder that .gz files are unpacked into")
      ->capture_default_str();
  app.add_option("--images", arguments.images, "Train on the first so many")
      ->capture_default_str();
  app.add_option("--test-images", arguments.test_images, "Test on so many")
      ->capture_default_str();
  app.add_option(
      "--save",
      arguments.save,
      "Write the state of all runs to this file after each epoch, and after "
      "Ctrl-C");
  app.add_option("--resume", arguments.resume, "Go on from a saved file");
  app.add_option("--csv", arguments.csv, "Write a line an epoch to this file");
  app.add_option(
      "--plot", arguments.plot, "Draw test accuracy into this SVG file");
}

void check_lists(const Arguments& arguments) {
  const auto& shape = arguments.shape;
  if (arguments.seeds.empty()) {
    fail("`--seeds` to list one or more", "none", "Try 1,2.");
  }
  if (shape.depths.size() != shape.widths.size()) {
    fail(
        "`--depths` and `--widths` to have one value a stage each",
        fmt::format(
            "{} and {} values", shape.depths.size(), shape.widths.size()),
        "Try --depths 2,2 --widths 8,16.");
  }
  for (const auto depth : shape.depths) {
    if (depth < 2 || depth % 2 != 0) {
      fail(
          "each of `--depths` to be even and positive",
          fmt::format("{}", depth),
          "A block of ResNet stands for two of RevNet.");
    }
  }
}

void check(const Arguments& arguments) {
  check_lists(arguments);
  check_at_least("--epochs", 1, arguments.epochs);
  check_at_least("--batch", 2, arguments.batch);
  check_at_least("--steps", 0, arguments.steps);
  check_at_least("--threads", 0, arguments.threads);
  check_at_least("--images", arguments.batch, arguments.images);
  check_at_least("--test-images", 1, arguments.test_images);
  if (!(arguments.lr > 0)) {
    fail("`--lr` to be positive", fmt::format("{}", arguments.lr), "Try 0.1.");
  }
}

}  // namespace

std::vector<Run> Arguments::runs() const {
  std::vector<Run> runs;
  for (const auto seed : seeds) {
    for (const auto& model : models) {
      runs.push_back({model, seed});
    }
  }
  return runs;
}

torch::optional<int> parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app(
      "Trains RevNet and the ResNet of equal parameter count on "
      "Fashion-MNIST,\nand compares accuracy, memory and time.\n"
      "Ctrl-C ends training after the current step; the exit code is then 130.",
      "train_revnet");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  arguments.data = kDefaultData;
  arguments.unpacked = TORCHREV_EXAMPLE_IMAGES;
  arguments.images = kTrainingImages;
  arguments.test_images = kTestImages;
  std::string model = "both";
  add_network_options(app, arguments, model);
  add_training_options(app, arguments);
  add_file_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  arguments.models = model == "both"
                         ? std::vector<std::string>{"revnet", "resnet"}
                         : std::vector<std::string>{model};
  check(arguments);
  return torch::nullopt;
}

}  // namespace train_revnet
