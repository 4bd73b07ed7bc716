#include "arguments.h"

#include <CLI/CLI.hpp>

#include "../common/error.h"

namespace where_memory_goes {
namespace {

using torchrev_examples::check_at_least;
using torchrev_examples::fail;

void add_options(CLI::App& app, Arguments& arguments) {
  const auto number = [&](const char* name, int64_t& value, const char* help) {
    app.add_option(name, value, help)->capture_default_str();
  };
  number("--d-model", arguments.d_model, "Width of a stream");
  number("--d-ff", arguments.d_ff, "Width inside the feed-forward layer");
  number("--heads", arguments.heads, "Heads of the attention");
  number("--tokens", arguments.tokens, "Length of a sequence");
  number("--batch", arguments.batch, "Sequences a step");
  number("--chunks", arguments.chunks, "Pieces for chunks_g");
  app.add_option("--depths", arguments.depths, "Layers in the stack")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--plot", arguments.plot, "Where the SVG file goes")
      ->capture_default_str();
  app.add_option("--csv", arguments.csv, "Write all bytes to this file, too");
}

void check(const Arguments& arguments) {
  check_at_least("--d-model", 1, arguments.d_model);
  check_at_least("--d-ff", 1, arguments.d_ff);
  check_at_least("--heads", 1, arguments.heads);
  check_at_least("--tokens", 1, arguments.tokens);
  check_at_least("--batch", 1, arguments.batch);
  check_at_least("--chunks", 1, arguments.chunks);
  for (const auto depth : arguments.depths) {
    check_at_least("--depths", 1, depth);
  }
  if (arguments.d_model % arguments.heads != 0) {
    fail(
        "`--d-model` to be a multiple of `--heads`",
        fmt::format("{} and {}", arguments.d_model, arguments.heads),
        "Heads share the width equally.");
  }
  if (arguments.chunks > arguments.tokens) {
    fail(
        "`--chunks` to be at most `--tokens`",
        fmt::format("{} and {}", arguments.chunks, arguments.tokens),
        "A chunk holds at least one position.");
  }
}

}  // namespace

torch::optional<int> parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app(
      "Measures the bytes of every activation that a Transformer layer keeps "
      "for\nbackward, by name, for four ways of training it.",
      "where_memory_goes");
  add_options(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  check(arguments);
  return torch::nullopt;
}

}  // namespace where_memory_goes
