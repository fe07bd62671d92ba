#!/usr/bin/env python3
"""Attacks `p2p-agent serve` from other addresses of the loopback interface, and judges what a well-behaved peer notices of it.

Each attack is measured beside the same one on another provider, which nobody asks: so the machine is as busy, and the difference is what the attack
does to a provider. What there is without any attack stands first, and beside each attack the processor time that it takes of a provider that holds one
other connection. Exits with 1 when the median latency under unfinished connections more than doubles, when handshakes take more than their share of a processor, or
when a well-behaved peer does not get in."""

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
from run import START_WAIT, Problem, Process, Skip, check  # noqa: E402  tests/interop/run.py

PROGRAM = ROOT / "build" / "release" / "p2p-agent"
CROWD = 10_000  # connections at once
ADDRESSES = [f"127.0.0.{host}" for host in range(2, 12)]
OPENED = 2_000  # a second, at most
PROPOSAL = b"\x13/multistream/1.0.0\n\x07/noise\n"
MESSAGE_1 = b"\x00\x20" + bytes([9]) + bytes(31)  # of Noise: a point that is one, X25519's own
MOST = 2.0  # times the latency without the attack
SHARE = 0.4  # of a processor, for handshakes from one address while somebody else is there: one in 2 ms (docs/threat-model.md)


class Crowd:
    """Connections that are never finished. Who is dropped comes again. Each says so many bytes of `say` at first, and then one a second."""

    def __init__(self, port, say, at_first=0):
        self.port, self.say, self.at_first = port, say, at_first
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
                waiting.register(channel, selectors.EVENT_READ if not self.at_first else selectors.EVENT_READ | selectors.EVENT_WRITE)
            if len(self.say) > self.at_first and now - last > 1:
                last = now
                for channel, said in list(held.items()):
                    if said < len(self.say):
                        with contextlib.suppress(OSError):
                            channel.send(self.say[said : said + 1])
                        held[channel] += 1
            for key, ready in waiting.select(0.01):
                channel = key.fileobj
                if ready & selectors.EVENT_WRITE:
                    with contextlib.suppress(OSError):
                        held[channel] = channel.send(self.say[: self.at_first])
                    waiting.modify(channel, selectors.EVENT_READ)
                    continue
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
        check(self.thread.is_alive() and self.opened >= CROWD, f"it was no attack: {self.opened:,} connections were opened")
        self.ending = True
        self.thread.join()
        return f"{self.opened:,} opened, {self.dropped:,} dropped"


class Churn:
    """Whole handshakes, eight at a time with four keys, from the loopback interface's other family, which is another address."""

    def __init__(self, address):
        command = [PROGRAM, "bench", address, "--connections", "1000000", "--parallel", "2", "--json"]
        self.children = [subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]

    def end(self):
        running = all(child.poll() is None for child in self.children)
        for child in self.children:
            child.kill()
            child.wait()
        check(running, "it was no attack: `bench --connections` gave up")
        return "handshakes, eight at a time"


ATTACKS = {
    "silence": lambda port, _: Crowd(port, b""),
    "one byte a second": lambda port, _: Crowd(port, PROPOSAL),
    "half a handshake": lambda port, _: Crowd(port, PROPOSAL + MESSAGE_1, len(PROPOSAL + MESSAGE_1)),
    "churn": lambda _, address6: Churn(address6),
}


def serving():
    command = [PROGRAM, "serve", "--json", "--quiet", "--no-mdns", "--slots", "64", "--queue", "64"]
    return Process([*command, "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip6/::1/tcp/0"])


def measured(address, seconds):
    """Latencies of a peer that connects and asks: p50 of connecting, p50 and p99 of a task, each the median of what a round took, in ms."""
    connects, tasks, slowest = [], [], []
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
                slowest.append(event["task_seq_ms"]["p99"])
    return median(connects), median(tasks), median(slowest)


def addresses(process):
    texts = process.expect("listening", START_WAIT)["addrs"]
    four = next(text for text in texts if text.startswith("/ip4/"))
    six = next((text for text in texts if text.startswith("/ip6/")), None)
    return four, six, int(four.split("/")[4])


def processor_share(process, seconds):
    """Of one processor, that the process takes."""
    before = process.cpu_time()
    time.sleep(seconds)
    return (process.cpu_time() - before) / 1e9 / seconds


@contextlib.contextmanager
def under(attack, target):
    """An attack that is in full swing. Gives a list to which it adds, at its end, what became of it."""
    _, six, port = addresses(target)
    running = ATTACKS[attack](port, six)
    told = []
    try:
        time.sleep(CROWD / OPENED + 1 if attack != "churn" else 1)
        yield told
    finally:
        told.append(running.end())
        time.sleep(1)


def row_of(attack, seconds):
    """A row of the table, and what is wrong, or None."""
    with serving() as asked, serving() as decoy:
        address, six, _ = addresses(asked)
        if attack == "churn" and six is None:
            raise Skip("there is no ::1")
        with under(attack, decoy):
            elsewhere = measured(address, seconds)
        with under(attack, asked) as told:
            here = measured(address, seconds)
            with Process([PROGRAM, "bench", address, "--hold", "1", "--json"]) as guest:
                guest.expect("held", START_WAIT)
                share = processor_share(asked, seconds / 3)
        for process in (asked, decoy):
            process.stop()
    ratios = [one / other for one, other in zip(here, elsewhere)]
    problem = None
    if attack == "churn" and share > SHARE:
        problem = f"churn: the provider spends {share:.2f} of a processor on it, where {SHARE} are allowed"
    if attack != "churn" and max(ratios[:2]) > MOST:
        problem = f"{attack}: latency {max(ratios[:2]):.2f} times what it is elsewhere, where {MOST} are allowed"
    cells = [number(value) for figure in zip(elsewhere, here, ratios) for value in figure]
    return (attack, *cells, number(share), *told), problem


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=15, help="of each measurement")
    parser.add_argument("--only", choices=ATTACKS, action="append")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    check(hard == resource.RLIM_INFINITY or hard > CROWD + 1000, "too few file descriptors; see `ulimit -Hn`")
    head = [cell for figure in ("connect p50", "task p50", "task p99") for cell in (f"{figure}, ms: elsewhere", "here", "ratio")]
    rows, problems = [("attack", *head, "of a processor", "the attack")], []
    with serving() as asked:
        alone = measured(addresses(asked)[0], options.seconds)
        rows.append(("none", *(cell for value in alone for cell in (number(value), "", "")), "", ""))
        asked.stop()
    for attack in options.only or ATTACKS:
        try:
            row, problem = row_of(attack, options.seconds)
        except Skip as reason:
            print(f"{attack}: skipped, {reason}")
            continue
        rows.append(row)
        problems += [problem] if problem else []
    print(table(rows))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        sys.exit(f"siege: {problem}")
