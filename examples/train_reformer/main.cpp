#include <fmt/format.h>
#include <torch/utils.h>

#include <cstdio>
#include <exception>

#include "../memory_meter.h"
#include "arguments.h"
#include "commands.h"
#include "corpus.h"
#include "error.h"
#include "interrupt.h"

namespace train_reformer {
namespace {

constexpr int kInterrupted = 130;  // what shells report for Ctrl-C

int run(const Arguments& arguments) {
  const Interrupt interrupt;
  if (arguments.threads > 0) {
    torch::set_num_threads(static_cast<int>(arguments.threads));
  }
  const auto corpus = Corpus::read(arguments.text, arguments.max_mib << 20);
  fmt::print(
      "text: {} bytes from {} files of {}, {} of them for validation\n",
      corpus.training_bytes() + corpus.validation_bytes(),
      corpus.files(),
      arguments.text,
      corpus.validation_bytes());
  std::fflush(stdout);
  if (arguments.demo) {
    compare_modes(arguments, corpus, interrupt);
  }
  if (!interrupt.requested()) {
    train(arguments, corpus, interrupt);
  }
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace
}  // namespace train_reformer

int main(int argc, char** argv) {
  using namespace train_reformer;
  torchrev_examples::MemoryMeter::install();
  try {
    Arguments arguments;
    const auto exit_code = parse(argc, argv, arguments);
    return exit_code ? *exit_code : run(arguments);
  } catch (const c10::Error& error) {
    fmt::print(stderr, "{}\n", error.what_without_backtrace());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}
