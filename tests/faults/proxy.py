#!/usr/bin/env python3
"""Runs `p2p-agent run` against `p2p-agent serve` through a proxy that breaks their TCP connection, at one byte after another; and `cuts`
(cuts.cpp), whose requesters cost less than processes, so that their connections are cut behind each byte there is.

Usage: proxy.py [P2P-AGENT]. P2P_FAULTS_STRIDE=N takes every Nth byte (16) for the processes. The last line is "N passed, N failed, N skipped".
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

RELEASE = HERE.parent.parent / "build" / "release"
PROGRAM = RELEASE / "p2p-agent"
CUTS = RELEASE / "tests" / "cuts"
PROMPT = "0123456789"
ANSWER = "Processed: " + PROMPT
STRIDE = max(1, int(os.environ.get("P2P_FAULTS_STRIDE", "16")))
AT_ONCE = 16
RETRIES = 5
MUXERS = ("yamux", "mplex")
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
    def __init__(self, slots=64, queue=64, delay=20):
        self.options = ["--slots", str(slots), "--queue", str(queue), "--executor", f"mock:delay={delay},pieces=2"]
        self.ends = {}  # task id -> statuses
        self.ran = {}  # task id -> seconds that it ran the last time
        self.left_out = 0  # events that it did not tell
        self.answered = []  # tasks of runs that tried again

    async def start(self):
        command = [PROGRAM, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--max-connections-per-address", "1000"]
        self.child = await asyncio.create_subprocess_exec(*command, *self.options, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        listening = json.loads(await self.child.stdout.readline())
        self.address = listening["addrs"][0]
        self.peer, self.port = listening["peer"], int(self.address.split("/")[4])
        self.reader = asyncio.ensure_future(self.read())

    async def read(self):
        async for line in self.child.stdout:
            event = json.loads(line)
            if event["event"] == "task":
                self.ends.setdefault(event["task_id"], []).append(event["status"])
                self.ran[event["task_id"]] = event["run_ms"] / 1000
            elif event["event"] == "left_out":
                self.left_out += event["n"]

    async def stop(self):
        self.child.terminate()
        try:
            await asyncio.wait_for(self.reader, 20)
        except asyncio.TimeoutError:
            self.child.kill()
            raise Problem("the provider does not end") from None
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
    for muxer in MUXERS:
        yield f"over {muxer}", two_round_trips(provider, muxer)


# ---- behind each byte, with agents that are no processes of their own


def check_ends(course, statuses, ran, linger, returns):
    """How often the task of somebody ran who returned until it was answered, and how long that of somebody who left. Who did so in good order, before
    the connection was cut, is not waited for."""
    task = course["task_id"]
    if returns:
        check(statuses.count("completed") == 1 and {*statuses} <= {"completed", "lost"}, f"{task} ran as {statuses}")
        check(not linger or len(statuses) == 1, f"{task} ran as {statuses} although it lingers")
    elif statuses:
        check(statuses == ["lost"], f"nobody waited for {task}, which ran as {statuses}")
        check((course["left"] or linger <= ran) and ran <= linger + ENDS[CUT], f"nobody waited for {task}, which ran for {ran:.1f} s")


async def cut_everywhere(muxer, linger, returns):
    """The same as sweep(), and how many positions lay behind the end of their exchange. `linger` is in seconds."""
    alone = returns or not linger  # a provider for each course; else many of them wait at once
    providers = [Provider(1, 0, 20 if returns else 60_000) if alone else Provider(10_000, 0, 60_000) for _ in range(12 if alone else 3)]
    await asyncio.gather(*(provider.start() for provider in providers))
    options = [muxer, str(1000 * linger), "returns" if returns else "leaves", "1" if alone else "8", *(provider.address for provider in providers)]
    child = await asyncio.create_subprocess_exec(CUTS, *options, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(child.communicate(), 300)
    except asyncio.TimeoutError:
        child.kill()
        said = b'{"failed": "it hangs"}'
    ended = await asyncio.gather(*(provider.stop() for provider in providers), return_exceptions=True)
    try:
        *courses, last = [json.loads(line) for line in said.splitlines()] or [{}]
        check("positions" in last, last.get("failed", f"it ended with {child.returncode}"))
        check(last["cut"] + last["behind"] == last["positions"] == len(courses) - 1, f"of {len(courses) - 1} courses: {last}")
        for provider, problem in zip(providers, ended):
            check(problem is None, problem)
            check(provider.left_out == 0, f"a provider left out {provider.left_out} events")
        by_task = {task: provider for provider in providers for task in provider.ends}
        for course in courses:
            task = course["task_id"]
            provider = by_task.get(task, providers[0])
            check_ends(course, provider.ends.get(task, []), provider.ran.get(task), linger, returns)
    except Problem as problem:
        return problem, 0
    return None, last["cut"], last["behind"]


async def report(name, work):
    """Whether it failed."""
    start = time.monotonic()
    failure, done, *behind = await work
    words = f"{done} connections, {time.monotonic() - start:.0f} s" if failure is None else failure
    if failure is None and behind:
        words += f"; {behind[0]} positions lay behind the end of their exchange"
    print(f"{'passed' if failure is None else 'FAILED':8} {name}: {words}", flush=True)
    return failure is not None


async def everywhere():
    """What failed, of all that is cut behind each byte."""
    failed = []
    for returns, linger in ((True, 10), (True, 0), (False, 0), (False, 1)):
        words = ("returns" if returns else "leaves") + (f", lingering for {linger} s" if linger else "")
        both = (report(f"cut behind each byte over {muxer}, {words}", cut_everywhere(muxer, linger, returns)) for muxer in MUXERS)
        failed += await asyncio.gather(*both)
    return failed


async def main():
    global PROGRAM
    if len(sys.argv) > 1:
        PROGRAM = Path(sys.argv[1]).resolve()
    provider = Provider()
    await provider.start()
    carried = await answered(provider)
    names = {"a first task in two round trips": first_tasks(provider), "late and in pieces": whole(provider), **{fault: at_each_byte(provider, fault, carried) for fault in ENDS}}
    waits = names.pop(STALL)
    failed = [await report(name, sweep(cases)) for name, cases in names.items()]
    mostly_waits, others = await asyncio.gather(report(STALL, sweep(waits)), everywhere())
    failed += [mostly_waits, *others]
    try:
        await provider.stop()
        print(f"passed   each of {len(provider.answered)} tasks that were tried again ran once")
        failed.append(False)
    except Problem as problem:
        print(f"FAILED   {problem}")
        failed.append(True)
    print(f"{failed.count(False)} passed, {failed.count(True)} failed, 0 skipped")
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
