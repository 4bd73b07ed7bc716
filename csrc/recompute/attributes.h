#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/function.h>
#include <torchrev/branch.h>

#include <vector>

namespace torchrev {
namespace detail {

// The attributes of a branch by value: train / eval flags, and of a TorchScript
// module what it keeps, elements of lists and dictionaries included. The
// contents of tensors are the business of BufferRecord.
class Attributes {
 public:
  static Attributes of(const Callable& callable);

  const std::vector<c10::IValue>& values() const {
    return values_;
  }

  // Whether they are the same, as far as they can be told apart.
  bool operator==(const Attributes& other) const;
  // Makes those of `callable` these, in the very lists and dictionaries that
  // they were in.
  void set(Callable& callable) const;
  // The same, if they are not.
  void restore(Callable& callable) const;
  // The same without graphs, which a record would keep, but for those of
  // parameters of `callable`.
  Attributes without_graphs(const Callable& callable) &&;
  // These values, with lists and dictionaries of their own.
  std::vector<c10::IValue> separate() const;

 private:
  friend void refuse_graphs_in_attributes(
      Callable& callable, const torch::autograd::edge_list& edges);

  // A list, dictionary, tuple or object, and its elements.
  struct Container {
    c10::IValue value;
    std::vector<c10::IValue> elements;
  };
  // Notes `value`, if it is a container, and those within it.
  void note(const c10::IValue& value);

  std::vector<c10::IValue> values_;
  // Outer ones first.
  std::vector<Container> containers_;
};

// Attributes whose tensors have a graph (an auxiliary loss, the weight that a
// hook computes) get aliases of these instead: the graph is gone after the
// call, and a backward pass through an alias is an error that says so. `edges`:
// those of all that the call depended on.
void refuse_graphs_in_attributes(
    Callable& callable, const torch::autograd::edge_list& edges);

}  // namespace detail
}  // namespace torchrev
