#include "arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <stdexcept>

namespace where_memory_goes {
namespace {

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

[[noreturn]] void fail(
    const std::string& expected,
    const std::string& got,
    const std::string& way_out) {
  throw std::runtime_error(fmt::format(
      "where_memory_goes: expected {}, but got {}. {}",
      expected,
      got,
      way_out));
}

void check_positive(const char* option, int64_t value) {
  if (value < 1) {
    fail(
        fmt::format("`{}` to be at least 1", option),
        fmt::format("{}", value),
        "See --help for defaults.");
  }
}

void check(const Arguments& arguments) {
  check_positive("--d-model", arguments.d_model);
  check_positive("--d-ff", arguments.d_ff);
  check_positive("--heads", arguments.heads);
  check_positive("--tokens", arguments.tokens);
  check_positive("--batch", arguments.batch);
  check_positive("--chunks", arguments.chunks);
  for (const auto depth : arguments.depths) {
    check_positive("--depths", depth);
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
