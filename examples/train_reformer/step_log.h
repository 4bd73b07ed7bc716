#pragma once

#include <fstream>
#include <string>

#include "trainer.h"

namespace train_reformer {

/// A CSV file with a line a step; does nothing without a path. Losses have all
/// their digits: two runs agree bit for bit if these columns do.
class StepLog {
 public:
  /// Keeps the lines up to step `keep` of an existing file, which come from the
  /// run that is resumed.
  /// @throws UserError if the file cannot be written.
  StepLog(const std::string& path, int64_t keep);

  void add(const StepReport& report);

 private:
  std::ofstream stream_;
};

}  // namespace train_reformer
