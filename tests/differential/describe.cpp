#include <array>

#include "program.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

constexpr std::array<const char*, 3> kFrozen = {
    "", ", first parameter frozen", ", frozen"};
constexpr std::array<const char*, 5> kContext = {
    "mask", "index", "undefined", "leaf", "encoding"};
constexpr std::array<const char*, 5> kLayouts = {
    "contiguous", "transposed", "narrowed", "expanded", "channels last"};
constexpr std::array<const char*, 3> kGradients = {
    "no gradient", "leaf", "non-leaf"};
constexpr std::array<const char*, 5> kEntries = {
    "reversible_block",
    "reversible_sequence",
    "reversible_residual",
    "ReversibleSequential::forward",
    "ReversibleSequential::forward_streams"};
constexpr std::array<const char*, 5> kDerivatives = {
    "backward()",
    "backward() of a part",
    "grad() of a part",
    "gradient penalty",
    "Hessian-vector product"};
constexpr std::array<const char*, 6> kSchedules = {
    "once",
    "retained and repeated",
    "two forwards, then two backwards",
    "two forwards, then the second backward first",
    "the sum of two forwards",
    "two forwards in a chain"};

template <typename Names, typename Value>
const char* name(const Names& names, Value value) {
  return names.at(static_cast<std::size_t>(value));
}

void print_branch(std::ostream& stream, const BranchSpec& spec) {
  stream << traits(spec.kind).name << name(kFrozen, spec.frozen)
         << (spec.training ? ", train" : ", eval")
         << (spec.mutable_buffers ? ", mutable_buffers" : "");
  if (traits(spec.kind).draws) {
    stream << ", p = " << spec.dropout;
  }
  if (traits(spec.kind).context != 0) {
    stream << ", context " << at::IntArrayRef(spec.context);
  }
  stream << "\n";
}

void print_stack(std::ostream& stream, const Program& program) {
  stream << "  branches:\n";
  for (std::size_t i = 0; i < program.branches.size(); ++i) {
    stream << "    " << i << ": ";
    print_branch(stream, program.branches[i]);
  }
  stream << "  blocks (f, g):";
  for (const auto& block : program.blocks) {
    stream << " (" << block.first << ", " << block.second << ")";
  }
  stream << "\n  context:";
  for (const auto kind : program.context) {
    stream << " " << name(kContext, kind);
  }
  stream << "\n";
}

void print_inputs(std::ostream& stream, const Program& program) {
  const auto& options = program.options;
  stream << "  entry: " << name(kEntries, program.entry);
  if (program.one_tensor()) {
    const auto& streams = options.streams();
    stream
        << (streams.kind == Streams::Kind::kSplit
                ? ", split dim " + std::to_string(streams.dim)
            : streams.kind == Streams::Kind::kDuplicate
                ? std::string(", duplicate")
                : std::string(", velocity"));
  }
  stream << ", preserve_rng_state " << options.preserve_rng_state()
         << ", save_every " << options.save_every() << ", store_last "
         << options.store_last() << ", verify_constant_buffers "
         << options.verify_constant_buffers() << ", coupling ";
  options.coupling()->pretty_print(stream);
  if (options.stream_dtype()) {
    stream << ", stream_dtype " << *options.stream_dtype();
  }
  if (options.fraction_bits()) {
    stream << ", fraction_bits " << *options.fraction_bits();
  }
  stream << "\n  streams: " << program.dtype << at::IntArrayRef(program.shape)
         << "\n  inputs:";
  for (const auto& input : program.inputs) {
    stream << " " << name(kLayouts, input.layout) << " "
           << name(kGradients, input.gradient) << ";";
  }
  stream << (program.same_input ? " x2 is x1" : "") << "\n";
}

}  // namespace

const Traits& traits(Kind kind) {
  static const std::array<Traits, kKindCount> table = {{
      {"linear", Domain::kTokens},
      {"mlp", Domain::kTokens},
      {"attention", Domain::kTokens, 1},
      {"convolution", Domain::kImages},
      {"batch norm"},
      {"cumulative batch norm"},
      {"counter"},
      {"drift"},
      {"dropout", Domain::kBoth, 0, true},
      {"two dropouts", Domain::kBoth, 0, true},
      {"noise", Domain::kBoth, 0, true},
      {"tanh"},
      {"strides"},
      {"constant"},
      {"identity"},
      {"ignores its input"},
      {"without graph"},
      {"unused parameter"},
      {"function"},
      {"function of a non-leaf", Domain::kBoth, 0, false, false},
      {"function with a buffer", Domain::kBoth, 0, false, false},
      {"context module", Domain::kBoth, 1},
      {"context module of two", Domain::kBoth, 2},
      {"context function", Domain::kBoth, -1},
      {"script"},
      {"script with dropout", Domain::kBoth, 0, true},
      {"script with state"},
      {"script with batch norm"},
      {"script with context", Domain::kBoth, 1},
  }};
  return table.at(static_cast<std::size_t>(kind));
}

std::ostream& operator<<(std::ostream& stream, const Program& program) {
  const auto flag = [&stream](const char* what, bool on) {
    stream << (on ? what : "");
  };
  stream << "program of seed " << program.seed << "\n";
  print_stack(stream, program);
  print_inputs(stream, program);
  stream << "  loss: ";
  flag("y1 ", program.in_loss[0]);
  flag("y2 ", program.in_loss[1]);
  stream << "\n  derivative: " << name(kDerivatives, program.derivative) << ", "
         << name(kSchedules, program.schedule) << ", part " << program.part
         << "\n  surroundings:";
  flag(" oracle cloned;", program.cloned);
  flag(" autocast;", program.autocast);
  flag(" draws between;", program.draws_between);
  flag(" switches modes between;", program.switches_modes);
  flag(" hooks;", program.hooks);
  flag(" anomaly mode;", program.anomaly_mode);
  flag(" backward in another thread;", program.other_thread);
  return stream << "\n";
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
