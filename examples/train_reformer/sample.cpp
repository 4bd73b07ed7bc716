#include "sample.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>

namespace train_reformer {
namespace {

constexpr double kTemperature = 0.8;

torch::Tensor as_tensor(const std::string& text) {
  const auto bytes = torch::empty(
      {1, static_cast<int64_t>(text.size())}, torch::dtype(torch::kLong));
  auto* out = bytes.data_ptr<int64_t>();
  for (const char byte : text) {
    *out++ = static_cast<unsigned char>(byte);
  }
  return bytes;
}

}  // namespace

std::string sample(
    ReformerLM& model,
    int64_t context,
    const std::string& prompt,
    int64_t count,
    int64_t seed) {
  torch::NoGradGuard no_grad;
  const torch::Generator generator =
      at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
  auto bytes = as_tensor(prompt.empty() ? "\n" : prompt);
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    const auto seen =
        bytes.slice(1, std::max<int64_t>(bytes.size(1) - context, 0));
    const auto logits = model->forward(seen).select(1, -1);  // [1, 256]
    const auto next =
        (logits / kTemperature).softmax(-1).multinomial(1, false, generator);
    bytes = torch::cat({seen, next}, 1);
    text.push_back(static_cast<char>(next.item<int64_t>()));
  }
  return text;
}

std::string printable(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0x20 && byte < 0x7f) || c == '\n' || c == '\t') {
      result.push_back(c);
    } else {
      result += fmt::format("\\x{:02x}", byte);
    }
  }
  return result;
}

}  // namespace train_reformer
