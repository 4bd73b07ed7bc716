#include "recompute/checksum.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace torchrev {
namespace detail {

namespace {

// Odd, with bits all over: multiplication by it is a permutation of 64 bits.
constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;

uint64_t word_at(const char* bytes, std::size_t count) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, count);
  return word;
}

uint64_t mix(uint64_t sum, uint64_t word) {
  sum = (sum ^ word) * kFactor;
  return sum ^ (sum >> 32);
}

}  // namespace

bool has_checksum(const at::Tensor& tensor) {
  return tensor.layout() == at::kStrided && tensor.device().is_cpu() &&
         tensor.has_storage() && !tensor.is_quantized() &&
         tensor.is_non_overlapping_and_dense();
}

uint64_t checksum(const at::Tensor& tensor) {
  constexpr std::size_t kWord = sizeof(uint64_t);
  const auto* bytes = static_cast<const char*>(tensor.data_ptr());
  const auto size = tensor.nbytes();
  // Several sums side by side: one multiplication waits for the one before.
  std::array<uint64_t, 4> sums = {size, 1, 2, 3};
  std::size_t at = 0;
  for (; at + sums.size() * kWord <= size; at += sums.size() * kWord) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] = mix(sums[i], word_at(bytes + at + i * kWord, kWord));
    }
  }
  for (; at < size; at += kWord) {
    sums[0] = mix(sums[0], word_at(bytes + at, std::min(kWord, size - at)));
  }
  return mix(mix(mix(sums[0], sums[1]), sums[2]), sums[3]);
}

}  // namespace detail
}  // namespace torchrev
