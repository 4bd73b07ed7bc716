#include "measure/plan_key.h"

#include <ATen/core/grad_mode.h>

#include <cstring>
#include <memory>

#include "compat.h"
#include "device/capabilities.h"
#include "options.h"

namespace torchrev {
namespace detail {

namespace {

// Appends to a key.
class KeyWriter {
 public:
  explicit KeyWriter(PlanKey& key) : key_(key) {}

  KeyWriter& operator<<(int64_t value) {
    key_.push_back(value);
    return *this;
  }
  KeyWriter& operator<<(at::IntArrayRef values) {
    key_.push_back(static_cast<int64_t>(values.size()));
    key_.insert(key_.end(), values.begin(), values.end());
    return *this;
  }
  KeyWriter& operator<<(const Tensor& tensor) {
    if (!tensor.defined()) {
      return *this << -1;
    }
    return *this << tensor.sizes() << tensor.strides()
                 << static_cast<int64_t>(tensor.scalar_type())
                 << static_cast<int64_t>(tensor.device().type())
                 << tensor.device().index() << tensor.requires_grad();
  }
  KeyWriter& operator<<(at::TensorList tensors) {
    for (const auto& tensor : tensors) {
      *this << tensor;
    }
    return *this << static_cast<int64_t>(tensors.size());
  }
  KeyWriter& operator<<(const ReversibleOptions& options) {
    visit_options([&](const char*, const auto& get, const auto&) {
      append(get(options));
    });
    return *this;
  }
  // Which one, in train or eval mode, and what of it is trained.
  KeyWriter& operator<<(const Branch& branch) {
    auto& callable = branch.callable();
    *this << reinterpret_cast<intptr_t>(&callable);
    for (const auto& attribute : callable.attributes()) {
      *this << (attribute.isBool() ? attribute.toBool() : -1);
    }
    return *this << at::TensorList(callable.parameters());
  }
  KeyWriter& autocast(c10::DeviceType type) {
    return *this << compat::is_autocast_enabled(type)
                 << static_cast<int64_t>(compat::autocast_dtype(type));
  }

 private:
  void append(bool value) {
    key_.push_back(value);
  }
  void append(int64_t value) {
    key_.push_back(value);
  }
  void append(double value) {
    int64_t bits;
    static_assert(sizeof(bits) == sizeof(value));
    std::memcpy(&bits, &value, sizeof(bits));
    key_.push_back(bits);
  }
  void append(at::ScalarType value) {
    key_.push_back(static_cast<int64_t>(value));
  }
  void append(const Streams& streams) {
    *this << static_cast<int64_t>(streams.kind) << streams.dim;
  }
  // The stack holds it, so that no other has its address.
  void append(const std::shared_ptr<const Coupling>& coupling) {
    key_.push_back(reinterpret_cast<intptr_t>(coupling.get()));
  }
  template <typename T>
  void append(const torch::optional<T>& value) {
    key_.push_back(value.has_value());
    if (value) {
      append(*value);
    }
  }

  PlanKey& key_;
};

}  // namespace

PlanKey key_of(const StackRun& run, torch::optional<int64_t> budget) {
  PlanKey key;
  KeyWriter writer(key);
  writer << budget.value_or(-1) << run.stack.options << at::TensorList(run.x)
         << run.stack.context << at::GradMode::is_enabled();
  for (const auto type : autocast_types()) {
    writer.autocast(type);
  }
  for (const auto& block : run.stack.blocks) {
    writer << block.f << block.g;
  }
  return key;
}

}  // namespace detail
}  // namespace torchrev
