#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

// What the runs of a branch have to decide alike, see torchrev::remember.

namespace torchrev {
namespace detail {

using at::Tensor;

struct Decision {
  std::string name;
  Tensor value;
  uint32_t version;
};

using Decisions = std::vector<Decision>;

// While it lives, calls of remember() on this thread are its own.
//
// A stack within a branch nests scopes. The inner scope records what the outer
// scope returns: when the outer branch is recomputed, the inner stack runs
// forward again and has to decide as it did the first time.
class RememberScope {
 public:
  virtual ~RememberScope();
  RememberScope(const RememberScope&) = delete;
  RememberScope& operator=(const RememberScope&) = delete;

  // Of the calling thread: the innermost one, or null.
  static RememberScope* current();

  // What remember(name, tensor) returns.
  virtual Tensor resolve(const std::string& name, const Tensor& tensor) = 0;

 protected:
  RememberScope();

  RememberScope* const outer_;
};

// Notes the decisions of a forward in `decisions`.
class RecordScope final : public RememberScope {
 public:
  explicit RecordScope(Decisions& decisions) : decisions_(decisions) {}
  Tensor resolve(const std::string& name, const Tensor& tensor) override;

 private:
  Decisions& decisions_;
};

// Hands them out again, in their order.
class ReplayScope final : public RememberScope {
 public:
  explicit ReplayScope(const Decisions& decisions) : decisions_(decisions) {}
  Tensor resolve(const std::string& name, const Tensor& tensor) override;
  // At the end of the run.
  void check_complete() const;

 private:
  const Decisions& decisions_;
  std::size_t next_ = 0;
};

// Runs that only measure: the scopes outside learn nothing of them.
class MeasureScope final : public RememberScope {
 public:
  Tensor resolve(const std::string& /*name*/, const Tensor& tensor) override {
    return tensor;
  }
};

}  // namespace detail
}  // namespace torchrev
