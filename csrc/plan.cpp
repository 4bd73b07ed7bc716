#include "plan.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "check.h"
#include "compat.h"

namespace torchrev {

namespace {

std::string kept_blocks(const Plan& plan) {
  const auto first = plan.blocks - plan.store_last;
  const auto last = plan.blocks - 1;
  return plan.store_last == 0   ? "no block"
         : plan.store_last == 1 ? fmt::format("block {}", last)
                                : fmt::format("blocks {} to {}", first, last);
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Plan& plan) {
  return stream << fmt::format(
             "keeps {} of {} (store_last = {}): {} bytes after forward, {} at "
             "the peak, {:.2f} x the time of plain autograd",
             kept_blocks(plan),
             plan.blocks,
             plan.store_last,
             plan.retained_bytes,
             plan.peak_bytes,
             plan.relative_time());
}

namespace detail {

namespace {

// More than any budget.
constexpr auto kTooMuch = std::numeric_limits<int64_t>::max();

bool requires_grad(at::TensorList tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    return tensor.defined() && tensor.requires_grad();
  });
}

// Whether there will be a backward.
bool trains(const StackCall& call) {
  return at::GradMode::is_enabled() &&
         (requires_grad(call.x) || requires_grad(call.context) ||
          std::any_of(
              call.blocks.begin(), call.blocks.end(), [](const auto& block) {
                return requires_grad(block.f.parameters()) ||
                       requires_grad(block.g.parameters());
              }));
}

// Steps of one call with different numbers of kept blocks, each measured once.
class Trials {
 public:
  explicit Trials(const StackCall& call) : call_(call) {
    call_.options = without_budget(call.options);
  }

  const StepBytes& at(int64_t kept) {
    const auto found = steps_.find(kept);
    if (found != steps_.end()) {
      return found->second;
    }
    call_.options.store_last(kept);
    if (steps_.empty()) {
      // Libraries allocate workspaces, and branches are searched, in the first
      // step of all.
      measure_step(call_);
    }
    return steps_[kept] = measure_step(call_);
  }

  // The most blocks that can be kept if `at(0)` fits.
  int64_t most_within(int64_t budget) {
    auto kept = guess(budget);
    while (peak(kept) > budget) {
      --kept;
    }
    while (kept < call_.depth() && peak(kept + 1) <= budget) {
      ++kept;
    }
    return kept;
  }

 private:
  // The trial that shows one more block to be too much needs more than the
  // budget, and so maybe more than there is.
  int64_t peak(int64_t kept) {
    try {
      return at(kept).peak;
    } catch (const c10::OutOfMemoryError&) {
      return (steps_[kept] = {kTooMuch, kTooMuch}).peak;
    }
  }

  // Block by block in plain autograd: a kept block holds what it retains while
  // the blocks after it need their peak.
  int64_t guess(int64_t budget) {
    std::vector<StepBytes> blocks;
    try {
      blocks = measure_blocks(call_);
    } catch (const c10::OutOfMemoryError&) {
      return 0;
    }
    auto peak = int64_t(0);
    auto kept = int64_t(0);
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
      peak = std::max(block->peak, block->retained + peak);
      if (at(0).retained + peak > budget) {
        break;
      }
      ++kept;
    }
    return kept;
  }

  StackCall call_;
  std::map<int64_t, StepBytes> steps_;
};

void check_budget(const StackCall& call, int64_t budget, int64_t needed) {
  TORCH_CHECK_VALUE(
      needed <= budget,
      "torchrev::nn::ReversibleSequential: expected option `memory_budget` to "
      "be at least the ",
      needed,
      " bytes of a step that keeps no block (shape ",
      call.x[0].sizes(),
      "), but got ",
      budget,
      ". Raise it, cut the input, or evaluate branches in chunks (`chunks_f`, "
      "`chunks_g`).");
}

Plan make_plan(const StackCall& call) {
  Trials trials(call);
  const auto budget = call.options.memory_budget();
  auto kept = std::min(call.options.store_last(), call.depth());
  if (budget && trains(call)) {
    check_budget(call, *budget, trials.at(0).peak);
    kept = trials.most_within(*budget);
  }
  const auto step = trials.at(kept);
  return {call.depth(), kept, step.retained, step.peak};
}

// Appends to a key.
class KeyWriter {
 public:
  explicit KeyWriter(std::vector<int64_t>& key) : key_(key) {}

  KeyWriter& operator<<(int64_t value) {
    key_.push_back(value);
    return *this;
  }
  KeyWriter& operator<<(at::IntArrayRef values) {
    key_.push_back(static_cast<int64_t>(values.size()));
    key_.insert(key_.end(), values.begin(), values.end());
    return *this;
  }
  KeyWriter& operator<<(const Tensor& tensor) {
    if (!tensor.defined()) {
      return *this << -1;
    }
    return *this << tensor.sizes() << tensor.strides()
                 << static_cast<int64_t>(tensor.scalar_type())
                 << static_cast<int64_t>(tensor.device().type())
                 << tensor.device().index() << tensor.requires_grad();
  }
  KeyWriter& operator<<(at::TensorList tensors) {
    for (const auto& tensor : tensors) {
      *this << tensor;
    }
    return *this << static_cast<int64_t>(tensors.size());
  }
  KeyWriter& operator<<(const ReversibleOptions& options) {
    return *this << options.memory_budget().value_or(-1) << options.store_last()
                 << options.save_every() << options.chunks_f()
                 << options.chunks_g() << options.chunk_dim()
                 << options.preserve_rng_state()
                 << options.verify_constant_buffers()
                 << static_cast<int64_t>(options.streams().kind)
                 << options.streams().dim
                 << static_cast<int64_t>(options.stream_dtype().value_or(
                        at::ScalarType::Undefined))
                 << options.fraction_bits().value_or(-1)
                 << options.drift_tolerance().has_value()
                 << (options.coupling() == "momentum")
                 << (options.coupling() == "affine")
                 << reinterpret_cast<intptr_t>(options.custom_coupling().get());
  }
  // Which one, in train or eval mode, and what of it is trained.
  KeyWriter& operator<<(const Branch& branch) {
    auto& callable = branch.callable();
    *this << reinterpret_cast<intptr_t>(&callable);
    for (const auto& attribute : callable.attributes()) {
      *this << (attribute.isBool() ? attribute.toBool() : -1);
    }
    return *this << at::TensorList(callable.parameters());
  }
  KeyWriter& autocast(c10::DeviceType type) {
    return *this << compat::is_autocast_enabled(type)
                 << static_cast<int64_t>(compat::autocast_dtype(type));
  }

 private:
  std::vector<int64_t>& key_;
};

std::vector<int64_t> key_of(const StackCall& call) {
  std::vector<int64_t> key;
  KeyWriter writer(key);
  writer << call.options << at::TensorList(call.x) << call.context
         << at::GradMode::is_enabled();
  writer.autocast(at::kCPU).autocast(at::kCUDA);
  for (const auto& block : call.blocks) {
    writer << block.f << block.g;
  }
  const auto device = call.x[0].device().type();
  if (compat::has_autocast(device)) {
    writer.autocast(device);
  }
  return key;
}

void check_inputs(const StackCall& call) {
  constexpr auto kEntry = "nn::ReversibleSequential";
  if (call.x.size() == 1) {
    check_residual(kEntry, "x", call.x[0], call.options.streams());
  } else {
    check_streams(kEntry, "x1", call.x[0], "x2", call.x[1]);
  }
}

}  // namespace

ReversibleOptions without_budget(ReversibleOptions options) {
  return options.memory_budget(torch::nullopt);
}

Plan Planner::plan(const StackCall& call) {
  check_inputs(call);
  auto key = key_of(call);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) {
      return found->second;
    }
  }
  const auto plan = make_plan(call);
  const std::lock_guard<std::mutex> lock(mutex_);
  plans_.emplace(std::move(key), plan);
  return plan;
}

ReversibleOptions Planner::options_of(const StackCall& call) {
  auto options = without_budget(call.options);
  if (call.options.memory_budget() && trains(call)) {
    options.store_last(plan(call).store_last);
  }
  return options;
}

}  // namespace detail
}  // namespace torchrev
