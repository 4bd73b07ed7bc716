#pragma once

#include <string>
#include <vector>

#include "measure.h"

namespace where_memory_goes {

inline double mib(int64_t bytes) {
  return double(bytes) / (1 << 20);
}

/// The bytes of a layer, by name.
std::string table_of_names(const std::vector<Account>& accounts);

/// Kept bytes and peaks over depth.
std::string table_of_totals(
    const std::vector<Account>& accounts, const Arguments& arguments);

/// Why keeping y1 and y2 costs less than keeping x and y_a, with the figures of
/// `accounts`, in the order of measure().
std::string answer(
    const std::vector<Account>& accounts, const Arguments& arguments);

/// The peak of the deepest stack, way by way, as SVG.
std::string chart(
    const std::vector<Account>& accounts, const Arguments& arguments);

/// Every number, to the byte: lines of way, part, name, bytes.
std::string csv(const std::vector<Account>& accounts);

}  // namespace where_memory_goes
