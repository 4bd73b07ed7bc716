#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

// Checks of a number that is computed on the device of the streams. On the CPU,
// and wherever work is not queued, the number is there and checked at once. An
// accelerator is not waited for: the number is copied to the host in the
// background, and checked by a later call, once it has arrived.

namespace torchrev {
namespace detail {

// Throws what the user is to see if the number is wrong.
using Check = std::function<void(double)>;

// `number` has one element.
void submit_check(const at::Tensor& number, Check check);

// Checks the numbers that have arrived, without waiting.
void check_arrived();

// Waits for all numbers, and checks them.
void check_all();

}  // namespace detail
}  // namespace torchrev
