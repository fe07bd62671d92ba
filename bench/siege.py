#!/usr/bin/env python3
"""Attacks `p2p-agent serve` from other addresses of the loopback interface, and judges what a well-behaved peer notices of it.

Each attack is measured beside the same one on another provider, which nobody asks: so the machine is as busy, and the difference is what the attack
does to a provider. Exits with 1 when latency more than doubles, or nobody gets in."""

import argparse
import contextlib
import json
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from statistics import median

from page import ROOT, number, table

sys.path.insert(0, str(ROOT / "tests" / "interop"))
from run import START_WAIT, Process, Problem, check  # noqa: E402  tests/interop/run.py

PROGRAM = ROOT / "build" / "release" / "p2p-agent"
CROWD = 10_000  # connections at once
ADDRESSES = [f"127.0.0.{host}" for host in range(2, 12)]
OPENED = 2_000  # a second, at most
PROPOSAL = b"\x13/multistream/1.0.0\n\x07/noise\n"
MOST = 2.0  # times the latency without the attack


class Crowd:
    """Connections that are never finished. Who is dropped comes again."""

    def __init__(self, port, say):
        self.port, self.say = port, say
        self.opened = self.dropped = 0
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        waiting = selectors.DefaultSelector()
        held = {}
        start = last = time.monotonic()
        while not self.ending:
            now = time.monotonic()
            while len(held) < CROWD and self.opened < (now - start) * OPENED:
                channel = socket.socket()
                channel.setblocking(False)
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    channel.bind((ADDRESSES[self.opened % len(ADDRESSES)], 0))
                    channel.connect_ex(("127.0.0.1", self.port))
                except OSError:
                    channel.close()
                    break
                self.opened += 1
                held[channel] = 0
                waiting.register(channel, selectors.EVENT_READ)
            if self.say and now - last > 1:
                last = now
                for channel, said in list(held.items()):
                    if said < len(self.say):
                        with contextlib.suppress(OSError):
                            channel.send(self.say[said : said + 1])
                        held[channel] += 1
            for key, _ in waiting.select(0.01):
                channel = key.fileobj
                try:
                    if channel.recv(4096):
                        continue
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                self.dropped += 1
                waiting.unregister(channel)
                del held[channel]
                channel.close()
        for channel in held:
            channel.close()

    def end(self):
        self.ending = True
        self.thread.join()
        return f"{self.opened:,} opened, {self.dropped:,} dropped"


class Churn:
    """Whole handshakes, eight at a time, from the loopback interface's other family, which is another address."""

    def __init__(self, address):
        command = [PROGRAM, "bench", address, "--connections", "1000000", "--parallel", "8", "--json"]
        self.child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        running = self.child.poll() is None
        self.child.kill()
        self.child.wait()
        return "handshakes, eight at a time" + ("" if running else " (it gave up)")


ATTACKS = {
    "silence": lambda port, _: Crowd(port, b""),
    "one byte a second": lambda port, _: Crowd(port, PROPOSAL),
    "churn": lambda _, address6: Churn(address6),
}
JUDGED = ("silence", "one byte a second")


def serving():
    command = [PROGRAM, "serve", "--json", "--quiet", "--no-mdns", "--slots", "64", "--queue", "64"]
    return Process([*command, "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip6/::1/tcp/0"])


def measured(address, seconds):
    """Latencies of a peer that connects and asks, as p50 in ms."""
    connects, tasks = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        command = [PROGRAM, "bench", address, "--connections", "20", "--tasks", "400", "--json"]
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
        check(ended.returncode == 0, f"an honest peer did not get through: {ended.stderr.strip()}")
        for line in ended.stdout.splitlines():
            event = json.loads(line)
            if "connect_ms" in event:
                connects.append(event["connect_ms"]["p50"])
            if "task_seq_ms" in event:
                tasks.append(event["task_seq_ms"]["p50"])
    return median(connects), median(tasks)


def addresses(process):
    texts = process.expect("listening", START_WAIT)["addrs"]
    four = next(text for text in texts if text.startswith("/ip4/"))
    six = next((text for text in texts if text.startswith("/ip6/")), None)
    return four, six, int(four.split("/")[4])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=15, help="of each measurement")
    parser.add_argument("--only", choices=ATTACKS, action="append")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    check(hard == resource.RLIM_INFINITY or hard > CROWD + 1000, "too few file descriptors; see `ulimit -Hn`")
    rows = [("attack", "connect p50, ms: elsewhere", "here", "ratio", "task p50, ms: elsewhere", "here", "ratio", "the attack")]
    failed = False
    for name in options.only or ATTACKS:
        with serving() as asked, serving() as decoy:
            address, _, _ = addresses(asked)
            results = []
            for target in (decoy, asked):
                _, six, port = addresses(target)
                if name == "churn" and six is None:
                    print("churn: skipped, there is no ::1")
                    break
                attack = ATTACKS[name](port, six)
                try:
                    time.sleep(CROWD / OPENED + 1 if name != "churn" else 1)
                    results.append(measured(address, options.seconds))
                finally:
                    told = attack.end()
                time.sleep(1)
            if len(results) < 2:
                continue
            (connect, task), (connect_here, task_here) = results
            ratios = connect_here / connect, task_here / task
            failed = failed or (name in JUDGED and max(ratios) > MOST)
            rows.append((name, number(connect), number(connect_here), number(ratios[0]), number(task), number(task_here), number(ratios[1]), told))
            for process in (asked, decoy):
                process.stop()
    print(table(rows))
    if failed:
        print(f"latency more than {MOST} times what it is without the attack")
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        sys.exit(f"siege: {problem}")
