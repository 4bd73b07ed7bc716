#include "rounded.h"

#include <algorithm>

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

double largest(const Tensor& tensor) {
  return tensor.numel() > 0 ? tensor.abs().max().item<double>() : 0;
}

double largest(const std::vector<NamedTensor>& tensors) {
  double result = 0;
  for (const auto& item : tensors) {
    result = std::max(result, largest(item.tensor));
  }
  return result;
}

namespace {

double change_of(
    const std::vector<NamedTensor>& actual,
    const std::vector<NamedTensor>& expected) {
  double change = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const auto &a = actual[i].tensor, &e = expected[i].tensor;
    if (a.sizes() == e.sizes() && largest(e) > 0) {
      change = std::max(change, largest(a - e) / largest(e));
    }
  }
  return change;
}

}  // namespace

double Rounded::change() {
  constexpr int kWays = 8;
  if (!change_) {
    change_ = 0;
    for (int phase = 0; phase < kWays; ++phase) {
      const auto record = rounded(phase);
      change_ = std::max(
          {*change_,
           change_of(record.gradients, expected_.gradients),
           change_of(record.outputs, expected_.outputs)});
    }
  }
  return *change_;
}

namespace {

double epsilon_of(at::ScalarType type) {
  constexpr double kFloat = 0x1p-24, kDouble = 0x1p-53;
  return type == at::kFloat ? kFloat : kDouble;
}

}  // namespace

double Rounded::of_zero() const {
  constexpr double kSummands = 128;
  return kSummands * epsilon_of(program_.dtype) *
         std::max({1.0, largest_, largest(expected_.gradients)});
}

double Rounded::epsilon() const {
  constexpr double kBfloat16 = 0x1p-9;
  return program_.autocast ? kBfloat16 : epsilon_of(program_.dtype);
}

Record Rounded::rounded(double phase) const {
  const Disturbance disturbance(epsilon() * largest_, phase);
  return run_plain_();
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
