#!/usr/bin/env python3
"""Puts the same bytes into our sessions and into those of others, and compares what became of them (README.md)."""

import argparse
import collections
import random
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple

INTEROP = Path(__file__).resolve().parent.parent
OURS = INTEROP.parent.parent / "build" / "release" / "differential"


class Pair(NamedTuple):
    name: str
    peer: str  # whose folder has the program
    share: int  # of the inputs


PAIRS = {
    "y": Pair("yamux, go", "go", 3),
    "r": Pair("yamux, rust", "rust", 3),
    "m": Pair("mplex, rust", "rust", 3),
    "l": Pair("multistream listener, go", "go", 1),
    "d": Pair("multistream dialer, go", "go", 1),
}
BATCH = 1000

SYN, ACK, FIN, RST = 1, 2, 4, 8
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
NEW, MESSAGE, CLOSE, RESET = 0, 2, 4, 6  # as the stream's opener sends them
WINDOW = 256 * 1024
STREAMS = 256

# --- what is put in: mostly what a well-behaved peer could say, with odd frames, and then changes in some places ---


def uvarint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def some_bytes(rng, most):
    """The application closes its side when it reads a c, and resets the stream when it reads an r."""
    return bytes(rng.choices(b"abcder", [30, 30, 1, 30, 30, 1], k=rng.randint(0, most)))


def yamux_frame(kind, flags, stream, length, body=b"", version=0):
    return struct.pack(">BBHII", version, kind, flags, stream, length) + body


def yamux_pieces(rng):
    local = rng.randrange(4)
    pieces = [bytes([local])]
    streams = [2 * (1 + i) for i in range(local)]  # those that the peer may still send on
    ended = [1001]
    next_id = 1
    for _ in range(rng.choice([5, 10, 20, 40])):
        dice = rng.random()
        stream = rng.choice(streams) if streams else 0
        if dice < 0.2 or not streams:
            body = some_bytes(rng, 30) if rng.random() < 0.4 else b""
            kind = DATA if body or rng.random() < 0.3 else WINDOW_UPDATE
            flags = SYN | rng.choices([0, FIN, RST, FIN | RST], [40, 4, 1, 1])[0]
            pieces.append(yamux_frame(kind, flags, next_id, len(body), body))
            (streams if flags == SYN else ended).append(next_id)
            next_id += 2
        elif dice < 0.65:
            body = some_bytes(rng, 60)
            pieces.append(yamux_frame(DATA, rng.choice([0, 0, 0, ACK]), stream, len(body), body))
        elif dice < 0.72:
            credit = rng.choices([0, 1, 4096, WINDOW, 1 << 24, 1 << 31], [4, 4, 4, 4, 4, 1])[0]
            pieces.append(yamux_frame(WINDOW_UPDATE, rng.choice([0, 0, ACK]), stream, credit))
        elif dice < 0.83:
            flags = rng.choice([FIN, FIN, RST, FIN | RST])
            body = some_bytes(rng, 20) if rng.random() < 0.3 else b""
            kind = DATA if body else rng.choice([DATA, WINDOW_UPDATE])
            pieces.append(yamux_frame(kind, flags, stream, len(body), body))
            streams.remove(stream)
            ended.append(stream)
        elif dice < 0.9:
            pieces.append(yamux_frame(PING, rng.choices([SYN, ACK], [20, 1])[0], 0, rng.getrandbits(32)))
        elif dice < 0.96:  # late, or for nobody
            body = some_bytes(rng, 10) if rng.random() < 0.3 else b""
            kind = DATA if body else rng.choice([DATA, WINDOW_UPDATE])
            pieces.append(yamux_frame(kind, rng.choice([0, 0, ACK, FIN, RST]), rng.choice(ended), len(body), body))
        elif dice < 0.97:  # a number that is free again, or not
            stream = rng.choice(ended)
            pieces.append(yamux_frame(WINDOW_UPDATE, SYN, stream, 0))
            streams.append(stream)
        elif dice < 0.975:
            pieces.append(yamux_frame(GO_AWAY, 0, 0, rng.choice([0, 1, 2, 9])))
        elif dice < 0.985:
            odd = rng.choice([WINDOW - 1, WINDOW, WINDOW + 1, 1 << 20, (1 << 20) + 1, 1 << 24, (1 << 24) + 1, 1 << 30])
            pieces.append(yamux_frame(DATA, rng.choice([0, SYN, SYN | RST]), rng.choice([*streams, next_id, 1001]), odd))
        elif dice < 0.993:
            body = some_bytes(rng, 20)
            kind, version = rng.choice([0, 0, 1, 2, 4, 255]), rng.choice([0, 0, 0, 1])
            pieces.append(yamux_frame(kind, rng.getrandbits(5), rng.choice([0, *streams, 1000, 1001]), len(body), body, version))
    if streams and rng.random() < 0.01:  # windows' worth, in frames that the reader takes at once
        for _ in range(rng.randint(2, 8)):
            size = rng.choice([1000, 100_000, WINDOW // 2 - 1, WINDOW // 2, 200_000, WINDOW - 1, WINDOW])
            pieces.append(yamux_frame(DATA, 0, rng.choice(streams[-2:]), size, bytes(size)))
    return pieces


def yamux_pieces_of_go(rng):
    pieces = yamux_pieces(rng)
    if rng.random() < 0.002:  # more streams than one may open
        first = 2001
        pieces += [yamux_frame(WINDOW_UPDATE, SYN, first + 2 * i, 0) for i in range(rng.choice([STREAMS - 1, STREAMS, 300]))]
        pieces += [yamux_frame(DATA, 0, first + 2 * rng.randrange(300), 1, b"a") for _ in range(40)]
    return pieces


def mplex_frame(number, flag, body=b"", length=None):
    return uvarint(number << 3 | flag) + uvarint(len(body) if length is None else length) + body


def mplex_pieces(rng):
    local = rng.randrange(4)
    pieces = [bytes([local])]
    streams = [(number, MESSAGE - 1) for number in range(local)]  # that the peer may still send on, and the flag of its messages
    ended = [(99, MESSAGE), (1 << 33, MESSAGE - 1), ((1 << 60) - 1, MESSAGE)]
    next_number = rng.choice([0, 0, 0, 5, 1 << 40])
    for _ in range(rng.choice([5, 10, 20, 40])):
        dice = rng.random()
        number, flag = rng.choice(streams) if streams else (0, 0)
        if dice < 0.2 or not streams:
            streams.append((next_number, MESSAGE))
            pieces.append(mplex_frame(next_number, NEW, str(next_number).encode() if rng.random() < 0.7 else some_bytes(rng, 10)))
            next_number += 1
        elif dice < 0.7:
            pieces.append(mplex_frame(number, flag, some_bytes(rng, 60)))
        elif dice < 0.85:
            end = rng.choice([2, 2, 4])  # close or reset
            pieces.append(mplex_frame(number, flag + end, some_bytes(rng, 4) if rng.random() < 0.1 else b""))
            streams.remove((number, flag))
            ended.append((number, flag if end == 4 else 0))
        elif dice < 0.93:  # late, or for nobody; data behind a close mostly not, as it ends the session
            number, flag = rng.choice(ended)
            if flag:
                pieces.append(mplex_frame(number, flag + rng.choice([0, 2, 4]), some_bytes(rng, 8)))
        elif dice < 0.95:  # a number that is free again, or not
            number, flag = rng.choice(ended)
            pieces.append(mplex_frame(number, NEW, b"again"))
        elif dice < 0.97:
            pieces.append(mplex_frame(number, flag, b"", rng.choice([1 << 20, (1 << 20) + 1, 1 << 40])))
        elif dice < 0.98:
            pieces.append(mplex_frame(number, rng.randrange(8), some_bytes(rng, 20)))
    return pieces


def message(text):
    return uvarint(len(text) + 1) + text + b"\n"


HEADER = b"/multistream/1.0.0"
SPOKEN = [b"/a", b"/b/1.0.0", b"/ipfs/ping/1.0.0"]  # by the listeners
PROPOSALS = 64  # in a negotiation
PROPOSED = [b"/x", b"/a", b"/b/1.0.0"]  # by the dialers
NAMES = [b"/x", b"/y/1.0.0", b"na", b"ls", b"", HEADER, b"/a\n",
         b"/" + b"l" * 255, b"/" + b"l" * 256, b"l" * 1022, b"l" * 1023, b"l" * 1024]


def listener_pieces(rng):
    pieces = [message(HEADER)] if rng.random() < 0.95 else []
    some = rng.choice([NAMES, NAMES, NAMES[:6] + SPOKEN])
    pieces += [message(rng.choice(some)) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
    if rng.random() < 0.03:
        pieces += [message(rng.choice(NAMES[:6])) for _ in range(rng.choice([PROPOSALS - 2, PROPOSALS, PROPOSALS + 2]))]
    return pieces + [message(rng.choice(SPOKEN)), some_bytes(rng, 20)]


def dialer_pieces(rng):
    pieces = [message(HEADER)] if rng.random() < 0.95 else []
    for name in PROPOSED:
        pieces.append(message(rng.choices([b"na", name, rng.choice(NAMES)], [5, 4, 1])[0]))
    return pieces + [some_bytes(rng, 20)]


MAKERS = {"y": yamux_pieces_of_go, "r": yamux_pieces, "m": mplex_pieces, "l": listener_pieces, "d": dialer_pieces}


def mutated(rng, pieces):
    """The pieces as they are, or in another order, or with changed bytes."""
    if rng.random() < 0.1 and len(pieces) > 2:
        at, other = rng.randrange(1, len(pieces)), rng.randrange(1, len(pieces))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    if rng.random() < 0.1 and len(pieces) > 1:
        pieces.insert(rng.randrange(1, len(pieces)), rng.choice(pieces[1:]))
    data = bytearray(b"".join(pieces))
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2, 4])):
        if len(data) < 2:
            break
        at = rng.randrange(1, len(data))
        how = rng.randrange(6)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)])
        elif how == 2:
            del data[at : at + rng.choice([1, 1, 2, 12, 20])]
        elif how == 3:
            data[at:at] = bytes(rng.getrandbits(8) for _ in range(rng.choice([1, 1, 2, 8])))
        elif how == 4:
            data[at:at] = data[at : at + rng.choice([1, 12, 24])]
        else:
            del data[at:]
    return bytes(data)


def make(seed, index):
    rng = random.Random(f"{seed} {index}")
    kind = rng.choices(list(PAIRS), [pair.share for pair in PAIRS.values()])[0]
    return kind, mutated(rng, MAKERS[kind](rng))


# --- what came of it ---


class Outcome:
    def __init__(self, line):
        self.state, at, self.reason, streams = line.split("\t")
        self.at = int(at)  # how many bytes it had been given by then
        self.said = streams
        self.streams = {}
        if self.state in ("alive", "dead"):
            for entry in filter(None, streams.split(",")):
                label, _, told = entry.partition("=")
                end, _, content = told.partition(":")
                self.streams[label] = (end, bytes.fromhex(content))

    def refused_at(self):
        return self.at if self.state in ("dead", "refused") else float("inf")


def ask(program, inputs):
    if not inputs:
        return []
    blob = b"".join(kind.encode() + struct.pack(">I", len(data)) + data for kind, data in inputs)
    run = subprocess.run([program], input=blob, stdout=subprocess.PIPE, check=False)
    lines = run.stdout.decode(errors="replace").split("\n")[:-1]
    if run.returncode != 0 or len(lines) != len(inputs):
        kind, data = inputs[min(len(lines), len(inputs) - 1)]
        sys.exit(f"{program} ended with {run.returncode} after {len(lines)} of {len(inputs)} inputs; the next was {kind} {data.hex()}")
    return [Outcome(line) for line in lines]


# --- what a frame deserves: as little of a third implementation as the rules below need ---


@dataclass
class Frame:
    begin: int
    end: int  # of its header
    kind: int  # yamux's type, mplex's flag
    flags: int
    stream: object
    length: int
    body: bytes  # as far as it has arrived
    again: bool = False  # there has been a stream of that number
    credit: int = 0  # of such a stream that is over, if this is counted

    def whole(self):
        return len(self.body) == self.length


@dataclass
class Stream:
    label: str
    window: int = WINDOW  # that the peer may send
    taken: int = 0  # and has not been given back
    credit: int = WINDOW  # that the peer has given
    finished: bool = False
    closed: bool = False  # by us


def yamux_frames(data):
    at = 1
    while at + 12 <= len(data):
        _, kind, flags, stream, length = struct.unpack(">BBHII", data[at : at + 12])
        size = length if kind == DATA else 0
        yield Frame(at, at + 12, kind, flags, stream, size if kind == DATA else length, data[at + 12 : at + 12 + size])
        at += 12 + size


def mplex_frames(data):
    at = 1
    while True:
        begin, numbers = at, []
        for _ in range(2):
            value = shift = 0
            while True:
                if at == len(data) or shift > 63:
                    return
                value |= (data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if data[at - 1] < 0x80:
                    break
            numbers.append(value)
        flag, length = numbers[0] & 7, numbers[1]
        # The opener's flags are even.
        yield Frame(begin, at, flag + flag % 2, 0, (numbers[0] >> 3, flag % 2 == 1), length, data[at : at + length])
        at += length
        if at > len(data):
            return


class Story:
    """The frames of an input, each with its stream as it was before the frame; none if there was no such stream."""

    def __init__(self, kind, data):
        self.data = data
        self.frames = []
        self.streams = {}
        self.used = set()  # keys of all streams that there have been
        self.over = {}  # and the credit of those that are over
        self.accepted = 0
        local = data[0] % 4 if data else 0
        if kind == "m":
            self.streams = {(number, True): Stream(f"o{number}") for number in range(local)}
            for frame in mplex_frames(data):
                self.step(frame, frame.kind == NEW, frame.kind == CLOSE, frame.kind == RESET, frame.kind == MESSAGE, f"t{self.accepted}")
        elif kind in "yr":
            self.streams = {2 + 2 * number: Stream(str(2 + 2 * number) if kind == "y" else f"o{number}") for number in range(local)}
            for frame in yamux_frames(data):
                if frame.kind <= WINDOW_UPDATE:
                    opens = frame.flags & (SYN | RST) == SYN
                    label = f"{frame.stream}@{frame.end - 1}" if kind == "y" else f"t{self.accepted}"
                    self.step(frame, opens, frame.flags & FIN, frame.flags & RST, frame.kind == DATA, label)
                else:
                    self.frames.append((frame, None))

    def step(self, frame, opens, finishes, resets, carries, label):
        stream = self.streams.get(frame.stream)
        frame.again = frame.stream in self.used
        self.frames.append((frame, stream and Stream(**vars(stream))))
        if opens and stream is None:
            self.accepted += 1
            self.used.add(frame.stream)
            stream = self.streams[frame.stream] = Stream(label)
        if stream is None:
            if frame.stream in self.over and not carries:
                frame.credit = self.over[frame.stream] = self.over[frame.stream] + frame.length
            return
        left = False
        if carries:
            stream.window -= frame.length
            stream.taken += frame.length
            if stream.taken >= WINDOW // 2:
                stream.window += stream.taken
                stream.taken = 0
            stream.closed |= b"c" in frame.body
            left = b"r" in frame.body
        elif not resets:
            stream.credit += frame.length
        stream.finished |= bool(finishes)
        if resets or left or (stream.finished and stream.closed):
            self.over[frame.stream] = self.streams.pop(frame.stream).credit

    def at(self, header_end):
        return next((entry for entry in self.frames if entry[0].end == header_end), (None, None))

    def varint(self, end):
        too_long = all(byte >= 0x80 for byte in self.data[end - 9 : end])
        return Frame(end - 9, end, None, 0, None, 0, b"") if too_long else None, None

    def ending(self, end):
        return next((entry for entry in self.frames if entry[0].end + len(entry[0].body) == end and entry[0].whole()), (None, None))


# --- differences that are no fault of ours; README.md says why ---


def cut(story, frame):
    return story.data[: frame.begin]


def completed(story, frame):
    return story.data + bytes(frame.length - len(frame.body))


class Stricter(NamedTuple):
    """One side ended the session and the other did not, or later."""

    name: str  # in README.md
    kind: str
    whose: str
    reason: str  # its beginning
    holds: Callable[[Frame, Stream], bool]  # for the frame that it ended at, and its stream
    again: Callable = cut  # what both have to agree on instead
    at: Callable = Story.at


STRICTER = [
    Stricter("stream 0", "yr", "ours", "yamux frame for stream 0", lambda frame, stream: frame.stream == 0 and frame.kind <= WINDOW_UPDATE),
    Stricter("data behind the end", "yr", "ours", "yamux data behind the end of a stream",
             lambda frame, stream: frame.kind == DATA and frame.length > 0 and stream and stream.finished),
    Stricter("beyond any window", "yr", "ours", "yamux data above any window",
             lambda frame, stream: frame.kind == DATA and frame.length > 1 << 24 and not stream),
    Stricter("credit beyond 32 bits", "y", "ours", "yamux window above 32 bits",
             lambda frame, stream: frame.kind == WINDOW_UPDATE and stream and stream.credit + frame.length >= 1 << 32),
    Stricter("when credit is given", "y", "ours", "yamux data above the window",
             lambda frame, stream: frame.kind == DATA and stream and stream.window < frame.length <= WINDOW),
    Stricter("opened and reset at once", "y", "theirs", "receive window exceeded",
             lambda frame, stream: frame.flags & (SYN | RST) == SYN | RST and not stream and frame.length > WINDOW),
    Stricter("data behind the end", "m", "ours", "mplex data behind the end of a stream",
             lambda frame, stream: frame.kind == MESSAGE and stream and stream.finished),
    Stricter("when a frame is judged", "m", "ours", "mplex frame with an unknown flag",
             lambda frame, stream: frame.kind == 8 and not frame.whole(), completed),
    Stricter("when a frame is judged", "m", "ours", "mplex stream opened twice",
             lambda frame, stream: frame.kind == NEW and stream and not frame.whole(), completed),
    Stricter("varints of ten bytes", "m", "ours", "varint of more than 9 bytes", lambda frame, stream: True, at=Story.varint),
    Stricter("numbers used again", "m", "theirs", "Protocol error: Received `Open` frame for open substream.",
             lambda frame, stream: frame.kind == NEW and not stream and frame.again, at=Story.ending),
    Stricter("numbers used again", "r", "theirs", "protocol error",
             lambda frame, stream: frame.kind <= WINDOW_UPDATE and frame.flags & (SYN | RST) == SYN and not stream and frame.again,
             at=Story.ending),
    Stricter("credit behind the end", "r", "theirs", "protocol error",
             lambda frame, stream: frame.kind == WINDOW_UPDATE and frame.credit >= 1 << 32),
    Stricter("opened and reset at once", "r", "ours", "yamux stream opened ",
             lambda frame, stream: frame.kind <= WINDOW_UPDATE and frame.flags & (SYN | RST) == SYN | RST),
    Stricter("beyond any window", "r", "theirs", "decode error: frame body is too large",
             lambda frame, stream: frame.kind == DATA and not stream and 1 << 20 < frame.length <= 1 << 24),
    Stricter("pongs without a ping", "r", "theirs", "protocol error", lambda frame, stream: frame.kind == PING and frame.flags & ACK),
    Stricter("reset with data", "r", "ours", "yamux data above the window",
             lambda frame, stream: frame.kind == DATA and frame.flags & RST and stream and stream.window < frame.length),
    *(Stricter("when a frame is judged", "r", "ours", reason, lambda frame, stream: frame.kind == DATA and not frame.whole(), completed)
      for reason in ("yamux stream opened with an id of the other side", "yamux stream opened twice", "yamux data above the window")),
]


def ends(kind, streams):
    """rust does not tell whether a stream was closed or reset."""
    if kind not in "rm":
        return streams
    return {label: ("ended" if end in ("finished", "reset") else end, content) for label, (end, content) in streams.items()}


def same_streams(kind, data, ours, theirs):
    """The names of the differences, all of which are explained; None if there is one that is not."""
    mine, other = ends(kind, ours.streams), ends(kind, theirs.streams)
    names = set()
    if mine == other:
        return names
    story = Story(kind, data)
    for label in mine.keys() | other.keys():
        ours_here, theirs_here = mine.get(label), other.get(label)
        if ours_here != theirs_here:
            names.add(explain_stream(kind, story, label, ours_here, theirs_here))
    return None if None in names else names


def explain_stream(kind, story, label, ours, theirs):
    for frame, stream in story.frames:
        carries = frame.kind == (MESSAGE if kind == "m" else DATA)
        left = "left" if carries and b"r" in frame.body else None
        body = frame.body if carries else b""
        if stream and stream.label == label and carries and frame.body:
            if not frame.whole() and theirs and theirs[0] == "open" and ours == (left or "open", theirs[1] + frame.body):
                return "frames in parts"
            resets = frame.flags & (RST | FIN) == RST if kind == "y" else kind == "r" and frame.flags & RST
            if resets and theirs:
                end = "reset" if kind == "y" else "ended"
                if theirs[0] == end and ours == (left or end, theirs[1] + frame.body):
                    return "reset with data"
        opens = frame.kind == NEW if kind == "m" else frame.kind <= WINDOW_UPDATE and frame.flags & SYN
        if opens and not stream and not frame.whole() and theirs is None and ours == (left or "open", body):
            return "frames in parts"
        if kind == "y" and label == f"{frame.stream}@{frame.end - 1}" and frame.flags & (SYN | RST) == SYN | RST and ours is None:
            if theirs == ((left or "finished", body) if frame.flags & FIN else ("reset", b"")):
                return "opened and reset at once"
    return None


def compare(kind, data, ours, theirs):
    """The names of the differences, all of which are explained; None if there is one that is not."""
    if ours.state != theirs.state:
        return None
    if kind in "yrm":
        return same_streams(kind, data, ours, theirs)
    if ours.state == "refused":
        return set()
    if ours.state == "waits" and ours.said == ":" and theirs.said == ":" + message(HEADER).hex() and kind == "l":
        return {"who greets first"}
    return set() if (ours.at, ours.said) == (theirs.at, theirs.said) else None


def whole_messages(data):
    at = count = 0
    while at < len(data):
        size, length = (1, data[at]) if data[at] < 0x80 else (2, data[at] & 0x7F | data[at + 1] << 7)
        at += size + length
        count += 1
    return count if at == len(data) else None


def stricter(kind, data, ours, theirs):
    """The name of the difference, and the input that both have to agree on."""
    if kind == "l":
        too_many = ours.reason == "too many proposals in one negotiation" and whole_messages(data[: ours.at]) == 1 + PROPOSALS + 1
        return ("proposals without end", data[: ours.at - 1]) if too_many else None
    first, whose = (ours, "ours") if ours.refused_at() < theirs.refused_at() else (theirs, "theirs")
    for rule in STRICTER:
        if kind in rule.kind and whose == rule.whose and first.reason.startswith(rule.reason):
            story = Story(kind, data)
            frame, stream = rule.at(story, first.at)
            if frame and rule.holds(frame, stream):
                return rule.name, rule.again(story, frame)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="I", help="begin with this input of the seed's")
    parser.add_argument("--ours", type=Path, default=OURS, metavar="PROGRAM", help="another build of ours.cpp")
    parser.add_argument("--only", choices=list(PAIRS), help=", ".join(f"{kind}: {pair.name}" for kind, pair in PAIRS.items()))
    options = parser.parse_args()

    missing = {}
    for peer in sorted({pair.peer for pair in PAIRS.values()}):
        built = subprocess.run([INTEROP / peer / "build"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if built.returncode == 3:
            missing[peer] = built.stderr.strip()
        elif built.returncode != 0:
            sys.exit(f"{peer}/build failed:\n{built.stderr}")

    start = time.monotonic()
    counts, agreed, alive, explained, unexplained = (collections.Counter() for _ in range(5))
    shown = []
    end = options.first + options.inputs
    for begin in range(options.first, end, BATCH):
        made = [(index, *make(options.seed, index)) for index in range(begin, min(begin + BATCH, end))]
        for kind, pair in PAIRS.items():
            inputs = [(index, data) for index, of, data in made if of == kind]
            if not inputs or pair.peer in missing or options.only not in (None, kind):
                continue

            def run(datas):
                asked = [(kind, data) for data in datas]
                return zip(ask(options.ours, asked), ask(INTEROP / pair.peer / "sessions", asked))

            again = []
            for (index, data), (ours, theirs) in zip(inputs, run([data for _, data in inputs])):
                counts[kind] += 1
                alive[kind] += ours.state in ("alive", "agreed")
                names = compare(kind, data, ours, theirs)
                if names is None and (found := stricter(kind, data, ours, theirs)):
                    again.append((index, *found))
                elif names is None:
                    shown.append((kind, index, data, ours, theirs))
                else:
                    agreed[kind] += not names
                    explained.update((kind, name) for name in names)
            for (index, name, data), (ours, theirs) in zip(again, run([data for _, _, data in again])):
                if compare(kind, data, ours, theirs) is None:
                    shown.append((kind, index, data, ours, theirs))
                else:
                    explained[kind, name] += 1

    unexplained.update(kind for kind, *_ in shown)
    for kind, pair in PAIRS.items():
        if counts[kind]:
            print(f"{pair.name}: {counts[kind]} inputs, {alive[kind]} of them alive at their end; {agreed[kind]} the same, "
                  f"{unexplained[kind]} unexplained")
            for (of, name), number in explained.most_common():
                if of == kind:
                    print(f"  {number:6} explained: {name}")
        elif pair.peer in missing:
            print(f"{pair.name}: skipped: {missing[pair.peer]}")
    for kind, index, data, ours, theirs in sorted(shown, key=lambda entry: len(entry[2]))[:8]:
        print(f"\nunexplained: {PAIRS[kind].name}, run.py --seed {options.seed} --first {index} --inputs 1, {len(data)} bytes: {data.hex()[:1000]}")
        for who, outcome in ("ours  ", ours), ("theirs", theirs):
            told = {label: (end, content[:80], len(content)) for label, (end, content) in outcome.streams.items()}
            print(f"  {who} {outcome.state} at {outcome.at} {outcome.reason} {told or outcome.said}")
    failed = sum(1 for kind in PAIRS if unexplained[kind])
    print(f"differential: {sum(counts.values())} inputs with seed {options.seed} in {time.monotonic() - start:.0f} s")
    skipped = sum(1 for pair in PAIRS.values() if pair.peer in missing)
    print(f"differential: {sum(1 for kind in PAIRS if counts[kind]) - failed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
