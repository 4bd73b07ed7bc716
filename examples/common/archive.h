#pragma once

#include <torch/serialize/archive.h>

#include <functional>
#include <string>

namespace torchrev_examples {

/// @throws UserError if no file can be written beside `path`.
void check_writable(const std::string& path);

/// Writes `path` at once or not at all: a crash leaves the old file.
/// @throws UserError if it cannot be written.
void save_archive(
    torch::serialize::OutputArchive& archive, const std::string& path);

/// Hands the archive in `path` to `read`.
/// @throws UserError if there is no such file, or one that cannot be read:
///         whatever `read` throws besides a UserError means that.
void load_archive(
    const std::string& path,
    const std::function<void(torch::serialize::InputArchive&)>& read);

}  // namespace torchrev_examples
