#pragma once

#include <ATen/core/stack.h>
#include <torch/script.h>

#include <map>
#include <random>
#include <string>
#include <vector>

/// Arguments of operators, as a careless or hostile caller would choose them.

namespace torchrev {
namespace fuzz {

/// A call of an operator, by name. Arguments may have any type.
struct Call {
  std::string name;
  std::string overload;
  std::vector<c10::IValue> arguments;
  std::map<std::string, c10::IValue> keywords;
  /// How it is called.
  bool grad_mode = true;
};
std::ostream& operator<<(std::ostream& stream, const Call& call);

/// Draws calls. Modules are made once, a call of one number is always the same.
class Calls {
 public:
  explicit Calls(uint64_t seed);

  Call draw(uint64_t number);

  /// A stack of two blocks that nothing is wrong with.
  torch::jit::Module good() const {
    return modules_[0];
  }

 private:
  // Whether something happens that happens once in `n` times.
  bool once_in(int64_t n);
  int64_t below(int64_t n);
  template <typename T>
  const T& any(const std::vector<T>& of);

  at::Tensor tensor();
  c10::IValue module(bool of_blocks);
  c10::IValue context();
  c10::IValue option(const c10::Argument& argument);
  c10::IValue nonsense();

  uint64_t seed_;
  std::mt19937_64 random_;
  std::vector<torch::jit::Module> branches_;
  std::vector<torch::jit::Module> modules_;
};

}  // namespace fuzz
}  // namespace torchrev
