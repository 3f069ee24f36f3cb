"""A terminal in which the blocks of a page are typed, as by somebody who reads it and stops when a command fails."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from payonce.testing.torture.processes import OTHER_NAMES
from tests.blackbox.running import free_port, until
from tests.house.fenced import INSTEAD, TYPED, Block, fenced, missing, typed
from tests.house.source import ROOT

DEADLINE_S: Final = 180
SHOWN_AT: Final = "127.0.0.1:8080"


class Terminal:
    """bash in a folder that looks like a copy of the repository in which `make run` has set up `.venv`. What is started in it
    stays up until ``end``."""

    def __init__(self, folder: Path, page: str) -> None:
        self.page, self.folder, self.port = page, folder / "copy", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._said, self._typed, self._count = folder / "said.txt", folder / "typed", 0
        for each in (self.folder / ".venv" / "bin", self._typed):
            each.mkdir(parents=True)
        self.program("payonce", f'exec {shlex.quote(sys.executable)} -m payonce "$@"')
        self.program("python", f'exec {shlex.quote(sys.executable)} "$@"')
        env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
        with self._said.open("wb") as said:
            self.shell = subprocess.Popen(
                ["bash"],
                cwd=self.folder,
                env={
                    **env,
                    "PAYONCE_PORT": str(self.port),
                    "PAYONCE_WEBHOOK_ALLOW_HOSTS": "shop.example.com",  # so that nobody asks for its address
                    "COPY": str(ROOT),
                },
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self._send("set -e")

    def program(self, name: str, text: str) -> None:
        file = self.folder / ".venv" / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        file.chmod(0o755)

    # --- typing -----------------------------------------------------------------------------------------------------------

    def begin(self, block: Block) -> None:
        """Type a block and do not wait for its end."""
        self._count += 1
        self._start = self._said.stat().st_size
        text = typed(block, INSTEAD[self.page]) if block.language == "sh" else block.text
        file = self._typed / f"{self._count}.{block.language}"
        file.write_text(text.replace(SHOWN_AT, f"127.0.0.1:{self.port}") + "\n", encoding="utf-8")
        how = "." if block.language == "sh" else shlex.quote(str(self.folder / ".venv" / "bin" / "python"))
        self._send(f"{how} {shlex.quote(str(file))} < /dev/null; echo; echo '@@ end of {self._count}'")

    def ended(self) -> str:
        """What the block has printed; waits until it has ended."""
        self.said(rf"(?m)^@@ end of {self._count}$")
        return self._since()

    def type(self, block: Block) -> str:
        self.begin(block)
        return self.ended()

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until the block of now has printed something."""

        def there() -> re.Match[str] | None:
            since = self._since()
            if found := re.search(pattern, since):
                return found
            assert self.shell.poll() is None, f"block {self._count} stopped with {self.shell.returncode}:\n{since[-3000:]}"
            return None

        found: re.Match[str] = until(there, f"block {self._count} of {self.page} prints {pattern}", DEADLINE_S)
        return found

    def save(self, block: Block) -> None:
        """A file that the page tells its reader to save."""
        self.type(Block("sh", f"cat > {block.of} <<'THE END'\n{block.text}THE END\n"))

    def ask(self, command: str) -> str:
        """What a command prints that is not on the page."""
        return self.type(Block("sh", command))

    def end(self) -> None:
        """Whatever was started here, and nothing else: it is a process group of its own."""
        assert self.shell.stdin is not None
        self.shell.stdin.close()
        try:
            os.killpg(self.shell.pid, signal.SIGTERM)
            self.shell.wait(timeout=40)
            until(self._gone, "what was typed has ended", 40)
        except (subprocess.TimeoutExpired, AssertionError):
            os.killpg(self.shell.pid, signal.SIGKILL)
            raise
        except ProcessLookupError:  # everything had ended
            return

    def _gone(self) -> bool:
        try:
            os.killpg(self.shell.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def _send(self, line: str) -> None:
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{line}\n".encode())
        self.shell.stdin.flush()

    def _since(self) -> str:
        return self._said.read_bytes()[self._start :].decode(errors="replace")


def follow(terminal: Terminal, quiet: Callable[[Terminal], None]) -> None:
    """Type everything of the page, save what it says, and compare what it shows. ``quiet`` waits, as the reader does before
    looking at a payment, until what was begun has come to its end."""
    printed = ""
    for block in fenced((ROOT / terminal.page).read_text(encoding="utf-8")):
        if block.language in TYPED:
            if "payonce show" in block.text and "--wait" not in block.text:
                quiet(terminal)
            printed = terminal.type(block)
        elif block.mark == "save":
            terminal.save(block)
        elif block.language == "text":
            assert missing(block.text, printed, exactly=block.mark == "exactly") == [], printed[-6000:]
