#include "fuzz/hostile.h"

namespace torchrev {
namespace fuzz {

using c10::IValue;

namespace {

void describe(std::ostream& stream, const IValue& value) {
  if (value.isTensor() && value.toTensor().defined()) {
    stream << value.toTensor().toString() << value.toTensor().sizes();
  } else if (value.isModule()) {
    stream << value.type()->repr_str();
    const auto forward = value.toModule().find_method("forward");
    if (forward) {
      stream << " " << forward->graph()->toString();
    }
  } else if (value.isString()) {
    stream << '"' << value.toStringRef().substr(0, 20) << '"';
  } else if (value.isInt() || value.isDouble() || value.isBool()) {
    stream << value;
  } else {
    stream << value.tagKind();
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Call& call) {
  stream << call.name << '.' << call.overload << '(';
  for (const auto& argument : call.arguments) {
    describe(stream, argument);
    stream << ", ";
  }
  for (const auto& [name, value] : call.keywords) {
    stream << name << " = ";
    describe(stream, value);
    stream << ", ";
  }
  return stream << (call.grad_mode ? ")" : ") without grad mode");
}

}  // namespace fuzz
}  // namespace torchrev
