#include "branch/script_slots.h"

#include <unordered_map>

namespace torchrev {
namespace detail {

using ScriptModule = torch::jit::Module;

namespace {

// Calls `visit(object, slot, is_parameter)` for each slot of the module tree
// that holds no module. Slots are read straight from the object: looking
// attributes up by name would cost more than a small branch.
template <typename Visit>
void for_each_slot(const c10::ivalue::Object& object, const Visit& visit) {
  const auto type = object.type();
  for (std::size_t i = 0; i < type->numAttributes(); ++i) {
    if (type->getAttribute(i)->is_module()) {
      for_each_slot(object.getSlot(i).toObjectRef(), visit);
    } else {
      visit(const_cast<c10::ivalue::Object&>(object), i, type->is_parameter(i));
    }
  }
}

// A tree of modules of the same types. `value`: the first of what their slots
// hold that hold no module. A module that is in two places is one in the copy.
using Objects = std::unordered_map<
    const c10::ivalue::Object*,
    c10::intrusive_ptr<c10::ivalue::Object>>;
c10::intrusive_ptr<c10::ivalue::Object> copy_tree(
    c10::ivalue::Object& object,
    std::vector<c10::IValue>::const_iterator& value,
    Objects& copies) {
  const auto type = object.type();
  auto& copy = copies[&object];
  if (!copy) {
    copy = c10::ivalue::Object::create(
        c10::StrongTypePtr(object.compilation_unit(), type),
        type->numAttributes());
  }
  auto result = copy;
  for (std::size_t i = 0; i < type->numAttributes(); ++i) {
    if (type->getAttribute(i)->is_module()) {
      const auto child = object.getSlot(i).toObject();
      result->setSlot(i, copy_tree(*child, value, copies));
    } else {
      result->setSlot(i, *value++);
    }
  }
  return result;
}

// Those in lists and dictionaries included.
std::vector<Tensor> tensors_of(const ScriptModule& module, bool parameters) {
  std::vector<Tensor> tensors;
  const auto add = [&](const c10::IValue& value) {
    if (value.isTensor() && value.toTensor().defined()) {
      tensors.push_back(value.toTensor());
    }
    return false;
  };
  for_each_slot(*module._ivalue(), [&](auto& object, auto i, bool parameter) {
    const auto& value = object.getSlot(i);
    if (parameter != parameters) {
      return;
    }
    if (value.isPtrType() && !value.isTensor()) {
      value.visit(add);
    } else {
      add(value);
    }
  });
  return tensors;
}

}  // namespace

std::vector<Tensor> parameters_of(const ScriptModule& module) {
  return tensors_of(module, /*parameters=*/true);
}

std::vector<Tensor> buffers_of(const ScriptModule& module) {
  return tensors_of(module, /*parameters=*/false);
}

std::vector<c10::IValue> slots_of(const ScriptModule& module) {
  std::vector<c10::IValue> values;
  for_each_slot(*module._ivalue(), [&](auto& object, auto i, bool) {
    values.push_back(object.getSlot(i));
  });
  return values;
}

void set_slots(
    const ScriptModule& module,
    std::vector<c10::IValue>::const_iterator& value) {
  for_each_slot(*module._ivalue(), [&](auto& object, auto i, bool) {
    object.setSlot(i, *value++);
  });
}

ScriptModule copy_with_slots(
    const ScriptModule& module, const std::vector<c10::IValue>& values) {
  auto value = values.begin();
  Objects copies;
  return ScriptModule(copy_tree(*module._ivalue(), value, copies));
}

}  // namespace detail
}  // namespace torchrev
