#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace where_memory_goes {

/// The layer, its input [batch, tokens, d_model], and what is measured.
struct Arguments {
  int64_t d_model = 1024;
  int64_t d_ff = 4096;
  int64_t heads = 16;
  int64_t tokens = 512;
  int64_t batch = 1;
  int64_t chunks = 8;
  std::vector<int64_t> depths{2, 4, 8};
  std::string plot = "where_memory_goes.svg";
  /// None where empty.
  std::string csv;
};

/// @return an exit code if the program is to end, as after --help.
/// @throws UserError for values that make no sense.
torch::optional<int> parse(int argc, char** argv, Arguments& arguments);

}  // namespace where_memory_goes
