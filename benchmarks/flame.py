"""Where the time goes: py-spy looks into the server a few hundred times a second while it accepts, and while it settles.

What is sampled is who holds the interpreter (``py-spy record --gil``): Python runs in one thread at a time, so that this is
what limits a process. Work that lets the interpreter go (SQLite's own, fsync, sends) is not in it; it is in the CPU of each
thread, which the kernel counts, in turns of their own without a profiler.

A sample belongs to the room of the innermost function that has one: time in ``json`` that a view spends is the view's.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from . import accept, icicle, load
from .accept import require_stored
from .bench import Bench
from .load import Spec
from .procs import Proc
from .results import Result
from .served import Payonce, Provider
from .settle import drained, require_once, stories_of

NAME: Final = "flame"
ACCEPTING, SETTLING = "accepting", "settling"
BY_ROOM, BY_THREAD = "by room", "by thread"
CONNECTIONS: Final = {ACCEPTING: 64, SETTLING: 32}
WINDOW: Final = 256  # payments under way while it settles
PICTURES: Final = {
    ACCEPTING: ("performance-flame-accept.svg", "Who holds the interpreter while payments are accepted at 64 connections"),
    SETTLING: ("performance-flame-settle.svg", "Who holds the interpreter while payments are accepted and settled"),
}
COUNT_S, RECORD_S, AROUND_S = 2.0, 3.0, 1.2
TIMES: Final = 2  # recordings
RATE: Final = 250  # samples a second
SILENCE_S: Final = 90.0  # for one answer of py-spy

# The first whose beginning a path has. Functions of other packages belong to their caller, but for those named here.
ROOMS: Final = (
    ("payonce/httpd/", "HTTP server"),
    ("uvicorn/", "HTTP server"),
    ("payonce/api/access.py", "log line"),
    ("payonce/api/", "door and envelope"),
    ("payonce/merchants/", "door and envelope"),
    ("starlette/", "door and envelope"),
    ("payonce/stores/", "store"),
    ("payonce/storage.py", "store"),
    ("payonce/telemetry/__init__.py", "log line"),
    ("structlog/", "log line"),
    ("logging/", "log line"),
    ("payonce/telemetry/", "metrics"),
    ("payonce/figures.py", "metrics"),
    ("payonce/transport/", "transport to the provider"),
    ("payonce/http1.py", "transport to the provider"),
    ("payonce/providers/", "adapter"),
    ("payonce/core/", "core"),
    ("payonce/intake.py", "intake"),
    ("payonce/outside.py", "intake"),
    ("payonce/rules.py", "intake"),
    ("payonce/shown/", "views"),
    ("payonce/outbound/", "webhooks"),
    ("payonce/cli/", "event loop"),  # holds the loop open
    *((f"payonce/{name}.py", "worker and engine") for name in ("engine", "process", "dispatch", "lanes", "health", "hold")),
    ("payonce/", "rest of payonce"),
)
LOOP: Final = "event loop"
THREADS: Final = (("MainThread", LOOP), ("payonce-writer", "store's writer"), ("payonce-reader", "store's readers"))
OTHERS: Final = "other threads"
# What every stack begins with, and nobody learns from.
ROOTS: Final = {
    "Runner.run", "BaseEventLoop.run_forever", "BaseEventLoop._run_once", "Handle._run",
    "Thread._bootstrap", "Thread._bootstrap_inner", "Thread.run", "_worker", "_WorkItem.run",
}  # fmt: skip
FRAME: Final = re.compile(r"(?P<name>.*) \((?P<file>[^()]*?)(:\d+)?\)")
PACKAGE: Final = re.compile(r".*/(?:site-packages|python3\.\d+|src)/")
DUMPED: Final = re.compile(r'^Thread (\d+) \(.*?\): "(.*)"$', re.MULTILINE)


def run(bench: Bench) -> None:
    """The whole section; some 35 seconds at scale normal."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        bench.note("Not measured: py-spy is not installed.")
        return
    found = {what: stacks for what in (ACCEPTING, SETTLING) if (stacks := Watched(bench, spy, what).run())}
    shares = {what: [by_room(each) for each in stacks] for what, stacks in found.items()}
    highest: dict[str, float] = {}
    for share in (share for each in shares.values() for share in each):
        highest |= {room: max(part, highest.get(room, 0.0)) for room, part in share.items()}
    for room in sorted(highest, key=lambda one: -highest[one]):
        for what, each in shares.items():
            if any(room in share for share in each):
                bench.row(BY_ROOM, room, what, "% of the interpreter", *(100 * share.get(room, 0.0) for share in each))
    for what, stacks in found.items():
        both = sum((Counter(each) for each in stacks), Counter[str]())
        bench.result.stacks[what] = icicle.pruned(named(both))
        largest = list(by_room(both).items())[:4]
        bench.say(f"{what}: " + ", ".join(f"{room} {share:.0%}" for room, share in largest))


class Watched:
    """One server under load, counted and then sampled."""

    def __init__(self, bench: Bench, spy: str, what: str) -> None:
        self.bench, self.spy, self.what = bench, spy, what
        self.folder = bench.folder / f"flame-{what}"
        self.accepted = 0

    def run(self) -> list[dict[str, int]]:
        """Of each recording the stacks, as py-spy tells them, with how often each was seen; none when it may not look."""
        with ExitStack() as stack:
            provider = stack.enter_context(Provider(self.folder, python=self.bench.python)) if self.what == SETTLING else None
            given = (provider.url,) if provider else ()
            ours = stack.enter_context(Payonce(self.folder, *given, settings=accept.SETTINGS, python=self.bench.python))
            proc = ours.serve(worker=provider is not None)
            self.counted(ours, provider, proc)
            found = self.sampled(ours, provider, proc)
            charges = provider.charges() if provider else []
        if provider:
            require_once(stories_of(ours.store), charges, self.accepted)
        else:
            require_stored(ours, self.accepted)
        shutil.rmtree(self.folder)
        return found

    def spec(self, ours: Payonce, provider: Provider | None, seconds: float) -> Spec:
        window, port = (WINDOW, provider.port) if provider else (0, 0)
        return Spec(
            port=ours.port, connections=CONNECTIONS[self.what], seconds=seconds, window=window, progress_port=port
        )  # fmt: skip

    def took(self, got: load.Load, ours: Payonce, provider: Provider | None) -> None:
        """A load is over: wait until all of it is settled, where somebody works on it."""
        got.require_good(self.what)
        self.accepted += got.accepted
        if provider:
            drained(provider, ours, self.accepted)

    def counted(self, ours: Payonce, provider: Provider | None, proc: Proc) -> None:
        """The CPU of each thread for each payment, without a profiler."""
        before = thread_cpu_s(proc.pid)
        got = load.run(self.spec(ours, provider, self.bench.seconds(COUNT_S)), proc)
        self.took(got, ours, provider)
        after = thread_cpu_s(proc.pid)
        names = self.threads(proc)
        spent: dict[str, float] = {}
        for thread, cpu_s in after.items():
            name = names.get(thread, OTHERS)
            spent[name] = spent.get(name, 0.0) + cpu_s - before.get(thread, 0.0)
        for name in names and sorted(spent, key=lambda one: -spent[one]):
            self.bench.row(BY_THREAD, name, self.what, "us of CPU a payment", spent[name] / got.accepted * 1e6)

    def threads(self, proc: Proc) -> dict[str, str]:
        """Of each thread's number what it is for; empty, and a note, when py-spy may not look."""
        done = self.asked("dump", "--pid", str(proc.pid))
        found = DUMPED.findall(done.stdout) if done else []
        return {thread: purpose(name) for thread, name in found}

    def sampled(self, ours: Payonce, provider: Provider | None, proc: Proc) -> list[dict[str, int]]:
        """The stacks that held the interpreter, recorded twice; none, and a note, when py-spy may not look."""
        seconds = self.bench.seconds(RECORD_S)
        running = load.start(self.spec(ours, provider, TIMES * (seconds + AROUND_S)))
        outs = [self.folder / f"stacks-{number}" for number in range(TIMES)]
        try:
            for out in outs:
                self.asked(
                    "record", "--gil", "--threads", "--function", "--full-filenames", "--format", "raw", "--rate", str(RATE),
                    "--duration", f"{seconds:.0f}", "--output", str(out), "--pid", str(proc.pid),
                )  # fmt: skip
        finally:
            got = running.wait()
            proc.require_alive()
        self.took(got, ours, provider)
        return [read(out.read_text(encoding="utf-8")) for out in outs if out.exists() and out.stat().st_size]

    def asked(self, *args: str) -> subprocess.CompletedProcess[str] | None:
        """What py-spy did; None, and a note, when it failed: where ptrace is forbidden."""
        try:
            done = subprocess.run([self.spy, *args], capture_output=True, text=True, timeout=SILENCE_S, check=False)
        except subprocess.TimeoutExpired:
            self.bench.note(f"py-spy {args[0]} did not answer within {SILENCE_S:g} s, so that its part was not measured.")
            return None
        if done.returncode:
            said = " ".join(done.stderr.split())[:200]
            self.bench.note(f"py-spy {args[0]} may not look into a process here, so that its part was not measured: {said}")
            return None
        return done


# --- stacks ---------------------------------------------------------------------------------------------------------------


def read(text: str) -> dict[str, int]:
    """py-spy's raw format: a line for each stack, ``frame;frame;frame COUNT``."""
    stacks: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[stack] += int(count)
    return stacks


def by_room(stacks: Mapping[str, int]) -> dict[str, float]:
    """The share of each room, the largest first."""
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        rooms = (room_of(parsed(frame)[1]) for frame in reversed(stack.split(";")[1:]))
        counts[next((room for room in rooms if room), LOOP)] += count
    return {room: count / counts.total() for room, count in counts.most_common()}


def named(stacks: Mapping[str, int]) -> dict[str, int]:
    """With short names, and without what every stack begins with: ``thread;room function;room function``."""
    short: Counter[str] = Counter()
    for stack, count in stacks.items():
        thread, *frames = stack.split(";")
        known = [parsed(frame) for frame in frames]
        last = max((at for at, (name, _) in enumerate(known) if name in ROOTS), default=-1)
        names = [f"{place(file)} {name}" for name, file in known[last + 1 :]]
        short[";".join([purpose(thread.rpartition(": ")[2]), *names])] += count
    return short


def parsed(frame: str) -> tuple[str, str]:
    """A function's name, and its file from the package on: ``payonce/api/app.py``."""
    found = FRAME.fullmatch(frame)
    return (found["name"].replace(".<locals>", ""), PACKAGE.sub("", found["file"])) if found else (frame, "")


def room_of(file: str) -> str:
    """Empty for code that belongs to whoever calls it."""
    return next((room for start, room in ROOMS if file.startswith(start)), "")


def place(file: str) -> str:
    """One word: the package, and within payonce the room or module."""
    parts = file.removesuffix(".py").split("/")
    inside = parts[0] == "payonce" and len(parts) > 1
    return parts[1] if inside else (parts[0].strip("<>").split() or ["?"])[0]


def purpose(thread: str) -> str:
    """What a thread is for, by its name."""
    return next((what for start, what in THREADS if thread.startswith(start)), OTHERS)


def thread_cpu_s(pid: int) -> dict[str, float]:
    """Seconds of CPU of each living thread, by the kernel's count."""
    tasks = [path for path in Path(f"/proc/{pid}/task").iterdir() if (path / "schedstat").exists()]
    return {path.name: int((path / "schedstat").read_text().split()[0]) / 1e9 for path in tasks}


# --- pictures -------------------------------------------------------------------------------------------------------------


def draw(result: Result, folder: Path) -> list[str]:
    """Write a picture of each; the names of the files."""
    written = []
    for what, stacks in result.stacks.items():
        name, shows = PICTURES[what]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(icicle.draw(stacks, shows, colours()), encoding="utf-8")
        written.append(name)
    return written


def colours() -> dict[str, str]:
    """Of the word that a function's name begins with: the colour of its room."""
    rooms = list(dict.fromkeys(room for _, room in ROOMS))
    of_room = {room: icicle.COLOURS[number % len(icicle.COLOURS)] for number, room in enumerate(rooms)}
    folders_last = sorted(ROOMS, key=lambda pair: pair[0].endswith("/"))
    return {place(start): of_room[room] for start, room in folders_last}


def pictures(folder: Path) -> Iterable[tuple[str, str]]:
    """Those that are drawn: file, and what it shows."""
    return [(name, shows) for name, shows in PICTURES.values() if (folder / name).exists()]
