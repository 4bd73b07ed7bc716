#include "measure/planner.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>
#include <string>

#include "check.h"
#include "compat.h"

namespace torchrev {

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
bool trains(const StackRun& run) {
  return at::GradMode::is_enabled() &&
         (requires_grad(run.x) || requires_grad(run.stack.context) ||
          std::any_of(
              run.stack.blocks.begin(),
              run.stack.blocks.end(),
              [](const auto& block) {
                return requires_grad(block.f.parameters()) ||
                       requires_grad(block.g.parameters());
              }));
}

// Steps of one run with different numbers of kept blocks, each measured once.
class MeasuredSteps {
 public:
  explicit MeasuredSteps(const StackRun& run) : run_(run) {
    run_.stack.options = without_budget(run.stack.options);
  }

  const StepBytes& at(int64_t kept) {
    const auto found = steps_.find(kept);
    if (found != steps_.end()) {
      return found->second;
    }
    run_.stack.options.store_last(kept);
    if (steps_.empty()) {
      // Libraries allocate workspaces, and branches are searched, in the first
      // step of all.
      measure_step(run_);
    }
    return steps_[kept] = measure_step(run_);
  }

  // The most blocks that can be kept if `at(0)` fits.
  int64_t most_within(int64_t budget) {
    auto kept = guess(budget);
    while (peak(kept) > budget) {
      --kept;
    }
    while (kept < run_.stack.depth() && peak(kept + 1) <= budget) {
      ++kept;
    }
    return kept;
  }

 private:
  // The step that shows one more block to be too much needs more than the
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
      blocks = measure_blocks(run_);
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

  StackRun run_;
  std::map<int64_t, StepBytes> steps_;
};

void check_budget(const StackRun& run, int64_t budget, int64_t needed) {
  TORCHREV_CHECK(
      ValueError,
      needed <= budget,
      run.stack.entry,
      c10::str(
          "option `memory_budget` to be at least the ",
          needed,
          " bytes of a step that keeps no block (shape ",
          run.x[0].sizes(),
          ")"),
      c10::str(budget),
      "Raise it, cut the input, or evaluate branches in chunks (`chunks_f`, "
      "`chunks_g`).");
}

Plan make_plan(const StackRun& run) {
  MeasuredSteps steps(run);
  const auto budget = run.stack.options.memory_budget();
  auto kept = std::min(run.stack.options.store_last(), run.stack.depth());
  if (budget && trains(run)) {
    check_budget(run, *budget, steps.at(0).peak);
    kept = steps.most_within(*budget);
  }
  const auto step = steps.at(kept);
  return {run.stack.depth(), kept, step.retained, step.peak};
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

std::vector<int64_t> key_of(const StackRun& run) {
  std::vector<int64_t> key;
  KeyWriter writer(key);
  writer << run.stack.options << at::TensorList(run.x) << run.stack.context
         << at::GradMode::is_enabled();
  writer.autocast(at::kCPU).autocast(at::kCUDA);
  for (const auto& block : run.stack.blocks) {
    writer << block.f << block.g;
  }
  const auto device = run.x[0].device().type();
  if (compat::has_autocast(device)) {
    writer.autocast(device);
  }
  return key;
}

void check_inputs(const StackRun& run) {
  const auto* const entry = run.stack.entry;
  if (run.x.size() == 1) {
    check_residual(entry, "x", run.x[0], run.stack.options.streams());
  } else {
    check_streams(entry, "x1", run.x[0], "x2", run.x[1]);
  }
}

}  // namespace

ReversibleOptions without_budget(ReversibleOptions options) {
  return options.memory_budget(torch::nullopt);
}

Plan Planner::plan(const StackRun& run) {
  check_inputs(run);
  auto key = key_of(run);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) {
      return found->second;
    }
  }
  const auto plan = make_plan(run);
  const std::lock_guard<std::mutex> lock(mutex_);
  plans_.emplace(std::move(key), plan);
  return plan;
}

ReversibleOptions Planner::options_of(const StackRun& run) {
  auto options = without_budget(run.stack.options);
  if (run.stack.options.memory_budget() && trains(run)) {
    options.store_last(plan(run).store_last);
  }
  return options;
}

}  // namespace detail
}  // namespace torchrev
