#include <fmt/format.h>
#include <torch/utils.h>

#include <cstdio>

#include "../common/interrupt.h"
#include "../common/program.h"
#include "../memory_meter.h"
#include "arguments.h"
#include "commands.h"
#include "corpus.h"

namespace train_reformer {
namespace {

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
  return interrupt.requested() ? torchrev_examples::kInterrupted : 0;
}

}  // namespace
}  // namespace train_reformer

int main(int argc, char** argv) {
  using namespace train_reformer;
  torchrev_examples::MemoryMeter::install();
  return torchrev_examples::run_program("train_reformer", [&] {
    Arguments arguments;
    const auto exit_code = parse(argc, argv, arguments);
    return exit_code ? *exit_code : run(arguments);
  });
}
