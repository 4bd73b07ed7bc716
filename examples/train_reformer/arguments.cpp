#include "arguments.h"

#include <CLI/CLI.hpp>

#include "../common/error.h"

namespace train_reformer {
namespace {

using torchrev_examples::check_at_least;
using torchrev_examples::fail;

constexpr int64_t kDemoSample = 400;  // bytes

void add_model_options(CLI::App& app, Arguments& arguments) {
  auto& shape = arguments.shape;
  app.add_option("--depth", shape.depth, "Number of reversible blocks")
      ->capture_default_str();
  app.add_option("--width", shape.width, "Width of each of the two streams")
      ->capture_default_str();
  app.add_option("--heads", shape.heads, "Heads of the attention")
      ->capture_default_str();
  app.add_option("--context", shape.context, "Bytes that are looked back on")
      ->capture_default_str();
  app.add_option(
         "--attention",
         shape.attention,
         "'full', or 'lsh': each byte looks back on those that hashing puts "
         "near it")
      ->check(CLI::IsMember({"full", "lsh"}))
      ->capture_default_str();
  app.add_option(
         "--chunk-length", shape.chunk_length, "Bytes in a chunk of 'lsh'")
      ->capture_default_str();
  app.add_option("--hashes", shape.hashes, "Rounds of hashing of 'lsh'")
      ->capture_default_str();
}

void add_training_options(
    CLI::App& app, Arguments& arguments, std::string& mode) {
  app.add_option("--batch", arguments.batch, "Pieces of text a step")
      ->capture_default_str();
  app.add_option("--steps", arguments.steps, "Train up to this step")
      ->capture_default_str();
  app.add_option("--lr", arguments.lr, "Highest learning rate of Adam")
      ->capture_default_str();
  app.add_option("--seed", arguments.seed, "Of the weights and the batches")
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads; 0: automatic")
      ->capture_default_str();
  app.add_option(
         "--mode",
         mode,
         "'reversible', or 'plain': the same network through plain "
         "autograd")
      ->check(CLI::IsMember({"reversible", "plain"}))
      ->capture_default_str();
}

void add_file_options(CLI::App& app, Arguments& arguments) {
  app.add_option(
         "text",
         arguments.text,
         "Text file, or folder that is searched for them")
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw)
      ->capture_default_str();
  app.add_option("--max-mib", arguments.max_mib, "Read so much of it at most")
      ->capture_default_str();
  app.add_option(
      "--save",
      arguments.save,
      "Write model, optimiser and random state to this file at the "
      "end, and after Ctrl-C");
  app.add_option(
      "--save-every",
      arguments.save_every,
      "Write it after every so many steps, too");
  app.add_option("--resume", arguments.resume, "Go on from a saved file");
  app.add_option("--csv", arguments.csv, "Write a line a step to this file");
  app.add_option(
      "--generate",
      arguments.generate,
      "Print so many bytes that the model wrote");
  app.add_flag(
      "--demo",
      arguments.demo,
      "First compare both modes at two depths, then train and print "
      "a sample");
}

void check(const Arguments& arguments) {
  const auto& shape = arguments.shape;
  check_at_least("--depth", 1, shape.depth);
  check_at_least("--width", 1, shape.width);
  check_at_least("--heads", 1, shape.heads);
  check_at_least("--context", 1, shape.context);
  check_at_least("--chunk-length", 1, shape.chunk_length);
  check_at_least("--hashes", 1, shape.hashes);
  check_at_least("--batch", 1, arguments.batch);
  check_at_least("--steps", 0, arguments.steps);
  check_at_least("--max-mib", 1, arguments.max_mib);
  check_at_least("--threads", 0, arguments.threads);
  check_at_least("--save-every", 0, arguments.save_every);
  check_at_least("--generate", 0, arguments.generate);
  if (shape.width % shape.heads != 0) {
    fail(
        "`--width` to be a multiple of `--heads`",
        fmt::format("{} and {}", shape.width, shape.heads),
        "Heads share the width equally.");
  }
  if (!(arguments.lr > 0)) {
    fail("`--lr` to be positive", fmt::format("{}", arguments.lr), "Try 1e-3.");
  }
}

}  // namespace

torch::optional<int> parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app(
      "Trains a byte-level language model with reversible residual blocks:\n"
      "attention and feed-forward layers whose activations are not kept.\n"
      "Ctrl-C ends training after the current step; the exit code is then 130.",
      "train_reformer");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  arguments.text = TORCHREV_EXAMPLE_TEXT;
  std::string mode = "reversible";
  add_file_options(app, arguments);
  add_model_options(app, arguments);
  add_training_options(app, arguments, mode);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  arguments.reversible = mode == "reversible";
  if (arguments.demo && arguments.generate == 0) {
    arguments.generate = kDemoSample;
  }
  check(arguments);
  return torch::nullopt;
}

}  // namespace train_reformer
