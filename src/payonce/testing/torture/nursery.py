"""The process from which every payonce process of a torture is forked, with all modules loaded: a start takes a tenth of
the time of a fresh interpreter, so that kills can follow each other quickly. What runs in a child is the command line
itself, as ``python -m payonce serve`` runs it, in a process of its own; it shares nothing with the nursery but its code.

It is spoken to in lines of JSON: a ``Start`` or a ``Signal`` each; it answers with ``Started`` and ``Ended``. Only the
parent of a process knows for sure that a number is still its, so signals go through here, too. When its input ends, for
whatever reason, it kills all its children and ends: no torture leaves a process behind.
"""

import importlib
import os
import runpy
import select
import signal
import sys

import msgspec
from msgspec import Struct

from payonce.providers import load_adapters
from payonce.sandbox.server import installed


class Start(Struct, frozen=True, tag=True):
    """Run one command line of payonce. ``out`` is begun anew, ``log`` is appended to; both are files."""

    name: str
    args: list[str]
    out: str
    log: str


class Signal(Struct, frozen=True, tag=True):
    """Send a signal to the child of this name; nothing happens when it has ended."""

    name: str
    number: int


class Started(Struct, frozen=True, tag=True):
    name: str
    pid: int


class Ended(Struct, frozen=True, tag=True):
    """``code`` is the exit code, or minus the signal that killed it."""

    name: str
    pid: int
    code: int


PROGRAM = "payonce"  # what `python -m` runs
# Named and not imported above: they are programs to be run, nothing that this module builds on.
COMMANDS = ("payonce.cli.app", "payonce.cli.serve", "payonce.cli.sandbox", "payonce.cli.verify")
SERVER = ("uvicorn.lifespan.off", "uvicorn.loops.asyncio", "uvicorn.protocols.http.httptools_impl")
ASKED = msgspec.json.Decoder(Start | Signal)
TOLD = msgspec.json.Decoder(Started | Ended)


class Nursery:
    """The children that live, by name. One name has one child at a time."""

    def __init__(self) -> None:
        self.children: dict[str, int] = {}
        self.bell, ring = os.pipe()
        for end in (self.bell, ring):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring)

    def run(self) -> None:
        """Until the input ends."""
        asked = b""
        try:
            while True:
                ready, _, _ = select.select([0, self.bell], [], [])
                if self.bell in ready:
                    os.read(self.bell, 4096)
                    self._reap()
                if 0 in ready:
                    read = os.read(0, 65536)
                    if not read:
                        return
                    *lines, asked = (asked + read).split(b"\n")
                    for line in lines:
                        self._do(ASKED.decode(line))
        finally:
            for pid in self.children.values():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _do(self, wish: Start | Signal) -> None:
        if isinstance(wish, Start):
            pid = os.fork()
            if pid == 0:
                _child(wish)
            self.children[wish.name] = pid
            _tell(Started(wish.name, pid))
        elif wish.name in self.children:
            os.kill(self.children[wish.name], wish.number)

    def _reap(self) -> None:
        for name, pid in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.children[name]
                _tell(Ended(name, pid, os.waitstatus_to_exitcode(status)))


def _tell(fact: Started | Ended) -> None:
    os.write(1, msgspec.json.encode(fact) + b"\n")


def _child(wish: Start) -> None:
    """Become that command; never returns."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        new = os.O_CREAT | os.O_WRONLY
        files = ((os.devnull, os.O_RDONLY, 0), (wish.out, new | os.O_TRUNC, 1), (wish.log, new | os.O_APPEND, 2))
        for path, flags, place in files:
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, place)
            os.close(opened)
        sys.argv = ["payonce", *wish.args]
        try:
            runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def preload() -> None:
    """Import everything that the commands import. Nothing of it may start a thread or open a file that stays open."""
    for name in (*COMMANDS, *SERVER):
        importlib.import_module(name)
    load_adapters()
    installed()


def main() -> None:
    """The whole life of the nursery."""
    preload()
    Nursery().run()
