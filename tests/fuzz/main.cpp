#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>
#include <torchrev/ops.h>

#include <unistd.h>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <regex>

#include "fuzz/hostile.h"

// Malformed and hostile calls of the operators, through the dispatcher.
//
//   torchrev_fuzz [CALLS [SEED [FIRST]]]
//
// Each call returns, or raises a message that starts with "torchrev", is the
// schema's own, or is the branch's own with its place in a stack at its end.
// Meanwhile, and at the end, good calls give what they gave at first. Prints
// what breaks that, with the number of the call: CALLS = 1 and FIRST = that
// number repeat it alone.

namespace torchrev {
namespace fuzz {
namespace {

using at::Tensor;
using torch::jit::Stack;

enum Outcome { kReturned, kOurs, kSchemas, kBranchs, kWrong, kOutcomes };
constexpr const char* kNames[] = {
    "returned", "ours", "the schema's", "the branch's", "wrong"};

std::string text_of(const std::exception& error) {
  const auto* ours = dynamic_cast<const c10::Error*>(&error);
  return ours ? ours->what_without_backtrace() : error.what();
}

// Whether a place stands at the end of `text`.
bool ends_with_place(const std::string& text) {
  static const std::regex place(
      "in (([FG] of block [0-9]+|the branch) of )?torchrev::[a-z_]+\\)?$");
  const auto last =
      text.substr(text.size() - std::min<size_t>(text.size(), 100));
  return std::regex_search(last, place);
}

Outcome outcome_of(const std::exception& error) {
  const auto text = text_of(error);
  if (text.find("INTERNAL ASSERT") != std::string::npos ||
      text.find("report a bug") != std::string::npos) {
    return kWrong;
  }
  if (text.rfind("torchrev::", 0) == 0) {
    return kOurs;
  }
  return ends_with_place(text) ? kBranchs : kWrong;
}

// What `remember` hands back may be larger than any memory.
constexpr int64_t kMost = 1 << 20;

void back_propagate(const Stack& results) {
  std::vector<Tensor> roots;
  for (const auto& result : results) {
    if (result.isTensor() && result.toTensor().requires_grad() &&
        result.toTensor().numel() < kMost) {
      roots.push_back(result.toTensor().sum());
    }
  }
  if (!roots.empty()) {
    torch::autograd::backward(roots);
  }
}

Outcome run(const Call& call, std::string& text) {
  const torch::AutoGradMode grad_mode(call.grad_mode);
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(
      ("torchrev::" + call.name).c_str(), call.overload.c_str());
  Stack stack = call.arguments;
  try {
    // As Python and TorchScript do it.
    op.schema().checkAndNormalizeInputs(
        stack, {call.keywords.begin(), call.keywords.end()});
  } catch (const std::exception& error) {
    text = text_of(error);
    return kSchemas;
  }
  try {
    op.callBoxed(&stack);
    back_propagate(stack);
    return kReturned;
  } catch (const std::exception& error) {
    text = text_of(error);
    return outcome_of(error);
  }
}

// Outputs and gradients of a call that nothing is wrong with.
std::vector<Tensor> good_step(const torch::jit::Module& blocks) {
  const auto x = torch::linspace(-1, 1, 8).reshape({2, 4}).requires_grad_();
  const auto [y1, y2] = ops::reversible_sequence(blocks, x, x.sin());
  auto results = torch::autograd::grad(
      {(y1 * y1).sum() + y2.sin().sum()}, {x, *blocks.parameters().begin()});
  results.push_back(y1);
  results.push_back(y2);
  return results;
}

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!torch::equal(a[i], b[i])) {
      return false;
    }
  }
  return true;
}

// The call that runs, for the message of a crash.
volatile uint64_t running = 0;

void on_crash(int signal) {
  char text[64] = "crashed in call ";
  auto* end = text + std::strlen(text);
  char digits[24];
  int count = 0;
  for (auto rest = running; count == 0 || rest > 0; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  while (count > 0) {
    *end++ = digits[--count];
  }
  *end++ = '\n';
  if (write(STDERR_FILENO, text, end - text) < 0) {
    _exit(1);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

int fuzz(uint64_t calls, uint64_t seed, uint64_t first) {
  constexpr uint64_t kGoodEvery = 100;
  Calls source(seed);
  torch::manual_seed(0);
  const auto expected = good_step(source.good());
  std::array<uint64_t, kOutcomes> counts{};
  for (running = first; running < first + calls; running = running + 1) {
    const auto call = source.draw(running);
    std::string text;
    auto outcome = run(call, text);
    if (outcome != kWrong && running % kGoodEvery == 0 &&
        !same(good_step(source.good()), expected)) {
      outcome = kWrong;
      text = "a good call gives something else afterwards";
    }
    ++counts[outcome];
    if (outcome == kWrong && counts[kWrong] <= 20) {
      std::cout << "call " << running << ": " << call << "\n  " << text << "\n";
    } else if (calls == 1) {
      std::cout << call << "\n  " << kNames[outcome] << ": " << text << "\n";
    }
  }
  if (!same(good_step(source.good()), expected)) {
    ++counts[kWrong];
    std::cout << "a good call gives something else at the end\n";
  }
  std::cout << calls << " calls from seed " << seed << ":";
  for (int i = 0; i < kOutcomes; ++i) {
    std::cout << ' ' << kNames[i] << ' ' << counts[i];
  }
  std::cout << std::endl;
  return counts[kWrong] == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fuzz
}  // namespace torchrev

int main(int argc, char** argv) {
  at::set_num_threads(1);
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS}) {
    std::signal(signal, torchrev::fuzz::on_crash);
  }
  const auto number = [&](int i, uint64_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  return torchrev::fuzz::fuzz(number(1, 2000), number(2, 1), number(3, 0));
}
