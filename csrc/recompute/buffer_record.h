#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <vector>

#include "check.h"
#include "recompute/branch_state.h"

namespace torchrev {
namespace detail {

// How buffers are recorded; see ReversibleOptions.
struct BufferOptions {
  // Those of more than 1 MiB count as state, too.
  bool all_mutable = false;
  // Those of more than 1 MiB that count as constant are compared after each
  // call, not only after the first one.
  bool verify_constant = false;
};

// What a recompute has to know of the buffers of a branch. Copies are kept of
// those that forward changed, and of those that are declared mutable. Of the
// others up to 1 MiB, a checksum tells
// whether they are still what they were; those above count as constant once the
// first call has left them alone.
class BufferRecord {
 public:
  // Before a call. `changed`: which ones earlier calls changed, null if that is
  // not known.
  BufferRecord(
      const std::vector<Tensor>& buffers,
      const BufferOptions& options,
      const std::vector<bool>* changed);

  // After it: drops what is not needed. Throws c10::ValueError that names
  // `place` if a large buffer changed that was not declared. Returns which
  // buffers the call changed, if that was not known; those that it has
  // `written` count, whatever they hold: another thread may write, too.
  std::vector<bool> settle(
      const Place& place, const std::vector<bool>& written = {});

  // How many buffers the branch has, kept or not.
  std::size_t count() const {
    return count_;
  }

  // What was in the changed ones before the call.
  const BufferCopies& copies() const {
    return copies_;
  }

  // Throws c10::ValueError if a buffer that counts as unchanged has changed
  // since.
  void check_unchanged(const Place& place) const;

 private:
  struct Sum {
    Tensor buffer;
    uint64_t before;
  };

  void note(const Tensor& buffer, std::size_t i);

  BufferOptions options_;
  const std::vector<bool>* known_;
  std::size_t count_;
  BufferCopies copies_;
  std::vector<Sum> sums_;
  // Of buffers that must not change: compared in settle().
  BufferCopies large_copies_;
  std::vector<Sum> large_sums_;
  // The number of each buffer in copies_, among all.
  std::vector<std::size_t> numbers_;
};

}  // namespace detail
}  // namespace torchrev
