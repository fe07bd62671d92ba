#!/usr/bin/env python3
"""Measures and judges how mDNS discovery grows with the number of agents on a link (bench/mdns_scale.cpp), and writes docs/performance.md.

    bench/mdns.py            2, 10, 100 and 1,000 agents, which takes minutes
    bench/mdns.py 2 10 100   less, and nothing is written
"""

import argparse
import subprocess
import sys

import page

PROGRAM = page.ROOT / "build" / "release" / "bench" / "mdns_scale"
ALL = [2, 10, 100, 1000]
ALL_KNOW_MS = 1500  # at once, or by the second announcement
GROWTH = 3  # what an agent says at most with the most agents, by what it says with the fewest from ten on
AT_ONCE = 2  # packets in one second at most, by agents
HEADING = ["agents", "all know all (ms)", "first 10 s: packets", "of each", "kB/s", "then: packets/s", "kB/s", "most in a second",
           "CPU of each (ms)"]


def measure(counts):
    with subprocess.Popen([PROGRAM, *map(str, counts)], stdout=subprocess.PIPE, text=True) as program:
        names = program.stdout.readline().split()
        for line in program.stdout:
            yield dict(zip(names, map(float, line.split()), strict=True))
    if program.returncode != 0:
        sys.exit(f"{PROGRAM.name} ended with {program.returncode}")


def row(figures):
    agents = figures["agents"]
    return [f"{agents:,.0f}", page.number(figures["all_know_ms"]), f"{figures['packets_10s']:,.0f}", page.number(figures["packets_10s"] / agents),
            page.number(figures["bytes_10s"] / 10_000), page.number(figures["packets_s"]), page.number(figures["bytes_s"] / 1000),
            f"{figures['most_s']:,.0f}", page.number(figures["cpu_ms"])]


def faults(rows):
    for figures in rows:
        if not 0 <= figures["all_know_ms"] <= ALL_KNOW_MS:
            yield f"{figures['agents']:,.0f} agents: not all know all within {ALL_KNOW_MS / 1000} s"
        if figures["known_percent"] < 100:
            yield f"{figures['agents']:,.0f} agents: one of them was forgotten"
    many = [figures for figures in rows if figures["agents"] >= 10]
    for figures in many:
        if figures["most_s"] > AT_ONCE * figures["agents"]:
            yield f"{figures['most_s']:,.0f} packets in one second of {figures['agents']:,.0f} agents"
    for name in ("packets_10s", "bytes_10s", "packets_s", "bytes_s"):
        if many and many[-1][name] / many[-1]["agents"] > GROWTH * many[0][name] / many[0]["agents"]:
            yield f"{name}: an agent says more than {GROWTH} times as much among {many[-1]['agents']:,.0f} as among {many[0]['agents']:,.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", type=int)
    counts = sorted(parser.parse_args().agents) or ALL
    rows = list(measure(counts))
    table = page.table([HEADING, *map(row, rows)])
    print(table)
    if counts == ALL:
        page.write_section("mdns", f"{page.machine()}.\n\n{table}")
    failed = list(faults(rows))
    for fault in failed:
        print(f"mdns: {fault}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
