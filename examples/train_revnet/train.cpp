#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "../common/archive.h"
#include "../common/progress.h"
#include "../common/step_log.h"
#include "commands.h"
#include "trainer.h"

namespace train_revnet {
namespace {

using torchrev_examples::Interrupt;
using torchrev_examples::mebibytes;
using torchrev_examples::Progress;
using torchrev_examples::StepLog;

constexpr const char* kCsvColumns =
    "step,model,seed,epoch,loss,test_accuracy,seconds,peak_bytes";

/// The runs, one after the other.
class Training {
 public:
  Training(
      const Arguments& arguments,
      const FashionMnist& data,
      const Interrupt& interrupt)
      : arguments_(arguments),
        data_(data),
        interrupt_(interrupt),
        runs_(arguments.runs()),
        steps_an_epoch_(Trainer::steps_an_epoch(arguments)),
        steps_a_run_(arguments.epochs * steps_an_epoch_),
        state_(first_state()),
        log_(arguments.csv, kCsvColumns, steps_done()) {}

  void run_all() {
    bool resumed = !arguments_.resume.empty();
    while (state_.run < size() && !stopped()) {
      trainer_ = std::make_unique<Trainer>(
          arguments_, runs_[index()], data_, state_.step);
      if (resumed && state_.step > 0) {
        load_trainer(arguments_, *trainer_);
      }
      resumed = false;
      run_one();
    }
    if (state_.run < size()) {
      save_if_asked();
      fmt::print("interrupted after step {}\n", steps_done());
    }
  }

  const State& state() const {
    return state_;
  }

 private:
  State first_state() const {
    if (!arguments_.resume.empty()) {
      return load_state(arguments_);
    }
    State state;
    state.epochs.resize(runs_.size());
    return state;
  }

  int64_t size() const {
    return static_cast<int64_t>(runs_.size());
  }

  std::size_t index() const {
    return static_cast<std::size_t>(state_.run);
  }

  /// Of all runs.
  int64_t steps_done() const {
    return state_.run * steps_a_run_ + state_.step;
  }

  bool stopped() const {
    return interrupt_.requested() ||
           (arguments_.steps > 0 && steps_done() >= arguments_.steps);
  }

  /// Steps until the end of the run, or until it is stopped.
  void run_one() {
    Progress progress(state_.step, steps_a_run_);
    while (trainer_ && !stopped()) {
      add(trainer_->step());
      progress.update(state_.step, status());
      if (state_.step % steps_an_epoch_ == 0) {
        progress.finish();
        end_epoch();
      }
    }
    progress.finish();
  }

  void add(const StepReport& report) {
    auto& epoch = state_.current;
    ++state_.step;
    epoch.loss += report.loss;
    epoch.seconds += report.seconds;
    epoch.peak_bytes = std::max(epoch.peak_bytes, report.peak_bytes);
  }

  std::string status() const {
    const auto steps = (state_.step - 1) % steps_an_epoch_ + 1;
    return fmt::format(
        "{} seed {}  loss {:.3f}  {} MiB",
        runs_[index()].model,
        runs_[index()].seed,
        state_.current.loss / static_cast<double>(steps),
        mebibytes(state_.current.peak_bytes));
  }

  void end_epoch() {
    auto epoch = state_.current;
    state_.current = {};
    epoch.loss /= static_cast<double>(steps_an_epoch_);
    epoch.accuracy = trainer_->test();
    state_.epochs[index()].push_back(epoch);
    report(epoch);
    if (state_.step == steps_a_run_) {
      ++state_.run;
      state_.step = 0;
      trainer_.reset();
    }
    save_if_asked();
  }

  void report(const Epoch& epoch) {
    const auto& run = runs_[index()];
    const auto number = state_.epochs[index()].size();
    fmt::print(
        "{} seed {} epoch {}/{}: loss {:.3f}, test accuracy {:.2f} %, {:.1f} s "
        "of training\n",
        run.model,
        run.seed,
        number,
        arguments_.epochs,
        epoch.loss,
        epoch.accuracy,
        epoch.seconds);
    std::fflush(stdout);
    log_.add(fmt::format(
        "{},{},{},{},{:.17g},{:.2f},{:.2f},{}",
        steps_done(),
        run.model,
        run.seed,
        number,
        epoch.loss,
        epoch.accuracy,
        epoch.seconds,
        epoch.peak_bytes));
  }

  void save_if_asked() const {
    if (!arguments_.save.empty()) {
      save(arguments_, state_, trainer_.get());
    }
  }

  const Arguments& arguments_;
  const FashionMnist& data_;
  const Interrupt& interrupt_;
  std::vector<Run> runs_;
  int64_t steps_an_epoch_;
  int64_t steps_a_run_;
  State state_;
  StepLog log_;
  /// Of the run that is being trained.
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace

void train(
    const Arguments& arguments,
    const FashionMnist& data,
    const Interrupt& interrupt) {
  if (!arguments.save.empty()) {
    torchrev_examples::check_writable(arguments.save);
  }
  Training training(arguments, data, interrupt);
  training.run_all();
  print_table(arguments, training.state());
  if (!arguments.plot.empty()) {
    draw_plot(arguments, training.state());
  }
  if (!arguments.save.empty()) {
    fmt::print("saved to {}\n", arguments.save);
  }
}

}  // namespace train_revnet
