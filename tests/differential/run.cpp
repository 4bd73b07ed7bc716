#include "run.h"

#include "forward.h"
#include "support/autocast.h"
#include "surroundings.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// One run of a program.
class Execution {
 public:
  Execution(Way way, const Program& program, const Model& model)
      : way_(way),
        program_(program),
        model_(model),
        arguments_(build_arguments(program)) {
    leaves_ = arguments_.leaves;
    leaves_.insert(leaves_.end(), model.leaves.begin(), model.leaves.end());
  }

  Record operator()();

 private:
  // One loss for each backward pass, in order.
  std::vector<Tensor> forwards();
  std::vector<Tensor> forward(const std::vector<Tensor>& x);
  Tensor loss(const std::vector<Tensor>& y) const;
  void backwards(const std::vector<Tensor>& losses);
  void differentiate(const Tensor& loss, bool retain);
  std::vector<Tensor> part(bool leaves_only) const;
  std::vector<Tensor> gradients(
      const Tensor& of, bool retain, bool create_graph);
  void second_order(const Tensor& loss, bool retain);
  void add_hooks();
  void count_calls(const Tensor& tensor);
  void add_gradient(const std::string& name, const Tensor& gradient);
  void collect_gradients();
  void collect_state();

  Way way_;
  const Program& program_;
  const Model& model_;
  Arguments arguments_;
  std::vector<NamedTensor> leaves_;
  std::shared_ptr<int64_t> hook_calls_ = std::make_shared<int64_t>(0);
  Record record_;
};

Record Execution::operator()() {
  if (program_.hooks) {
    add_hooks();
  }
  torch::manual_seed(program_.seed);
  try {
    const AnomalyMode anomaly_mode(program_.anomaly_mode);
    const auto losses = forwards();
    if (program_.draws_between) {
      torch::randn({3});
    }
    set_modes(program_, model_, program_.switches_modes);
    call(program_.other_thread, [&] { backwards(losses); });
  } catch (const std::exception& error) {
    record_.error = message_of(error);
  }
  collect_gradients();
  collect_state();
  return std::move(record_);
}

std::vector<Tensor> Execution::forward(const std::vector<Tensor>& x) {
  const Autocast autocast(program_.autocast);
  const auto context = encode(program_, arguments_);
  for (std::size_t i = 0; i < context.size(); ++i) {
    if (program_.context[i] == ContextKind::kEncoding) {
      leaves_.push_back({"encoding " + std::to_string(i), context[i]});
      if (program_.hooks) {
        count_calls(context[i]);
      }
    }
  }
  const auto y = outputs(way_, program_, model_, x, context);
  for (std::size_t i = 0; i < y.size(); ++i) {
    record_.outputs.push_back(
        {"output " + std::to_string(i), y[i].detach().clone()});
  }
  return y;
}

std::vector<Tensor> Execution::forwards() {
  const auto first = forward(arguments_.streams);
  switch (program_.schedule) {
    case Schedule::kOnce:
      return {loss(first)};
    case Schedule::kRetained:
      return {loss(first), loss(first)};
    case Schedule::kTwoForwards:
      return {loss(first), loss(forward(arguments_.streams))};
    case Schedule::kSecondBackwardFirst:
      return {loss(forward(arguments_.streams)), loss(first)};
    case Schedule::kSumOfTwo:
      return {loss(first) + loss(forward(arguments_.streams))};
    default:
      return {loss(forward(first))};
  }
}

Tensor Execution::loss(const std::vector<Tensor>& y) const {
  if (y.size() == 1) {
    return weighted_sum(y);
  }
  std::vector<Tensor> chosen;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (program_.in_loss[i]) {
      chosen.push_back(y[i]);
    }
  }
  return weighted_sum(chosen);
}

void Execution::backwards(const std::vector<Tensor>& losses) {
  for (std::size_t i = 0; i < losses.size(); ++i) {
    // What does not depend on anything that requires grad has no backward.
    if (losses[i].requires_grad()) {
      const bool last = i + 1 == losses.size();
      differentiate(
          losses[i], !last && program_.schedule == Schedule::kRetained);
    }
  }
}

void Execution::differentiate(const Tensor& loss, bool retain) {
  switch (program_.derivative) {
    case Derivative::kBackward:
      loss.backward({}, retain);
      break;
    case Derivative::kBackwardPart:
      if (const auto leaves = part(/*leaves_only=*/true); !leaves.empty()) {
        torch::autograd::backward({loss}, {}, retain, false, leaves);
      }
      break;
    case Derivative::kGradPart:
      gradients(loss, retain, /*create_graph=*/false);
      break;
    default:
      second_order(loss, retain);
  }
}

// penalty = sum of |d loss / d part|^2, or the product of the Hessian with a
// fixed vector.
void Execution::second_order(const Tensor& loss, bool retain) {
  std::vector<Tensor> differentiable;
  for (const auto& gradient : gradients(loss, true, /*create_graph=*/true)) {
    if (gradient.defined() && gradient.requires_grad()) {
      differentiable.push_back(gradient);
    }
  }
  if (program_.derivative == Derivative::kHessianVector) {
    if (!differentiable.empty()) {
      gradients(weighted_sum(differentiable), retain, false);
    }
    return;
  }
  auto total = loss;
  for (const auto& gradient : differentiable) {
    total = total + gradient.square().sum();
  }
  total.backward({}, retain);
}

std::vector<Tensor> Execution::part(bool leaves_only) const {
  std::vector<Tensor> chosen;
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    const auto& tensor = leaves_[i].tensor;
    const bool wanted = (program_.part >> (i % 64)) & 1;
    if (wanted && tensor.defined() && tensor.requires_grad() &&
        (tensor.is_leaf() || !leaves_only)) {
      chosen.push_back(tensor);
    }
  }
  return chosen;
}

std::vector<Tensor> Execution::gradients(
    const Tensor& of, bool retain, bool create_graph) {
  const auto chosen = part(/*leaves_only=*/false);
  if (chosen.empty()) {
    return {};
  }
  auto result = torch::autograd::grad(
      {of}, chosen, {}, retain, create_graph, /*allow_unused=*/true);
  std::size_t next = 0;
  for (const auto& leaf : leaves_) {
    if (next < chosen.size() && leaf.tensor.is_same(chosen[next])) {
      const auto& gradient = result[next++];
      add_gradient("grad() of " + leaf.name, gradient);
    }
  }
  return result;
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

void Execution::add_gradient(const std::string& name, const Tensor& gradient) {
  if (gradient.defined()) {
    record_.gradients.push_back({name, gradient.detach().clone()});
  }
}

void Execution::collect_gradients() {
  record_.hook_calls = *hook_calls_;
  for (auto& leaf : leaves_) {
    if (leaf.tensor.defined() && leaf.tensor.is_leaf()) {
      add_gradient(".grad of " + leaf.name, leaf.tensor.grad());
    }
  }
}

void Execution::collect_state() {
  record_.generator = at::detail::getDefaultCPUGenerator().get_state();
  for (std::size_t i = 0; i < model_.branches.size(); ++i) {
    const auto name = " of branch " + std::to_string(i);
    const auto& branch = model_.branches[i];
    for (const auto& buffer : branch.buffers()) {
      record_.state.push_back({"buffer" + name, buffer.clone()});
    }
    for (const auto& value : branch.callable().attributes()) {
      if (value.isTensor()) {
        record_.state.push_back({"attribute" + name, value.toTensor().clone()});
      } else {
        record_.attributes.push_back(c10::str(value, name));
      }
    }
  }
}

}  // namespace

Record run(Way way, const Program& program, const Model& model) {
  return Execution(way, program, model)();
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
