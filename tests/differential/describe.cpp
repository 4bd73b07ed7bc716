#include <array>
#include <string>

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
constexpr std::array<const char*, 9> kDerivatives = {
    "backward()",
    "backward() of a part",
    "grad() of a part",
    "gradient penalty",
    "Hessian-vector product",
    "grad() of part after part",
    "grad() of the inputs, then of the rest",
    "grad() of the rest, then of the inputs",
    "grad() of the inputs, then from inner nodes"};
constexpr std::array<const char*, 6> kSchedules = {
    "once",
    "retained and repeated",
    "two forwards, then two backwards",
    "two forwards, then the second backward first",
    "the sum of two forwards",
    "two forwards in a chain"};

constexpr std::array<const char*, 9> kChanges = {
    "",
    "a parameter is replaced",
    "a member that holds a parameter is replaced",
    "a parameter is replaced and restored",
    "a parameter is written to",
    "requires_grad of a parameter is changed",
    "a buffer is written to",
    "context is written to",
    "an output is written to"};
constexpr std::array<const char*, 3> kInterruptions = {
    "", "a second forward throws", "a first backward throws"};

template <typename Names, typename Value>
const char* name(const Names& names, Value value) {
  return names.at(static_cast<std::size_t>(value));
}

void print_stack(
    std::ostream& stream, const StackSpec& stack, const std::string& indent);

void print_branch(
    std::ostream& stream, const BranchSpec& spec, const std::string& indent) {
  stream << traits(spec.kind).name << name(kFrozen, spec.frozen)
         << (spec.training ? ", train" : ", eval")
         << (spec.mutable_buffers ? ", mutable_buffers" : "");
  if (traits(spec.kind).draws) {
    stream << ", p = " << spec.dropout;
  }
  if (traits(spec.kind).context != 0) {
    stream << ", context " << at::IntArrayRef(spec.context);
  }
  if (!spec.device.is_cpu()) {
    stream << ", on " << spec.device;
  }
  stream << "\n";
  if (spec.stack) {
    print_stack(stream, *spec.stack, indent);
  }
}

void print_streams(std::ostream& stream, const Streams& streams) {
  if (streams.kind == Streams::Kind::kSplit) {
    stream << "split dim " << streams.dim;
  } else {
    stream
        << (streams.kind == Streams::Kind::kDuplicate ? "duplicate"
                                                      : "velocity");
  }
}

void print_options(std::ostream& stream, const ReversibleOptions& options) {
  stream << "preserve_rng_state " << options.preserve_rng_state()
         << ", save_every " << options.save_every() << ", store_last "
         << options.store_last() << ", chunks_f " << options.chunks_f()
         << ", chunks_g " << options.chunks_g() << ", verify_constant_buffers "
         << options.verify_constant_buffers() << ", coupling ";
  options.coupling()->pretty_print(stream);
  if (options.stream_dtype()) {
    stream << ", stream_dtype " << *options.stream_dtype();
  }
  if (options.fraction_bits()) {
    stream << ", fraction_bits " << *options.fraction_bits();
  }
}

// Of a stack within a branch, what it does not share with the one around.
void print_inner(
    std::ostream& stream, const StackSpec& stack, const std::string& indent) {
  stream << indent << (stack.inverse ? "inverse, " : "");
  print_streams(stream, stack.options.streams());
  stream << ", ";
  print_options(stream, stack.options);
  stream << "\n";
}

void print_stack(
    std::ostream& stream, const StackSpec& stack, const std::string& indent) {
  stream << indent << "branches:\n";
  for (std::size_t i = 0; i < stack.branches.size(); ++i) {
    const auto deeper = indent + "  ";
    stream << deeper << i << ": ";
    print_branch(stream, stack.branches[i], deeper + "  ");
  }
  stream << indent << "blocks (f, g):";
  for (const auto& block : stack.blocks) {
    stream << " (" << block.first << ", " << block.second << ")";
  }
  stream << "\n" << indent << "context:";
  for (const auto kind : stack.context) {
    stream << " " << name(kContext, kind);
  }
  stream << "\n";
  if (indent.size() > 2) {
    print_inner(stream, stack, indent);
  }
}

void print_inputs(std::ostream& stream, const Program& program) {
  stream << "  entry: " << name(kEntries, program.entry);
  stream << (program.inverses[0] ? ", inverse" : "")
         << (program.inverses[1] ? ", inverse the second time" : "");
  if (program.one_tensor()) {
    stream << ", ";
    print_streams(stream, program.options.streams());
  }
  stream << ", ";
  print_options(stream, program.options);
  stream << "\n  streams: " << program.dtype << at::IntArrayRef(program.shape)
         << " on " << program.device << "\n  inputs:";
  for (const auto& input : program.inputs) {
    stream << " " << name(kLayouts, input.layout) << " "
           << name(kGradients, input.gradient) << ";";
  }
  stream << (program.same_input ? " x2 is x1" : "") << "\n";
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Program& program) {
  const auto flag = [&stream](const char* what, bool on) {
    stream << (on ? what : "");
  };
  stream << "program of seed " << program.seed << "\n";
  print_stack(stream, program, "  ");
  print_inputs(stream, program);
  stream << "  loss: ";
  flag("y1 ", program.in_loss[0]);
  flag("y2 ", program.in_loss[1]);
  flag("what branches keep", program.auxiliary_in_loss);
  stream << "\n  derivative: " << name(kDerivatives, program.derivative) << ", "
         << name(kSchedules, program.schedule) << ", part " << program.part
         << ", order " << program.order << ", steps " << program.steps
         << "\n  between: " << name(kChanges, program.change) << " ("
         << program.changed << (program.replaced_by_trained ? ", trained" : "")
         << ") " << name(kInterruptions, program.interruption)
         << "\n  surroundings:";
  flag(" oracle cloned;", program.cloned);
  flag(" autocast;", program.autocast);
  flag(" draws between;", program.draws_between);
  flag(" switches modes between;", program.switches_modes);
  flag(" validates between;", program.validates_between);
  flag(" retains inner nodes;", program.retains);
  flag(" hooks;", program.hooks);
  flag(" anomaly mode;", program.anomaly_mode);
  flag(" backward in another thread;", program.other_thread);
  return stream << "\n";
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
