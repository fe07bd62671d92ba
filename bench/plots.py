#!/usr/bin/env python3
"""Draws docs/plots from bench/results/scale.csv, and shows them in docs/performance.md."""

import csv
import math
import sys
from collections import defaultdict
from dataclasses import dataclass
from html import escape
from statistics import median

from page import PAGE, ROOT, number, write_section

SOURCE = ROOT / "bench" / "results" / "scale.csv"
TARGET = ROOT / "docs" / "plots"
COLUMNS = ["axis", "x", "figure", "value"]
AXES = ["in flight", "prompt bytes", "connections"]

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 52

# With its own ground, so that it is readable whichever the page around it has.
STYLE = """
  .ground { fill: #ffffff } .ink { fill: #1f2937 } .faint { fill: #6b7280 } .grid { stroke: #e5e7eb } .s0 { --c: #2563eb } .s1 { --c: #c2410c }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .ink { fill: #e5e7eb } .faint { fill: #9ca3af } .grid { stroke: #30363d } .s0 { --c: #60a5fa } .s1 { --c: #fb923c }
  }
  text { font: 12px system-ui, sans-serif } .title { font-size: 14px; font-weight: 600 }
  .line { fill: none; stroke: var(--c); stroke-width: 2 } .range { stroke: var(--c); stroke-width: 1; opacity: .6 } .dot, .name { fill: var(--c) }
"""


@dataclass(frozen=True)
class Plot:
    file: str
    title: str
    axis: str
    x_label: str
    y_label: str
    figures: tuple[str, ...]


PLOTS = [
    Plot("in-flight-latency", "Latency of a task", AXES[0], "tasks in flight, up to 128 over one connection", "ms", ("p50 ms", "p99 ms")),
    Plot("in-flight-rate", "Tasks a second", AXES[0], "tasks in flight, up to 128 over one connection", "tasks/s", ("tasks/s",)),
    Plot("prompt-latency", "Latency of a task, one after another", AXES[1], "size of the prompt, bytes", "ms", ("p50 ms", "p99 ms")),
    Plot("prompt-rate", "Tasks a second, 64 in flight", AXES[1], "size of the prompt, bytes", "tasks/s", ("tasks/s",)),
    Plot("connections-memory", "Memory of an idle connection", AXES[2], "connections held by one provider", "KiB", ("KiB each",)),
    Plot("connections-latency", "Latency of a task over held connections", AXES[2], "connections held by one provider", "ms", ("p99 ms",)),
    Plot("connections-rate", "Tasks a second over held connections", AXES[2], "connections held by one provider", "tasks/s", ("tasks/s",)),
]


class Scale:
    """A logarithmic axis from `low` to `high`, between two places in the picture."""

    def __init__(self, values, start, end):
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        if self.high - self.low < 0.5:  # a figure that hardly changes looks like one
            middle = (self.low + self.high) / 2
            self.low, self.high = middle - 0.25, middle + 0.25
        margin = 0.04 * (self.high - self.low)
        self.low, self.high = self.low - margin, self.high + margin
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + (self.end - self.start) * (math.log10(value) - self.low) / (self.high - self.low)

    def ticks(self):
        """Round numbers, as many as are well apart."""
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            ticks = [step * 10.0**power for power in powers for step in steps if self.low <= math.log10(step) + power <= self.high]
            if len(ticks) >= 3:
                break
        return ticks[:: 1 + len(ticks) // 9]


def label(value):
    """1,024 is 1 Ki where the axis counts in powers of two."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def binary_label(value):
    return f"{value >> 20} Mi" if value >= 1 << 20 else f"{value >> 10} Ki" if value >= 1 << 10 else str(value)


def draw(plot, series):
    """`series`: by figure, the values of all rounds, by x."""
    xs = sorted({x for points in series.values() for x in points})
    x_scale = Scale(xs, LEFT, WIDTH - RIGHT)
    y_scale = Scale([y for points in series.values() for ys in points.values() for y in ys], HEIGHT - BOTTOM, TOP)
    parts = [f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>', f'<text class="ink title" x="{LEFT}" y="24">{escape(plot.title)}</text>']
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="faint" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label(tick)}</text>')
    in_twos = all(x & (x - 1) == 0 for x in xs)
    for x in xs:
        place = x_scale(x)
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        text = binary_label(x) if in_twos else label(x)
        parts.append(f'<text class="faint" x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="ink" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(plot.x_label)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="ink" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(plot.y_label)}</text>')
    for index, (figure, points) in enumerate(series.items()):
        places = {x: (x_scale(x), y_scale(median(ys))) for x, ys in sorted(points.items())}
        parts.append(f'<g class="s{index}">')
        parts.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places.values())}"/>')
        for x, (across, down) in places.items():
            low, high = y_scale(min(points[x])), y_scale(max(points[x]))
            parts.append(f'<line class="range" x1="{across:.1f}" x2="{across:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
            told = f"{label(x)}: {number(median(points[x]))} ({number(min(points[x]))}–{number(max(points[x]))})"
            parts.append(f'<circle class="dot" cx="{across:.1f}" cy="{down:.1f}" r="3"><title>{told}</title></circle>')
        if len(series) > 1:
            name = escape(figure.split()[0])
            parts.append(f'<text class="name" x="{WIDTH - RIGHT}" y="{24 + 16 * index}" text-anchor="end">● {name}</text>')
        parts.append("</g>")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
    return f"{head}\n<title>{escape(plot.title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"


def read():
    """The values of all rounds, by axis, figure and x."""
    values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with SOURCE.open(newline="") as file:
        for row in csv.DictReader(file):
            value = float(row["value"])
            if value > 0:  # a logarithmic axis has no place for it
                values[row["axis"]][row["figure"]][int(row["x"])].append(value)
    return values


def draw_all(heading=""):
    """All plots that there are figures for. The heading says where they were measured."""
    values = read()
    TARGET.mkdir(parents=True, exist_ok=True)
    links = []
    for plot in PLOTS:
        series = {figure: values[plot.axis][figure] for figure in plot.figures if values[plot.axis][figure]}
        if series:
            (TARGET / f"{plot.file}.svg").write_text(draw(plot, series))
            links.append(f"![{plot.title}, by {plot.x_label}](plots/{plot.file}.svg)")
    if not heading:  # that of the last time
        lines = PAGE.read_text().partition("<!-- scale -->\n")[2].strip().splitlines()
        heading = lines[0] if lines and not lines[0].startswith(("!", "<")) else ""
    write_section("scale", "\n".join([heading, "", *links]))


if __name__ == "__main__":
    sys.exit(draw_all())
