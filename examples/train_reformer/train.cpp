#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "../common/archive.h"
#include "../common/progress.h"
#include "../common/step_log.h"
#include "commands.h"
#include "sample.h"
#include "trainer.h"

namespace train_reformer {
namespace {

using torchrev_examples::mebibytes;
using torchrev_examples::Progress;
using torchrev_examples::StepLog;

constexpr int64_t kPromptBytes = 48;
constexpr const char* kColumns = "step,bits_per_byte,seconds,peak_bytes";

/// What the closing table tells of the steps.
struct Summary {
  int64_t first_step = 0;
  double seconds = 0;
  double last_bits = 0;
  int64_t peak_bytes = 0;
};

void print_model(const Arguments& arguments, State& state) {
  int64_t parameters = 0;
  for (const auto& parameter : state.model->parameters()) {
    parameters += parameter.numel();
  }
  fmt::print(
      "model: {} blocks of width {}, {} heads, context {}, {:.2f} M parameters "
      "({})\n",
      arguments.shape.depth,
      arguments.shape.width,
      arguments.shape.heads,
      arguments.shape.context,
      static_cast<double>(parameters) / 1e6,
      arguments.reversible ? "reversible" : "plain autograd");
  std::fflush(stdout);
}

void save_if_asked(const Arguments& arguments, const State& state) {
  if (!arguments.save.empty()) {
    save(state, arguments.save);
  }
}

std::string csv_line(const StepReport& report) {
  return fmt::format(
      "{},{:.17g},{:.4f},{}",
      report.step,
      report.bits_per_byte,
      report.seconds,
      report.peak_bytes);
}

std::string status(const Arguments& arguments, const StepReport& report) {
  const auto bytes = arguments.batch * arguments.shape.context;
  return fmt::format(
      "{:.3f} bits/byte  {:.1f} kB/s  {} MiB",
      report.bits_per_byte,
      static_cast<double>(bytes) / report.seconds / 1e3,
      mebibytes(report.peak_bytes));
}

/// Steps until the last one, or until Ctrl-C.
Summary run_steps(
    const Arguments& arguments, Trainer& trainer, const Interrupt& interrupt) {
  Summary summary{trainer.state().step};
  StepLog log(arguments.csv, kColumns, summary.first_step);
  Progress progress(summary.first_step, arguments.steps);
  while (trainer.state().step < arguments.steps && !interrupt.requested()) {
    const auto report = trainer.step();
    log.add(csv_line(report));
    summary.seconds += report.seconds;
    summary.last_bits = report.bits_per_byte;
    summary.peak_bytes = std::max(summary.peak_bytes, report.peak_bytes);
    progress.update(report.step, status(arguments, report));
    if (arguments.save_every > 0 && report.step % arguments.save_every == 0) {
      save_if_asked(arguments, trainer.state());
    }
  }
  progress.finish();
  return summary;
}

void print_sample(
    const Arguments& arguments, const Corpus& corpus, State& state) {
  const auto prompt = corpus.validation_text(kPromptBytes);
  const auto text = sample(
      state.model,
      arguments.shape.context,
      prompt,
      arguments.generate,
      arguments.seed);
  fmt::print(
      "\n--- the first {} bytes are from the text, the rest is the model's\n"
      "{}{}\n---\n\n",
      prompt.size(),
      printable(prompt),
      printable(text));
}

void print_row(const char* name, const std::string& value) {
  fmt::print("{:<32}{:>12}\n", name, value);
}

void print_row(const char* name, double value) {
  print_row(name, fmt::format("{:.3f}", value));
}

void print_summary(
    const Summary& summary, const Corpus& corpus, Trainer& trainer) {
  const auto step = trainer.state().step;
  print_row("steps", fmt::format("{}", step));
  if (step > summary.first_step) {
    print_row("steps now", fmt::format("{}", step - summary.first_step));
    print_row("seconds a step", summary.seconds / (step - summary.first_step));
    print_row("peak tensor MiB of a step", mebibytes(summary.peak_bytes));
    print_row("last training bits per byte", summary.last_bits);
  }
  print_row("validation bits per byte", trainer.validate());
  print_row("  order-0 entropy of that text", corpus.order0_entropy());
  print_row("  uniform guess", 8.0);
}

}  // namespace

void train(
    const Arguments& arguments,
    const Corpus& corpus,
    const Interrupt& interrupt) {
  Trainer trainer(arguments, corpus);
  if (!arguments.resume.empty()) {
    load(trainer.state(), arguments.resume);
  }
  if (!arguments.save.empty()) {
    torchrev_examples::check_writable(arguments.save);
  }
  print_model(arguments, trainer.state());
  const auto summary = run_steps(arguments, trainer, interrupt);
  save_if_asked(arguments, trainer.state());
  if (interrupt.requested()) {
    fmt::print("interrupted after step {}\n", trainer.state().step);
  } else if (arguments.generate > 0) {
    print_sample(arguments, corpus, trainer.state());
  }
  print_summary(summary, corpus, trainer);
  if (!arguments.save.empty()) {
    fmt::print("saved to {}\n", arguments.save);
  }
}

}  // namespace train_reformer
