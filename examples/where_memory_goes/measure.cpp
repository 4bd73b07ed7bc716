#include "measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "../common/error.h"

namespace where_memory_goes {
namespace {

// Of the largest gradient: of each tensor's own would be too strict, since that
// of the bias of the keys is zero but for rounding. Observed: 0 for checkpoint,
// 2e-7 for reversible.
constexpr double kGradientTolerance = 1e-5;

/// `x` as a recompute sees it.
Tensor leaf(const Tensor& x) {
  return x.detach().requires_grad_();
}

std::vector<Row> rows_of_layer(const Problem& problem) {
  const auto x = leaf(problem.x());
  Ledger ledger;
  const auto y = plain_layer(problem.layer(), x, &ledger);
  return ledger.rows();
}

std::vector<Row> rows_of_f(const Problem& problem) {
  const auto x2 = leaf(problem.x());
  auto f = problem.layer().f;
  Ledger ledger;
  const auto value = f->forward(x2, &ledger);
  ledger.add(Group::kAttention, "F(x2)");
  return ledger.rows();
}

// In the longest chunk, where they differ.
std::vector<Row> rows_of_g(const Problem& problem, int64_t chunks) {
  const auto tokens = (problem.x().size(1) + chunks - 1) / chunks;
  const auto y1 = leaf(problem.x().narrow(1, 0, tokens));
  auto g = problem.layer().g;
  Ledger ledger;
  const auto value = g->forward(y1, &ledger);
  ledger.add(Group::kFeedForward, "G(y1)");
  return ledger.rows();
}

/// The outputs of a way that keeps nothing else.
std::vector<Row> rows_of_outputs(
    const Problem& problem,
    const Way& way,
    const std::vector<std::string>& names,
    bool once) {
  const auto y = way.forward({problem.layer()}, problem.x());
  std::vector<Row> rows;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto bytes = static_cast<int64_t>(y[i].storage().nbytes());
    rows.push_back({Group::kStreams, names[i], bytes, once});
  }
  return rows;
}

Account account_of(
    const Problem& problem, const Way& way, const Arguments& arguments) {
  Account account{way.name, {}};
  account.one_layer = problem.kept(way, 1);
  account.another_layer = problem.kept(way, 2) - account.one_layer;
  for (const auto depth : arguments.depths) {
    account.totals[depth] = problem.step(way, depth);
  }
  return account;
}

Account plain_account(const Problem& problem, const Arguments& arguments) {
  auto account = account_of(problem, plain(), arguments);
  account.kept = rows_of_layer(problem);
  return account;
}

Account checkpoint_account(const Problem& problem, const Arguments& arguments) {
  const auto way = checkpoint();
  auto account = account_of(problem, way, arguments);
  account.kept = rows_of_outputs(problem, way, {kNextX}, /*once=*/false);
  account.again = {rows_of_layer(problem)};
  return account;
}

Account reversible_account(
    const Problem& problem, const Arguments& arguments, int64_t chunks) {
  const auto way = reversible(chunks);
  auto account = account_of(problem, way, arguments);
  account.kept = rows_of_outputs(problem, way, {"y1", "y2"}, /*once=*/true);
  const auto guard = account.one_layer -
                     problem.kept(reversible(chunks, /*drift_guard=*/false), 1);
  account.kept.push_back(
      {Group::kStreams, "samples of the drift guard", guard, /*once=*/true});
  account.again = {rows_of_f(problem), rows_of_g(problem, chunks)};
  return account;
}

double largest(const std::vector<Tensor>& tensors) {
  double value = 0;
  for (const auto& tensor : tensors) {
    value = std::max(value, tensor.abs().max().item<double>());
  }
  return value;
}

void check_equal(
    const Way& way,
    std::vector<Tensor> gradients,
    const std::vector<Tensor>& expected) {
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    gradients[i].sub_(expected[i]);
  }
  const auto difference = largest(gradients) / largest(expected);
  if (!(difference <= kGradientTolerance)) {
    torchrev_examples::fail(
        fmt::format(
            "the gradients of {} to be those of plain autograd", way.name),
        fmt::format("a difference of {} of the largest", difference),
        "A way of training is at fault.");
  }
}

/// On few tokens. These are also the first steps, which allocate what is
/// allocated but once.
void check_gradients(Arguments arguments) {
  constexpr int64_t kDepth = 2;
  arguments.tokens = std::min<int64_t>(arguments.tokens, 64);
  const Problem problem(arguments);
  const auto gradients = [&](const Way& way) {
    problem.step(way, kDepth);
    return problem.gradients();
  };
  check_equal(checkpoint(), gradients(checkpoint()), gradients(plain()));
  const auto expected = gradients(plain_pair());
  for (const auto chunks : {int64_t{1}, arguments.chunks}) {
    const auto way = reversible(chunks);
    check_equal(way, gradients(way), expected);
  }
}

}  // namespace

int64_t Account::named(bool once) const {
  int64_t sum = 0;
  for (const auto& row : kept) {
    sum += row.once == once ? row.bytes : 0;
  }
  return sum;
}

int64_t Account::unnamed(bool once) const {
  return (once ? one_layer - another_layer : another_layer) - named(once);
}

std::vector<Row> Account::at_once() const {
  std::vector<Row> largest;
  for (const auto& rows : again) {
    if (bytes_of(rows) > bytes_of(largest)) {
      largest = rows;
    }
  }
  return largest;
}

std::vector<Account> measure(const Arguments& arguments) {
  torch::manual_seed(1);
  check_gradients(arguments);
  const Problem problem(arguments);
  return {
      plain_account(problem, arguments),
      checkpoint_account(problem, arguments),
      reversible_account(problem, arguments, 1),
      reversible_account(problem, arguments, arguments.chunks)};
}

}  // namespace where_memory_goes
