#include "recompute/attributes.h"

#include <algorithm>

#include "recompute/graph_mode.h"

namespace torchrev {
namespace detail {

namespace {

using c10::IValue;

// Of a list, dictionary (keys and values in turn), tuple or object.
std::vector<IValue> elements_of(const IValue& value) {
  if (value.isList()) {
    return value.toList().vec();
  }
  std::vector<IValue> elements;
  if (value.isGenericDict()) {
    for (const auto& item : value.toGenericDict()) {
      elements.push_back(item.key());
      elements.push_back(item.value());
    }
  } else if (value.isTuple()) {
    const auto tuple = value.toTuple();
    elements.assign(tuple->elements().begin(), tuple->elements().end());
  } else if (value.isObject() && !value.isModule()) {
    elements.assign(
        value.toObjectRef().slots().begin(), value.toObjectRef().slots().end());
  }
  return elements;
}

bool is_container(const IValue& value) {
  return value.isList() || value.isGenericDict() || value.isTuple() ||
         (value.isObject() && !value.isModule());
}

// A tuple cannot be written: it holds what it always held.
void set_elements(const IValue& value, const std::vector<IValue>& elements) {
  if (value.isList()) {
    auto list = value.toList();
    list.clear();
    for (const auto& element : elements) {
      list.push_back(element);
    }
  } else if (value.isGenericDict()) {
    auto dict = value.toGenericDict();
    dict.clear();
    for (std::size_t i = 0; i < elements.size(); i += 2) {
      dict.insert(elements[i], elements[i + 1]);
    }
  } else if (value.isObject()) {
    const auto object = value.toObject();
    for (std::size_t i = 0; i < elements.size(); ++i) {
      object->setSlot(i, elements[i]);
    }
  }
}

// A container of the type of `value` for other elements; of a tuple, itself.
IValue empty_like(const IValue& value) {
  if (value.isList()) {
    auto list = value.toList().copy();
    list.clear();
    return list;
  }
  if (value.isGenericDict()) {
    auto dict = value.toGenericDict().copy();
    dict.clear();
    return dict;
  }
  if (value.isObject()) {
    const auto object = value.toObject();
    return c10::ivalue::Object::create(
        c10::StrongTypePtr(object->compilation_unit(), object->type()),
        object->slots().size());
  }
  return value;
}

IValue tuple_like(const IValue& value, std::vector<IValue> elements) {
  const auto type = value.toTuple()->type();
  return type->name() ? c10::ivalue::Tuple::createNamed(
                            std::move(elements), type->expect<c10::TupleType>())
                      : c10::ivalue::Tuple::create(std::move(elements));
}

// One tensor, number, string or container and itself. Strings are immutable:
// equal ones are the same.
bool is_same(const IValue& a, const IValue& b) {
  return a.is(b) ||
         (a.isString() && b.isString() && a.toStringRef() == b.toStringRef());
}

bool are_same(const std::vector<IValue>& a, const std::vector<IValue>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), is_same);
}

// Replaces what has a graph in `values` by replacement(tensor), tuples
// included, which cannot be written. Returns whether there was anything.
template <typename Replacement>
bool replace_graphs(
    std::vector<IValue>& values, const Replacement& replacement) {
  bool changed = false;
  for (auto& value : values) {
    if (value.isTensor() && value.toTensor().defined() &&
        value.toTensor().grad_fn()) {
      value = replacement(value.toTensor());
      changed = true;
    } else if (value.isTuple()) {
      auto elements = elements_of(value);
      if (replace_graphs(elements, replacement)) {
        value = c10::ivalue::Tuple::create(std::move(elements));
        changed = true;
      }
    }
  }
  return changed;
}

}  // namespace

Attributes Attributes::of(const Callable& callable) {
  Attributes attributes;
  attributes.values_ = callable.attributes();
  for (const auto& value : attributes.values_) {
    if (value.isPtrType()) {
      attributes.note(value);
    }
  }
  return attributes;
}

void Attributes::note(const IValue& value) {
  if (!is_container(value) ||
      std::any_of(
          containers_.begin(), containers_.end(), [&](const auto& known) {
            return known.value.is(value);
          })) {
    return;
  }
  auto elements = elements_of(value);
  containers_.push_back({value, elements});
  for (const auto& element : elements) {
    note(element);
  }
}

bool Attributes::operator==(const Attributes& other) const {
  return are_same(values_, other.values_) &&
         std::equal(
             containers_.begin(),
             containers_.end(),
             other.containers_.begin(),
             other.containers_.end(),
             [](const Container& a, const Container& b) {
               return a.value.is(b.value) && are_same(a.elements, b.elements);
             });
}

void Attributes::set(Callable& callable) const {
  callable.set_attributes(values_);
  for (const auto& container : containers_) {
    set_elements(container.value, container.elements);
  }
}

void Attributes::restore(Callable& callable) const {
  if (!(*this == of(callable))) {
    set(callable);
  }
}

Attributes Attributes::without_graphs(const Callable& callable) && {
  const auto detached = [&](const Tensor& tensor) {
    const auto parameters = callable.parameters();
    const bool is_parameter = std::any_of(
        parameters.begin(), parameters.end(), [&](const Tensor& parameter) {
          return parameter.is_same(tensor);
        });
    return is_parameter ? tensor : tensor.detach();
  };
  replace_graphs(values_, detached);
  for (auto& container : containers_) {
    replace_graphs(container.elements, detached);
  }
  return std::move(*this);
}

std::vector<IValue> Attributes::separate() const {
  std::vector<IValue> copies;
  const auto copy_of = [&](const IValue& value) {
    const auto found = std::find_if(
        containers_.begin(), containers_.end(), [&](const Container& known) {
          return known.value.is(value);
        });
    const auto i = static_cast<std::size_t>(found - containers_.begin());
    return i < copies.size() ? copies[i] : value;
  };
  for (const auto& container : containers_) {
    copies.push_back(empty_like(container.value));
  }
  // Inner ones first: a tuple is made of what it holds.
  for (auto i = containers_.size(); i-- > 0;) {
    auto elements = containers_[i].elements;
    std::transform(elements.begin(), elements.end(), elements.begin(), copy_of);
    if (containers_[i].value.isTuple()) {
      copies[i] = tuple_like(containers_[i].value, std::move(elements));
    } else {
      set_elements(copies[i], elements);
    }
  }
  auto values = values_;
  std::transform(values.begin(), values.end(), values.begin(), copy_of);
  return values;
}

void refuse_graphs_in_attributes(
    Callable& callable, const torch::autograd::edge_list& edges) {
  auto attributes = Attributes::of(callable);
  const auto refusing = [&](const Tensor& tensor) {
    return refusing_alias(tensor, edges);
  };
  bool any = replace_graphs(attributes.values_, refusing);
  for (auto& container : attributes.containers_) {
    any |= replace_graphs(container.elements, refusing);
  }
  if (any) {
    attributes.set(callable);
  }
}

}  // namespace detail
}  // namespace torchrev
