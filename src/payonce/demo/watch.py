"""What a person sees while the demo runs: a live table on a terminal, plain lines elsewhere. Each line says what happened
to a payment, and why."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from msgspec import Struct

from payonce.core.money import display
from payonce.core.payment import FINAL, Payment

from .stories import Told
from .traffic import Traffic

ROWS = 16
BAR_CHARS = 60
# What happened and why is what the table is for: the rest is shown where the terminal is wide enough.
COLUMNS = {"amount": 100, "token": 130}
WHOLE_IDS_CHARS = 150
TOKEN_CHARS = 26
AT_REST = (*FINAL, "IN_DOUBT")
QUIET_S = 5.0  # so long may nothing change before it is said what is awaited
STYLES = {"SUCCESS": "green", "FAILED": "red", "CANCELED": "red", "IN_DOUBT": "yellow", "PENDING": "cyan"} | dict.fromkeys(
    ("AUTHORIZED", "REQUIRES_ACTION"), "magenta"
)


class News(Struct, frozen=True):
    """One look: all payments newest first, what happened since the look before, and what was told last of each."""

    payments: Sequence[Payment]
    told: Sequence[Told]
    providers: Sequence[str]  # lines about whole providers
    shut: str  # which of them are down, drained or have an open breaker
    last: dict[str, str]


class Watch(Protocol):
    def update(self, news: News, traffic: Traffic) -> None:
        """Show what is new."""

    def wait(self, text: str) -> None:
        """Nothing changed for a while: what is awaited."""


class Quiet:
    """Notices that nothing changes."""

    def __init__(self, now_s: float) -> None:
        self.since_s, self.seen = now_s, ""

    def lasts(self, payments: Sequence[Payment], now_s: float) -> bool:
        """Nothing changed for QUIET_S, since the last change or since it was said last."""
        seen = repr([(p.id, p.status, len(p.attempts), [o.state for o in p.operations]) for p in payments])
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
    """One line per thing that happened, and progress now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.started = total, time.monotonic()
        self.progress = 0

    def update(self, news: News, traffic: Traffic) -> None:
        for line in news.providers:
            self._print(f"-- {line} --")
        for told in news.told:
            p = told.payment
            token = _token(traffic, p)
            self._print(
                f"{p.id}  {display(p.amount_minor, p.currency):>13}  {token:<{TOKEN_CHARS}}  {p.status:<10}  {told.text}"
            )
        done = sum(p.status in FINAL for p in news.payments)
        if done // 10 != self.progress // 10:
            self._print(f"-- {len(news.payments)} of {self.total} accepted, {done} settled --")
        self.progress = done

    def wait(self, text: str) -> None:
        if text:
            self._print(f"-- {text} --")

    def _print(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:5.1f} s  {text}", flush=True)


class Table:
    """The payments that something goes on with, what happened to each last, counters and a bar."""

    def __init__(self, total: int, live: Any) -> None:
        self.total, self.live, self.text = total, live, ""

    def wait(self, text: str) -> None:
        self.text = text  # shown with the next update, until something changes

    def update(self, news: News, traffic: Traffic) -> None:
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        width = self.live.console.width
        whole, shown = width >= WHOLE_IDS_CHARS, [name for name, least in COLUMNS.items() if width >= least]
        table = RichTable(box=None, pad_edge=False, expand=True)
        table.add_column("payment", no_wrap=True, width=24 if whole else 12)
        for name in shown:
            table.add_column(name, justify="right" if name == "amount" else "left", no_wrap=True)
        table.add_column("status", no_wrap=True, width=15)
        table.add_column("what happened last, and why", no_wrap=True, overflow="ellipsis", ratio=1)
        # open ones first: they are what is going on; then where something happened last
        rows = sorted(news.payments, key=lambda p: (p.status in AT_REST, -p.updated_us))
        for p in rows[: max(4, min(ROWS, self.live.console.height - 7))]:
            cells = {"amount": display(p.amount_minor, p.currency), "token": _token(traffic, p)}
            status = Text(p.status, style=STYLES.get(p.status, ""))
            name = p.id if whole else f"pay_..{p.id[-6:]}"
            table.add_row(name, *(Text(cells[c]) for c in shown), status, Text(news.last.get(p.id, "accepted")))
        for line in news.providers:  # they stay above the table
            self.live.console.print(Text(f"-- {line} --", style="bold"))
        self.live.update(Group(table, Text(), self._bar(news), self._counts(news, traffic), Text(self.text, style="dim")))

    def _bar(self, news: News) -> Any:
        from rich.text import Text

        done = sum(p.status in FINAL for p in news.payments)
        chars = min(BAR_CHARS, self.live.console.width - 20)
        full = chars * done // max(1, self.total)
        return Text.assemble(("━" * full, "green"), ("━" * (chars - full), "dim"), f"  {done} of {self.total} settled")

    def _counts(self, news: News, traffic: Traffic) -> Any:
        from rich.text import Text

        line = Text(f"{len(news.payments)} accepted, {traffic.replayed} duplicate posts absorbed   ", no_wrap=True)
        for status, n in sorted(Counter(p.status for p in news.payments).items()):
            line.append(f"{n} {status}  ", style=STYLES.get(status, ""))
        line.append(news.shut, style="bold red")
        return line


def _token(traffic: Traffic, p: Payment) -> str:
    post = traffic.by_id.get(p.id)
    return post.token.removeprefix("tok_") if post else ""
