#!/usr/bin/env python3
"""Runs `p2p-agent serve` and `p2p-agent run` in network namespaces of their own, and breaks the network between them.

Usage: namespaces.py [P2P-AGENT]. Ends with 77 where there can be no namespaces. The last line is "N passed, N failed, N skipped".
"""

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
from run import PROMPT, START_WAIT, Problem, Process, Skip, check, ip  # noqa: E402

PROGRAM = HERE.parent.parent / "build" / "release" / "p2p-agent"

# Seconds
PULLED = 3  # how long a cable is out
NOTICED = 6  # when a peer that is gone is noticed, on a machine that is never late
EXCUSED = 2  # how late the machine may be for its lateness to excuse a peer's
ENDS = 40  # when everything here has ended that ever does

AT_ONCE = 4  # of the cases, which mostly wait


class StoodStill(Exception):
    """The machine was so late that what was measured says nothing."""


class Lateness:
    """By how much the machine has been late to wake somebody, in all, while it was entered (`seconds`)."""

    def __enter__(self):
        self.seconds = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        pause = 0.05
        due = time.monotonic() + pause
        while not self.over.wait(pause):
            now = time.monotonic()
            self.seconds += now - due
            due = now + pause

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Network:
    """A host for the provider, one for the requester, one in another subnet, and a switch with a bridge for each subnet."""

    def __init__(self, number):
        self.prefix = f"faults-{os.getpid()}-{number}"
        self.made = []

    def __enter__(self):
        try:
            for name in ("switch", "provider", "requester", "stranger"):
                ip("netns", "add", self.name(name))
                self.made.append(name)
                ip("-n", self.name(name), "link", "set", "lo", "up")
            for bridge in ("near", "far"):
                self.ip("switch", "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
                self.ip("switch", "link", "set", bridge, "up")
            self.attach("provider", "eth0", "near", "10.77.0.1/24")
            self.attach("requester", "eth0", "near", "10.77.0.2/24")
            self.attach("stranger", "eth0", "far", "10.78.0.2/24")
        except Skip:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.made:
            subprocess.run(["ip", "netns", "delete", self.name(name)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def name(self, host):
        return f"{self.prefix}-{host}"

    def ip(self, host, *arguments):
        return ip("-n", self.name(host), *arguments)

    def attach(self, host, interface, bridge, address):
        port = f"{host[:8]}-{interface}"
        self.ip("switch", "link", "add", port, "type", "veth", "peer", "name", interface, "netns", self.name(host))
        self.ip("switch", "link", "set", port, "master", bridge, "up")
        self.ip(host, "address", "add", address, "dev", interface)
        self.ip(host, "link", "set", interface, "up")

    def cable(self, host, state):
        self.ip("switch", "link", "set", f"{host[:8]}-eth0", state)

    def mac(self, host, interface):
        return json.loads(self.ip(host, "-json", "link", "show", interface))[0]["address"]

    def run(self, host, *command, said=None):
        done = subprocess.run(["ip", "netns", "exec", self.name(host), *command], input=said, capture_output=True)
        check(done.returncode == 0, f"{command[0]} ends with {done.returncode}: {done.stderr.decode(errors='replace')}")

    def serve(self, executor="mock:delay=5000,pieces=10", *options, host="provider"):
        provider = Process([PROGRAM, "serve", "--json", "--slots", "1", "--executor", executor, *options], self.name(host))
        provider.peer = provider.expect("listening", START_WAIT)["peer"]
        return provider

    def ask(self, *options, host="requester"):
        return Process([PROGRAM, "run", "--json", "--stream", "--wait", "10s", *options, PROMPT], self.name(host))


def in_stream(client):
    client.expect("update", START_WAIT, count=4)


def end_of(client):
    """Its exit code, and its last line. It may have failed, with a name."""
    try:
        code = client.child.wait(ENDS)
    except subprocess.TimeoutExpired:
        raise Problem("it hangs") from None
    client.reader.join(ENDS)
    last = client.events[-1] if client.events else {"event": "nothing"}
    check(last["event"] == ("result" if code in (0, 5) else "error"), f"it ended with {code} behind {last}")
    return code, last


def check_answered(client):
    code, last = end_of(client)
    check(code == 0, f"it ended with {code}: {last.get('message') or last.get('error')}")
    text = "".join(event.get("text", "") for event in client.all("update"))
    check(text == last["text"] == "Processed: " + PROMPT, f"the answer is {last['text']!r}, in pieces {text!r}")


def check_run_once(provider):
    provider.expect("task", ENDS, status="completed")
    check(len(provider.all("task")) == 1, f"it ran as {[event['status'] for event in provider.all('task')]}")


def check_serves(network, provider, *options):
    """The slot, the only one, is free again."""
    with network.ask(*options) as client:
        check_answered(client)
    check(client.events[-1]["provider"] == provider.peer, "somebody else answered")


def check_noticed(seconds, late):
    words = f"noticed after {seconds:.2f} s, on a machine that was {late.seconds:.2f} s late"
    check(seconds <= NOTICED + late.seconds, words)
    if seconds > NOTICED + EXCUSED:
        raise StoodStill(words)


# ---- what is done to the network; each returns what is worth to know, or nothing


def cable_pulled_in_a_stream(network):
    with network.serve() as provider:
        with network.ask() as client:
            in_stream(client)
            network.cable("provider", "down")
            time.sleep(PULLED)
            network.cable("provider", "up")
            code, last = end_of(client)
            if code == 0:
                check_answered(client)
        status = provider.expect("task", ENDS)["status"]
        # Where it failed, the work may have been done before anybody noticed.
        check(status == "completed" or (code != 0 and status == "lost"), f"the provider says {status}")
        check_serves(network, provider)
        provider.stop()
    return "it went on" if code == 0 else f"it failed: {last['message']}"


def cable_pulled_and_tried_again(network):
    with network.serve() as provider:
        with network.ask("--retries", 10) as client:
            in_stream(client)
            network.cable("provider", "down")
            time.sleep(2 * NOTICED)
            network.cable("provider", "up")
            check_answered(client)
        check_run_once(provider)
        provider.stop()


def address_changed_in_a_stream(network):
    with network.serve() as provider:
        with network.ask("--retries", 20) as client:
            in_stream(client)
            network.ip("provider", "address", "delete", "10.77.0.1/24", "dev", "eth0")
            network.ip("provider", "address", "add", "10.77.0.3/24", "dev", "eth0")
            check_answered(client)
        check_run_once(provider)
        check_serves(network, provider)
        provider.stop()


def interface_removed_and_added_in_a_stream(network):
    with network.serve() as provider:
        with network.ask("--retries", 20) as client:
            in_stream(client)
            network.ip("provider", "link", "delete", "eth0")
            time.sleep(PULLED)
            network.attach("provider", "eth0", "near", "10.77.0.1/24")
            check_answered(client)
        check_run_once(provider)
        check_serves(network, provider)
        provider.stop()


def second_subnet_joined(network):
    with network.serve("mock") as provider:
        check_serves(network, provider)
        network.attach("provider", "eth1", "far", "10.78.0.1/24")
        with network.ask(host="stranger") as client:
            check_answered(client)
        with Process([PROGRAM, "peers", "--json", "--wait", "1s"], network.name("stranger")) as client:
            addresses = client.expect("peer", START_WAIT, peer=provider.peer)["addrs"]
            client.finish()
        check(addresses and not any("10.77." in address for address in addresses), f"the other subnet is told of: {addresses}")
        check_serves(network, provider)  # the first one is served on
        provider.stop()
        network.ip("provider", "link", "delete", "eth1")


def provider_stopped(network):
    """SIGSTOP: nothing of it answers, and no connection breaks."""
    with network.serve() as provider:
        with network.ask() as client:
            in_stream(client)
            with Lateness() as late:
                start = time.monotonic()
                provider.child.send_signal(signal.SIGSTOP)
                try:
                    code, last = end_of(client)
                    noticed = time.monotonic() - start
                finally:
                    provider.child.send_signal(signal.SIGCONT)
        check(code == 4, f"it ended with {code}")
        check_noticed(noticed, late)
        provider.expect("task", ENDS)
        check_serves(network, provider)
        provider.stop()
    return f"noticed after {noticed:.2f} s: {last['message']}"


def requester_gone(network):
    """Its host is switched off: the provider gives the slot back."""
    with network.serve("mock:delay=60000,pieces=600") as provider:
        with network.ask() as client:
            in_stream(client)
            with Lateness() as late:
                start = time.monotonic()
                network.cable("requester", "down")
                provider.expect("task", ENDS, status="lost")
                noticed = time.monotonic() - start
            check_noticed(noticed, late)
            code, _ = end_of(client)
            check(code == 4, f"the requester ended with {code}")
        network.cable("requester", "up")
        provider.stop()
    return f"noticed after {noticed:.2f} s"


def named(*labels):
    """A DNS name."""
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def announcement(peer, address):
    """An mDNS response: the PTR of the service, and the TXT of the name in it."""
    instance = named(peer[-32:].lower(), "_p2p", "_udp", "local")
    text = f"dnsaddr={address}/p2p/{peer}".encode()
    record = struct.Struct("!HHIH")  # type, class, TTL, length
    packet = struct.pack("!6H", 0, 0x8400, 0, 1, 0, 1)
    packet += named("_p2p", "_udp", "local") + record.pack(12, 1, 120, len(instance)) + instance
    return packet + instance + record.pack(16, 0x8001, 120, len(text) + 1) + bytes([len(text)]) + text


# By one interface, from one address to another; the packet is on standard input.
SEND = """
import socket, sys
interface, source, to = sys.argv[1:]
six = ":" in to
sender = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
zone = (0, socket.if_nametoindex(interface)) if six else ()
sender.bind((source, 5353, *zone))
sender.sendto(sys.stdin.buffer.read(), (to, 5353, *zone))
"""


def unicast_mdns_from_another_link(network):
    """What is sent to a host alone is believed by the socket of one of its interfaces only if it comes from that one's link (RFC 6762, section 11)."""
    for host in ("provider", "requester", "stranger"):
        network.run(host, "sh", "-c", "for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$each; done")
    network.attach("requester", "eth1", "far", "10.78.0.22/24")
    network.attach("requester", "eth2", "near", "10.77.0.22/24")
    links = {("requester", "eth0"): "fe80::2", ("requester", "eth1"): "fe80::22", ("provider", "eth0"): "fe80::1", ("stranger", "eth0"): "fe80::9"}
    for (host, interface), address in links.items():
        network.ip(host, "address", "add", f"{address}/64", "dev", interface, "nodad")
    # Who lies has an address of the other subnet, and knows a way to the host.
    network.ip("stranger", "address", "add", "10.77.0.9/32", "dev", "eth0")
    network.ip("stranger", "neighbour", "replace", "10.78.0.22", "lladdr", network.mac("requester", "eth1"), "dev", "eth0")

    def say(host, source, to):
        """Who is named from now on."""
        peer = json.loads(subprocess.run([PROGRAM, "id", "--json"], check=True, capture_output=True).stdout)["peer"]
        address = f"/ip{6 if ':' in source else 4}/{source}/tcp/4001"
        network.run(host, sys.executable, "-c", SEND, "eth0", source, to, said=announcement(peer, address))
        return peer

    def listen(interface, address):
        return network.serve("mock", "--interface", interface, "--listen", f"/ip4/{address}/tcp/0", host="requester")

    with listen("eth1", "10.78.0.22") as listener:
        listener.expect("peer_discovered", START_WAIT, peer=say("stranger", "fe80::9", "fe80::22"))  # so it gets there
        listener.stop()
    with listen("eth0", "10.77.0.2") as listener:
        liars = [say("stranger", "fe80::9", "fe80::22"), say("stranger", "10.77.0.9", "10.78.0.22")]
        honest = [say("provider", "fe80::1", "fe80::2"), say("provider", "10.77.0.1", "10.77.0.2")]
        # By the other interface in the same subnet
        network.ip("provider", "neighbour", "replace", "10.77.0.2", "lladdr", network.mac("requester", "eth2"), "dev", "eth0")
        honest.append(say("provider", "10.77.0.1", "10.77.0.2"))
        for peer in honest:
            listener.expect("peer_discovered", START_WAIT, peer=peer)
        believed = [peer for peer in liars if listener.all("peer_discovered", peer=peer)]
        check(not believed, f"{len(believed)} of {len(liars)} are believed")
        listener.stop()


CASES = [
    cable_pulled_in_a_stream,
    cable_pulled_and_tried_again,
    address_changed_in_a_stream,
    interface_removed_and_added_in_a_stream,
    second_subnet_joined,
    provider_stopped,
    requester_gone,
    unicast_mdns_from_another_link,
]


def why_not():
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        return "network namespaces take Linux and the `ip` command"
    return "network namespaces take root" if os.geteuid() != 0 else None


def attempt(number):
    """What is to be printed of a case, behind "passed", "FAILED" or "skipped". It is tried once more on a machine that stood still."""
    with contextlib.suppress(StoodStill):
        return once(number)
    try:
        return once(number)
    except StoodStill as problem:
        return "skipped", f"the machine stood still, twice: {problem}"


def once(number):
    try:
        reason = why_not()
        if reason:
            raise Skip(reason)
        with Network(number) as network:
            start = time.monotonic()
            try:
                said = CASES[number](network)
            except Skip as problem:  # by then, `ip` can do what it is told
                raise Problem(str(problem)) from None
            return "passed", f"{time.monotonic() - start:.1f} s" + (f", {said}" if said else "")
    except Skip as problem:
        return "skipped", str(problem)
    except Problem as problem:
        return "FAILED", str(problem)


def main():
    global PROGRAM
    if len(sys.argv) > 1:
        PROGRAM = Path(sys.argv[1]).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    counts = {"passed": 0, "FAILED": 0, "skipped": 0}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for case, (verdict, words) in zip(CASES, pool.map(attempt, range(len(CASES)))):
            print(f"{verdict:8} {case.__name__.replace('_', ' ')}: {words}", flush=True)
            counts[verdict] += 1
    print(f"{counts['passed']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 77 if counts["skipped"] else 0


if __name__ == "__main__":
    sys.exit(main())
