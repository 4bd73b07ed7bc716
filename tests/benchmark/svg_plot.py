"""Line plots as SVG, with nothing but the standard library."""

import dataclasses
import html
import math

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 56, 55
# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7"]
INK, GRID = "#333333", "#DDDDDD"


@dataclasses.dataclass
class Series:
    """A line through `points` whose name stands beside its last point, or above
    its first one."""

    name: str
    points: list
    name_first: bool = False
    dashed: bool = False


def ticks(low, high):
    """Round numbers, five or so, that reach from `low` to `high`."""
    rough = (high - low) / 5 or 1
    power = 10**math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def text(x, y, words, anchor="middle", colour=INK, extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'fill="{colour}" {extra}>{html.escape(words)}</text>')


def line(x1, y1, x2, y2, colour):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"/>')


class Plot:
    """Axes that hold all points of `series`, and the values `low`."""

    def __init__(self, title, x_label, y_label, series, x_low=0, y_low=0):
        self.labels = title, x_label, y_label
        self.series = series
        points = [point for one in series for point in one.points]
        xs, ys = zip(*points)
        self.x_ticks = ticks(min(x_low, *xs), max(xs))
        self.y_ticks = ticks(min(y_low, *ys), max(ys))

    def x(self, value):
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (
            HEIGHT - TOP - BOTTOM)

    def axes(self):
        title, x_label, y_label = self.labels
        left, right = LEFT, WIDTH - RIGHT
        bottom, top = HEIGHT - BOTTOM, TOP
        parts = [text(left, 24, title, "start", extra='font-size="15"')]
        for tick in self.y_ticks:
            y = self.y(tick)
            parts.append(line(left, y, right, y, GRID))
            parts.append(text(left - 8, y + 4, f"{tick:g}", "end"))
        for tick in self.x_ticks:
            x = self.x(tick)
            parts.append(line(x, bottom, x, bottom + 5, INK))
            parts.append(text(x, bottom + 20, f"{tick:g}"))
        parts.append(line(left, bottom, right, bottom, INK))
        parts.append(text((left + right) / 2, HEIGHT - 14, x_label))
        middle = (top + bottom) / 2
        parts.append(text(18, middle, y_label,
                          extra=f'transform="rotate(-90 18 {middle:.1f})"'))
        return parts

    def draw(self, one, colour):
        places = [(self.x(x), self.y(y)) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="5 4"' if one.dashed else ""
        parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" '
                 f'stroke-width="2"{dashes}/>']
        if not one.dashed:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" '
                      f'fill="{colour}"/>' for x, y in places]
        x, y = places[0 if one.name_first else -1]
        y += -10 if one.name_first else 4
        parts.append(text(x + 8, y, one.name, "start", colour))
        return parts

    def svg(self):
        parts = self.axes()
        for i, one in enumerate(self.series):
            parts += self.draw(one, COLOURS[i % len(COLOURS)])
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *parts, "</svg>", ""])
