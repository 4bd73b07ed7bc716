#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/DispatchKey.h>

namespace torchrev {
namespace detail {

// Comes before autograd, autocast and all backends, and no kernels of LibTorch
// are under it: it was made for libraries outside of it.
constexpr auto kInterceptionKey = c10::DispatchKey::DeferredInit;

// The kernel of all operators under that key: puts private copies in the place
// of buffers, and runs what comes after the key. Operators that draw have one
// of their own, intercepted_draws.cpp, which ends here, too.
void run_intercepted(
    const c10::OperatorHandle& op,
    c10::DispatchKeySet keys,
    torch::jit::Stack* stack);

}  // namespace detail
}  // namespace torchrev
