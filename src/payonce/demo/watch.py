"""What a person sees while the demo runs: a live table on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from payonce.core.money import display

from .traffic import Traffic

ROWS = 16
BAR_CHARS = 60
FINAL = ("SUCCESS", "FAILED", "CANCELED")
AT_REST = (*FINAL, "IN_DOUBT")
QUIET_S = 5.0  # so long may nothing change before it is said what is awaited
STYLES = {"SUCCESS": "green", "FAILED": "red", "CANCELED": "red", "IN_DOUBT": "yellow", "PENDING": "cyan"}

View = dict[str, Any]


class Watch(Protocol):
    def update(self, payments: list[View], traffic: Traffic) -> None:
        """Show the payments as they are now, newest first."""

    def wait(self, text: str) -> None:
        """Nothing changed for a while: what is awaited."""


class Quiet:
    """Notices that nothing changes."""

    def __init__(self, now_s: float) -> None:
        self.since_s, self.seen = now_s, ""

    def lasts(self, payments: list[View], now_s: float) -> bool:
        """Nothing changed for QUIET_S, since the last change or since it was said last."""
        seen = repr([(p["transactionId"], p["status"], p["attempts"], p["reversed"]) for p in payments])
        if seen != self.seen:
            self.since_s, self.seen = now_s, seen
            return False
        if now_s - self.since_s < QUIET_S:
            return False
        self.since_s = now_s
        return True


def awaited(count: int, due_us: int | None, now_us: int) -> str:
    """What a quiet demo waits for."""
    look = "" if due_us is None else f", next look in {max(0, due_us - now_us) / 1_000_000:.0f} s"
    return f"waiting: {count} payment{'' if count == 1 else 's'}{look}"


@contextmanager
def watcher(total: int) -> Iterator[Watch]:
    """The live view on a terminal, lines elsewhere. ``total`` payments will come."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(total)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        yield Table(total, live)


class Lines:
    """One line per change of a payment, and progress now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.started = total, time.monotonic()
        self.shown: dict[str, tuple[str, int]] = {}
        self.outage = False
        self.progress = -1

    def update(self, payments: list[View], traffic: Traffic) -> None:
        at = f"{time.monotonic() - self.started:5.1f} s"
        if traffic.outage.on != self.outage:
            self.outage = traffic.outage.on
            print(f"{at}  -- the provider is {'down' if self.outage else 'back'} --", flush=True)
        for p in reversed(payments):
            state = p["status"], p["reversed"]
            before = self.shown.get(p["transactionId"])
            if before == state:
                continue
            self.shown[p["transactionId"]] = state
            was = f"{before[0]} -> " if before else ""
            print(f"{at}  {p['transactionId']}  {_amount(p):>14}  {_token(p):<31} {was}{_status(p)}", flush=True)
        done = sum(p["status"] in FINAL for p in payments)
        if done // 10 != self.progress // 10:
            print(f"{at}  -- {len(payments)} of {self.total} accepted, {done} settled --", flush=True)
        self.progress = done

    def wait(self, text: str) -> None:
        if text:
            print(f"{time.monotonic() - self.started:5.1f} s  -- {text} --", flush=True)


class Table:
    """The newest payments, counters and a bar."""

    def __init__(self, total: int, live: Any) -> None:
        self.total, self.live, self.text = total, live, ""

    def wait(self, text: str) -> None:
        self.text = text  # shown with the next update, until something changes

    def update(self, payments: list[View], traffic: Traffic) -> None:
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, expand=False)
        for name in ("payment", "amount", "what happens to it", "attempts", "status"):
            table.add_column(name, justify="right" if name == "amount" else "left", no_wrap=True)
        # open ones first: they are what is going on; then the newest
        for p in sorted(payments, key=lambda p: p["status"] in AT_REST)[:ROWS]:
            status = Text(_status(p), style=STYLES.get(p["status"], ""))
            table.add_row(p["transactionId"], _amount(p), Text(_token(p)), str(p["attempts"]), status)
        counts = Counter(p["status"] for p in payments)
        done = sum(counts[s] for s in FINAL)
        line = Text(f"{len(payments)} accepted, {traffic.replayed} duplicate posts absorbed   ")
        for status, n in sorted(counts.items()):
            line.append(f"{n} {status}  ", style=STYLES.get(status, ""))
        if traffic.outage.on:
            line.append("THE PROVIDER IS DOWN", style="bold red")
        full = BAR_CHARS * done // max(1, self.total)
        bar = Text.assemble(("━" * full, "green"), ("━" * (BAR_CHARS - full), "dim"), f"  {done} of {self.total} settled")
        self.live.update(Group(table, Text(), bar, line, Text(self.text, style="dim")))


def _amount(p: View) -> str:
    return display(p["amount"], p["currency"])


def _token(p: View) -> str:
    method = p.get("paymentMethod") or {}
    return str(method.get("token") or "forceFail")


def _status(p: View) -> str:
    if p["reversed"]:
        return f"{p['status']}, taken late and given back"
    return f"{p['status']} ({p['reason']})" if p["reason"] and p["status"] != "SUCCESS" else str(p["status"])
