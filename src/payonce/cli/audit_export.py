"""``payonce audit export``: who did what, when and from where, for a range of time."""

import asyncio
import csv
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal

import msgspec
from cyclopts import App, Parameter
from msgspec import Struct

from payonce.config import Settings
from payonce.core import ids
from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry
from payonce.core.payment import Mode, Payment
from payonce.merchants.journal import look

from . import FAILURE, OK, USAGE
from .app import wait_for
from .options import HERE, STRICT, Exit, Json, Where
from .output import clean, counted, say
from .pages import Pages
from .reading import Books, books, history
from .sorting import Sorter
from .times import moment
from .told import COLUMNS, JOURNAL, Line, Told, broken, of_journal, of_payment
from .verify import audit_of

IDS_A_PAGE: Final = 200
AT_ONCE: Final = 16  # payments read at the same time
READS_MAX: Final = 5  # of one payment that others write meanwhile
SAID_MAX: Final = 100  # broken chains that are named; the rest is only counted
CLOCKS_US: Final = (
    86_400 * 1_000_000
)  # so far apart may the clocks of machines be, that a payment's id is older than its events
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width ones count as well

Format = Literal["jsonl", "csv"]

app = App(
    name="audit",
    help="Who did what, when and from where: the histories of payments and the journal, for a range of time.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


class Range(Struct, frozen=True, kw_only=True):
    """What is wanted: from a time until before another, of one merchant or mode ("" = all)."""

    from_us: int
    to_us: int
    merchant: str = ""
    mode: str = ""

    def takes(self, at_us: int, merchant: str, mode: str) -> bool:
        """What names no mode belongs to both; what names no merchant (a drained account) is nobody's."""
        mine = self.merchant in ("", merchant) and (not self.mode or mode in ("", self.mode))
        return mine and self.from_us <= at_us < self.to_us


@app.command
def export(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    merchant: str = "",
    mode: Mode | None = None,
    format: Format = "jsonl",
    output: Path | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Print every event of every payment and every entry of the journal of a range of time, in the order of their times:
    who did it (a key, an operator, a program of this machine, or payonce itself), from where, to what, and its place in its
    chain of hashes. Card numbers and secrets are masked. Every chain that is read is checked; a broken one is named, the rest
    is exported all the same, and the exit code is 1.

    It reads the histories of all payments accepted before --to, and sorts in temporary files (TMPDIR), which take about as
    much space as what it prints. Safe while a server runs, and on a read-only backup.

    Parameters
    ----------
    from_
        The first moment (RFC 3339, such as 2026-11-24 or 2026-11-24T10:00:00Z).
    to
        The first moment that is not in it any more.
    merchant
        Only this one's; what belongs to no merchant, such as a drained account, is left out then.
    mode
        Only test or live.
    format
        jsonl, or csv: there a cell that a spreadsheet would take for a formula begins with an apostrophe.
    output
        Into this new file, readable by you alone, instead of standard output.
    json
        One line of JSON for each, as without it; not together with csv.
    """
    if json and format == "csv":
        raise Exit(USAGE, "payonce: --json and --format csv contradict each other. Nothing was exported.")
    wanted = Range(from_us=moment("--from", from_), to_us=moment("--to", to), merchant=merchant.strip(), mode=mode or "")
    if wanted.from_us >= wanted.to_us:
        raise Exit(USAGE, "payonce: --from lies before --to. Nothing was exported.")
    return wait_for(_export(where.settings(), wanted, format, output))


async def _export(settings: Settings, wanted: Range, form: Format, output: Path | None) -> int:
    try:
        with Sorter() as sorter:
            async with books(settings) as book:
                found = await Gathering(book, wanted, sorter).all()
            with _target(output) as out:
                _written(sorter.lines(), out, form)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        at = f" {output}" if output else ""
        raise Exit(
            FAILURE, f"payonce: the export{at} cannot be written: {error.strerror or error}. Nothing was exported."
        ) from None
    say(f"{counted(found.lines, 'line')} of {counted(found.payments, 'payment')} and the journal{_at(output)}.")
    if found.problems:
        say(f"{counted(found.problems, 'chain')} broken, see above: what could be read is exported. Run `payonce verify`.")
        return FAILURE
    return OK


def _at(output: Path | None) -> str:
    return f" in {output}" if output else ""


class Gathering:
    """Reads all that may be wanted, checks it, and keeps what is. ``payments``: those with a line in the range."""

    def __init__(self, book: Books, wanted: Range, sorter: Sorter) -> None:
        self._book, self._wanted, self._sorter = book, wanted, sorter
        self._audit, self._encoder = audit_of(book), msgspec.json.Encoder()
        self._after_all = ids.new_id("pay_", wanted.to_us + CLOCKS_US, 0)
        self.lines = self.payments = self.problems = 0

    async def all(self) -> "Gathering":
        await self._journal()
        async for page in self._pages():
            for start in range(0, len(page), AT_ONCE):
                await asyncio.gather(*(self._payment(id) for id in page[start : start + AT_ONCE]))
        if self.problems > SAID_MAX:
            say(f"{self.problems - SAID_MAX} more are broken.")
        return self

    async def _pages(self) -> AsyncIterator[Sequence[str]]:
        """Ids carry the time of their payment; those after the range hold nothing of it."""
        after = ""
        while page := await self._audit.audit_ids(after, IDS_A_PAGE):
            yield [id for id in page if id <= self._after_all]
            after = page[-1]

    async def _journal(self) -> None:
        looked = await look(self._book.store.registry)
        for problem in looked.problems:
            self._broken(f"the {JOURNAL}", problem)
        for written in looked.entries:
            act = written.act
            if self._wanted.takes(act.at_us, act.merchant_id, act.mode):
                self._keep(of_journal(written))

    async def _payment(self, id: str) -> None:
        entries, problem = await self._read(id)
        if problem:
            self._broken(id, problem)
        wanted = list(of_payment(id, entries, self._wanted.takes))
        self.payments += bool(wanted)
        for told in wanted:
            self._keep(told)

    async def _read(self, id: str) -> tuple[Sequence[Entry], str]:
        """The history, and what is wrong with it. What is written meanwhile is waited for."""
        entries: Sequence[Entry] = ()
        row: Payment | None = None
        for _ in range(READS_MAX):
            try:
                entries, row = await history(self._book, id), await self._book.store.get(id)
            except NewerSchema as error:
                return entries, f"written by a newer payonce, and left out: {error}"
            except InvariantViolated as error:
                return await self._what_is_left(id), f"cannot be read whole: {error}"
            if row is None or row.version <= len(entries):
                break
        return entries, broken(entries, row)

    async def _what_is_left(self, id: str) -> Sequence[Entry]:
        """Event by event, until the first that cannot be read."""
        entries: list[Entry] = []
        try:
            while page := await self._book.store.history(id, after_seq=entries[-1].envelope.seq if entries else 0, limit=1):
                entries += page
        except (InvariantViolated, NewerSchema):
            pass
        return entries

    def _keep(self, told: Told) -> None:
        self.lines += 1
        key = f"{told.at_us:020d} {told.line.chain} {told.line.seq:09d}"
        self._sorter.put(key, self._encoder.encode(told.line))

    def _broken(self, where: str, problem: str) -> None:
        self.problems += 1
        if self.problems <= SAID_MAX:
            say(clean(f"{where}: {problem}"))


@contextmanager
def _target(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a new file, which is there only when it is whole."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if output.exists():
        raise Exit(USAGE, f"payonce: {output} is there already, and an audit is not overwritten. Nothing was exported.")
    part = output.with_name(f"{output.name}.part")
    with open(part, "w", encoding="utf-8", newline="", opener=_private) as out:
        yield out
    part.rename(output)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _written(lines: Iterator[bytes], out: IO[str], form: Format) -> None:
    if form == "jsonl":
        out.writelines(f"{line.decode()}\n" for line in lines)
        return
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    decode: Callable[[bytes], Line] = msgspec.json.Decoder(Line).decode
    rows.writerows(_cells(decode(line)) for line in lines)


def _cells(line: Line) -> list[Any]:
    values = [getattr(line, field) for field in line.__struct_fields__]
    return [_safe(value if isinstance(value, str) else msgspec.json.encode(value).decode()) for value in values]


def _safe(cell: str) -> str:
    """No spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
