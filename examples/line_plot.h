#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace torchrev_examples {

/// Lines over a few positions, on a logarithmic scale, as an SVG file. A value
/// that is zero stands on the lowest line, one that is not finite on the
/// highest.
///
/// Example:
/// ```
/// LinePlot plot{"Rounding", "blocks", "error", {"8", "64"}};
/// plot.lines.push_back({"float32", {1e-7, 2e-6}});
/// plot.save("rounding.svg");
/// ```
struct LinePlot {
  struct Line {
    std::string name;
    /// One for each position.
    std::vector<double> values;
  };

  std::string title, x_label, y_label;
  std::vector<std::string> positions;
  std::vector<Line> lines = {};

  /// @throws std::runtime_error if `path` cannot be written.
  void save(const std::string& path) const {
    std::ofstream file(path);
    file << svg();
    file.close();
    if (!file) {
      throw std::runtime_error("cannot write " + path);
    }
  }

  std::string svg() const {
    const auto [low, high] = decades();
    auto text = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        kWidth,
        kHeight);
    text += label(kWidth / 2, 24, title) +
            label((kLeft + kRight) / 2, kHeight - 12, x_label) +
            label(kLeft, kTop - 12, y_label);
    for (int decade = low; decade <= high; ++decade) {
      const auto y = y_of(decade, low, high);
      text += fmt::format(
          "<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#ddd\"/>\n",
          kLeft,
          y,
          kRight);
      text += label(
          kLeft - 22, y + 4, decade == low ? "0" : fmt::format("1e{}", decade));
    }
    for (std::size_t i = 0; i < positions.size(); ++i) {
      text += label(x_of(i), kBottom + 18, positions[i]);
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      text += drawn(i, low, high);
    }
    return text + "</svg>\n";
  }

 private:
  static constexpr double kWidth = 720, kHeight = 420;
  static constexpr double kLeft = 60, kRight = 480, kTop = 60, kBottom = 360;
  // Okabe and Ito's colours, which people with any colour vision tell apart.
  static constexpr std::array<const char*, 7> kColours{
      "#D55E00",
      "#0072B2",
      "#009E73",
      "#CC79A7",
      "#E69F00",
      "#56B4E9",
      "#000000"};

  static std::string label(double x, double y, const std::string& words) {
    return fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
        x,
        y,
        words);
  }

  /// Powers of ten below and above all values; the lowest one stands for zero.
  std::pair<int, int> decades() const {
    int low = 0;
    int high = -300;
    for (const auto& line : lines) {
      for (const auto value : line.values) {
        if (std::isfinite(value) && value > 0) {
          low = std::min(low, static_cast<int>(std::floor(std::log10(value))));
          high = std::max(high, static_cast<int>(std::ceil(std::log10(value))));
        }
      }
    }
    return {low - 1, std::max(high, low + 1)};
  }

  double x_of(std::size_t position) const {
    const auto steps = std::max<double>(1, double(positions.size()) - 1);
    return kLeft + 20 + (kRight - kLeft - 40) * double(position) / steps;
  }

  static double y_of(double decade, int low, int high) {
    return kBottom - (kBottom - kTop) * (decade - low) / (high - low);
  }

  static double decade_of(double value, int low, int high) {
    if (!std::isfinite(value)) {
      return high;
    }
    return value <= 0 ? low : std::log10(value);
  }

  std::string drawn(std::size_t i, int low, int high) const {
    const auto& line = lines[i];
    const auto* colour = kColours[i % kColours.size()];
    std::string path;
    for (std::size_t p = 0; p < line.values.size(); ++p) {
      path += fmt::format(
          "{}{:.1f} {:.1f}",
          p == 0 ? 'M' : 'L',
          x_of(p),
          y_of(decade_of(line.values[p], low, high), low, high));
    }
    // A key at the right: the ends of lines may lie on each other.
    const auto y = kTop + 20 * double(i);
    return fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n"
        "<path d=\"M{:.1f} {:.1f}h24\" stroke=\"{}\" stroke-width=\"2\"/>\n"
        "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        path,
        colour,
        kRight + 12,
        y,
        colour,
        kRight + 42,
        y + 4,
        line.name);
  }
};

}  // namespace torchrev_examples
