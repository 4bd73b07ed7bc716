#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

namespace torchrev {
namespace detail {

using at::Tensor;

// Where a generator stands. Whoever reads or sets it holds its mutex, if other
// threads may use it.
//
// The state of a CPU generator is copied as it is, 2.5 KiB: the tensor that
// Generator::get_state makes takes longer than a small branch runs.
class GeneratorState {
 public:
  static GeneratorState of(const at::Generator& generator);
  void set(at::Generator& generator) const;
  bool operator==(const GeneratorState& other) const;
  // Whether `generator` stands there.
  bool is_of(const at::Generator& generator) const;

 private:
  at::mt19937_data_pod cpu_;
  torch::optional<float> cpu_float_;
  torch::optional<double> cpu_double_;
  // Of a generator of another device; else undefined.
  Tensor device_;
};

// The generator that operators on `device` draw from unless they are given one;
// undefined if there is none that is known of.
at::Generator default_generator(const c10::Device& device);

}  // namespace detail
}  // namespace torchrev
