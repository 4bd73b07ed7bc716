#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

/// Runs an example as a user does: what it prints, writes, returns.

namespace torchrev {
namespace test {

constexpr int kInterrupted = 130;

using Words = std::vector<std::string>;

inline std::string read(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

struct Outcome {
  int exit_code = 0;
  std::string output;
  std::string errors;
};

/// A running program whose output goes to files in `folder`.
class Program {
 public:
  /// @param words the program's path and its arguments.
  Program(const std::filesystem::path& folder, const Words& words)
      : output_(folder / "output"), errors_(folder / "errors"), pid_(fork()) {
    if (pid_ == 0) {
      execute(words);
    }
  }

  void interrupt() const {
    kill(pid_, SIGINT);
  }

  Outcome wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return {code, read(output_), read(errors_)};
  }

 private:
  [[noreturn]] void execute(Words words) const {
    std::vector<char*> argv;
    for (auto& word : words) {
      argv.push_back(&word[0]);
    }
    argv.push_back(nullptr);
    if (freopen(output_.c_str(), "w", stdout) != nullptr &&
        freopen(errors_.c_str(), "w", stderr) != nullptr) {
      execv(argv[0], argv.data());
    }
    _exit(127);
  }

  std::filesystem::path output_;
  std::filesystem::path errors_;
  pid_t pid_;
};

/// Tests of one program, with a folder of their own.
class ExampleTest : public testing::Test {
 protected:
  /// @param name for the folder.  @param path of the program.
  ExampleTest(const std::string& name, std::string path)
      : folder(
            std::filesystem::path(testing::TempDir()) /
            (name + "." + std::to_string(getpid()))),
        path_(std::move(path)) {
    std::filesystem::create_directories(folder);
  }

  ~ExampleTest() override {
    std::filesystem::remove_all(folder);
  }

  std::string file(const std::string& name) const {
    return (folder / name).string();
  }

  Program start(Words words) const {
    words.insert(words.begin(), path_);
    return Program(folder, words);
  }

  Outcome run(const Words& words) const {
    return start(words).wait();
  }

  void expect_error(const Words& words, const std::string& message) const {
    const auto outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.errors, message + "\n");
  }

  /// Waits a minute for `condition`, which another process makes true.
  static void await(const std::function<bool()>& condition) {
    for (int i = 0; i < 6000 && !condition(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  std::filesystem::path folder;

 private:
  std::string path_;
};

}  // namespace test
}  // namespace torchrev
