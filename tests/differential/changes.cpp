#include "changes.h"

#include <algorithm>

#include "later_modules.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

// A place that holds a parameter.
struct Slot {
  Tensor parameter;
  std::function<void(const Tensor&, bool registered)> replace;
  bool scripted;
};

// `nested`: those of modules within modules, too.
std::vector<Slot> slots_of(const Branch& branch, bool nested) {
  std::vector<Slot> slots;
  const auto root = branch.module();
  for (const auto& module : root->modules()) {
    if (module != root && !nested) {
      continue;
    }
    if (const auto typed = std::dynamic_pointer_cast<Replaceable>(module)) {
      slots.push_back(
          {typed->parameter(),
           [typed](const Tensor& value, bool registered) {
             typed->replace(value, registered);
           },
           false});
    }
  }
  // Those of a TorchScript module are among its attributes.
  const auto attributes = branch.callable().attributes();
  for (const auto& parameter : branch.parameters()) {
    for (std::size_t i = 0; i < attributes.size(); ++i) {
      if (attributes[i].isTensor() &&
          attributes[i].toTensor().is_same(parameter)) {
        slots.push_back(
            {parameter,
             [branch, i](const Tensor& value, bool) {
               auto values = branch.callable().attributes();
               values[i] = value;
               branch.callable().set_attributes(values);
             },
             true});
      }
    }
  }
  return slots;
}

void replace_parameter(const Program& program, const Model& model) {
  std::vector<Slot> slots;
  // A frozen parameter that a member loses leaves no trace, nor does one that a
  // frozen one takes the place of in a stack within a branch.
  const bool nested =
      program.change != Change::kMemberReplaced || program.replaced_by_trained;
  for (const auto& branch : model.branches) {
    for (auto& slot : slots_of(branch, nested)) {
      if (program.change != Change::kMemberReplaced ||
          (!slot.scripted && slot.parameter.requires_grad())) {
        slots.push_back(std::move(slot));
      }
    }
  }
  if (slots.empty()) {
    return;
  }
  const auto& slot = slots[program.changed % slots.size()];
  const bool registered = program.change != Change::kMemberReplaced;
  slot.replace(
      (1.25 * slot.parameter)
          .detach()
          .requires_grad_(program.replaced_by_trained),
      registered);
  if (program.change == Change::kReplacedAndRestored) {
    slot.replace(slot.parameter, registered);
  }
}

void write_to(const Tensor& tensor) {
  const at::NoGradGuard no_grad;
  if (tensor.scalar_type() == at::kBool) {
    tensor.logical_not_();
  } else if (at::isFloatingType(tensor.scalar_type())) {
    tensor.mul_(1.25);
  } else {
    tensor.copy_(tensor.flip({-1}));
  }
}

void write_to_one(const Program& program, const std::vector<Tensor>& tensors) {
  std::vector<Tensor> there;
  for (const auto& tensor : tensors) {
    if (tensor.defined() && tensor.dim() > 0) {
      there.push_back(tensor);
    }
  }
  if (!there.empty()) {
    write_to(there[program.changed % there.size()]);
  }
}

template <typename List>
std::vector<Tensor> tensors_of(const Model& model, const List& list) {
  std::vector<Tensor> all;
  for (const auto& branch : model.branches) {
    const auto tensors = list(branch);
    all.insert(all.end(), tensors.begin(), tensors.end());
  }
  return all;
}

std::vector<Tensor> parameters_of(const Model& model) {
  return tensors_of(model, [](const Branch& b) { return b.parameters(); });
}

void change_flag(const Program& program, const Model& model) {
  const bool twice = program.derivative == Derivative::kPenalty ||
                     program.derivative == Derivative::kHessianVector;
  std::vector<Tensor> leaves;
  for (std::size_t i = 0; i < model.branches.size(); ++i) {
    // What TorchScript's second derivatives make of a flag that is set after
    // the forward depends on how often its executor has run it.
    if (twice && is_scripted(program.branches[i].kind)) {
      continue;
    }
    for (const auto& parameter : model.branches[i].parameters()) {
      if (parameter.is_leaf()) {
        leaves.push_back(parameter);
      }
    }
  }
  if (!leaves.empty()) {
    auto& leaf = leaves[program.changed % leaves.size()];
    leaf.set_requires_grad(!leaf.requires_grad());
  }
}

// `value`, or what it contains.
void add_graphs(const c10::IValue& value, std::vector<Tensor>& tensors) {
  if (value.isTensor()) {
    if (value.toTensor().defined() && value.toTensor().grad_fn()) {
      tensors.push_back(value.toTensor());
    }
  } else if (value.isGenericDict()) {
    for (const auto& item : value.toGenericDict()) {
      add_graphs(item.value(), tensors);
    }
  } else if (value.isList()) {
    for (const auto& item : value.toList().vec()) {
      add_graphs(item, tensors);
    }
  }
}

}  // namespace

void make_change(
    const Program& program,
    const Model& model,
    const std::vector<Tensor>& context,
    const std::vector<Tensor>& outputs) {
  switch (program.change) {
    case Change::kReplaced:
    case Change::kMemberReplaced:
    case Change::kReplacedAndRestored:
      return replace_parameter(program, model);
    case Change::kParameterWritten:
      return write_to_one(program, parameters_of(model));
    case Change::kParameterFlagged:
      return change_flag(program, model);
    case Change::kBufferWritten:
      return write_to_one(program, tensors_of(model, [](const Branch& b) {
                            return b.buffers();
                          }));
    case Change::kContextWritten:
      return write_to_one(program, context);
    case Change::kOutputWritten:
      return write_to_one(program, outputs);
    default:
      return;
  }
}

std::vector<Tensor> auxiliaries(const Model& model) {
  return tensors_of(model, [](const Branch& branch) {
    std::vector<Tensor> tensors;
    for (const auto& value : branch.callable().attributes()) {
      add_graphs(value, tensors);
    }
    for (const auto& module : branch.module()->modules()) {
      if (const auto* keeps = dynamic_cast<Auxiliary*>(module.get())) {
        add_graphs(keeps->auxiliary(), tensors);
      }
    }
    return tensors;
  });
}

void drop_auxiliaries(const Model& model) {
  for (const auto& tensor : auxiliaries(model)) {
    tensor.unsafeGetTensorImpl()->set_autograd_meta(nullptr);
  }
}

std::vector<std::vector<std::string>> expected_errors(const Program& program) {
  std::vector<std::vector<std::string>> errors;
  if (program.auxiliary_in_loss) {
    errors.push_back({"torchrev::Branch", "return it from the branch"});
  }
  const auto has_large_buffer = [](const BranchSpec& spec) {
    return spec.kind == Kind::kLargeBuffer;
  };
  if (any_branch(program, has_large_buffer)) {
    errors.push_back({"torchrev::", "of more than 1 MiB", "mutable_buffers"});
  }
  if (program.same_input) {
    // The inverse of an identity makes zeros of equal streams: statistics are
    // then left alone, and change at a later call.
    errors.push_back({"torchrev::", "the buffers of", "as in forward"});
  }
  switch (program.change) {
    case Change::kReplaced:
    case Change::kMemberReplaced:
      errors.push_back({"torchrev::", "was replaced by another tensor"});
      errors.push_back({"torchrev::", "that a member of the module held"});
      errors.push_back({"torchrev::", "has replaced a parameter since"});
      break;
    case Change::kParameterWritten:
      errors.push_back({"torchrev::", "the parameters of", "in place"});
      errors.push_back({"modified by an inplace operation"});
      break;
    case Change::kParameterFlagged:
      errors.push_back({"torchrev::", "the parameters of", "requires_grad"});
      break;
    case Change::kBufferWritten:
      errors.push_back({"torchrev::", "the buffers of", "as in forward"});
      if (any_branch(program, [](const BranchSpec& spec) {
            return is_scripted(spec.kind);
          })) {
        // Whether a script saves a buffer depends on how often its executor has
        // run it.
        errors.push_back({"modified by an inplace operation"});
      }
      break;
    case Change::kContextWritten:
      errors.push_back({"torchrev::", "the context of", "in place"});
      errors.push_back({"modified by an inplace operation"});
      break;
    case Change::kOutputWritten:
      errors.push_back({"modified by an inplace operation"});
      break;
    default:
      break;
  }
  return errors;
}

bool may_be_refused(const Program& program) {
  switch (program.change) {
    case Change::kParameterWritten:
    case Change::kBufferWritten:
    case Change::kContextWritten:
    case Change::kOutputWritten:
      return true;
    default:
      return false;
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
