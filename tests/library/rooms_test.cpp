#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

// The map in csrc/README.md, held against the includes.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

namespace fs = std::filesystem;

using Rooms = std::set<std::string>;

// What nn and ops, the uppermost rooms, may include.
const Rooms kBelow = {
    "",
    "branch",
    "device",
    "recompute",
    "streams",
    "guards",
    "stack",
    "measure"};

// What each room may include, besides itself; "" is what lies in no room.
const std::map<std::string, Rooms> kMayInclude = {
    {"branch", {""}},
    {"device", {""}},
    {"recompute", {"", "branch", "device"}},
    {"streams", {"", "branch", "device"}},
    {"guards", {"", "branch", "device", "recompute", "streams"}},
    {"stack", {"", "branch", "device", "recompute", "streams", "guards"}},
    {"measure",
     {"", "branch", "device", "recompute", "streams", "guards", "stack"}},
    {"nn", kBelow},
    {"ops", kBelow}};

// Path within csrc -> text.
using Sources = std::map<std::string, std::string>;

std::string room_of(const std::string& path) {
  const auto slash = path.find('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::vector<std::string> includes_of(const std::string& text) {
  static const std::regex pattern("#include \"([^\"]+)\"");
  std::vector<std::string> included;
  for (auto match = std::sregex_iterator(text.begin(), text.end(), pattern);
       match != std::sregex_iterator();
       ++match) {
    included.push_back((*match)[1]);
  }
  return included;
}

bool is_header(const std::string& path) {
  return fs::path(path).extension() == ".h";
}

// Whether `path` may include `included`. The doors, .cpp files in no room, may
// include all; what else lies in no room is the ground, and includes no room.
bool is_allowed(const std::string& path, const std::string& included) {
  const auto from = room_of(path);
  const auto to = room_of(included);
  if (from.empty()) {
    return to.empty() || !is_header(path);
  }
  return from == to ||
         (kMayInclude.count(from) > 0 && kMayInclude.at(from).count(to) > 0);
}

// "guards/drift_guard.h includes stack/relay.h", ...
std::vector<std::string> violations(const Sources& sources) {
  std::vector<std::string> found;
  for (const auto& [path, text] : sources) {
    for (const auto& included : includes_of(text)) {
      if (!is_allowed(path, included)) {
        found.push_back(path + " includes " + included);
      }
    }
  }
  return found;
}

Sources read_sources() {
  const fs::path root = TORCHREV_TEST_SOURCES;
  Sources sources;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const auto extension = entry.path().extension();
    if (extension == ".h" || extension == ".cpp") {
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      sources[fs::relative(entry.path(), root).generic_string()] = text.str();
    }
  }
  return sources;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) {
    text += line + "\n";
  }
  return text;
}

TEST(RoomsTest, IncludeDownwardsOnly) {
  const auto found = violations(read_sources());
  EXPECT_TRUE(found.empty()) << joined(found);
}

TEST(RoomsTest, AreThoseOfTheMap) {
  std::set<std::string> rooms;
  for (const auto& [path, text] : read_sources()) {
    if (!room_of(path).empty()) {
      rooms.insert(room_of(path));
    }
  }
  std::set<std::string> on_the_map;
  for (const auto& [room, others] : kMayInclude) {
    on_the_map.insert(room);
  }
  EXPECT_EQ(rooms, on_the_map);
}

TEST(RoomsTest, NameIncludesFromTheRoot) {
  const auto sources = read_sources();
  for (const auto& [path, text] : sources) {
    for (const auto& included : includes_of(text)) {
      EXPECT_EQ(sources.count(included), 1u)
          << path << " includes " << included;
    }
  }
}

// Seeded failures: that the test above can fail.
TEST(RoomsTest, AnUpwardOrSidewardIncludeIsFound) {
  const auto found_in = [](const std::string& path,
                           const std::string& included) {
    return !violations({{path, "#include \"" + included + "\"\n"}}).empty();
  };
  EXPECT_TRUE(found_in("recompute/replay.h", "stack/step.h"));
  EXPECT_TRUE(found_in("recompute/replay.cpp", "streams/arithmetic.h"));
  EXPECT_TRUE(found_in("streams/arithmetic.cpp", "recompute/chunks.h"));
  EXPECT_TRUE(found_in("branch/script_callable.cpp", "device/handover.h"));
  EXPECT_TRUE(found_in("nn/reformer.cpp", "ops/arguments.h"));
  EXPECT_TRUE(found_in("check.h", "branch/checked_call.h"));
  EXPECT_TRUE(found_in("attic/new.cpp", "check.h"));
  EXPECT_FALSE(found_in("stack/step.h", "recompute/recorded_branch.h"));
  EXPECT_FALSE(found_in("reversible.cpp", "stack/checked_run.h"));
  EXPECT_FALSE(found_in("guards/drift_guard.h", "guards/stream_observer.h"));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
