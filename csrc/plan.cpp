#include <torchrev/plan.h>

#include <fmt/format.h>

#include <string>

namespace torchrev {

namespace {

std::string kept_blocks(const Plan& plan) {
  const auto first = plan.blocks - plan.store_last;
  const auto last = plan.blocks - 1;
  return plan.store_last == 0   ? "no block"
         : plan.store_last == 1 ? fmt::format("block {}", last)
                                : fmt::format("blocks {} to {}", first, last);
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Plan& plan) {
  return stream << fmt::format(
             "keeps {} of {} (store_last = {}): {} bytes after forward, {} at "
             "the peak, {:.2f} x the time of plain autograd",
             kept_blocks(plan),
             plan.blocks,
             plan.store_last,
             plan.retained_bytes,
             plan.peak_bytes,
             plan.relative_time());
}

}  // namespace torchrev
