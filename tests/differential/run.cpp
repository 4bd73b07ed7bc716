#include "run.h"

#include <atomic>

#include "changes.h"
#include "forward.h"
#include "later_modules.h"
#include "passes.h"
#include "support/autocast.h"
#include "surroundings.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// One run of a program.
class Execution {
 public:
  Execution(
      Way way,
      const Program& program,
      const Model& model,
      DrawLog* log = nullptr)
      : way_(way),
        program_(program),
        model_(model),
        log_(log),
        arguments_(build_arguments(program)) {
    leaves_ = arguments_.leaves;
    inputs_ = leaves_.size() - arguments_.context.size();
    leaves_.insert(leaves_.end(), model.leaves.begin(), model.leaves.end());
  }

  Record operator()();

 private:
  void step();
  void shrink_parameters();
  // One loss for each backward pass, in order.
  std::vector<Tensor> forwards();
  std::vector<Tensor> outputs_of(
      bool inverse,
      const std::vector<Tensor>& x,
      const std::vector<Tensor>& context) const;
  std::vector<Tensor> forward(const std::vector<Tensor>& x, int call);
  Tensor loss(const std::vector<Tensor>& y) const;
  void between();
  void validate();
  void interrupted_forward();
  void interrupted_backward(const Tensor& loss);
  void backwards(std::vector<Tensor> losses);
  void add_hooks();
  void count_calls(const Tensor& tensor);
  void collect_gradients();

  Way way_;
  const Program& program_;
  const Model& model_;
  // Null for a run that is alone: the seed then tells what it draws.
  DrawLog* log_;
  Arguments arguments_;
  std::vector<NamedTensor> leaves_;
  // How many of them, the first ones, belong to the streams.
  std::size_t inputs_;
  // Of the last forward.
  std::vector<Tensor> context_;
  std::vector<Tensor> outputs_;
  // Threads of several devices count.
  std::shared_ptr<std::atomic<int64_t>> hook_calls_ =
      std::make_shared<std::atomic<int64_t>>(0);
  Record record_;
};

Record Execution::operator()() {
  if (program_.hooks) {
    add_hooks();
  }
  if (!log_) {
    torch::manual_seed(program_.seed);
  }
  try {
    const AnomalyMode anomaly_mode(program_.anomaly_mode);
    step();
    for (int64_t i = 1; i < program_.steps; ++i) {
      shrink_parameters();
      step();
    }
  } catch (const std::exception& error) {
    record_.error = message_of(error);
  }
  collect_gradients();
  record_.add_state(model_);
  if (!log_) {
    record_.generator = at::detail::getDefaultCPUGenerator().get_state();
  }
  return std::move(record_);
}

void Execution::step() {
  set_modes(program_, model_, /*opposite=*/false);
  record_.in_backward = false;
  auto losses = forwards();
  between();
  set_modes(program_, model_, program_.switches_modes);
  record_.in_backward = true;
  call(program_.other_thread, [&] { backwards(std::move(losses)); });
}

// By a number, not by gradients, which differ in their rounding.
void Execution::shrink_parameters() {
  const at::NoGradGuard no_grad;
  for (const auto& leaf : model_.leaves) {
    leaf.tensor.mul_(0.9);
  }
}

std::vector<Tensor> Execution::outputs_of(
    bool inverse,
    const std::vector<Tensor>& x,
    const std::vector<Tensor>& context) const {
  const auto surroundings =
      model_.surroundings ? model_.surroundings() : nullptr;
  return outputs(way_, program_, model_, inverse, x, context);
}

std::vector<Tensor> Execution::forward(const std::vector<Tensor>& x, int call) {
  const Autocast autocast(program_.autocast);
  const DrawScope draws(log_);
  context_ = encode(program_, arguments_);
  for (std::size_t i = 0; i < context_.size(); ++i) {
    if (program_.context[i] == ContextKind::kEncoding) {
      leaves_.push_back({"encoding " + std::to_string(i), context_[i]});
      if (program_.hooks) {
        count_calls(context_[i]);
      }
    }
  }
  outputs_ = outputs_of(program_.inverses[call], x, context_);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    record_.outputs.push_back(
        {"output " + std::to_string(i), outputs_[i].detach().clone()});
  }
  return outputs_;
}

std::vector<Tensor> Execution::forwards() {
  const auto& x = arguments_.streams;
  const auto first = forward(x, 0);
  switch (program_.schedule) {
    case Schedule::kOnce:
      return {loss(first)};
    case Schedule::kRetained:
      return {loss(first), loss(first)};
    case Schedule::kTwoForwards:
      return {loss(first), loss(forward(x, 1))};
    case Schedule::kSecondBackwardFirst:
      return {loss(forward(x, 1)), loss(first)};
    case Schedule::kSumOfTwo:
      return {loss(first) + loss(forward(x, 1))};
    default:
      return {loss(forward(first, 1))};
  }
}

Tensor Execution::loss(const std::vector<Tensor>& y) const {
  std::vector<Tensor> chosen;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (y.size() == 1 || program_.in_loss[i]) {
      chosen.push_back(y[i]);
    }
  }
  auto sum = weighted_sum(chosen);
  if (program_.auxiliary_in_loss) {
    for (const auto& tensor : auxiliaries(model_)) {
      sum = sum + 0.1 * tensor.sum();
    }
  }
  return sum;
}

void Execution::between() {
  if (program_.draws_between) {
    torch::randn({3});
  }
  if (program_.interruption == Interruption::kSecondForward) {
    interrupted_forward();
  }
  if (program_.validates_between) {
    validate();
  }
  make_change(program_, model_, context_, outputs_);
  outputs_.clear();
  context_.clear();
}

void Execution::validate() {
  const at::NoGradGuard no_grad;
  const DrawScope draws(log_);
  for (const auto& branch : model_.branches) {
    branch.module()->eval();
  }
  const auto y = outputs_of(
      program_.inverses[0], arguments_.streams, encode(program_, arguments_));
  for (const auto& output : y) {
    record_.outputs.push_back({"output of evaluation", output.clone()});
  }
}

void Execution::interrupted_forward() {
  fuse_is_blown() = true;
  try {
    outputs_of(
        program_.inverses[0], arguments_.streams, encode(program_, arguments_));
  } catch (const std::exception& error) {
    record_.interruption = message_of(error);
  }
  fuse_is_blown() = false;
}

// Plain autograd runs no branch again: nothing to interrupt.
void Execution::interrupted_backward(const Tensor& loss) {
  const auto x = arguments_.leaves[0].tensor;
  if (way_ == Way::kPlain || !x.requires_grad()) {
    return;
  }
  fuse_is_blown() = true;
  try {
    torch::autograd::grad({loss}, {x}, {}, true, false, /*allow_unused=*/true);
  } catch (const std::exception& error) {
    const auto message = message_of(error);
    if (!Mentions(message, {"the fuse has blown", "of block"})) {
      record_.interruption = message;
    }
  }
  fuse_is_blown() = false;
}

void Execution::backwards(std::vector<Tensor> losses) {
  Passes passes(way_, program_, leaves_, inputs_, record_);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    auto loss = std::move(losses[i]);
    // What does not depend on anything that requires grad has no backward.
    if (!loss.requires_grad()) {
      continue;
    }
    if (program_.interruption == Interruption::kFirstBackward && i == 0) {
      interrupted_backward(loss);
    }
    const bool last = i + 1 == losses.size();
    passes(std::move(loss), !last && program_.schedule == Schedule::kRetained);
  }
}

void Execution::add_hooks() {
  for (const auto& leaf : leaves_) {
    if (leaf.tensor.defined() && leaf.tensor.requires_grad()) {
      count_calls(leaf.tensor);
    }
  }
}

// A hook that scales shows if it is applied twice.
void Execution::count_calls(const Tensor& tensor) {
  if (tensor.requires_grad()) {
    tensor.register_hook([calls = hook_calls_](const Tensor& gradient) {
      *calls += gradient.defined();
      return gradient.defined() ? gradient * 1.5 : gradient;
    });
  }
}

void Execution::collect_gradients() {
  record_.hook_calls = *hook_calls_;
  for (auto& leaf : leaves_) {
    if (leaf.tensor.defined() && leaf.tensor.is_leaf()) {
      record_.add_gradient(".grad of " + leaf.name, leaf.tensor.grad());
    }
  }
}

}  // namespace

Record run(Way way, const Program& program, const Model& model) {
  return Execution(way, program, model)();
}

std::function<Record()> prepare(
    Way way, const Program& program, const Model& model, DrawLog& log) {
  const auto execution = std::make_shared<Execution>(way, program, model, &log);
  return [execution] { return (*execution)(); };
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
