"""``payonce doctor``: each check is ok, warn or fail, with its fix."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import apsw
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import Intent
from payonce.bootstrap import SystemClock, accounts_of, fetched_secrets, moved_of
from payonce.config import SANDBOX_URL, ProviderConfig, Settings, warnings_of
from payonce.core import ids
from payonce.core.errors import ConfigError, PayonceError
from payonce.core.outcome import Absent, Found
from payonce.dispatch import Account, Prepared, exchange, stored
from payonce.ports import Response, Transport
from payonce.sandbox.server import sandbox_app
from payonce.serving import unheard
from payonce.shown.standing import lifting
from payonce.transport import HttpTransport

from . import FAILURE, OK
from .app import wait_for
from .options import HERE, Json, Where
from .output import clean, paint, put, put_json, span
from .reading import Books, books

FREE_WARN_BYTES = 1024**3
FREE_FAIL_BYTES = 50 * 1024**2
CLOCK_OFF_S = 5.0
OVERDUE_WARN_US = 60_000_000
READ_TIMEOUT_MS = 5_000

State = Literal["ok", "warn", "fail"]
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


class Check(Struct, frozen=True):
    """One finding. ``fix`` is empty when nothing has to be done."""

    name: str
    state: State
    says: str
    fix: str = ""


def doctor(*, where: Where = HERE, json: Json = False) -> int:
    """Check this machine, the configuration, the store, and each provider account; exit code 1 when a check fails."""
    return wait_for(_doctor(where, as_json=json))


async def _doctor(where: Where, *, as_json: bool) -> int:
    checks = [check async for check in _checks(where)]
    if as_json:
        put_json({"ok": all(c.state != "fail" for c in checks), "checks": checks})
    else:
        for c in checks:
            put(f"{paint(f'{c.state:<4}', COLOURS[c.state])}  {c.name:<16} {clean(c.says)}")
            if c.fix:
                put(f"{'':>23}fix: {clean(c.fix)}")
    return FAILURE if any(c.state == "fail" for c in checks) else OK


async def _checks(where: Where) -> AsyncIterator[Check]:
    yield _python()
    yield _sqlite()
    try:
        settings = where.settings()
    except ConfigError as error:
        yield Check("configuration", "fail", str(error), "Correct it; `payonce config show` shows every value and its origin.")
        return
    yield Check("configuration", "ok", f"{settings.file}, {settings.mode} mode, {len(settings.providers)} provider accounts")
    for warning in warnings_of(settings):
        yield Check("settings", "warn", warning, "`payonce config show` shows where the value comes from.")
    for check in _machine(settings):
        yield check
    try:
        if settings.on_dynamodb or settings.store_path.is_file():
            async with books(settings) as book:
                async for each in _store(book):
                    yield each
        else:
            yield Check("store", "warn", f"there is no store at {settings.store_path} yet", "`payonce serve` makes it.")
    except (PayonceError, OSError, apsw.Error) as error:
        yield Check("store", "fail", str(error), "Do what it says, then run `payonce doctor` again.")
    async for each in _accounts(settings):
        yield each


def _python() -> Check:
    version = ".".join(str(n) for n in sys.version_info[:3])
    return Check("python", "ok", version)


def _sqlite() -> Check:
    from payonce.stores.sqlite.schema import check_sqlite_version

    version = apsw.sqlite_lib_version()
    try:
        check_sqlite_version(version)
    except ConfigError as error:
        return Check("sqlite", "fail", str(error), "pip install --upgrade apsw")
    return Check("sqlite", "ok", f"{version} (without the WAL-reset bug)")


def _machine(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir.resolve()
    if not settings.on_dynamodb:
        yield Check("payments file", "ok", f"{settings.store_path.resolve()}")
    if not settings.on_dynamodb or settings.sandbox_here:
        yield from _folder("data folder", folder, "--data-dir")
    if not settings.on_dynamodb and settings.store_path.resolve().parent != folder:
        yield from _folder("payments folder", settings.store_path.resolve().parent, "store.path")
    yield _port(settings.text("server.host"), settings.number("server.port"))


def _folder(name: str, folder: Path, named_by: str) -> Iterator[Check]:
    """Can be written, has space, and its clock is right."""
    there = folder
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        if not there.is_dir():
            raise NotADirectoryError(0, "it is not a folder")
        with tempfile.NamedTemporaryFile(dir=there, prefix=".payonce-doctor-") as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
            written_s, now_s = Path(probe.name).stat().st_mtime, time.time()
        yield Check(name, "ok", f"{folder} is writable")
        yield _clock(written_s, now_s)
    except OSError as error:
        yield Check(
            name, "fail", f"{there}: {error.strerror}", f"Make it writable, free space, or name another with {named_by}."
        )
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        yield Check("disk", "fail", f"{there}: {error.strerror}", "Check the disk, or move the data folder.")
        return
    state: State = "fail" if free < FREE_FAIL_BYTES else "warn" if free < FREE_WARN_BYTES else "ok"
    yield Check(
        "disk", state, f"{free / 1024**3:.1f} GiB free", "" if state == "ok" else "Free space, or move the data folder."
    )


def _clock(written_s: float, now_s: float) -> Check:
    """Wall clock against the file system's, and against the monotonic one for a moment."""
    wall, steady = time.time(), time.monotonic()
    while time.monotonic() - steady < 0.02:
        pass
    drift = abs((time.time() - wall) - (time.monotonic() - steady))
    if abs(written_s - now_s) > CLOCK_OFF_S or drift > CLOCK_OFF_S or now_s < 1_700_000_000:
        return Check("clock", "fail", f"off by {max(abs(written_s - now_s), drift):.1f} s", "Set the clock; run NTP.")
    return Check("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)))


def _port(host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(1)
    except OSError as error:
        fix = "If it is not your own payonce, stop what uses it or choose another --port."
        return Check("port", "warn", f"{host}:{port}: {error.strerror}", fix)
    return Check("port", "ok", f"{host}:{port} is free")


async def _store(book: Books) -> AsyncIterator[Check]:
    if book.settings.on_dynamodb:
        from .doctor_tables import look_at_tables

        async for each in look_at_tables(book):
            yield each
    else:
        async for each in _file(book):
            yield each
    async for each in _payments(book):
        yield each
    from .doctor_merchants import look_at_merchants

    async for each in look_at_merchants(book):
        yield each


async def _file(book: Books) -> AsyncIterator[Check]:
    if not os.access(book.settings.store_path, os.W_OK):
        fix = "Make it writable for the user payonce runs as."
        yield Check("store", "fail", f"{book.settings.store_path} is read-only: nothing can be accepted", fix)
    wrong = await book.store.check()
    if wrong == "ok":
        yield Check("store", "ok", f"{book.settings.store_path}: opens, quick_check ok")
    else:
        fix = "Stop payonce, keep the file, restore a backup, then `serve --hold` and `reconcile`."
        yield Check("store", "fail", f"{book.settings.store_path}: {wrong}", fix)


async def _payments(book: Books) -> AsyncIterator[Check]:
    held = await book.kept.hold.modes()
    for mode in held:
        fix = f"{lifting(mode, book.settings.mode)}: it asks the providers, then lifts it."
        yield Check("hold", "warn", f"a hold is on for {mode} mode: nothing is fired there", fix)
    if not held:
        yield Check("hold", "ok", "none is on")
    due, now = await book.store.next_due(), book.clock.now_us()
    late = now - due if due is not None else 0
    if late > OVERDUE_WARN_US:
        yield Check(
            "due", "warn", f"the oldest due payment waits since {span(late)}", "Start `payonce serve` or `payonce worker`."
        )
    else:
        yield Check("due", "ok", "nothing is overdue")
    counts = await book.store.counts()
    doubt = counts.get("IN_DOUBT", 0)
    says = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "no payments"
    fix = "`payonce list --attention`, then `payonce reconcile` and `payonce resolve`." if doubt else ""
    yield Check("payments", "warn" if doubt else "ok", says, fix)
    heard = await book.store.inbox.counts()
    lost = heard.get("unmatched", 0)
    says = ", ".join(f"{n} {state}" for state, n in sorted(heard.items())) or "none was heard"
    yield Check("webhooks", "warn" if lost else "ok", says, "`payonce webhooks list --state unmatched`." if lost else "")
    for name, block in sorted(book.blocked.items()):
        fix = f"`payonce providers resume {name}`." if block.drained else "It heals by itself; `payonce providers list`."
        yield Check(f"account {name}", "warn", f"nothing new is sent there: {block.why}", fix)


async def _accounts(settings: Settings) -> AsyncIterator[Check]:
    """Each account by itself: one that is set up wrongly must not hide the others."""
    clock, mounts = SystemClock(), {}
    if settings.sandbox_here:
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            mounts[SANDBOX_URL] = sandbox_app(settings.ledger_path, clock)
        except (OSError, apsw.Error, ValueError) as error:
            fix = "Free space and make the folder writable; else move the ledger away: it holds simulated money only."
            yield Check("sandbox", "fail", f"{settings.ledger_path}: {error}", fix)
            settings = replace(settings, providers=tuple(p for p in settings.providers if not _sandboxed(p)))
    transport = HttpTransport(clock, mounts, moved_of(settings))
    sandbox_at = moved_of(settings).get(SANDBOX_URL, "in this process")
    try:
        for p in settings.providers:
            alone = replace(settings, providers=(p,))
            try:
                (account,) = accounts_of(alone, os.environ, await fetched_secrets(alone, clock)).values()
            except PayonceError as error:
                yield Check(f"account {p.name}", "fail", str(error), "Correct it in payonce.toml.")
                continue
            yield await _account(transport, account, sandbox_at)
            for hint in unheard([account]):
                yield Check(f"webhooks {p.name}", "warn", hint, f"Enter /webhooks/{p.name} at the provider, its secret here.")
    finally:
        await transport.close()
        for mounted in mounts.values():
            mounted.close()


def _sandboxed(p: ProviderConfig) -> bool:
    return p.base_url.startswith(SANDBOX_URL)


async def _account(transport: Transport, account: Account, sandbox_at: str) -> Check:
    """A read of a payment that does not exist: does the provider answer, and does it accept our credentials?"""
    name = f"account {account.name}"
    target = f"the sandbox {sandbox_at}" if account.base_url.startswith(SANDBOX_URL) else account.base_url
    if not account.terms.readable:
        return Check(name, "ok", f"{target}: credentials resolved; it cannot be read")
    try:
        said = await read_once(transport, account)
    except PayonceError as error:
        return Check(name, "fail", f"{target}: {error}", "Correct the account in payonce.toml.")
    if said == "":
        return Check(name, "ok", f"{target}: credentials resolved, a read is answered")
    return Check(name, "fail", f"{target}: {said}", "Check base_url, the network and the credentials of this account.")


async def read_once(transport: Transport, account: Account) -> str:
    """Empty when the provider answered a read of an unknown reference; else what went wrong."""
    nobody = ids.reference(ids.new_id("pay_", 0, 0), 1, 0)
    intent = Intent(kind="read", mode=account.mode, amount_minor=1, currency="USD", reference=nobody)
    built = account.adapter.build(intent)
    send_by = SystemClock().now_us() + READ_TIMEOUT_MS * 1000
    asked = Prepared(stored(account, built), built.body)
    heard = await exchange(transport, account, asked, intent, send_by_us=send_by, timeout_ms=READ_TIMEOUT_MS)
    if isinstance(heard.outcome, Absent | Found):
        return ""
    reason = str(getattr(heard.outcome, "reason", "")) or type(heard.outcome).__name__
    return f"HTTP {heard.reply.status}: {reason}" if isinstance(heard.reply, Response) else reason
