#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bar_chart.h"
#include "report.h"

namespace where_memory_goes {
namespace {

constexpr std::size_t kGroups = 3;
constexpr auto kHidden = "hidden";

using ByGroup = std::array<int64_t, kGroups>;

ByGroup by_group(const std::vector<Row>& rows, int64_t layers) {
  ByGroup sums{};
  for (const auto& row : rows) {
    sums[static_cast<std::size_t>(row.group)] +=
        row.bytes * (row.once ? 1 : layers);
  }
  return sums;
}

int64_t deepest(const Arguments& arguments) {
  return *std::max_element(arguments.depths.begin(), arguments.depths.end());
}

int64_t stream_bytes(const std::vector<Row>& rows) {
  return by_group(rows, 1)[static_cast<std::size_t>(Group::kStreams)];
}

int64_t bytes_named(const std::vector<Row>& rows, const std::string& part) {
  int64_t sum = 0;
  for (const auto& row : rows) {
    sum += row.name.find(part) == std::string::npos ? 0 : row.bytes;
  }
  return sum;
}

/// Of the two matrices of G.
int64_t weight_bytes(const Arguments& arguments) {
  return 2 * arguments.d_model * arguments.d_ff * int64_t{sizeof(float)};
}

/// Kept by group, recomputed by group, and what the peak holds besides: more
/// than is drawn, if it is in the branch that recomputes less.
BarChart::Bar bar_of(const Account& account, int64_t depth) {
  BarChart::Bar bar{account.name, {}};
  int64_t named = 0;
  for (const auto& sums :
       {by_group(account.kept, depth), by_group(account.at_once(), 1)}) {
    for (const auto bytes : sums) {
      bar.values.push_back(mib(bytes));
      named += bytes;
    }
  }
  bar.values.push_back(mib(account.totals.at(depth).peak - named));
  return bar;
}

std::string about_streams(const std::vector<Account>& accounts, int64_t depth) {
  const auto x_and_y_a = stream_bytes(accounts[0].kept);
  const auto& kept = accounts[2].kept;
  const auto y1_and_y2 = bytes_named(kept, "y1") + bytes_named(kept, "y2");
  return fmt::format(
      "* Not because they are smaller: x and y_a take {:.1f} MiB, y1 and y2 "
      "take {:.1f} MiB.\n"
      "* x and y_a are kept for every layer, {:.1f} MiB for {} layers: x "
      "cannot "
      "be computed from\n"
      "  y_a = x + F(x), since F(x) needs x. y1 and y2 are kept once, {:.1f} "
      "MiB for {} layers:\n"
      "  x2 = y2 - G(y1), and then x1 = y1 - F(x2), give the pair before "
      "them.\n",
      mib(x_and_y_a),
      mib(y1_and_y2),
      mib(depth * x_and_y_a),
      depth,
      mib(y1_and_y2),
      depth);
}

std::string about_branches(
    const std::vector<Account>& accounts, const Arguments& arguments) {
  const auto& plain = accounts[0];
  const auto pair = stream_bytes(plain.kept);
  const auto inside = plain.named(/*once=*/false) - pair;
  return fmt::format(
      "* Beside x and y_a, plain autograd keeps the inside of F and G, {:.1f} "
      "MiB for every layer,\n"
      "  as much as {:.1f} streams; the two that are d_ff wide take {:.1f} MiB "
      "of it. A reversible\n"
      "  stack keeps none of it: it exists again in backward, for one branch "
      "at a time, {:.1f} MiB\n"
      "  at any depth, {:.1f} MiB with G in {} chunks.\n",
      mib(inside),
      2 * double(inside) / double(pair),
      mib(bytes_named(plain.kept, kHidden)),
      mib(bytes_of(accounts[2].at_once())),
      mib(bytes_of(accounts[3].at_once())),
      arguments.chunks);
}

std::string about_checkpoint(
    const std::vector<Account>& accounts, int64_t depth) {
  const auto& checkpoint = accounts[1];
  return fmt::format(
      "* Checkpointing keeps x for every layer, {:.1f} MiB for {} layers, and "
      "runs a whole layer\n"
      "  again at a time, {:.1f} MiB.\n",
      mib(depth * checkpoint.named(/*once=*/false)),
      depth,
      mib(bytes_of(checkpoint.at_once())));
}

std::string about_gradients(
    const std::vector<Account>& accounts, const Arguments& arguments) {
  return fmt::format(
      "* The rest of a peak is gradients, those of weights above all: {:.1f} "
      "MiB for G, for any number\n"
      "  of tokens. chunks_g adds them up chunk by chunk: it pays where the "
      "values that are d_ff wide,\n"
      "  {:.1f} MiB here, are at least as much.\n",
      mib(weight_bytes(arguments)),
      mib(bytes_named(accounts[0].kept, kHidden)));
}

}  // namespace

std::string answer(
    const std::vector<Account>& accounts, const Arguments& arguments) {
  return "Why does keeping y1 and y2 cost less than keeping x and y_a?\n" +
         about_streams(accounts, deepest(arguments)) +
         about_branches(accounts, arguments) +
         about_checkpoint(accounts, deepest(arguments)) +
         about_gradients(accounts, arguments);
}

std::string chart(
    const std::vector<Account>& accounts, const Arguments& arguments) {
  const auto depth = deepest(arguments);
  BarChart bars{
      fmt::format(
          "Peak bytes of a training step: {} layers, d_model {}, d_ff {}, "
          "{} x {} tokens",
          depth,
          arguments.d_model,
          arguments.d_ff,
          arguments.batch,
          arguments.tokens),
      "MiB",
      // Okabe and Ito's colours, which people with any colour vision tell
      // apart; those of what exists again are lighter.
      {{"kept after forward: streams", "#000000"},
       {"kept after forward: inside attention, F", "#0072B2"},
       {"kept after forward: inside feed-forward, G", "#D55E00"},
       {"again in backward, at most: streams of a layer", "#999999"},
       {"again in backward, at most: inside F of a layer", "#7FB8D8"},
       {"again in backward, at most: inside G of a layer", "#EAAE7F"},
       {"the rest of the peak: gradients on their way, temporaries",
        "#DDDDDD"}}};
  for (const auto& account : accounts) {
    bars.bars.push_back(bar_of(account, depth));
  }
  return bars.svg();
}

}  // namespace where_memory_goes
