#include "device_programs.h"

#include <sstream>

#include "differential/changes.h"
#include "differential/dice.h"
#include "fake_device/hopping.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

constexpr int64_t kDevices = 3;

// Runs a branch where it is, and first leaves the thread on another stream of
// the device of the streams.
struct PlacedImpl : torch::nn::Module {
  PlacedImpl(Branch branch, const c10::Device& device)
      : branch(std::move(branch)), device(device) {
    register_module("branch", this->branch.module());
  }
  Tensor forward(const Tensor& x) {
    Hopping::hop();
    // Made on another stream.
    if (!x.device().is_cpu()) {
      x.record_stream(
          c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()));
    }
    return branch(x.to(device)).to(x.device());
  }
  Branch branch;
  c10::Device device;
};

c10::Device draw_device(Dice& dice, const c10::Device& home) {
  if (!dice.one_in(3)) {
    return home;
  }
  return dice.one_in(4) ? c10::Device(at::kCPU)
                        : accelerator(dice.below(kDevices));
}

// What a recompute writes to a parameter, and puts back, is seen by the thread
// of another device: these stay where the streams are.
bool writes_parameters(Kind kind) {
  return kind == Kind::kInitialises || kind == Kind::kMaxNorm;
}

// A tensor that is no leaf has a graph of the CPU; a thread of a pool uses the
// stream that is its own; a backend brings convolutions of its own.
bool runs_on_devices(Kind kind) {
  return kind != Kind::kNonLeafFunction && kind != Kind::kThreadPool &&
         kind != Kind::kConvolution;
}

StackSpec without_kinds_of_the_cpu(const StackSpec& stack, bool is_outermost) {
  auto copy = stack;
  // What differs by rounding is for programs of the CPU.
  copy.dtype = at::kDouble;
  for (auto& spec : copy.branches) {
    if (!runs_on_devices(spec.kind) ||
        (!is_outermost && writes_parameters(spec.kind))) {
      spec.kind = Kind::kFunction;
    }
    if (spec.stack) {
      spec.stack = std::make_shared<StackSpec>(
          without_kinds_of_the_cpu(*spec.stack, /*is_outermost=*/false));
    }
  }
  return copy;
}

// `home`: where its streams are.
Program placed(const Program& program, Dice& dice, const c10::Device& home) {
  auto copy = program;
  static_cast<StackSpec&>(copy) =
      without_kinds_of_the_cpu(program, /*is_outermost=*/true);
  copy.device = home;
  for (auto& spec : copy.branches) {
    // Context is where the streams are.
    const bool stays =
        traits(spec.kind).context != 0 || writes_parameters(spec.kind);
    spec.device = stays ? home : draw_device(dice, home);
  }
  copy.autocast = false;
  // The oracle's parameters move, too.
  copy.cloned = false;
  copy.interruption = Interruption::kNone;
  // What branches keep is where they are.
  copy.auxiliary_in_loss = false;
  return copy;
}

// On several streams only if nobody else uses the model.
void move(const Program& program, Model& model, bool hops) {
  for (std::size_t i = 0; i < model.branches.size(); ++i) {
    auto& branch = model.branches[i];
    const auto& spec = program.branches[i];
    if (!spec.device.is_cpu()) {
      move_to_fake(branch.parameters(), spec.device);
      move_to_fake(branch.buffers(), spec.device);
    }
    if (traits(spec.kind).context == 0) {
      branch = std::make_shared<PlacedImpl>(branch, spec.device);
      branch = spec.mutable_buffers ? branch.mutable_buffers() : branch;
    }
  }
  model.blocks.clear();
  for (const auto& block : program.blocks) {
    model.blocks.push_back(
        {model.branches[block.first], model.branches[block.second]});
  }
  if (hops && !program.device.is_cpu()) {
    model.surroundings = [device = program.device] {
      return std::make_shared<Hopping>(device);
    };
  }
}

void seed_devices(uint64_t seed) {
  for (int64_t i = 0; i < kDevices; ++i) {
    auto generator = generator_of(accelerator(i));
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  }
}

void to_cpu(std::vector<NamedTensor>& tensors) {
  for (auto& item : tensors) {
    item.tensor = item.tensor.cpu();
  }
}

// A run, all that was computed on the CPU, and where all generators stand.
Record run_on_devices(Way way, const Program& program) {
  synchronize();
  auto model = build_model(program);
  move_to_devices(program, model);
  seed_devices(program.seed);
  auto record = run(way, program, model);
  drop_auxiliaries(model);
  try {
    check_deferred();
  } catch (const std::exception& error) {
    record.error = message_of(error);
  }
  for (auto* tensors : {&record.outputs, &record.gradients, &record.state}) {
    to_cpu(*tensors);
  }
  std::vector<Tensor> states = {record.generator};
  for (int64_t i = 0; i < kDevices; ++i) {
    states.push_back(generator_of(accelerator(i)).get_state());
  }
  record.generator = torch::cat(states);
  return record;
}

// LibTorch's engine adds to a gradient in place when it holds the last handle,
// whoever has been given the same tensor and still reads it on another stream.
bool is_of_engine(const std::string& race) {
  const bool adds = race.rfind("aten::add in ", 0) == 0;
  const auto earlier = race.find(" what aten::");
  return adds &&
         race.find("torchrev::ReversibleStep", earlier) == std::string::npos;
}

// The first of each kind.
std::string take_complaints() {
  std::ostringstream text;
  for (const auto& race : Memory::instance().take_races()) {
    if (text.str().empty() && !is_of_engine(race)) {
      text << "  " << race << "\n";
    }
  }
  const auto faults = Timeline::instance().take_faults();
  return text.str() + (faults.empty() ? "" : "  " + faults[0] + "\n");
}

}  // namespace

Program for_devices(const Program& program) {
  Dice dice(program.seed);
  const auto home = dice.one_in(4) ? c10::Device(at::kCPU)
                                   : accelerator(dice.below(kDevices));
  return placed(program, dice, home);
}

void move_to_devices(const Program& program, Model& model) {
  move(program, model, /*hops=*/true);
}

Placement in_threads_on_devices() {
  const auto adapt =
      [](const Program& program, Sharing sharing, std::size_t i) {
        Dice dice(program.seed);
        const bool shared = sharing == Sharing::kModel;
        auto copy = placed(
            program,
            dice,
            accelerator(shared ? 0 : static_cast<int64_t>(i) % kDevices));
        // Flags are set in turns, and a branch that differentiates on another
        // device would wait there for a thread that waits for its turn.
        copy.switches_modes = false;
        return copy;
      };
  return {adapt, [](const Program& program, Model& model) {
            move(program, model, /*hops=*/false);
          }};
}

std::string difference_on_devices(uint64_t seed) try {
  const auto program = for_devices(draw(seed));
  const Disturbance none(0);
  const auto expected = run_on_devices(Way::kPlain, program);
  // A race of plain autograd is one of the program.
  const bool orders = take_complaints().empty();
  const auto actual = run_on_devices(Way::kReversible, program);
  const auto complaints = take_complaints();
  const auto found = difference(program, actual, expected, none.largest(), [&] {
    return run_on_devices(Way::kPlain, program);
  });
  take_complaints();
  // A pass that has thrown leaves streams that nobody waits for.
  return orders && actual.error.empty() ? found + complaints : found;
} catch (const std::exception& error) {
  return "  a model cannot be built: " + message_of(error);
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
