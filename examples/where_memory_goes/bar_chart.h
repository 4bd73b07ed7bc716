#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace where_memory_goes {

/// Stacked bars that lie below each other, as the text of an SVG file.
///
/// Example:
/// ```
/// BarChart chart{"Bytes", "MiB", {{"kept", "#0072B2"}}};
/// chart.bars.push_back({"plain", {12.5}});
/// file << chart.svg();
/// ```
struct BarChart {
  struct Part {
    std::string name;
    std::string colour;
  };
  struct Bar {
    std::string name;
    /// One for each part; the bar is as long as their sum.
    std::vector<double> values;

    double length() const {
      double sum = 0;
      for (const auto value : values) {
        sum += value;
      }
      return sum;
    }
  };

  std::string title, unit;
  std::vector<Part> parts;
  std::vector<Bar> bars = {};

  std::string svg() const {
    auto text = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {:.0f}\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        kWidth,
        bottom() + kKeyLine * double(parts.size()) + 24);
    text += label(kWidth / 2, 24, "middle", title);
    for (std::size_t i = 0; i < bars.size(); ++i) {
      text += drawn(i);
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto y = bottom() + 8 + kKeyLine * double(i);
      text += rectangle(kLeft, y, 14, 12, parts[i].colour) +
              label(kLeft + 22, y + 10, "start", parts[i].name);
    }
    return text + "</svg>\n";
  }

 private:
  static constexpr double kWidth = 720, kLeft = 130, kRight = 620, kTop = 48;
  static constexpr double kBar = 26, kPitch = 38, kKeyLine = 19;

  static std::string label(
      double x, double y, const char* anchor, const std::string& words) {
    return fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
        x,
        y,
        anchor,
        words);
  }

  static std::string rectangle(
      double x,
      double y,
      double width,
      double height,
      const std::string& colour) {
    return fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
        "fill=\"{}\"/>\n",
        x,
        y,
        width,
        height,
        colour);
  }

  double bottom() const {
    return kTop + kPitch * double(bars.size());
  }

  double scale() const {
    double longest = 0;
    for (const auto& bar : bars) {
      longest = std::max(longest, bar.length());
    }
    return longest > 0 ? (kRight - kLeft) / longest : 0;
  }

  std::string drawn(std::size_t i) const {
    const auto& bar = bars[i];
    const auto y = kTop + kPitch * double(i);
    auto text = label(kLeft - 10, y + 17, "end", bar.name);
    auto x = kLeft;
    for (std::size_t part = 0; part < parts.size(); ++part) {
      const auto width = scale() * bar.values[part];
      if (width > 0) {
        text += rectangle(x, y, width, kBar, parts[part].colour);
        x += width;
      }
    }
    const auto length = fmt::format("{:.1f} {}", bar.length(), unit);
    return text + label(x + 8, y + 17, "start", length);
  }
};

}  // namespace where_memory_goes
