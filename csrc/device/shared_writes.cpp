#include "device/shared_writes.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "device/capabilities.h"
#include "device/handover.h"

namespace torchrev {
namespace detail {

namespace {

// The last ones on each device.
class LastWrites {
 public:
  static LastWrites& instance() {
    static auto* const all = new LastWrites;
    return *all;
  }
  Handover on(const c10::Device& device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return all_[device];
  }
  void set(const c10::Device& device, Handover handover) {
    const std::lock_guard<std::mutex> lock(mutex_);
    all_[device] = std::move(handover);
  }

 private:
  std::mutex mutex_;
  std::unordered_map<c10::Device, Handover> all_;
};

}  // namespace

SharedWrites::SharedWrites(std::vector<at::Tensor> tensors)
    : tensors_(std::move(tensors)) {
  tensors_.erase(
      std::remove_if(
          tensors_.begin(),
          tensors_.end(),
          [](const at::Tensor& tensor) {
            return !has_streams(tensor.device());
          }),
      tensors_.end());
  for (const auto& tensor : tensors_) {
    LastWrites::instance().on(tensor.device()).receive(tensor);
  }
}

SharedWrites::~SharedWrites() {
  for (const auto& tensor : tensors_) {
    LastWrites::instance().set(tensor.device(), Handover(tensor));
  }
}

}  // namespace detail
}  // namespace torchrev
