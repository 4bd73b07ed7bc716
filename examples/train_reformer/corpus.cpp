#include "corpus.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "../common/error.h"

namespace train_reformer {
namespace {

using torchrev_examples::fail;

namespace fs = std::filesystem;

constexpr int64_t kValidationPart = 20;  // one in ...
constexpr const char* kExtensions =
    ".c .cc .cpp .cu .cuh .cxx .h .hh .hpp .md .py .rst .tex .txt";

bool is_text(const fs::path& path) {
  const auto extension = path.extension().string();
  return !extension.empty() &&
         fmt::format(" {} ", kExtensions).find(" " + extension + " ") !=
             std::string::npos;
}

std::vector<fs::path> text_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(
           folder, fs::directory_options::skip_permission_denied)) {
    if (entry.is_regular_file() && is_text(entry.path())) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The files that `path` stands for.
std::vector<fs::path> find_files(const fs::path& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (fs::is_directory(status)) {
    return text_files(path);
  }
  if (!fs::exists(status)) {
    fail(
        fmt::format("`{}` to be a text file or a folder", path.string()),
        error ? error.message() : "something else",
        "Name an existing one.");
  }
  return {path};
}

void append(std::string& text, const fs::path& file, int64_t max_bytes) {
  std::ifstream stream(file, std::ios::binary);
  const auto begin = text.size();
  text.resize(static_cast<std::size_t>(max_bytes));
  stream.read(&text[begin], max_bytes - static_cast<int64_t>(begin));
  const auto count = static_cast<std::size_t>(stream.gcount());
  text.resize(begin + count);
  if (!stream.is_open() || stream.bad()) {
    fail(
        fmt::format("`{}` to be readable", file.string()),
        std::strerror(errno),
        "Check its permissions.");
  }
}

/// Pieces of `length` bytes and the byte after each, from `starts` of `bytes`.
Batch cut(
    const torch::Tensor& bytes, const torch::Tensor& starts, int64_t length) {
  const auto positions = starts.unsqueeze(1) + torch::arange(length + 1);
  const auto pieces = bytes.index({positions}).to(torch::kLong);  // [N, T + 1]
  return {
      pieces.slice(1, 0, length).contiguous(), pieces.slice(1, 1).contiguous()};
}

}  // namespace

Corpus::Corpus(const std::string& path, const std::string& text, int64_t files)
    : path_(path), files_(files) {
  const auto bytes = static_cast<int64_t>(text.size());
  const auto all = torch::empty({bytes}, torch::kByte);
  std::memcpy(all.data_ptr(), text.data(), text.size());
  const auto held_out = bytes / kValidationPart;
  training_ = all.slice(0, 0, bytes - held_out);
  validation_ = all.slice(0, bytes - held_out);
}

Corpus Corpus::read(const std::string& path, int64_t max_bytes) {
  const auto files = find_files(path);
  std::string text;
  int64_t count = 0;
  for (const auto& file : files) {
    if (static_cast<int64_t>(text.size()) == max_bytes) {
      break;
    }
    append(text, file, max_bytes);
    ++count;
  }
  if (text.empty()) {
    fail(
        fmt::format("`{}` to hold text", path),
        fmt::format("0 bytes in {} files", files.size()),
        fmt::format("In folders, text ends in {}.", kExtensions));
  }
  return Corpus(path, text, count);
}

void Corpus::check_length(int64_t length) const {
  const auto needed = (length + 1) * kValidationPart;
  if (validation_bytes() < length + 1 || training_bytes() < length + 1) {
    fail(
        fmt::format("`{}` to hold at least {} bytes", path_, needed),
        fmt::format("{}", training_bytes() + validation_bytes()),
        "Name a longer text, or a smaller --context.");
  }
}

Batch Corpus::draw(int64_t count, int64_t length) const {
  const auto starts = torch::randint(
      training_bytes() - length, {count}, torch::dtype(torch::kLong));
  return cut(training_, starts, length);
}

Batch Corpus::validation(int64_t count, int64_t length) const {
  const auto last = validation_bytes() - length - 1;
  const auto starts =
      torch::arange(count) * last / std::max<int64_t>(count - 1, 1);
  return cut(validation_, starts.to(torch::kLong), length);
}

std::string Corpus::validation_text(int64_t count) const {
  const auto bytes = std::min(count, validation_bytes());
  const auto begin = (validation_bytes() - bytes) / 2;
  const auto* text = static_cast<const char*>(validation_.data_ptr());
  return {text + begin, static_cast<std::size_t>(bytes)};
}

double Corpus::order0_entropy() const {
  const auto counts = torch::bincount(validation_.to(torch::kLong));
  const auto seen = counts.masked_select(counts > 0).to(torch::kDouble);
  const auto p = seen / seen.sum();
  return -(p * p.log2()).sum().item<double>();
}

}  // namespace train_reformer
