#!/usr/bin/env python3
"""Measures this project's agent and other libp2p implementations, each against itself and in turns, and says how they compare."""

import argparse
import contextlib
import csv
import ctypes
import itertools
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import median

import plots
from page import ROOT, machine, number, table, write_section

INTEROP = ROOT / "tests" / "interop"
sys.path.insert(0, str(INTEROP))
from run import END_WAIT, START_WAIT, Namespaces, Problem, Process, Skip, build, check, progress  # noqa: E402  tests/interop/run.py

RELEASE = ROOT / "build" / "release"
RESULTS = ROOT / "bench" / "results"

ROUNDS = 5
# Of each turn: a round has several of what takes little time, since how fast the machine is changes by the second.
PINGS = 700
TASKS = 900  # the first 200 don't count
TRACED = (300, 1000)  # tasks, of which the difference counts
CONCURRENCY = 64
TOTAL = 2000  # tasks
CONNECTIONS = 140
PARALLEL = 8
BULK = 192  # MiB
STARTS = 3  # or as many as begin in that time
STARTS_TIME = 0.3  # s
START_PAUSE = 0.002  # s, from the end of one to the start of the next, the same for all
# Of each round.
HELD = 1000
FINDS = 10
RUNS = 10
PROMPT = "Hello, P2P AI!"

# Seconds.
BENCH_WAIT = 180  # for what a peer measures
FIND_WAIT = 25
IDLE_WAIT = 0.2  # from the start to when a program is idle
FIND_PAUSE = 0.2
ANNOUNCE_WAIT = 2  # until a new peer has said on the network what it has to say
SETTLE_WAIT = 20
TRACE_WAIT = 0.2  # until strace has found all threads

SCALE_IN_FLIGHT = [2**power for power in range(11)]
SCALE_PROMPTS = [4**power for power in range(2, 11)]  # 16 B to 1 MiB
SCALE_HELD = [1, 10, 100, 1000, 10_000]
SCALE_TOTAL = 20_000  # tasks over held connections
SCALE_TURNS = 3  # of them in a round: the machine changes its speed from second to second
SCALE_LIMIT = 1.3  # what 10,000 connections may cost, by what 10 do


# ---- what is measured, and what it should be


@dataclass(frozen=True)
class Figure:
    """One line of the table. Of a pooled one the quantile is that of the single measurements of all rounds together."""

    title: str
    unit: str
    bigger: bool = False
    pooled: float = 0


FIGURES = {
    "task p50": Figure("signed task, one after another, p50", "ms"),
    "task p99": Figure("signed task, one after another, p99", "ms", pooled=0.99),
    "lone task cpu": Figure("provider CPU a task, one after another", "µs"),
    "task rate": Figure(f"tasks a second, {CONCURRENCY} in flight", "1/s", bigger=True),
    "task cpu": Figure(f"provider CPU a task, {CONCURRENCY} in flight", "µs"),
    "provider writes": Figure("writes a task, one after another, provider", "calls"),
    "provider reads": Figure("reads a task, one after another, provider", "calls"),
    "requester writes": Figure("writes a task, one after another, requester", "calls"),
    "requester reads": Figure("reads a task, one after another, requester", "calls"),
    "dial": Figure("dial to secured and muxed, p50", "ms"),
    "first byte": Figure("dial to first byte of a ping's answer, p50", "ms"),
    "connections 1": Figure("connections a second, one dialler", "1/s", bigger=True),
    "connections 8": Figure("connections a second, eight diallers", "1/s", bigger=True),
    "bulk up": Figure("bulk up, one stream", "MB/s", bigger=True),
    "bulk down": Figure("bulk down, one stream", "MB/s", bigger=True),
    "memory": Figure("memory an idle connection, provider", "KiB"),
    "start": Figure("exec to listening, p50", "ms"),
    "idle": Figure("idle RSS", "MB"),
    "ping": Figure("ping, p50", "ms"),
    "discovery p50": Figure("discovery of a running agent, p50", "ms"),
    "discovery p99": Figure("discovery of a running agent, p99", "ms", pooled=0.99),
    "run": Figure("p2p-agent run by mDNS, start to exit, p50", "ms"),
}

FLOOR = {
    "tcp rtt": Figure("raw TCP round trip, p50", "ms"),
    "watched rtt": Figure("raw TCP round trip without sleep, p50", "ms"),
    "tcp": Figure("raw TCP", "MB/s", bigger=True),
    "cipher and tcp": Figure("ChaCha20-Poly1305 over TCP", "MB/s", bigger=True),
    "chacha": Figure("ChaCha20-Poly1305", "MB/s", bigger=True),
    "sign": Figure("Ed25519 sign", "µs"),
    "verify": Figure("Ed25519 verify", "µs"),
    "x25519": Figure("X25519", "µs"),
    "task floor": Figure("a round trip without sleep, two signatures, two checks", "ms"),
    "dial floor": Figure("two round trips without sleep, five X25519", "ms"),
    "rate floor": Figure("a signature and a check a task, on one processor a side", "1/s", bigger=True),
    "cpu floor": Figure("a signature and a check", "µs"),
}

OTHERS = "the best other"
ITSELF = "itself"  # not a ratio: the figure has to stay within the limit


@dataclass(frozen=True)
class Target:
    """At most (of figures that are better bigger: at least) so many times the reference: OTHERS, ITSELF, or a figure of FLOOR. No limit: to know it."""

    figure: str
    limit: float | None
    reference: str = OTHERS


TARGETS = [
    Target("task p50", 0.7),
    Target("task p50", None, "task floor"),
    Target("task p99", 1.0),
    Target("lone task cpu", None),
    Target("task rate", 1.5),
    Target("task rate", None, "rate floor"),
    Target("task cpu", 0.65),
    Target("task cpu", None, "cpu floor"),
    Target("provider writes", 1, ITSELF),
    Target("provider reads", 2, ITSELF),
    Target("requester writes", 1, ITSELF),
    Target("requester reads", 2, ITSELF),
    Target("dial", 0.6),
    Target("dial", None, "dial floor"),
    Target("first byte", 0.5),
    Target("connections 1", 1.6),
    Target("connections 8", 1.5),
    Target("bulk up", 1.7),
    Target("bulk up", 0.7, "cipher and tcp"),
    Target("bulk up", None, "tcp"),
    Target("bulk down", 1.7),
    Target("bulk down", 0.7, "cipher and tcp"),
    Target("bulk down", None, "tcp"),
    Target("memory", 0.4),
    Target("start", 1.0),
    Target("idle", 1.0),
    Target("ping", 1.3, "tcp rtt"),
    Target("ping", None, "watched rtt"),
    Target("discovery p50", 5, ITSELF),
    Target("discovery p99", 50, ITSELF),
    Target("run", 25, ITSELF),
]


# ---- the implementations


@dataclass(frozen=True)
class Implementation:
    """A peer that follows tests/interop/README.md. `lacks` are figures that it cannot have."""

    name: str
    title: str
    folder: Path
    lock: str  # the file that pins its version, and where it stands there
    pattern: str
    muxers: tuple[str, ...] = ("yamux",)
    lacks: frozenset[str] = frozenset({"run"})

    @property
    def peer(self):
        return self.folder / "peer"

    def serve(self, *options):
        return [self.peer, "serve", "--quiet", "--listen", "/ip4/127.0.0.1/tcp/0", *options]

    def announce(self):
        return [self.peer, "serve", "--quiet", "--mdns", "--listen", "/ip4/0.0.0.0/tcp/0"]

    def find(self, wanted):
        return [self.peer, "discover", "--for", wanted, "--wait", FIND_WAIT]

    def bench(self, address, *options):
        return [self.peer, "bench", address, *options]

    def version(self):
        found = re.search(self.pattern, (self.folder / self.lock).read_text())
        return found.group(1) if found else "of unknown version"

    def build(self):
        if not (self.folder / "build").exists():
            return Skip(f"{self.folder.relative_to(ROOT)} is not there")
        return build(self.folder)


class Ours(Implementation):
    """`p2p-agent`, and interop_agent where the program has no such command."""

    program = RELEASE / "p2p-agent"

    def serve(self, *options):
        many = max(SCALE_HELD) + 100
        # Memory for 64 prompts of 1 MiB with their outputs, all of one requester.
        limits = ["--max-connections", many, "--max-connections-per-address", many, "--max-memory", "2G"]
        return [self.program, "serve", "--json", "--no-mdns", "--quiet", "--listen", "/ip4/127.0.0.1/tcp/0", *limits, *options]

    def announce(self):
        return [self.program, "serve", "--json", "--quiet"]

    def find(self, wanted):
        return [RELEASE / "interop_agent", "discover", "--for", wanted, "--wait", FIND_WAIT]

    def bench(self, address, *options):
        return [self.program, "bench", "--json", address, *options]

    def version(self):
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        version, signatures = said.split()[0].rpartition("/")[2], "signatures by " + said.split()[-1]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):  # without git, or where it knows nothing of this
            described = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
            return f"{version} ({described.stdout.strip()}, {signatures})"
        return f"{version} ({signatures})"

    def build(self):
        missing = [name for name in ("p2p-agent", "interop_agent", "floor") if not (RELEASE / name).exists()]
        return Problem(f"{' and '.join(missing)} are not built; `make bench` builds them") if missing else None


RUST = {"lock": "Cargo.lock", "pattern": r'name = "libp2p"\nversion = "([^"]+)"'}
LITEP2P = {"lock": "Cargo.lock", "pattern": r'name = "litep2p"\nversion = "([^"]+)"'}
GO = {"lock": "go.mod", "pattern": r"github\.com/libp2p/go-libp2p v(\S+)"}
JS = {"lock": "package-lock.json", "pattern": r'"node_modules/libp2p": \{\s*"version": "([^"]+)"'}
BOTH = ("yamux", "mplex")

IMPLEMENTATIONS = [
    Implementation("rust", "rust-libp2p", INTEROP / "rust", **RUST, muxers=BOTH),
    Implementation("litep2p", "litep2p", ROOT / "bench" / "peers" / "litep2p", **LITEP2P, lacks=frozenset({"run", "discovery p50", "discovery p99"})),
    Implementation("go", "go-libp2p", INTEROP / "go", **GO),
    Implementation("js", "js-libp2p", INTEROP / "js", **JS, muxers=BOTH),
    Ours("ours", "ours", ROOT, "", "", muxers=BOTH, lacks=frozenset()),
]


class Subject:
    """An implementation with a muxer, and the servers that it is measured against, which are there from their first use to end()."""

    def __init__(self, implementation, muxer):
        self.implementation = implementation
        self.muxer = muxer
        self.name = f"{implementation.name} {muxer}"
        self.servers = {}  # by tokio's runtime and their options

    def serve(self, *options):
        return Process(self.implementation.serve("--muxer", self.muxer, *options))

    def server(self, *options):
        how = (os.environ[RUNTIME], *options)
        if how not in self.servers or self.servers[how].ended:
            self.end()
            self.servers[how] = self.serve(*options)
        return self.servers[how]

    @cached_property
    def copied(self):
        """The command of a server whose program is a copy that was not read yet, in place of a script what that starts."""
        with Process(self.implementation.serve("--muxer", self.muxer)) as server:
            server.expect("listening", START_WAIT)
            program, *arguments = Path(f"/proc/{server.child.pid}/cmdline").read_text().split("\0")[:-1]
            try:
                image = os.readlink(f"/proc/{server.child.pid}/exe")
            except PermissionError:
                raise Skip(HIDDEN) from None
        self.folder = tempfile.TemporaryDirectory(dir=RELEASE)  # goes with the subject
        copy = shutil.copy(image, Path(self.folder.name) / Path(program).name)
        forget_contents(copy)
        return [copy, *arguments]

    def end(self, killed=False):
        while self.servers:
            with self.servers.popitem()[1] as server:
                if not killed and not server.ended:
                    server.stop()

    def asking(self, address, *options):
        return Process(self.implementation.bench(address, "--muxer", self.muxer, *options))

    def bench(self, *options, served=()):
        """What `bench` says of the server. Where it fails the server is not used again: it may be busy with what is left of it."""
        try:
            address = self.server(*served).expect("listening", START_WAIT)["addrs"][0]
            with self.asking(address, *options) as client:
                figures = client.expect("bench", BENCH_WAIT)
                client.finish()
        except Problem:
            self.end(killed=True)
            raise
        check(figures.get("muxer") in (self.muxer, None), f"measured with {figures.get('muxer')}")
        return figures


RUNTIME = "PEER_THREADS"  # of the peers on tokio: 1 is one thread, 0 its default runtime


@contextlib.contextmanager
def on_default_runtime():
    before = os.environ[RUNTIME]
    os.environ[RUNTIME] = "0"
    try:
        yield
    finally:
        os.environ[RUNTIME] = before


HIDDEN = "p2p-agent keeps its memory from other processes, root's excepted"


# ---- the measurements: each gives values of its figures, or for the pooled ones, lists


def pings(subject):
    return {"ping": subject.bench("--pings", PINGS)["ping_ms"]["p50"]}


def tasks(subject):
    figures, cpu = with_cpu_time(subject, TASKS, "--tasks", TASKS, "--samples")
    times = figures["task_seq_ms"]
    check(len(times["samples"]) == times["n"], f"{len(times['samples'])} samples of {times['n']} tasks")
    return {"task p50": times["p50"], "task p99": times["samples"], "lone task cpu": cpu}


def concurrent_tasks(subject):
    figures, cpu = with_cpu_time(subject, TOTAL, "--total", TOTAL, "--concurrency", CONCURRENCY)
    return {"task rate": figures["task_conc"]["per_s"], "task cpu": cpu}


def with_cpu_time(subject, count, *options):
    """What is measured, and the provider's processor time for each of so many tasks, in µs."""
    server = subject.server()
    server.expect("listening", START_WAIT)
    before = server.cpu_time()
    figures = subject.bench(*options)
    return figures, (server.cpu_time() - before) / 1000 / count


WRITES = {"write", "writev", "sendto", "sendmsg", "sendmmsg"}
READS = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg"}


def system_calls(subject):
    """Each is slower while it is traced, but not more often. What the programs and the connection need besides is in both counts."""
    few, many = (traced(subject, count) for count in TRACED)
    return {figure: round((many[figure] - few[figure]) / (TRACED[1] - TRACED[0]), 2) for figure in many}


def traced(subject, count):
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    with tempfile.TemporaryDirectory() as folder, subject.serve() as server:
        files = {side: Path(folder) / side for side in ("provider", "requester")}
        address = server.expect("listening", START_WAIT)["addrs"][0]

        def strace(side, *what):
            return ["strace", "-f", "-c", "-o", files[side], *what]

        with subprocess.Popen(strace("provider", "-p", str(server.child.pid)), stderr=subprocess.DEVNULL) as tracer, ended_by(tracer):
            while tracer.poll() is None and "TracerPid:\t0\n" in Path(f"/proc/{server.child.pid}/status").read_text():
                time.sleep(0.01)
            if tracer.returncode is not None:
                raise Skip("strace is not allowed to look at it")
            time.sleep(TRACE_WAIT)
            asking = subject.implementation.bench(address, "--muxer", subject.muxer, "--tasks", count)
            with Process(strace("requester", *asking)) as client:
                client.expect("bench", BENCH_WAIT)
                client.finish()
            server.stop()
        calls = {side: calls_of(file) for side, file in files.items()}
    kinds = {"writes": WRITES, "reads": READS}
    return {f"{side} {kind}": sum(calls[side].get(name, 0) for name in kinds[kind]) for side in files for kind in kinds}


@contextlib.contextmanager
def ended_by(child):
    """An error ends the child, which else lives as long as what it looks at."""
    try:
        yield
    except BaseException:
        child.terminate()
        raise


def calls_of(summary):
    """By name, from lines such as `42.70    0.006602           5      1210         1 sendto`, of which the errors may be missing."""
    rows = [line.split() for line in summary.read_text().splitlines()]
    return {row[-1]: int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}


def connections(subject):
    figures = subject.bench("--connections", CONNECTIONS, "--parallel", 1)
    return {"dial": figures["connect_ms"]["p50"], "first byte": figures["first_byte_ms"]["p50"], "connections 1": figures["conn"]["per_s"]}


def parallel_connections(subject):
    with on_default_runtime():  # the one case that it is better for
        return {"connections 8": subject.bench("--connections", CONNECTIONS, "--parallel", PARALLEL)["conn"]["per_s"]}


def bulk(subject):
    # Only then: rust's peer has another yamux where many bytes are to go, and is a little slower otherwise.
    figures = subject.bench("--bulk", BULK, served=("--perf",))
    return {"bulk up": figures["bulk_up"]["MBps"], "bulk down": figures["bulk_down"]["MBps"]}


def memory(subject, count=HELD):
    with subject.serve() as server:
        address = server.expect("listening", START_WAIT)["addrs"][0]
        before = settled_memory(server.child.pid)
        with subject.asking(address, "--hold", count) as client:
            client.expect("held", BENCH_WAIT)
            after = settled_memory(server.child.pid)
            client.child.stdin.close()
            client.finish()
        server.stop()
    return {"memory": (after - before) / count}


@contextlib.contextmanager
def started(subject):
    """A server that runs, and the time of its start in ms."""
    # As posix_spawn does it, without threads, since a few milliseconds are measured.
    start = time.perf_counter_ns()
    child = subprocess.Popen(subject.copied, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=False)
    line = child.stdout.readline()
    passed = time.perf_counter_ns() - start
    with child:
        try:
            check(b'"listening"' in line, f"{subject.copied[0]} doesn't listen: {line.decode(errors='replace')}")
            yield child.pid, passed / 1e6
        finally:
            child.terminate()
            if not ended(child, END_WAIT):
                child.kill()


def ended(child, seconds):
    """Whether it ends in that time, and when it does. Popen.wait() looks after 0.5, 1, 2 ms: who takes longer would find a processor that slept longer."""
    descriptor = os.pidfd_open(child.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def starts(subject):
    times = []
    begun = time.monotonic()
    while len(times) <= STARTS and (len(times) < 2 or time.monotonic() - begun < STARTS_TIME):
        with started(subject) as (_, passed):
            times.append(passed)
        time.sleep(START_PAUSE)
    return {"start": median(times[1:])}  # the first one may read the program from disk, and finds what others left in the caches


def idle(subject):
    with started(subject) as (process, _):
        time.sleep(IDLE_WAIT)
        return {"idle": memory_of(process)["Rss"] * 1024 / 1e6}


def forget_contents(file):
    """What is read of it next is read from disk: else it depends on how it was written which of its pages a process gets at a time."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def discovery(subject):
    here, there = namespaces.get("ipv4")
    times = []
    with Process(subject.implementation.announce(), there) as server:
        wanted = server.expect("listening", START_WAIT)["peer"]
        time.sleep(ANNOUNCE_WAIT)
        for _ in range(FINDS):
            with Process(subject.implementation.find(wanted), here) as finder:
                times.append(finder.expect("peer_discovered", FIND_WAIT + START_WAIT, peer=wanted)["ms"])
                finder.finish()
            time.sleep(FIND_PAUSE)
        server.stop()
    return {"discovery p50": median(times), "discovery p99": times}


def run_by_mdns(subject):
    namespace = namespaces.get("lo")[0]
    times = []
    with Process(subject.implementation.announce(), namespace) as server, inside(namespace):
        server.expect("listening", START_WAIT)
        time.sleep(ANNOUNCE_WAIT)
        for _ in range(RUNS):
            start = time.perf_counter_ns()
            command = [str(subject.implementation.program), "run", PROMPT]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, close_fds=False) as child:
                said = child.stdout.read().decode()
            times.append((time.perf_counter_ns() - start) / 1e6)
            check(child.returncode == 0 and "Processed: " + PROMPT in said, f"p2p-agent run ended with {child.returncode}: {said.strip()}")
        server.stop()
    return {"run": median(times)}


def floor():
    done = subprocess.run([RELEASE / "floor"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BENCH_WAIT)
    check(done.returncode == 0, f"floor ended with {done.returncode}: {done.stderr.strip()}")
    said = json.loads(done.stdout.splitlines()[-1])
    round_trip = said["tcp_rtt_watched_ms"]
    signatures = said["sign_us"] + said["verify_us"]
    return {
        "tcp rtt": said["tcp_rtt_ms"]["p50"],
        "watched rtt": round_trip,
        "tcp": said["tcp_MBps"],
        "cipher and tcp": said["cipher_tcp_MBps"],
        "chacha": said["chacha_MBps"],
        "sign": said["sign_us"],
        "verify": said["verify_us"],
        "x25519": said["x25519_us"],
        "task floor": round_trip + 2 * signatures / 1000,
        "dial floor": 2 * round_trip + 5 * said["x25519_us"] / 1000,
        "rate floor": 1e6 / signatures,
        "cpu floor": signatures,
    }


@dataclass(frozen=True)
class Measurement:
    run: Callable
    figures: tuple[str, ...]
    turns: int = 1  # in each round
    each_muxer: bool = True
    once: bool = False  # in the first round


MEASUREMENTS = [
    Measurement(pings, ("ping",), turns=3),
    Measurement(tasks, ("task p50", "task p99", "lone task cpu"), turns=3),
    Measurement(concurrent_tasks, ("task rate", "task cpu"), turns=5),
    Measurement(system_calls, ("provider writes", "provider reads", "requester writes", "requester reads"), once=True),
    Measurement(connections, ("dial", "first byte", "connections 1"), turns=3),
    Measurement(parallel_connections, ("connections 8",), turns=3),
    Measurement(bulk, ("bulk up", "bulk down"), turns=10),
    Measurement(memory, ("memory",)),
    Measurement(starts, ("start",), turns=20, each_muxer=False),
    Measurement(idle, ("idle",), turns=3, each_muxer=False),
    Measurement(discovery, ("discovery p50", "discovery p99"), each_muxer=False),
    Measurement(run_by_mdns, ("run",), each_muxer=False),
]

namespaces = Namespaces()


# ---- what Linux tells of a process


def memory_of(process):
    """KiB, by kind."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except PermissionError:
        raise Skip(HIDDEN) from None
    return {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}


def settled_memory(process):
    """KiB that are the process's own, once that stays the same for a second. The program's pages are not among them: who else runs it shares them."""
    sizes = []
    end = time.monotonic() + SETTLE_WAIT
    while len(sizes) < 5 or (max(sizes[-5:]) - min(sizes[-5:]) > 0.005 * max(sizes[-5:]) and time.monotonic() < end):
        kinds = memory_of(process)
        sizes.append(kinds["Anonymous"] + kinds["Swap"])
        time.sleep(0.25)
    return sizes[-1]


@contextlib.contextmanager
def inside(namespace):
    """What this thread starts is in that network namespace, without a program before it that takes time."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/thread-self/ns/net") as outside, open(f"/var/run/netns/{namespace}") as within:

        def enter(file):
            if setns(file.fileno(), 0) != 0:
                raise Skip(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")

        enter(within)
        try:
            yield
        finally:
            enter(outside)


# ---- results


@dataclass
class Results:
    """`values` by round or turn ("3", "3.1"), and `samples` of all rounds together, both by subject and figure; what failed once has no figure."""

    values: dict = field(default_factory=lambda: defaultdict(dict))
    samples: dict = field(default_factory=lambda: defaultdict(list))
    failed: dict = field(default_factory=dict)  # why, by subject and figure

    def add(self, name, when, figures):
        for figure, value in figures.items():
            if isinstance(value, list):
                self.samples[name, figure] += value
            else:
                self.values[name, figure][when] = value

    def figure(self, name, figure):
        """The median of the rounds, or the quantile of all samples; None if there is none."""
        key = (name, figure)
        if key in self.failed:
            return None
        if key in self.samples:
            return quantile(self.samples[key], FIGURES[figure].pooled)
        return median(self.values[key].values()) if key in self.values else None

    def cell(self, name, figure):
        value = self.figure(name, figure)
        if value is None:
            return ""
        return number(value) + self.range(name, figure)

    def range(self, name, figure):
        return spread(self.values[name, figure].values()) if (name, figure) in self.values else ""

    def best_other(self, muxer, figure):
        others = {f"{implementation.name} {muxer}" for implementation in IMPLEMENTATIONS if implementation.name != "ours"}
        known = [(value, name) for name in others if (value := self.figure(name, figure)) is not None]
        return (max if FIGURES[figure].bigger else min)(known, default=(None, None))[1]

    def rows(self):
        """round, implementation, muxer, figure, unit, value"""
        units = {name: figure.unit for name, figure in (FIGURES | FLOOR).items()}
        for (name, figure), values in self.values.items():
            for when, value in values.items():
                yield [when, *name.partition(" ")[::2], figure, units[figure], f"{value:.6g}"]
        for name, figure in self.samples:
            if (value := self.figure(name, figure)) is not None:
                yield ["all", *name.partition(" ")[::2], figure, units[figure], f"{value:.6g}"]


def quantile(samples, share):
    """By nearest rank."""
    return sorted(samples)[max(math.ceil(share * len(samples)), 1) - 1]


def spread(values):
    return f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""


@dataclass
class Verdict:
    target: Target
    muxer: str
    reference: str = ""
    ratio: float | None = None
    range: str = ""

    @property
    def met(self):
        """None where nothing is demanded, or nothing known."""
        if self.ratio is None or self.target.limit is None:
            return None
        return self.ratio >= self.target.limit if FIGURES[self.target.figure].bigger else self.ratio <= self.target.limit

    def row(self):
        figure, limit = FIGURES[self.target.figure], self.target.limit
        title = figure.title if self.muxer == "yamux" else f"{self.muxer}: {figure.title}"
        unit = f" {figure.unit}" if self.target.reference == ITSELF else ""
        ratio = "" if self.ratio is None else f"{number(self.ratio)}{unit}{self.range}"
        wanted = "" if limit is None else f"{'≥' if figure.bigger else '≤'} {limit:g}{unit}"
        return [title, self.reference, ratio, wanted, {None: "", True: "✓", False: "✗"}[self.met]]


def judge(results, target, muxer):
    """How ours stands to the target, in the medians, and in each round."""
    verdict = Verdict(target, muxer)
    ours = f"ours {muxer}"
    if target.reference == ITSELF:
        verdict.reference = "–"
        verdict.ratio = results.figure(ours, target.figure)
        verdict.range = results.range(ours, target.figure)
        return verdict
    if target.reference == OTHERS:
        name, figure = results.best_other(muxer, target.figure), target.figure
        verdict.reference = name.split()[0] if name else ""
    else:
        name, figure = "floor", target.reference
        verdict.reference = FLOOR[figure].title
    value, reference = results.figure(ours, target.figure), results.figure(name, figure)
    if value is not None and reference:
        verdict.ratio = value / reference
        each, by = results.values.get((ours, target.figure), {}), results.values.get((name, figure), {})
        pairs = [(value, by.get(when) or by.get(when.partition(".")[0])) for when, value in each.items()]  # the floor has no turns
        verdict.range = spread([value / reference for value, reference in pairs if reference])
    return verdict


# ---- a run


def measure(subjects, measurements, wanted, rounds):
    results = Results()
    orders = random.Random(1)  # whoever comes behind another meets what that has left in the caches

    def attempt(name, run, figures, when):
        """What fails leaves its cells empty, whatever the other rounds said."""
        start = time.monotonic()
        try:
            values = run()
            values = {figure: values[figure] for figure in figures}
            results.add(name, when, values)
            said = ", ".join(f"{figure} {number(value)}" for figure, value in values.items() if not isinstance(value, list))
        except (Problem, Skip) as problem:
            said = f"{'skipped' if isinstance(problem, Skip) else 'failed'}: {problem}"
        except (OSError, LookupError, TypeError, ValueError, subprocess.SubprocessError) as problem:  # a peer that ended, or says something else
            said = f"failed: {type(problem).__name__}: {problem}"
        else:
            progress(f"[{when}/{rounds}] {name}: {said}  ({time.monotonic() - start:.1f} s)")
            return
        for figure in figures:
            results.failed.setdefault((name, figure), said)
        progress(f"[{when}/{rounds}] {name}, {', '.join(figures)} {said}")

    try:
        for number_of_round in range(1, rounds + 1):
            attempt("floor", floor, tuple(FLOOR), str(number_of_round))
            for measurement in measurements:
                if measurement.once and number_of_round > 1:
                    continue
                figures = [figure for figure in measurement.figures if figure in wanted]
                for turn in range(1, measurement.turns + 1):
                    when = f"{number_of_round}.{turn}" if measurement.turns > 1 else str(number_of_round)
                    for subject in orders.sample(subjects, len(subjects)):
                        possible = [figure for figure in figures if figure not in subject.implementation.lacks]
                        if possible and (measurement.each_muxer or subject.muxer == "yamux"):
                            attempt(subject.name, partial(measurement.run, subject), possible, when)
            for subject in subjects:
                try:
                    subject.end()
                except Problem as problem:
                    progress(f"{subject.name}: {problem}")
    finally:
        for subject in subjects:
            subject.end(killed=True)
        namespaces.remove()
    return results


def taken(rounds):
    return f"{machine()}; " + (f"medians and ranges of {rounds} rounds." if rounds > 1 else "one round.")


def report(results, subjects, rounds):
    """As Markdown: what was measured where, the figures by muxer, the floor, and how ours compares. And the verdicts."""
    versions = {implementation.title: implementation.version() for implementation in {s.implementation: None for s in subjects}}
    parts = [f"{taken(rounds)} " + ", ".join(f"{title} {version}" for title, version in versions.items()) + "."]
    measured = {key for key in [*results.values, *results.samples, *results.failed] if key[0] != "floor"}
    verdicts = []
    for muxer in BOTH:
        names = {subject.name: subject.implementation for subject in subjects if subject.muxer == muxer}
        figures = [figure for figure in FIGURES if any((name, figure) in measured for name in names)]
        if figures:
            rows = [[muxer, *(implementation.title for implementation in names.values())]]
            for figure in figures:
                cells = ["–" if figure in names[name].lacks else results.cell(name, figure) for name in names]
                rows.append([f"{FIGURES[figure].title} ({FIGURES[figure].unit})", *cells])
            parts.append(table(rows))
        verdicts += [judge(results, target, muxer) for target in TARGETS if (f"ours {muxer}", target.figure) in measured]
    parts.append(table([["the floor", ""], *([f"{of.title} ({of.unit})", results.cell("floor", name)] for name, of in FLOOR.items())]))
    if verdicts:
        parts.append(table([["ours", "by", "ratio", "target", ""], *(verdict.row() for verdict in verdicts)]))
    return "\n\n".join(parts), verdicts


def write_csv(path, heading, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)


def compare(options, unusable):
    def chosen(words_of, names):
        return [name for name in names if not words_of or any(set(words.split()) <= set(names[name].split()) for words in words_of)]

    subjects = [Subject(i, muxer) for muxer in BOTH for i in IMPLEMENTATIONS if muxer in i.muxers]
    names = chosen(options.only, {subject.name: subject.name for subject in subjects})
    wanted = chosen(options.figures, {name: f"{name} {figure.title}" for name, figure in FIGURES.items()})
    subjects = [subject for subject in subjects if subject.name in names]
    reasons = unusable(dict.fromkeys(subject.implementation for subject in subjects))
    results = measure([s for s in subjects if s.implementation.name not in reasons], MEASUREMENTS, wanted, options.rounds)
    text, verdicts = report(results, [s for s in subjects if s.implementation.name not in reasons], options.rounds)
    print("\n" + text + "\n")
    if options.write or (not options.only and not options.figures and options.rounds >= ROUNDS and not reasons):
        write_section("bench", text)
        write_csv(RESULTS / "bench.csv", ["round", "implementation", "muxer", "figure", "unit", "value"], results.rows())
    for name, reason in reasons.items():
        print(f"{name} {'skipped' if isinstance(reason, Skip) else 'failed'}: {reason}")
    for (name, figure), reason in results.failed.items():
        print(f"{name}, {figure} {reason}")
    missed = sum(verdict.met is False for verdict in verdicts)
    unknown = sum(verdict.met is None and verdict.target.limit is not None for verdict in verdicts)
    print(f"{sum(verdict.met is True for verdict in verdicts)} targets met, {missed} missed, {unknown} not measured", flush=True)
    return 1 if missed else 2 if unknown or results.failed or reasons else 0


# ---- how ours scales


def scale(options, unusable):
    ours = Subject(IMPLEMENTATIONS[-1], "yamux")
    if reasons := unusable([ours.implementation]):
        sys.exit(str(reasons["ours"]))
    rows, failed = [], []

    def point(number_of_round, axis, x, measure_it):
        try:
            figures = measure_it(x)
        except (Problem, KeyError) as problem:
            failed.append(f"{x} {axis}: {problem}")
            return progress(f"failed: {failed[-1]}")
        rows.extend([number_of_round, axis, x, figure, f"{value:.6g}"] for figure, value in figures.items())
        progress(f"[{number_of_round}/{options.rounds}] {x} {axis}: " + ", ".join(f"{figure} {number(value)}" for figure, value in figures.items()))

    def concurrency(count):
        told = ours.bench("--total", max(2000, 8 * count), "--concurrency", count)["task_conc"]
        return {"tasks/s": told["per_s"], "p50 ms": told["latency_ms"]["p50"], "p99 ms": told["latency_ms"]["p99"]}

    def prompt(size):
        count = max(50, min(1000, (64 << 20) // size))
        one = ours.bench("--prompt-bytes", size, "--tasks", 200 + count)["task_seq_ms"]
        many = ours.bench("--prompt-bytes", size, "--total", 3 * CONCURRENCY + count, "--concurrency", CONCURRENCY)["task_conc"]
        return {"p50 ms": one["p50"], "p99 ms": one["p99"], "tasks/s": many["per_s"]}

    def held(count):
        check(count + 100 < resource.getrlimit(resource.RLIMIT_NOFILE)[0], "too few file descriptors; see `ulimit -Hn`")
        turns = []
        for _ in range(SCALE_TURNS):
            with ours.serve() as server:
                address = server.expect("listening", START_WAIT)["addrs"][0]
                with ours.asking(address, "--hold", count, "--total", SCALE_TOTAL, "--concurrency", CONCURRENCY) as client:
                    turns.append(client.expect("bench", BENCH_WAIT)["task_conc"])
                    client.child.stdin.close()
                    client.finish()
                server.stop()
        return {
            "KiB each": memory(ours, count)["memory"],
            "tasks/s": median(turn["per_s"] for turn in turns),
            "p99 ms": median(turn["latency_ms"]["p99"] for turn in turns),
        }

    axes = zip(plots.AXES, (SCALE_IN_FLIGHT, SCALE_PROMPTS, SCALE_HELD), (concurrency, prompt, held), strict=True)
    try:
        for number_of_round, (axis, points, measure_it) in itertools.product(range(1, options.rounds + 1), axes):
            for x in points:
                point(number_of_round, axis, x, measure_it)
    finally:
        ours.end(killed=True)
    write_csv(RESULTS / "scale.csv", ["round", *plots.COLUMNS], rows)
    plots.draw_all(taken(options.rounds))
    return judge_scale(rows, failed)


def judge_scale(rows, failed):
    """10,000 held connections by 10 of them, and what the last 9,000 cost of memory by what those before cost."""
    values = defaultdict(list)
    for _, axis, x, figure, value in rows:
        if axis == "connections":
            values[figure, x].append(float(value))
    few, many = SCALE_HELD[1], SCALE_HELD[-1]
    verdicts = []
    for figure in ("KiB each", "tasks/s", "p99 ms"):
        if not all(values[figure, count] and min(values[figure, count]) > 0 for count in (few, many)):
            failed.append(f"{figure} with {many:,} connections cannot be compared with that with {few}")
            continue
        ratio = median(values[figure, many]) / median(values[figure, few])
        cost = 1 / ratio if figure == "tasks/s" else ratio
        verdicts.append(cost <= SCALE_LIMIT)
        print(f"{figure} with {many:,} connections by that with {few}: {number(ratio)} {'✓' if verdicts[-1] else '✗'}")
    held = {count: count * median(values["KiB each", count]) for count in SCALE_HELD[-3:] if values["KiB each", count]}
    hundred, thousand, most = SCALE_HELD[-3:]
    marginal = [(held.get(end, 0) - held.get(begin, 0)) / (end - begin) for begin, end in ((hundred, thousand), (thousand, most))]
    if len(held) < 3 or min(marginal) <= 0:
        failed.append("what a further connection takes of memory is not known")
    else:
        verdicts.append(marginal[1] <= SCALE_LIMIT * marginal[0])
        words = f"KiB each of the connections from {thousand:,} to {most:,} by those from {hundred:,} to {thousand:,}"
        print(f"{words}: {number(marginal[1] / marginal[0])} {'✓' if verdicts[-1] else '✗'}")
    print("".join(f"failed: {reason}\n" for reason in failed), end="", flush=True)
    return 1 if False in verdicts else 2 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="how often everything is measured (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="WORDS", help="what has all of these words, such as ours, or 'rust mplex'; repeatable")
    parser.add_argument("--figures", action="append", metavar="WORDS", help="figures with all of these words, such as bulk, or 'task p50'; repeatable")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and bench/results even when something is left out")
    parser.add_argument("--scale", action="store_true", help="measure how ours scales instead, and draw docs/plots")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    if not sys.platform.startswith("linux"):
        parser.error("what programs take of memory and time is read as Linux tells it")
    os.environ.setdefault(RUNTIME, "1")  # what suits tokio's peers best: their default runtime is measured slower
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def unusable(implementations):
        """Builds them. Why one cannot be used, by its name."""
        reasons = {implementation.name: implementation.build() for implementation in implementations}
        return {name: reason for name, reason in reasons.items() if reason}

    return (scale if options.scale else compare)(options, unusable)


if __name__ == "__main__":
    sys.exit(main())
