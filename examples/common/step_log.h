#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace torchrev_examples {

/// A CSV file whose lines begin with a step; does nothing without a path.
/// Losses are best written with all their digits: two runs agree bit for bit if
/// these columns do.
class StepLog {
 public:
  /// Keeps the lines up to step `keep` of an existing file, which come from the
  /// run that is resumed.
  /// @param header the names of the columns.
  /// @throws UserError if the file cannot be written.
  StepLog(const std::string& path, const std::string& header, int64_t keep);

  /// @param line without its line break.
  void add(const std::string& line);

 private:
  std::ofstream stream_;
};

}  // namespace torchrev_examples
