#!/usr/bin/env python3
"""Runs `p2p-agent run` against `p2p-agent serve` through a proxy that breaks their TCP connection, at one byte after another.

Usage: proxy.py [P2P-AGENT]. P2P_FAULTS_STRIDE=N takes every Nth byte (16). The last line is "N passed, N failed, N skipped".
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import struct
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
from run import Problem, check  # noqa: E402

PROGRAM = HERE.parent.parent / "build" / "release" / "p2p-agent"
PROMPT = "0123456789"
ANSWER = "Processed: " + PROMPT
STRIDE = max(1, int(os.environ.get("P2P_FAULTS_STRIDE", "16")))
AT_ONCE = 16
RETRIES = 5
NAMED = (0, 4, 6, 7)  # exit codes of a run whose connection may have failed

# What happens once so many bytes of one direction have gone through; how long a run without retries takes then at most (seconds: at once,
# silence of 5 s or a handshake of 10 s, a record of 10 s); and at which bytes it is tried, in strides.
CUT, RESET, HALF_CLOSE, STALL, CORRUPT = "cut", "reset", "half-close", "stall", "corrupt"
ENDS = {CUT: 5, RESET: 5, HALF_CLOSE: 5, STALL: 15, CORRUPT: 15}
SPARSER = {CUT: 1, RESET: 1, HALF_CLOSE: 1, STALL: 8, CORRUPT: 4}


class Proxy:
    """Between one requester and the provider. The fault befalls the first connection; `late` (seconds) and `pieces` (a seed) befall all."""

    def __init__(self, target, fault=None, upstream=True, after=0, late=0.0, pieces=None):
        self.target, self.fault, self.upstream, self.after, self.late = target, fault, upstream, after, late
        self.cutter = random.Random(pieces) if pieces is not None else None
        self.carried = {True: 0, False: 0}
        self.flights = {True: 0, False: 0}  # what one side said in one go, before the other said something
        self.speaker = None
        self.tasks = set()
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.spawn(self.accept())

    def spawn(self, work):
        task = asyncio.ensure_future(self.to_its_end(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @staticmethod
    async def to_its_end(work):
        with contextlib.suppress(OSError):  # the other direction has closed both sockets
            await work

    async def accept(self):
        loop = asyncio.get_running_loop()
        while True:
            requester, _ = await loop.sock_accept(self.listener)
            provider = socket.socket()
            for end in (requester, provider):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.open.append(end)
            await loop.sock_connect(provider, ("127.0.0.1", self.target))
            fault, self.fault = self.fault, None
            self.spawn(self.pump(requester, provider, True, fault if self.upstream else None))
            self.spawn(self.pump(provider, requester, False, None if self.upstream else fault))

    async def pump(self, source, sink, upstream, fault):
        loop = asyncio.get_running_loop()
        try:
            if fault and fault != CORRUPT and self.after == 0:
                return self.strike(fault, source, sink)
            while data := bytearray(await loop.sock_recv(source, 65536)):
                if self.late:
                    await asyncio.sleep(self.late)
                    with contextlib.suppress(BlockingIOError):
                        data += source.recv(65536)  # it was sent without an answer to what is late
                self.flights[upstream] += self.speaker != upstream
                self.speaker = upstream
                left = self.after - self.carried[upstream]
                self.carried[upstream] += len(data)
                if fault == CORRUPT:
                    if len(data) > left:
                        data[left] ^= 0x10
                        fault = None
                elif fault and len(data) >= left:
                    await self.deliver(sink, bytes(data[:left]))
                    return self.strike(fault, source, sink)
                await self.deliver(sink, bytes(data))
            sink.shutdown(socket.SHUT_WR)
        except ConnectionError:
            self.reset(source, sink)  # one end broke it: so it is for the other

    async def deliver(self, sink, data):
        loop = asyncio.get_running_loop()
        while data:
            size = self.cutter.choice((1, 2, 3, 17, 64, 1000)) if self.cutter else len(data)
            if self.cutter and self.late:
                await asyncio.sleep(self.late)
            await loop.sock_sendall(sink, data[:size])
            data = data[size:]

    def strike(self, fault, source, sink):
        if fault == RESET:
            self.reset(source, sink)
        elif fault == CUT:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        elif fault == HALF_CLOSE:
            sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def reset(*ends):
        loop = asyncio.get_running_loop()
        for end in ends:
            if end.fileno() < 0:
                continue
            loop.remove_reader(end)
            loop.remove_writer(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    async def close(self):
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for end in [self.listener, *self.open]:
            end.close()


class Provider:
    async def start(self):
        command = [PROGRAM, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--slots", "64", "--queue", "64"]
        self.child = await asyncio.create_subprocess_exec(*command, "--executor", "mock:delay=20,pieces=2", stdin=asyncio.subprocess.PIPE,
                                                          stdout=asyncio.subprocess.PIPE)
        listening = json.loads(await self.child.stdout.readline())
        self.peer, self.port = listening["peer"], int(listening["addrs"][0].split("/")[4])
        self.ends = {}  # task id -> statuses
        self.answered = []  # those of runs that tried again
        self.reader = asyncio.ensure_future(self.read())

    async def read(self):
        async for line in self.child.stdout:
            event = json.loads(line)
            if event["event"] == "task":
                self.ends.setdefault(event["task_id"], []).append(event["status"])

    async def stop(self):
        self.child.terminate()
        await asyncio.wait_for(self.reader, 10)
        check(await self.child.wait() == 0, "the provider did not end well")
        for task in self.answered:
            check(self.ends.get(task) == ["completed"], f"tried again, {task} ran as {self.ends.get(task)}")


async def ask(provider, proxy, *options):
    """Exit code, last event and seconds of one run through the proxy."""
    address = f"/ip4/127.0.0.1/tcp/{proxy.port}/p2p/{provider.peer}"
    start = time.monotonic()
    child = await asyncio.create_subprocess_exec(PROGRAM, "run", "--json", "--stream", "--peer", address, *options, PROMPT,
                                                 stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                                                 stderr=asyncio.subprocess.DEVNULL)
    try:
        said, _ = await asyncio.wait_for(child.communicate(), 60)
    except asyncio.TimeoutError:
        child.kill()
        raise Problem("it hangs") from None
    last = json.loads(said.splitlines()[-1]) if said else {"event": "nothing"}
    check(last["event"] == ("result" if child.returncode == 0 else "error"), f"it ended with {child.returncode} behind {last}")
    check(child.returncode != 0 or last["text"] == ANSWER, f"the answer is {last}")
    return child.returncode, last, time.monotonic() - start


async def answered(provider, **faults):
    """It tries again with the same envelope, which runs once, as stop() finds."""
    proxy = Proxy(provider.port, **faults)
    try:
        code, last, _ = await ask(provider, proxy, "--retries", str(RETRIES))
        if code == 7 and faults.get("fault") == CORRUPT:
            return None  # nobody tries again with a peer whose handshake does not verify
        check(code == 0, f"tried again, it ended with {code}: {last.get('message')}")
        provider.answered.append(last["task_id"])
        return dict(proxy.carried)
    finally:
        await proxy.close()


async def named(provider, **faults):
    """It ends with an answer or an error that has a name, before long."""
    proxy = Proxy(provider.port, **faults)
    try:
        code, last, seconds = await ask(provider, proxy)
        check(code in NAMED, f"it ended with {code}: {last.get('message')}")
        check(code == 0 or last.get("message"), f"its error has no name: {last}")
        check(seconds <= ENDS[faults["fault"]], f"it took {seconds:.1f} s")
    finally:
        await proxy.close()


async def two_round_trips(provider, muxer):
    """A first task takes two behind TCP's own, when each piece comes so late that nothing but an answer is waited for."""
    proxy = Proxy(provider.port, late=0.5)
    try:
        code, last, _ = await ask(provider, proxy, "--muxer", muxer)
        check(code == 0, f"it ended with {code}: {last.get('message')}")
        check(proxy.flights[False] == 2, f"its result came with flight {proxy.flights[False]} of the provider")
    finally:
        await proxy.close()


async def sweep(cases):
    """The first failure of (description, coroutine) pairs, so many at once, or None, and how many went well."""
    cases, done = iter(cases), 0
    failure = None

    async def lane():
        nonlocal done, failure
        for words, work in cases:
            if failure:
                work.close()
                return
            try:
                await work
                done += 1
            except Problem as problem:
                failure = failure or f"{words}: {problem}"

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return failure, done


def at_each_byte(provider, fault, carried):
    for upstream, way in itertools.product((True, False), (answered, named)):
        for after in range(0, carried[upstream], STRIDE * SPARSER[fault]):
            words = f"after {after} bytes of the {'requester' if upstream else 'provider'}"
            yield words, way(provider, fault=fault, upstream=upstream, after=after)


def whole(provider):
    for late in (0.0, 0.05):
        yield f"each piece {late} s late", answered(provider, late=late)
    for seed in range(50):
        yield f"in pieces by seed {seed}", answered(provider, pieces=seed)
    yield "in pieces, each late", answered(provider, pieces=1, late=0.002)


def first_tasks(provider):
    for muxer in ("yamux", "mplex"):
        yield f"over {muxer}", two_round_trips(provider, muxer)


async def main():
    global PROGRAM
    if len(sys.argv) > 1:
        PROGRAM = Path(sys.argv[1]).resolve()
    provider = Provider()
    await provider.start()
    carried = await answered(provider)
    names = {"a first task in two round trips": first_tasks(provider), "late and in pieces": whole(provider), **{fault: at_each_byte(provider, fault, carried) for fault in ENDS}}
    failed = 0
    for name, cases in names.items():
        start = time.monotonic()
        failure, done = await sweep(cases)
        words = f"{done} connections, {time.monotonic() - start:.0f} s" if failure is None else failure
        print(f"{'passed' if failure is None else 'FAILED':8} {name}: {words}", flush=True)
        failed += failure is not None
    try:
        await provider.stop()
        print(f"passed   each of {len(provider.answered)} tasks that were tried again ran once")
    except Problem as problem:
        print(f"FAILED   {problem}")
        failed += 1
    print(f"{len(names) + 1 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
