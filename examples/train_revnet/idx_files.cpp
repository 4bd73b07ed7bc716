#include "idx_files.h"

#ifdef TORCHREV_EXAMPLE_ZLIB
#include <zlib.h>
#endif
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "../common/error.h"

namespace train_revnet {
namespace {

namespace fs = std::filesystem;
using torchrev_examples::fail;

struct IdxFile {
  const char* name;
  std::uintmax_t bytes;
};

// 28 x 28 bytes an image and one a label, after headers of 16 and 8 bytes.
constexpr std::array<IdxFile, 4> kFiles{
    {{"train-images-idx3-ubyte", 47040016},
     {"train-labels-idx1-ubyte", 60008},
     {"t10k-images-idx3-ubyte", 7840016},
     {"t10k-labels-idx1-ubyte", 10008}}};
constexpr const char* kWayOut =
    "Install the Debian package dataset-fashion-mnist, or name a folder that "
    "has the files in --data.";

fs::path compressed(const fs::path& path) {
  return path.string() + ".gz";
}

void check_present(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    fail(
        fmt::format("`{}` to be a folder", folder.string()),
        fs::exists(folder) ? "a file" : "No such file or directory",
        kWayOut);
  }
  for (const auto& file : kFiles) {
    const auto path = folder / file.name;
    if (!fs::exists(path) && !fs::exists(compressed(path))) {
      fail(
          fmt::format(
              "`{}` to hold {}, or the same with .gz",
              folder.string(),
              file.name),
          "neither",
          kWayOut);
    }
  }
}

void check_size(const fs::path& path, const IdxFile& file) {
  const auto bytes = fs::file_size(path);
  if (bytes != file.bytes) {
    fail(
        fmt::format("`{}` to have {} bytes", path.string(), file.bytes),
        fmt::format("{}", bytes),
        "It may be damaged, or of another data set.");
  }
}

[[noreturn]] void fail_writing(const fs::path& path, const std::string& why) {
  fail(
      fmt::format("`{}` to be writable", path.string()),
      why,
      "Name another folder in --unpacked.");
}

#ifdef TORCHREV_EXAMPLE_ZLIB

[[noreturn]] void fail_unpacking(const fs::path& path) {
  fail(
      fmt::format("`{}` to be a gzip-compressed file", path.string()),
      "one that cannot be unpacked",
      "It may be damaged.");
}

/// Also copies what is not compressed.
void copy_unpacked(const fs::path& from, std::ostream& to) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(
      gzopen(from.c_str(), "rb"), &gzclose);
  if (!file) {
    fail_unpacking(from);
  }
  std::array<char, 1 << 16> piece;
  int count = 0;
  while ((count = gzread(file.get(), piece.data(), piece.size())) > 0) {
    to.write(piece.data(), count);
  }
  // A file that ends too early reads as a short one.
  int error = Z_OK;
  gzerror(file.get(), &error);
  if (count < 0 || error != Z_OK) {
    fail_unpacking(from);
  }
}

#else

void copy_unpacked(const fs::path& from, std::ostream& /*to*/) {
  fail(
      fmt::format("`{}` to be unpacked", from.string()),
      "a train_revnet that was built without zlib",
      "Unpack the files with gunzip and name their folder in --data, or "
      "install zlib1g-dev and build again.");
}

#endif

/// Appears at once: another run may be reading the file.
void unpack_file(const fs::path& from, const fs::path& to) {
  const fs::path part = to.string() + "." + std::to_string(getpid());
  std::ofstream stream(part, std::ios::binary);
  if (!stream) {
    fail_writing(to, std::strerror(errno));
  }
  try {
    copy_unpacked(from, stream);
  } catch (...) {
    fs::remove(part);
    throw;
  }
  stream.close();
  if (!stream) {
    fs::remove(part);
    fail_writing(to, std::strerror(ENOSPC));
  }
  fs::rename(part, to);
}

bool any_compressed(const fs::path& folder) {
  for (const auto& file : kFiles) {
    if (!fs::exists(folder / file.name)) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string unpack(const std::string& folder, const std::string& unpacked) {
  check_present(folder);
  const bool in_place = !any_compressed(folder);
  if (!in_place) {
    std::error_code error;
    fs::create_directories(unpacked, error);
    if (error) {
      fail_writing(unpacked, error.message());
    }
  }
  const fs::path target(in_place ? folder : unpacked);
  for (const auto& file : kFiles) {
    if (!in_place) {
      const auto path = fs::path(folder) / file.name;
      unpack_file(
          fs::exists(path) ? path : compressed(path), target / file.name);
    }
    check_size(target / file.name, file);
  }
  return target.string();
}

}  // namespace train_revnet
