#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

// Checks whose number is computed on the device of the streams. On the CPU they
// (and wherever work is not queued) they are made at once. An accelerator is
// not waited for: the number is copied in the background, and judged when it
// has arrived, at a later call.

namespace torchrev {
namespace detail {

// Throws what the user is to see.
using Judge = std::function<void(double)>;

// `number` has one element.
void submit_verdict(const at::Tensor& number, Judge judge);

// Judges what has arrived, without waiting.
void judge_arrived();

// Waits for all, and judges it.
void judge_all();

}  // namespace detail
}  // namespace torchrev
