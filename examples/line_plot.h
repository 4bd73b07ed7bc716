#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace torchrev_examples {

/// Lines over a few positions, as an SVG file. On a logarithmic scale a value
/// that is zero stands on the lowest line; on either, one that is not finite
/// stands on the highest. A line may have fewer values than there are
/// positions.
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
    /// One for each position, from the first on.
    std::vector<double> values;
  };

  enum class Scale { kLogarithmic, kLinear };

  std::string title, x_label, y_label;
  std::vector<std::string> positions;
  std::vector<Line> lines = {};
  Scale scale = Scale::kLogarithmic;

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
    const auto y_axis = axis();
    auto text = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        kWidth,
        kHeight);
    text += label(kWidth / 2, 24, title) +
            label((kLeft + kRight) / 2, kHeight - 12, x_label) +
            label(kMargin, kTop - 12, y_label, "start") + grid(y_axis);
    for (std::size_t i = 0; i < positions.size(); ++i) {
      text += label(x_of(i), kBottom + 18, positions[i]);
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      text += drawn(i, y_axis);
    }
    return text + "</svg>\n";
  }

 private:
  static constexpr double kWidth = 720, kHeight = 420;
  static constexpr double kMargin = 20, kLeft = 60, kRight = 480, kTop = 60,
                          kBottom = 360;
  // Okabe and Ito's colours, which people with any colour vision tell apart.
  static constexpr std::array<const char*, 7> kColours{
      "#D55E00",
      "#0072B2",
      "#009E73",
      "#CC79A7",
      "#E69F00",
      "#56B4E9",
      "#000000"};

  static std::string label(
      double x,
      double y,
      const std::string& words,
      const char* anchor = "middle") {
    return fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
        x,
        y,
        anchor,
        words);
  }

  /// Of values as they are, or of their decimal logarithms: marks from `low`
  /// to `high`.
  struct Axis {
    double low, high, step;

    double y_of(double height) const {
      return kBottom - (kBottom - kTop) * (height - low) / (high - low);
    }
  };

  bool logarithmic() const {
    return scale == Scale::kLogarithmic;
  }

  Axis axis() const {
    double low = INFINITY;
    double high = -INFINITY;
    for (const auto& line : lines) {
      for (const auto value : line.values) {
        if (std::isfinite(value) && (value > 0 || !logarithmic())) {
          const auto height = logarithmic() ? std::log10(value) : value;
          low = std::min(low, height);
          high = std::max(high, height);
        }
      }
    }
    return logarithmic() ? decades(low, high) : round_marks(low, high);
  }

  /// Powers of ten below and above all values; the lowest one stands for zero.
  static Axis decades(double low, double high) {
    low = std::min(0.0, std::floor(low));
    high = std::max(-300.0, std::ceil(high));
    return {low - 1, std::max(high, low + 1), 1};
  }

  /// About five steps of 1, 2 or 5 times a power of ten.
  static Axis round_marks(double low, double high) {
    if (!(low < high)) {
      low = std::isfinite(low) ? low - 0.5 : 0;
      high = low + 1;
    }
    const auto rough = (high - low) / 5;
    auto step = std::pow(10, std::floor(std::log10(rough)));
    step *= rough > 5 * step ? 10 : rough > 2 * step ? 5 : rough > step ? 2 : 1;
    return {std::floor(low / step) * step, std::ceil(high / step) * step, step};
  }

  std::string mark(const Axis& axis, double height) const {
    if (!logarithmic()) {
      return fmt::format("{:.6g}", height);
    }
    return height == axis.low ? "0" : fmt::format("1e{:.0f}", height);
  }

  std::string grid(const Axis& axis) const {
    std::string text;
    const auto marks = std::lround((axis.high - axis.low) / axis.step);
    for (int64_t i = 0; i <= marks; ++i) {
      const auto height = axis.low + axis.step * double(i);
      text += fmt::format(
          "<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#ddd\"/>\n",
          kLeft,
          axis.y_of(height),
          kRight);
      text += label(kLeft - 22, axis.y_of(height) + 4, mark(axis, height));
    }
    return text;
  }

  double x_of(std::size_t position) const {
    const auto steps = std::max<double>(1, double(positions.size()) - 1);
    return kLeft + 20 + (kRight - kLeft - 40) * double(position) / steps;
  }

  double height_of(double value, const Axis& axis) const {
    if (!std::isfinite(value)) {
      return axis.high;
    }
    if (!logarithmic()) {
      return value;
    }
    return value <= 0 ? axis.low : std::log10(value);
  }

  std::string drawn(std::size_t i, const Axis& axis) const {
    const auto& line = lines[i];
    const auto* colour = kColours[i % kColours.size()];
    std::string path;
    for (std::size_t p = 0; p < line.values.size(); ++p) {
      path += fmt::format(
          "{}{:.1f} {:.1f}",
          p == 0 ? 'M' : 'L',
          x_of(p),
          axis.y_of(height_of(line.values[p], axis)));
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
