"""docs/performance.md: its tables and plots stand between markers, and are written by whoever measures."""

import os
import platform
import re
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"


def write_section(name, text):
    """Puts `text` between `<!-- name -->` and `<!-- /name -->`."""
    page = PAGE.read_text()
    before, opening, rest = page.partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not opening or not closing:
        raise ValueError(f"{PAGE.name} has no section <!-- {name} --> … <!-- /{name} -->")
    PAGE.write_text(f"{before}{opening}\n{text.strip()}\n\n{closing}{after}")


def table(rows):
    """A table of Markdown that a terminal shows well, too. The first row is its heading; all columns but the first are of figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row):
        cells = [f"{cell:{'<' if column == 0 else '>'}{widths[column]}}" for column, cell in enumerate(row)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * width + (":" if column else "-") for column, width in enumerate(width + 1 for width in widths)]
    return "\n".join([line(rows[0]), f"|{'|'.join(rule)}|", *map(line, rows[1:])])


def number(value):
    """With as many digits as are worth reading."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def machine():
    """What this runs on, and when."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    kernel = ".".join(re.findall(r"\d+", platform.release())[:2])
    return f"{model.group(1) if model else platform.machine()}, {cores} cores, {platform.system()} {kernel}, {time.strftime('%Y-%m-%d')}"
