#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/csrc/jit/api/module.h>
#include <torchrev/options.h>

#include <string>
#include <vector>

namespace torchrev {
namespace detail {

// What an operator has of the keywords `streams` and `dim`: one of two streams
// none, one of a tensor both, and its inverse `dim`, since split streams alone
// have an inverse.
enum class StreamsKeywords { kNone, kAll, kDim };

// The options as keywords of an operator's schema, with their types and
// defaults: "bool preserve_rng_state=True, int save_every=0, ...".
std::string keywords(StreamsKeywords of_streams);

// Takes the arguments of a call off the stack and hands them out from left to
// right.
class Arguments {
 public:
  Arguments(const c10::OperatorHandle& handle, torch::jit::Stack& stack);

  Tensor tensor();
  torch::jit::Module module();
  // Of an overload `.context`, else none.
  std::vector<Tensor> context();
  // What keywords() declares; the last arguments.
  ReversibleOptions options();

 private:
  c10::IValue next() {
    return std::move(values_[position_++]);
  }
  void append_context(const c10::IValue& value, std::vector<Tensor>& context);

  // Each reads the keyword, or keywords, of an option of its type.
  void read(bool& value);
  void read(int64_t& value);
  void read(torch::optional<int64_t>& value);
  void read(torch::optional<double>& value);
  void read(torch::optional<at::ScalarType>& value);
  void read(Streams& value);
  std::shared_ptr<const Coupling> coupling(const Streams& streams);

  const c10::FunctionSchema& schema_;
  // Its name without the namespace.
  std::string entry_;
  std::vector<c10::IValue> values_;
  std::size_t position_ = 0;
};

}  // namespace detail
}  // namespace torchrev
