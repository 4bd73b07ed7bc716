#pragma once

#include <map>
#include <string>
#include <vector>

#include "problem.h"

namespace where_memory_goes {

/// Where one way of training spends its bytes.
struct Account {
  std::string name;
  /// By a stack of one layer, after forward.
  std::vector<Row> kept;
  /// What exists again in backward: for checkpoint in one layer, for reversible
  /// in F, or else in G. What is in one list exists at the same time.
  std::vector<std::vector<Row>> again = {};
  /// What a stack of one layer keeps, and what another layer adds to that:
  /// measured as a whole, for names to add up to.
  int64_t one_layer = 0;
  int64_t another_layer = 0;
  /// By depth.
  std::map<int64_t, Total> totals = {};

  /// Of `kept`, what is kept for each layer, or once for the stack.
  int64_t named(bool once) const;
  /// What another layer adds beyond what is named; the same for what is kept
  /// once. Neither is 0 where names do not add up.
  int64_t unnamed(bool once) const;
  /// The largest of `again`, which is all that exists again at any time.
  std::vector<Row> at_once() const;
};

/// Plain autograd, checkpoint, reversible, and the same in chunks.
/// @throws UserError if the gradients of one of them are not those of
///         plain autograd over the same formula.
std::vector<Account> measure(const Arguments& arguments);

}  // namespace where_memory_goes
