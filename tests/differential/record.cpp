#include "record.h"

namespace torchrev {
namespace test {
namespace differential {

void Record::add_gradient(const std::string& name, const Tensor& gradient) {
  if (gradient.defined()) {
    gradients.push_back({name, gradient.detach().clone()});
  }
}

void Record::add_attribute(const c10::IValue& value, const std::string& name) {
  if (value.isTensor()) {
    state.push_back({"attribute" + name, value.toTensor().detach().clone()});
  } else if (value.isGenericDict()) {
    for (const auto& item : value.toGenericDict()) {
      add_attribute(item.key(), " (a key)" + name);
      add_attribute(item.value(), name);
    }
  } else if (value.isList()) {
    for (const auto& item : value.toList().vec()) {
      add_attribute(item, " (in a list)" + name);
    }
  } else {
    attributes.push_back(c10::str(value, name));
  }
}

void Record::add_state(const Model& model) {
  for (std::size_t i = 0; i < model.branches.size(); ++i) {
    const auto name = " of branch " + std::to_string(i);
    const auto& branch = model.branches[i];
    for (const auto& buffer : branch.buffers()) {
      state.push_back({"buffer" + name, buffer.detach().clone()});
    }
    for (const auto& value : branch.callable().attributes()) {
      add_attribute(value, name);
    }
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
