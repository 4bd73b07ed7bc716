#pragma once

#include <string>

namespace train_revnet {

/// The folder from which the four idx files of Fashion-MNIST can be read: that
/// is `folder`, or `unpacked` if one of them is gzip-compressed; then all four
/// are written there.
/// @throws UserError if the folder or a file is missing, has not the right
///         size, or cannot be unpacked.
std::string unpack(const std::string& folder, const std::string& unpacked);

}  // namespace train_revnet
