#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <array>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "check.h"
#include "remember.h"

// Runs a branch again exactly as it ran: random numbers, autocast, buffers,
// train / eval mode, remembered decisions.

namespace torchrev {
namespace detail {

// The states of the default generators of the CPU and of `devices`.
class RngState {
 public:
  static RngState capture(at::ArrayRef<c10::Device> devices);
  void restore() const;
  bool operator==(const RngState& other) const;

 private:
  at::mt19937_data_pod cpu_;
  torch::optional<float> cpu_float_;
  torch::optional<double> cpu_double_;
  std::vector<std::pair<at::Generator, Tensor>> devices_;
};

// Enabled flag and dtype of each device type, and the cache flag.
class AutocastState {
 public:
  static AutocastState capture(c10::DeviceType device);
  void restore() const;
  bool any_enabled() const;
  // Autocast's weight cache would hand casts made without grad mode to a
  // recompute that needs their gradient.
  AutocastState without_cache() const;

 private:
  struct PerType {
    c10::DeviceType type;
    bool enabled;
    at::ScalarType dtype;
  };
  std::vector<PerType> types_;
  bool cache_ = false;
};

// A buffer and a copy of what it held.
struct BufferCopy {
  Tensor buffer;
  Tensor value;
};

// What one call of a branch saw.
class Replay {
 public:
  // Notes the surroundings of the call of `branch` with `x` that follows.
  Replay(
      const Branch& branch, const Tensor& x, const ReversibleOptions& options);

  // Runs the branch for the first time.
  Tensor record(
      const Place& place,
      const Tensor& x,
      at::TensorList context,
      at::TensorList parameters);

 private:
  friend class Rerun;
  friend class Unobserved;

  Branch branch_;
  bool preserve_rng_;
  bool verify_;
  std::vector<c10::Device> devices_;
  std::unique_ptr<RngState> rng_;
  AutocastState autocast_;
  std::vector<c10::IValue> attributes_;
  std::vector<BufferCopy> buffers_;
  std::vector<BufferCopy> constants_;
  Decisions decisions_;
};

// One more run of a recorded call. While it lives, buffers and attributes are
// those of the recorded forward (the local gradient may read them); afterwards
// they are as if there had been no recompute.
class Rerun {
 public:
  explicit Rerun(const Replay& replay);
  ~Rerun();
  Rerun(const Rerun&) = delete;
  Rerun& operator=(const Rerun&) = delete;

  Tensor operator()(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

 private:
  const Replay& replay_;
  std::unique_lock<std::recursive_mutex> lock_;
  std::vector<BufferCopy> buffers_;
  std::vector<c10::IValue> attributes_;
  bool attributes_changed_ = false;
};

// While it lives, runs of the branch leave no trace: buffers, attributes and
// generators are afterwards as before. Holds no lock: a backward among the runs
// may be executed by another thread, whose recomputes take turns.
class Unobserved {
 public:
  Unobserved(const Branch& branch, const Tensor& x);
  ~Unobserved();
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;

 private:
  Replay replay_;
  RngState rng_;
};

}  // namespace detail
}  // namespace torchrev
