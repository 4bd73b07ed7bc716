#include "branch/in_branch.h"

#include <torch/csrc/jit/runtime/jit_exception.h>

#include <stdexcept>
#include <string>
#include <typeinfo>

namespace torchrev {
namespace detail {

namespace {

// The interpreter of TorchScript ends its text with a line break.
std::string extended(const std::exception& error, const std::string& place) {
  const std::string text = error.what();
  const bool ends = !text.empty() && text.back() == '\n';
  return text + (ends ? "" : "\n") + place;
}

}  // namespace

// LibTorch's errors are extended where they are, which keeps their type. Of
// other types there is a new object, of that very type: a type that derives
// from these, and is not known here, passes as it is.
void rethrow_from(const Place& place) {
  using torch::jit::JITException;
  const auto text = c10::str("in ", place, " of torchrev::", place.entry);
  try {
    throw;
  } catch (c10::Error& error) {
    error.add_context(text);
    throw;
  } catch (const JITException& error) {
    if (typeid(error) != typeid(JITException)) {
      throw;
    }
    throw JITException(
        extended(error, text),
        error.getPythonClassName(),
        error.getOriginalMsg());
  } catch (const std::runtime_error& error) {
    if (typeid(error) != typeid(std::runtime_error)) {
      throw;
    }
    throw std::runtime_error(extended(error, text));
  }
}

void add_entry(const char* entry, c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  if (text.find("torchrev::") == std::string::npos) {
    error.add_context(c10::str("in torchrev::", entry));
  }
}

void ProfilerRange::begin(
    const Place& place, BranchRun run, at::StepCallbacks&& listeners) {
  const char* const kind =
      run == BranchRun::kForward ? " (forward)" : " (recompute)";
  range_.emplace(std::move(listeners));
  range_->before(c10::str("torchrev::", place, kind));
}

}  // namespace detail
}  // namespace torchrev
