#include "threads.h"

#include <atomic>
#include <sstream>
#include <thread>

#include "changes.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

constexpr std::size_t kThreads = 3;

// Draws by a log, or not at all.
Kind drawing_by_log(const StackSpec& stack, const BranchSpec& spec) {
  switch (spec.kind) {
    case Kind::kDropout:
    case Kind::kTwoDropouts:
      return Kind::kDrawnDropout;
    case Kind::kNoise:
      return stack.inner_of_function ? Kind::kNoise : Kind::kDrawnDropout;
    case Kind::kScriptDropout:
      return Kind::kScript;
    default:
      return spec.kind;
  }
}

bool is_shareable(Kind kind) {
  switch (kind) {
    case Kind::kBatchNorm:
    case Kind::kDrawnDropout:
    case Kind::kRemember:
    case Kind::kThreadPool:
    case Kind::kDifferentiates:
    case Kind::kStackFunction:
    case Kind::kStackModule:
    case Kind::kStack:
      return true;
    default:
      return static_cast<int>(kind) < kFirstKinds && traits(kind).by_sample;
  }
}

StackSpec adapted(const StackSpec& stack, Sharing sharing) {
  auto copy = stack;
  // Of what is not verified, a draw by branches that are not recorded, of
  // another lane, is an error.
  copy.options.verify_first_call(true);
  // Rounding is for programs without threads.
  copy.dtype = at::kDouble;
  for (auto& spec : copy.branches) {
    spec.kind = drawing_by_log(stack, spec);
    if (sharing == Sharing::kReplicas && !traits(spec.kind).cloneable) {
      spec.kind = Kind::kFunction;
    }
    if (sharing == Sharing::kModel && !stack.inner_of_function &&
        !is_shareable(spec.kind)) {
      const bool whole =
          stack.options.chunks_f() == 1 && stack.options.chunks_g() == 1;
      spec.kind = whole ? Kind::kBatchNorm : Kind::kFunction;
      spec.stack = nullptr;
    }
    if (spec.stack) {
      spec.stack = std::make_shared<StackSpec>(adapted(*spec.stack, sharing));
    }
  }
  return copy;
}

// The runs of one thread, and what they draw.
struct Lane {
  Program program;
  Model model;
  std::vector<DrawLog> logs;
  std::vector<std::function<Record()>> runs;
  std::vector<Record> records;
};

// Each lane in a thread of its own; they start together.
void run_at_once(std::vector<Lane>& lanes) {
  std::atomic<std::size_t> waiting{lanes.size()};
  std::vector<std::thread> threads;
  for (auto& lane : lanes) {
    threads.emplace_back([&] {
      --waiting;
      while (waiting > 0) {
        std::this_thread::yield();
      }
      for (const auto& run : lane.runs) {
        lane.records.push_back(run());
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
}

void move(Lane& lane, const Placement& placement) {
  if (placement.move) {
    placement.move(lane.program, lane.model);
  }
}

std::vector<Lane> build_lanes(
    uint64_t seed, Sharing sharing, const Placement& placement) {
  std::vector<Lane> lanes(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) {
    auto& lane = lanes[i];
    const bool own = sharing == Sharing::kNothing;
    lane.program = for_threads(draw(own ? seed + i : seed), sharing);
    if (placement.adapt) {
      lane.program = placement.adapt(lane.program, sharing, i);
    }
    if (sharing == Sharing::kModel) {
      lane.program.seed = seed + (i << 32);
    }
    lane.model = i == 0 || own ? build_model(lane.program)
                 : sharing == Sharing::kReplicas
                     ? clone_model(lane.program, lanes[0].model)
                     : lanes[0].model;
    // A clone is made on the CPU, and one model for all is moved once.
    if (own || (sharing == Sharing::kModel && i == 0)) {
      move(lane, placement);
    }
  }
  if (sharing == Sharing::kReplicas) {
    for (auto& lane : lanes) {
      move(lane, placement);
    }
  }
  return lanes;
}

// Integers alone: how often, not in which order, threads have written.
void keep_counts(Record& record) {
  std::vector<NamedTensor> counts;
  for (auto& item : record.state) {
    if (item.tensor.scalar_type() == at::kLong) {
      counts.push_back(std::move(item));
    }
  }
  record.state = std::move(counts);
}

// In plain autograd, one lane after the other.
void compare(
    std::vector<Lane>& lanes,
    uint64_t seed,
    Sharing sharing,
    const Placement& placement,
    std::ostream& differences) {
  std::vector<Lane> oracles = build_lanes(seed, sharing, placement);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    auto& lane = lanes[i];
    for (std::size_t n = 0; n < lane.records.size(); ++n) {
      auto& actual = lane.records[n];
      const auto run_plain = [&](const Model& model) {
        auto log = DrawLog::replay_of(lane.logs[n], actual.error.empty());
        return prepare(Way::kPlain, lane.program, model, log)();
      };
      const Disturbance none(0);
      auto expected = run_plain(oracles[i].model);
      if (sharing == Sharing::kModel) {
        // The last one has seen them all.
        actual.state.clear();
        expected.state.clear();
      }
      const auto found =
          difference(lane.program, actual, expected, none.largest(), [&] {
            return run_plain(build_lanes(seed, sharing, placement)[i].model);
          });
      if (!found.empty()) {
        differences << " thread " << i << ", run " << n << ":\n" << found;
      }
    }
  }
  if (sharing == Sharing::kModel) {
    Record actual, expected;
    actual.add_state(lanes[0].model);
    expected.add_state(oracles[0].model);
    keep_counts(actual);
    keep_counts(expected);
    const auto found = difference(
        lanes[0].program, actual, expected, 0, [] { return Record(); });
    differences << (found.empty() ? "" : " the model:\n") << found;
  }
}

}  // namespace

Program for_threads(const Program& program, Sharing sharing) {
  auto copy = program;
  static_cast<StackSpec&>(copy) = adapted(program, sharing);
  copy.interruption = Interruption::kNone;
  copy.anomaly_mode = false;
  copy.draws_between = false;
  if (sharing == Sharing::kModel) {
    copy.steps = 1;
    copy.hooks = false;
    copy.change = Change::kNothing;
    copy.switches_modes = false;
    copy.validates_between = false;
    copy.auxiliary_in_loss = false;
    // Gradients that are returned; `.grad` is one for all threads.
    copy.derivative =
        copy.second_order() ? Derivative::kHessianVector : Derivative::kParts;
  } else {
    const bool ends_early =
        copy.change != Change::kNothing || copy.auxiliary_in_loss;
    copy.steps = ends_early ? 1 : 3;
  }
  return copy;
}

std::string difference_in_threads(
    uint64_t seed, Sharing sharing, const Placement& placement) try {
  auto lanes = build_lanes(seed, sharing, placement);
  const std::size_t runs = sharing == Sharing::kModel ? 3 : 1;
  for (auto& lane : lanes) {
    lane.logs.assign(runs, DrawLog(DrawLog::Mode::kRecord));
    for (auto& log : lane.logs) {
      lane.runs.push_back(
          prepare(Way::kReversible, lane.program, lane.model, log));
    }
  }
  torch::manual_seed(seed);
  run_at_once(lanes);
  std::ostringstream differences;
  compare(lanes, seed, sharing, placement, differences);
  for (const auto& lane : lanes) {
    drop_auxiliaries(lane.model);
  }
  return differences.str();
} catch (const std::exception& error) {
  return "  a model cannot be built: " + message_of(error);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
