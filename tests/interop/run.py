#!/usr/bin/env python3
"""Runs this project's programs against the interop peers (README.md) and prints what works with what."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RELEASE = ROOT / "build" / "release"

MUXERS = {"rust": ["yamux", "mplex"], "go": ["yamux"], "js": ["yamux", "mplex"]}
STEPS = ["identify", "ping", "info", "task", "stream", "tampered", "echo"]
COURSE = ["cancel", "codes", "conflict", "retry", "deadline"]
RUN_COURSE = ["cancel", "codes", "busy", "break", "deadline"]
# What `bench` is asked for, and the member that it answers with.
MEASURES = {
    "pings": (["--pings", "5"], "ping_ms"),
    "tasks": (["--tasks", "203"], "task_seq_ms"),
    "at once": (["--total", "20", "--concurrency", "4"], "task_conc"),
    "connections": (["--connections", "6", "--parallel", "2"], "connect_ms"),
    "bulk": (["--bulk", "1"], "bulk_down"),
}
DISCOVERIES = ["ours finds it", "it finds ours", "run finds it"]

# Each with the status that it comes with, and the exit code of `p2p-agent run`. The last is one that the protocol doesn't have.
CODES = {code: ("rejected", 5) for code in ("invalid_task", "unsupported_task_type", "unsupported_model", "wrong_recipient")}
CODES |= {code: ("rejected", 5) for code in ("task_id_conflict", "too_large", "busy", "not_allowed", "shutting_down")}
CODES |= {"executor_failed": ("failed", 5), "output_too_large": ("failed", 5)}
CODES |= {"cancelled": ("cancelled", 5), "deadline_exceeded": ("cancelled", 6), "some_new_code": ("rejected", 5)}

# What a provider can get wrong, and the exit code of `p2p-agent run`: 7, or 4 where there is nothing that could be wrong.
LIES = {lie: 7 for lie in ("signature", "key", "hash", "id", "recipient", "updates", "trailing", "seq", "kind")} | {"none": 4}

# A real language model, of a size that any machine runs.
MODEL = Path(os.environ.get("P2P_MODEL", ROOT.parent / "shared" / "data" / "stories260K.gguf"))
MODEL_STEPS = ["plain", "stream", "length"]

PROMPT = "Grüße, P2P AI! 你好 🤖"
ANSWER = "Processed: " + PROMPT
SLOW = "slow:60:50"  # three seconds, in sixty pieces
SLOW_ANSWER = "Processed: " + SLOW
SLOW_MOCK = "mock:delay=3000,pieces=60"
ECHO_BYTES = 64 * 1024 * 1024

# Seconds. Whoever waits for longer than this waits for something that does not come.
START_WAIT = 30  # until a program says its first line, on a busy machine
STEP_WAIT = 70  # the programs give a step up after 60
DISCOVER_WAIT = 25  # mDNS implementations ask at the start, and again after 10 to 20
END_WAIT = 10

ROWS_AT_ONCE = 4  # of those that mostly wait: courses and lies

# Before the command line of our own programs; with it they are this much slower, and end with a code of its own when it finds something.
WRAPPER = []
MEMCHECK = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite", "--trace-children=no"]
MEMCHECK_SLOWER = 5


class Problem(Exception):
    """A cell failed."""


class Skip(Exception):
    """A cell cannot be run here."""


def check(holds, problem):
    if not holds:
        raise Problem(problem)


def wrapped(command):
    return [*WRAPPER, *command] if Path(command[0]).name in ("p2p-agent", "interop_agent") else command


class Process:
    """A program that prints one JSON object a line. Ended with its `with` block."""

    def __init__(self, command, namespace=None):
        program = Path(command[0])
        self.name = f"{program.parent.name if program.name == 'peer' else program.name} {command[1]}"
        command = wrapped(command)
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]  # execs, so the pid is the program's
        self.log = tempfile.TemporaryFile()
        self.said = b""
        self.events = []
        self.changed = threading.Condition()
        self.ended = False
        self.child = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            self.said += line
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "garbage", "line": line.decode(errors="replace").rstrip()}
            with self.changed:
                self.events.append(event)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def expect(self, event, wait, count=1, **members):
        """The first event of this kind, or that one which makes them `count`."""

        def found():
            matching = [e for e in self.events if e.get("event") == event and members.items() <= e.items()]
            return matching[count - 1] if len(matching) >= count else None

        with self.changed:
            self.changed.wait_for(lambda: found() or self.ended, wait)
            if found():
                return found()
            what = f"no {event} " + ("" if self.ended else f"within {wait} s ") + f"from {self.name}"
        raise Problem(what + self.last_words())

    def all(self, event, **members):
        """What has been said so far."""
        with self.changed:
            return [e for e in self.events if e.get("event") == event and members.items() <= e.items()]

    def finish(self, expected=0):
        """Waits until the program ends by itself, which must be with success, or with the given code."""
        try:
            code = self.child.wait(END_WAIT)
        except subprocess.TimeoutExpired:
            raise Problem(f"{self.name} does not end") from None
        self.reader.join(END_WAIT)
        if WRAPPER and code != expected:
            self.log.seek(0)
            print(self.log.read().decode(errors="replace"), file=sys.stderr)
        check(code == expected, f"{self.name} ended with {code}{self.last_words()}")

    def cpu_time(self):
        """Nanoseconds, in all its threads, those that have ended included: what clock_getcpuclockid() would give the clock of."""
        return time.clock_gettime_ns(~self.child.pid << 3 | 2)

    def last_words(self):
        if self.ended:
            self.child.wait()
        errors = [e.get("message", "") for e in self.events if e["event"] == "error"]
        garbage = [f"not JSON: {e['line']}" for e in self.events if e["event"] == "garbage"]
        self.log.seek(0)
        logged = self.log.read().decode(errors="replace").strip().splitlines()[-3:]
        words = errors + garbage + ([] if errors else logged)
        return ": " + " | ".join(words) if words else ""

    def stop(self):
        """Ends a program that runs until it is told to end; it must do so with success."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        self.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.reader.join(END_WAIT)
        self.child.stdout.close()
        if "P2P_TEST_LOG" in os.environ:  # to be looked through for secrets
            self.log.seek(0)
            with open(os.environ["P2P_TEST_LOG"], "ab") as said:
                said.write(self.said + self.log.read() + b"\n")
        self.log.close()


# ---- the programs


class Ours:
    """Our library as a peer, and the program that users have."""

    def __init__(self, agent):
        self.peer = agent
        self.program = agent.parent / "p2p-agent"


def peer_of(name):
    return HERE / name / "peer"


def build(folder):
    """Why the peer in it cannot be used, Skip or Problem, or None."""
    progress(f"building the {folder.name} peer")
    done = subprocess.run([folder / "build"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    words = done.stderr.strip().splitlines() or ["no reason given"]
    if done.returncode == 3:
        return Skip(words[-1])
    print(done.stderr, file=sys.stderr)
    return Problem(f"{folder.name}/build failed: {words[-1]}")


def build_peers(names):
    """Why a peer cannot be used, by its name."""
    verdicts = {name: build(HERE / name) for name in names}
    return {name: verdict for name, verdict in verdicts.items() if verdict}


def build_ours():
    progress("building our own programs")
    jobs = str(min(2, os.cpu_count() or 1))
    try:
        subprocess.run(["cmake", "--preset", "release", "-DP2P_TESTS=ON"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", RELEASE, "-j", jobs, "--target", "p2p-agent", "interop_agent"], cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"our own programs cannot be built: {error}")


# ---- what is checked of the lines


def check_identify(event, listening, echo):
    served = ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/p2p-ai-agents/task/1.0.0", "/p2p-ai-agents/info/1.0.0"]
    served += ["/p2p-ai-agents/test-echo/1.0.0"] if echo else []
    missing = [protocol for protocol in served if protocol not in event["protocols"]]
    check(not missing, f"identify does not name {', '.join(missing)}")
    check(event["agent"], "identify names no agent")
    address = listening["addrs"][0].split("/p2p/")[0]
    check(address in [a.split("/p2p/")[0] for a in event["listen_addrs"]], f"identify does not name {address}")
    observed = event["observed"] or ""
    check(observed.startswith("/ip4/127.0.0.1/tcp/"), f"identify observes '{observed}'")


def check_ping(event):
    check(len(event["ms"]) == 3 and all(0 <= ms < 10_000 for ms in event["ms"]), f"pings took {event['ms']} ms")


def check_info(event):
    kinds = [(e["task_type"], e["executor"]) for e in event["executors"]]
    check(("inference", "mock") in kinds, f"info offers {kinds}")
    check(event["agent"] and event["queue"]["slots"] >= 1, f"info says {event}")


def check_answer(event):
    check(event["status"] == "completed" and event["text"] == ANSWER, f"the answer is {event}")


def check_step(step, event, listening, pieces):
    if step == "identify":
        check_identify(event, listening, echo=pieces > 1)
    elif step == "ping":
        check_ping(event)
    elif step == "info":
        check_info(event)
    elif step == "task":
        check_answer(event)
        check(event["executor"] == "mock", f"the answer is {event}")
    elif step == "stream":
        check_answer(event)
        check(event["updates"] >= pieces, f"only {event['updates']} updates")
    elif step == "tampered":
        check(event["refused"] is True, f"not refused: {event}")
    elif step == "echo":
        check(event["bytes"] == ECHO_BYTES and re.fullmatch("[0-9a-f]{64}", event["sha256"]), f"the echo is {event}")


def check_course(step, event, server):
    """What a requester says of a step, and what the provider saw of it."""

    def ended(**members):
        return server.expect("task", END_WAIT, **members)

    if step == "cancel":
        check(event["updates"] >= 1, f"cancelled after {event['updates']} updates")
        status = ended(task_id=event["task_id"])["status"]
        check(status in ("lost", "cancelled"), f"the task was {status}, although its stream was reset")
    elif step == "codes":
        expected = {"invalid_task", "wrong_recipient", "unsupported_task_type", "unsupported_model"}
        check(set(event["codes"]) == expected and event["codes"].count("invalid_task") >= 3, f"the codes are {event['codes']}")
        for code in expected:
            ended(status="rejected", code=code, count=event["codes"].count(code))
    elif step == "conflict":
        check(event["code"] == "task_id_conflict", f"the conflict is {event}")
        ended(task_id=event["task_id"], status="completed")
        ended(task_id=event["task_id"], status="rejected", code="task_id_conflict")
    elif step == "retry":
        check(event["status"] == "completed" and event["text"] == SLOW_ANSWER, f"the answer is {event}")
        check(event["same"] is True, "the result of the first time and its repetition differ")
        check_run_once(server, event["task_id"])
    elif step == "deadline":
        check(event["code"] == "deadline_exceeded", f"the deadline is {event}")
        text = event["text"] or ""
        check(SLOW_ANSWER.startswith(text) and text != SLOW_ANSWER, f"the partial output is '{text}'")
        ended(task_id=event["task_id"], status="cancelled", code="deadline_exceeded")


def check_run_once(server, task_id):
    server.expect("task", END_WAIT, task_id=task_id, status="completed")
    ends = [e["status"] for e in server.all("task", task_id=task_id)]
    check(ends == ["completed"], f"the task ended {len(ends)} times: {', '.join(ends)}")


# ---- rows


class Row:
    """One line of a table. run(record) calls record(column, verdict) as it goes; a verdict is None, a Problem or a Skip."""

    def __init__(self, name, columns, needs, run):
        self.name = name
        self.columns = columns
        self.needs = needs
        self.run = run
        self.verdicts = {}

    @property
    def kind(self):
        """Its table: a peer's name for connections, or course, lies, bench, mdns."""
        return self.name.split()[0]

    def attempt(self, unusable):
        reason = next((unusable[name] for name in self.needs if name in unusable), None)
        start = time.monotonic()
        if reason is None:
            try:
                self.run(self.verdicts.__setitem__)
            except (Problem, Skip) as problem:
                reason = problem
        for column in self.columns:
            self.verdicts.setdefault(column, reason or Problem("was not run"))
        return time.monotonic() - start


def dial(dialer, listener, steps, muxer=None, pieces=3, prompt=PROMPT):
    """`dialer` does the steps towards `listener`; both are command lines without their muxers. A step that fails is not the end: another
    connection does those behind it."""

    def run(record):
        with Process(listener) as server:
            listening = server.expect("listening", START_WAIT)
            rest = list(steps)
            tasks = connections = 0
            while rest:
                with Process([*dialer, "dial", listening["addrs"][0], "--do", ",".join(rest), "--prompt", prompt, "--bytes", ECHO_BYTES,
                              *muxer_options(muxer)]) as client:
                    connected = client.expect("connected", START_WAIT)
                    check(connected["muxer"] in (muxer or "yamux", None), f"the muxer is {connected['muxer']}")
                    connections += 1
                    server.expect("connected", END_WAIT, connections)
                    while rest:
                        step = rest.pop(0)
                        try:
                            event = client.expect(step, STEP_WAIT)
                            check_step(step, event, listening, pieces)
                            check_course(step, event, server)
                            connections += step == "retry"
                            if step in ("task", "stream"):
                                tasks += 1
                                server.expect("task", END_WAIT, tasks, status="completed")
                            if not rest:
                                client.finish()
                                # One that is replaced at once may be neither lost nor made to those who ask whether there is one.
                                server.expect("disconnected", END_WAIT, len(server.all("connected")))
                            record(step, None)
                        except Problem as problem:
                            record(step, problem)
                            break
            server.stop()

    return run


def muxer_options(muxer):
    return ["--muxer", muxer] if muxer else []


def program_dials(ours, listener, muxer):
    """`p2p-agent run` and `p2p-agent ping` against a peer."""

    def result_of(address, *options):
        with Process([ours.program, "run", "--json", *muxer_options(muxer), "--peer", address, *options, PROMPT]) as client:
            result = client.expect("result", STEP_WAIT)
            client.finish()
        check_answer(result)
        return [e for e in client.events if e["event"] == "update"]

    def run(record):
        with Process(listener) as server:
            address = server.expect("listening", START_WAIT)["addrs"][0]

            def ping():
                with Process([ours.program, "ping", "--json", *muxer_options(muxer), "--count", "2", address]) as client:
                    client.expect("pong", STEP_WAIT, count=2)
                    client.finish()

            def task():
                check(result_of(address) == [], "updates came that were not asked for")

            def stream():
                updates = result_of(address, "--stream")
                texts = [u["text"] for u in updates if "text" in u]
                check(len(texts) >= 3 and "".join(texts) == ANSWER, f"the updates are {updates}")

            for step in (ping, task, stream):
                try:
                    step()
                    record(step.__name__, None)
                except Problem as problem:
                    record(step.__name__, problem)
            server.expect("task", END_WAIT, count=2, status="completed")
            server.stop()

    return run


def measures(bench, listener, muxer):
    """`bench` against a peer that serves /perf/1.0.0 as well."""

    def run(record):
        with Process(listener) as server:
            address = server.expect("listening", START_WAIT)["addrs"][0]
            for measure, (options, member) in MEASURES.items():
                try:
                    with Process([*bench, address, "--muxer", muxer, *options]) as client:
                        event = client.expect("bench", STEP_WAIT)
                        client.finish()
                    check(event.get("muxer") == muxer, f"the muxer is {event.get('muxer')}")
                    check(member in event, f"{member} is missing in {event}")
                    record(measure, None)
                except Problem as problem:
                    record(measure, problem)
            server.stop()

    return run


def program_courses(ours, listener, muxer):
    """How `p2p-agent run` takes what can become of a task, or makes it so."""

    def asking(address, *arguments):
        return Process([ours.program, "run", "--json", *muxer_options(muxer), "--peer", address, *arguments])

    def run(record):
        with Process(listener) as server:
            address = server.expect("listening", START_WAIT)["addrs"][0]

            def cancel():
                with asking(address, "--stream", "slow:40:100") as client:
                    client.expect("update", STEP_WAIT, count=2)  # the first says that it runs
                    client.child.send_signal(signal.SIGINT)
                    client.finish(130)
                status = server.expect("task", END_WAIT)["status"]
                check(status in ("lost", "cancelled"), f"the task was {status}, although its requester was interrupted")

            def codes():
                for code, (status, exit_code) in CODES.items():
                    with asking(address, "code:" + code) as client:
                        result = client.expect("result", STEP_WAIT)
                        client.finish(exit_code)
                    check((result["status"], result["error"]["code"]) == (status, code), f"the result is {result}")

            def busy():
                with asking(address, "--retries", "3", "busy:2:50") as client:
                    result = client.expect("result", STEP_WAIT)
                    client.finish()
                check(result["status"] == "completed", f"the result is {result}")
                server.expect("task", END_WAIT, task_id=result["task_id"], status="completed")
                ends = [e["status"] for e in server.all("task", task_id=result["task_id"])]
                check(ends == ["rejected", "rejected", "completed"], f"the task was {', '.join(ends)}")

            def broken():
                with asking(address, "--stream", "--retries", "3", "break:1") as client:
                    result = client.expect("result", STEP_WAIT)
                    client.finish()
                texts = [e["text"] for e in client.all("update") if "text" in e]
                check(result["status"] == "completed" and result["text"] == "Processed: break:1", f"the result is {result}")
                check("".join(texts) == result["text"], f"the updates are {texts}")
                check_run_once(server, result["task_id"])
                server.expect("repeat", END_WAIT, task_id=result["task_id"])

            def deadline():
                with asking(address, "--timeout", "1", "slow:40:100") as client:
                    result = client.expect("result", STEP_WAIT)
                    client.finish(6)
                check(result["error"]["code"] == "deadline_exceeded", f"the result is {result}")
                server.expect("task", END_WAIT, task_id=result["task_id"], status="cancelled", code="deadline_exceeded")

            for column, step in zip(RUN_COURSE, (cancel, codes, busy, broken, deadline)):
                try:
                    step()
                    record(column, None)
                except Problem as problem:
                    record(column, problem)
            server.stop()

    return run


def lies(ours, liar):
    """`p2p-agent run` and a provider whose answers don't hold: nothing of them passes for an answer."""

    def run(record):
        for lie, exit_code in LIES.items():
            try:
                with Process([liar, "serve", "--lie", lie]) as server:
                    address = server.expect("listening", START_WAIT)["addrs"][0]
                    for options in ([], ["--stream"], ["--json"]):
                        command = [ours.program, "run", *options, "--peer", address, PROMPT]
                        done = subprocess.run(wrapped(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STEP_WAIT)
                        case = " ".join(["run", *options])
                        check(done.returncode == exit_code, f"{case} ends with {done.returncode}: {done.stderr.strip()}")
                        if options == ["--stream"]:
                            warned = "not confirmed" in done.stderr
                            check(warned or not done.stdout, f"{case} doesn't say that its output is not confirmed: {done.stderr.strip()}")
                        else:
                            check("Processed" not in done.stdout, f"{case} prints '{done.stdout.strip()}'")
                    server.stop()
                record(lie, None)
            except Problem as problem:
                record(lie, problem)

    return run


def rows_of_courses(ours):
    for peer, muxers in MUXERS.items():
        theirs = peer_of(peer)
        for muxer in muxers:
            options = muxer_options(muxer)
            group = f"course {peer} {muxer}"
            program = [ours.program, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--executor", SLOW_MOCK]
            yield Row(f"{group} ours dials", COURSE, [peer], dial([ours.peer], [theirs, "serve", *options], COURSE, muxer, prompt=SLOW))
            yield Row(f"{group} {peer} dials p2p-agent", COURSE, [peer], dial([theirs], program, COURSE, muxer, prompt=SLOW))
            yield Row(f"{group} p2p-agent dials", RUN_COURSE, [peer], program_courses(ours, [theirs, "serve", *options], muxer))
    yield Row("lies go", list(LIES), ["go"], lies(ours, peer_of("go")))


def rows_of_connections(ours):
    for peer, muxers in MUXERS.items():
        theirs = peer_of(peer)
        for muxer in [*muxers, None]:
            options = muxer_options(muxer)
            group = f"{peer} {muxer or 'default'}"
            yield Row(f"{group} ours dials", STEPS, [peer], dial([ours.peer], [theirs, "serve", *options], STEPS, muxer))
            yield Row(f"{group} {peer} dials", STEPS, [peer], dial([theirs], [ours.peer, "serve", *options], STEPS, muxer))
            if muxer is None:
                continue
            program = [ours.program, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]
            yield Row(f"{group} {peer} dials p2p-agent", STEPS[:-1], [peer], dial([theirs], program, STEPS[:-1], muxer, pieces=1))
            yield Row(f"{group} p2p-agent dials", ["ping", "task", "stream"], [peer], program_dials(ours, [theirs, "serve", *options], muxer))


def rows_of_measures(ours):
    for peer, muxers in MUXERS.items():
        theirs = peer_of(peer)
        for muxer in muxers:
            options = [*muxer_options(muxer), "--perf"]
            program = [ours.program, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--perf"]
            group = f"bench {peer} {muxer}"
            yield Row(f"{group} p2p-agent measures it", list(MEASURES), [peer], measures([ours.program, "bench", "--json"], [theirs, "serve", *options], muxer))
            yield Row(f"{group} it measures p2p-agent", list(MEASURES), [peer], measures([theirs, "bench"], program, muxer))


# ---- discovery, in network namespaces


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Skip(f"`ip {' '.join(arguments)}` says: {done.stderr.strip()}")
    return done.stdout


class Namespaces:
    """Network namespaces, made when they are first used, and removed at the end. Throws Skip where that cannot be."""

    def __init__(self):
        self.made = []
        self.names = {}

    def get(self, link):
        """Two ends of a link of their own with one address family only ("ipv4", "ipv6"), or twice one that has nothing but lo ("lo")."""
        if os.name != "posix" or not sys.platform.startswith("linux") or shutil.which("ip") is None:
            raise Skip("network namespaces take Linux and the `ip` command")
        if os.geteuid() != 0:
            raise Skip("network namespaces take root")
        if link not in self.names:
            self.names[link] = self.make(link)
        return self.names[link]

    def make(self, link):
        names = [f"interop-{os.getpid()}-{link}-{end}" for end in (("one",) if link == "lo" else ("a", "b"))]
        for name in names:
            ip("netns", "add", name)
            self.made.append(name)
            setting = {"lo": "all/disable_ipv6 0", "ipv4": "all/disable_ipv6 1", "ipv6": "default/accept_dad 0"}[link]
            file, value = setting.split()
            ip("netns", "exec", name, "sh", "-c", f"! [ -e /proc/sys/net/ipv6 ] || echo {value} > /proc/sys/net/ipv6/conf/{file}")
            ip("-n", name, "link", "set", "lo", "up")
        if link == "lo":
            return names * 2
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0", "netns", names[1])
        for number, name in enumerate(names, 1):
            if link == "ipv4":
                ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "veth0")
            else:
                ip("-n", name, "address", "add", f"fd77::{number}/64", "dev", "veth0", "nodad")
        for name in names:
            ip("-n", name, "link", "set", "veth0", "up")
            if link == "ipv4":  # js asks the routing table where multicast goes
                ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "veth0")
        if link == "ipv6":
            for name in names:
                self.await_link_local(name)
        return names

    @staticmethod
    def await_link_local(name):
        """IPv6 comes up some time after its link, and mDNS needs the link-local address."""
        end = time.monotonic() + START_WAIT
        while "fe80" not in ip("-n", name, "-6", "-o", "address", "show", "dev", "veth0", "-tentative"):
            if time.monotonic() > end:
                raise Skip("the link gets no link-local IPv6 address")
            time.sleep(0.05)

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "delete", name], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def discover(command, namespace, wanted, options=()):
    with Process([*command, "discover", "--for", wanted, "--wait", DISCOVER_WAIT, *options], namespace) as client:
        event = client.expect("peer_discovered", DISCOVER_WAIT + START_WAIT, peer=wanted)
        client.finish()
    check(event["addrs"] and all(a.endswith("/p2p/" + wanted) for a in event["addrs"]), f"discovered {event['addrs']}")


def discoveries(ours, theirs, link, namespaces):
    """`theirs` is the other peer, or nothing when our own programs find each other."""
    options = ["--ipv6"] if link == "ipv6" else []
    everywhere = "/ip6/::/tcp/0" if link == "ipv6" else "/ip4/0.0.0.0/tcp/0"
    program = [ours.program, "serve", "--json"]

    def run(record):
        here, there = namespaces.get(link)
        server = [theirs, "serve", "--mdns", "--listen", everywhere, *options] if theirs else program

        def ours_finds_it(listening):
            discover([ours.peer], here, listening["peer"], options)

        def run_finds_it(listening):
            # Our own first question, asked at once, is answered at once: nobody waits for the second one, a second later.
            wait, times = (DISCOVER_WAIT, 1) if theirs else (0.9, 5)
            for _ in range(times):
                with Process([ours.program, "run", "--json", "--wait", wait, PROMPT], here) as client:
                    result = client.expect("result", DISCOVER_WAIT + STEP_WAIT)
                    client.finish()
                check_answer(result)
                check(result["provider"] == listening["peer"], "somebody else answered")

        def it_finds_ours(listening):
            discover([theirs], there, listening["peer"], options)

        parts = [(server, there, {"ours finds it": ours_finds_it, "run finds it": run_finds_it})]
        if theirs:
            parts.append((program, here, {"it finds ours": it_finds_ours}))
        for command, namespace, searches in parts:
            with Process(command, namespace) as provider:
                listening = provider.expect("listening", START_WAIT)
                for column, search in searches.items():
                    try:
                        search(listening)
                        record(column, None)
                    except Problem as problem:
                        record(column, problem)
                provider.stop()

    return run


def rows_of_discovery(ours, namespaces):
    for peer in MUXERS:
        for link in ("ipv4", "ipv6"):
            row = Row(f"mdns {link} {peer}", DISCOVERIES, [peer], discoveries(ours, peer_of(peer), link, namespaces))
            if (peer, link) == ("js", "ipv6"):
                row.run = skip_because("js-libp2p's mDNS speaks IPv4 only")
            yield row
    for link in ("ipv4", "ipv6", "lo"):
        columns = [column for column in DISCOVERIES if column != "it finds ours"]
        yield Row(f"mdns {link} ours", columns, [], discoveries(ours, None, link, namespaces))


def skip_because(reason):
    def run(_):
        raise Skip(reason)

    return run


# ---- a language model


def model_answers(ours):
    """llama.cpp, `p2p-agent serve` before it, and `p2p-agent run`: the answer is the one that llama.cpp gives when it is asked directly."""
    prompt, limit = "Once upon a time", 40

    def run(record):
        if not MODEL.is_file():
            raise Skip(f"there is no model at {MODEL}; P2P_MODEL names one")
        with Process([ROOT / "scripts" / "llm-server", MODEL]) as server:
            listening = server.expect("listening", 300)  # the first time it is fetched
            direct = ask_directly(listening["url"], {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": limit})
            text = direct["choices"][0]["message"]["content"]
            serve = [ours.program, "serve", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--allow-any"]
            with Process([*serve, "--executor", "openai:" + listening["url"]]) as provider:
                address = provider.expect("listening", START_WAIT)["addrs"][0]
                for step, options in {"plain": [], "stream": ["--stream"], "length": ["--model", listening["model"]]}.items():
                    try:
                        asking = [ours.program, "run", "--json", "--retries", "20", "--peer", address, "--temperature", "0"]
                        with Process([*asking, "--max-tokens", limit, *options, prompt]) as requester:
                            result = requester.expect("result", STEP_WAIT)
                            requester.finish()
                        check(result.get("text") == text, f"the answer is {result.get('text')!r} instead of {text!r}")
                        check(result["executor"] == "openai" and result["model"] == listening["model"], f"answered by {result}")
                        if step == "stream":
                            pieces = [update["text"] for update in requester.all("update") if "text" in update]
                            check("".join(pieces) == text and len(pieces) > 1, f"streamed as {pieces}")
                        if step == "length":
                            usage = {name: direct["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
                            check(result["finish_reason"] == direct["choices"][0]["finish_reason"], f"finished with {result['finish_reason']}")
                            check(result["usage"] == usage, f"{result['usage']} instead of {usage}")
                        record(step, None)
                    except Problem as problem:
                        record(step, problem)
                provider.stop()

    return run


def ask_directly(url, request):
    body = json.dumps({**request, "stream": False}).encode()
    with urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", body, {"Content-Type": "application/json"}), timeout=STEP_WAIT) as answer:
        return json.load(answer)


# ---- output


def progress(text):
    print(text, flush=True)


def mark(verdict):
    return "✓" if verdict is None else "–" if isinstance(verdict, Skip) else "✗"


def table(title, columns, rows):
    if not rows:
        return
    width = max(len(row.name) for row in rows)
    print(f"\n{title:{width}}  {'  '.join(columns)}")
    for row in rows:
        cells = [f"{mark(row.verdicts[c]) if c in row.columns else '':^{len(c)}}" for c in columns]
        print(f"{row.name:{width}}  {'  '.join(cells)}".rstrip())


def report(rows):
    def of(*kinds):
        return [row for row in rows if row.kind in kinds]

    table("connections", STEPS, of(*MUXERS))
    table("the course of a task", [*COURSE, *(c for c in RUN_COURSE if c not in COURSE)], of("course"))
    table("lies", list(LIES), of("lies"))
    table("bench", list(MEASURES), of("bench"))
    table("discovery", DISCOVERIES, of("mdns"))
    table("a language model", MODEL_STEPS, of("model"))
    counts = {"✓": 0, "✗": 0, "–": 0}
    reasons = []
    for row in rows:
        columns_of = {}
        for column in row.columns:
            verdict = row.verdicts[column]
            counts[mark(verdict)] += 1
            if verdict is not None:
                columns_of.setdefault(f"{'skipped' if isinstance(verdict, Skip) else 'failed'}: {verdict}", []).append(column)
        reasons += [f"{row.name}, {', '.join(columns)}: {reason}" for reason, columns in columns_of.items()]
    print("\n" + "".join(reason + "\n" for reason in reasons), end="")
    print(f"{counts['✓']} passed, {counts['✗']} failed, {counts['–']} skipped", flush=True)
    return counts["✗"] == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="WORDS", help="rows that have all of these words, such as 'rust mplex' or mdns; repeatable")
    parser.add_argument("--agent", type=Path, metavar="PATH", help="the interop_agent to use, with p2p-agent beside it (default: builds both)")
    parser.add_argument("--memcheck", action="store_true", help="our own programs run under valgrind's memcheck, and end with 99 when it finds anything")
    options = parser.parse_args()
    if options.memcheck:
        WRAPPER.extend(MEMCHECK)
        for wait in ("START_WAIT", "STEP_WAIT", "DISCOVER_WAIT", "END_WAIT"):
            globals()[wait] *= MEMCHECK_SLOWER
        global ECHO_BYTES
        ECHO_BYTES //= MEMCHECK_SLOWER  # js ends a connection on which its ping waits for seconds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    ours = Ours((options.agent or RELEASE / "interop_agent").resolve())
    namespaces = Namespaces()
    rows = [*rows_of_connections(ours), *rows_of_courses(ours), *rows_of_measures(ours), *rows_of_discovery(ours, namespaces)]
    rows.append(Row("model behind p2p-agent", MODEL_STEPS, [], model_answers(ours)))
    if options.only:
        rows = [row for row in rows if any(set(words.split()) <= set(row.name.split()) for words in options.only)]
        if not rows:
            parser.error("no row has these words")
    if options.agent is None:
        build_ours()
    unusable = build_peers([peer for peer in MUXERS if any(peer in row.needs for row in rows)])

    start = time.monotonic()
    done = 0

    def attempt(row):
        nonlocal done
        seconds = row.attempt(unusable)
        done += 1
        marks = "".join(mark(row.verdicts[column]) for column in row.columns)
        progress(f"[{done}/{len(rows)}] {row.name}: {marks} {seconds:.1f} s")

    try:
        for row in rows:
            if row.kind not in ("course", "lies"):
                attempt(row)
        with ThreadPoolExecutor(ROWS_AT_ONCE) as pool:
            list(pool.map(attempt, [row for row in rows if row.kind in ("course", "lies")]))
    finally:
        namespaces.remove()
    progress(f"done in {time.monotonic() - start:.0f} s")
    return 0 if report(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
