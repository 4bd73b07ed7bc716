#include "archive.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>

#include "error.h"

namespace torchrev_examples {
namespace {

std::string temporary(const std::string& path) {
  return path + ".part";
}

[[noreturn]] void fail_writing(const std::string& path, int error) {
  std::remove(temporary(path).c_str());
  fail(
      fmt::format("`{}` to be writable", path),
      std::strerror(error),
      "Name a file in a folder that exists and has room.");
}

}  // namespace

void check_writable(const std::string& path) {
  if (std::filesystem::is_directory(path)) {
    fail_writing(path, EISDIR);
  }
  if (!std::ofstream(temporary(path))) {
    fail_writing(path, errno);
  }
  std::remove(temporary(path).c_str());
}

void save_archive(
    torch::serialize::OutputArchive& archive, const std::string& path) {
  std::ofstream stream(temporary(path), std::ios::binary);
  archive.save_to(stream);
  stream.close();
  if (!stream || std::rename(temporary(path).c_str(), path.c_str()) != 0) {
    fail_writing(path, errno);
  }
}

void load_archive(
    const std::string& path,
    const std::function<void(torch::serialize::InputArchive&)>& read) {
  if (!std::ifstream(path)) {
    fail(
        fmt::format("`{}` to be readable", path),
        std::strerror(errno),
        "Name a file that --save wrote.");
  }
  try {
    torch::serialize::InputArchive archive;
    archive.load_from(path);
    read(archive);
  } catch (const UserError&) {
    throw;
  } catch (const std::exception&) {
    fail(
        fmt::format("`{}` to be a file that --save wrote", path),
        "one that cannot be read as such",
        "It may be damaged; resume from another.");
  }
}

}  // namespace torchrev_examples
