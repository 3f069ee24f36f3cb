"""What ``payonce providers check`` does: an account in test mode, the live conformance suite, and a dated report."""

import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce import __version__
from payonce.accounts import SANDBOX_URL, ProviderConfig, adapter_of, resolve_secret
from payonce.adapter import NextAction
from payonce.bootstrap import SystemClock, SystemEntropy, accounts_of, fetched_secrets, moved_of
from payonce.config import Settings
from payonce.core.errors import ConfigError
from payonce.core.ids import RANDOM_BITS
from payonce.core.money import display
from payonce.dispatch import Account
from payonce.ports import Clock, Transport
from payonce.providers import load_adapters
from payonce.sandbox.server import sandbox_app
from payonce.testing.conformance import Finding, State, Vendor, Wanted, Webhook, conform
from payonce.testing.conformance_steps import DECIDED_LATER, Suite
from payonce.transport import HttpTransport

from . import FAILURE, OK, REFUSED, UNAVAILABLE, USAGE
from .options import Exit, closest
from .output import clean, paint, put, put_json, say, stamp

COLOURS: Final[Mapping[State, str]] = {"pass": "green", "fail": "red", "skipped": "dim"}
NOT_SENT: Final = "Nothing was sent."
CURRENCIES: Final = ("INR", "USD", "EUR")  # which one is tried where none is named and the vendor takes it
SECRET_CHARS_MIN: Final = 4
# A key that says of itself that it is one of real money: sk_live_..., rzp_live_...
LIVE_KEY: Final = re.compile(r"(^|[^a-z])live([^a-z]|$)", re.IGNORECASE)


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a run found, for the file."""

    payonce: str
    account: str
    adapter: str
    api_version: str
    mode: str
    target: str
    started_at: str
    ended_at: str
    amount: str
    ok: bool
    counts: dict[str, int]
    steps: list[Finding]


async def check(settings: Settings, name: str, wanted: Wanted, *, report: Path | None, yes: bool, as_json: bool) -> int:
    """Run the suite against an account; the exit code."""
    config = next((p for p in settings.providers if p.name == name), None)
    if config is None:
        meant = closest(name, [p.name for p in settings.providers])
        raise Exit(USAGE, f"payonce: there is no provider account {clean(name)[:80]!r}.{meant} {NOT_SENT}")
    fetched = await fetched_secrets(replace(settings, providers=(config,)), SystemClock())
    account, secrets = _account(settings, config, fetched)
    wanted = replace(wanted, currency=wanted.currency or _currency(account))
    _require_money(account, wanted)
    if not yes:
        return _ask_first(settings, account, wanted)
    started_us = SystemClock().now_us()
    place = report or settings.data_dir / "checks" / f"{name}-{stamp(started_us).replace(':', '')}.json"
    _require_writable(place)
    async with _wire(settings, account) as (transport, clock):
        vendor = _vendor(account, wanted, transport, clock)
        try:
            findings = await conform(vendor, Suite(vendor).plan, lambda f: _tell(f, secrets, quiet=as_json))
        except ConnectionError as error:
            place.unlink(missing_ok=True)
            raise Exit(UNAVAILABLE, f"payonce: {clean(str(error))}. {NOT_SENT} Check base_url and the network.") from error
        found = _report(account, wanted, findings, started_us, clock.now_us())
    return _end(found, place, secrets, as_json=as_json)


def _vendor(account: Account, wanted: Wanted, transport: Transport, clock: Clock) -> Vendor:
    return Vendor(account, transport, clock, wanted, bits=lambda: SystemEntropy().bits(RANDOM_BITS), send_customer=_send)


def recorded(file: Path, at_us: int | None) -> Webhook:
    """A webhook from a file: header lines, an empty line, the body as it came. It came when the file was written, unless
    ``at_us`` says when."""
    try:
        raw, written_us = file.read_bytes(), file.stat().st_mtime_ns // 1000
    except OSError as error:
        raise Exit(USAGE, f"payonce: --webhook-file {file}: {error.strerror}. {NOT_SENT}") from error
    head, parted, body = raw.partition(b"\r\n\r\n") if b"\r\n\r\n" in raw else raw.partition(b"\n\n")
    lines = [line.partition(":") for line in head.decode("latin-1").splitlines() if line.strip()]
    if not parted or not all(colon and name.strip() for name, colon, _ in lines):
        raise Exit(USAGE, f"payonce: --webhook-file {file} is not header lines, an empty line and a body. {NOT_SENT}")
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    return Webhook(headers=headers, body=body, at_us=written_us if at_us is None else at_us)


def _account(settings: Settings, config: ProviderConfig, fetched: Mapping[str, str]) -> tuple[Account, list[str]]:
    """The account with its credentials, and the values that nobody may see. Raises Exit for one that is not of test mode, and
    for missing credentials, each named."""
    refusal = f"payonce: {config.name} is in live mode: this check takes and gives back money. {NOT_SENT}\n"
    refusal += 'Make a second account with the provider\'s test credentials and mode = "test".'
    if config.mode != "test":
        raise Exit(REFUSED, refusal)
    values: dict[str, str] = {}
    missing: list[str] = []
    for key, reference in config.credentials.items():
        try:
            values[key] = resolve_secret(reference, os.environ, f"providers.{config.name}.{key}", fetched)
        except ConfigError as error:
            missing.append(str(error))
    if missing:
        raise Exit(USAGE, "\n".join(["payonce: credentials are missing. " + NOT_SENT, *missing]))
    if any(LIVE_KEY.search(value) for value in values.values()):
        raise Exit(REFUSED, refusal)
    adapter_of(config, load_adapters())
    (account,) = accounts_of(replace(settings, providers=(config,)), os.environ, fetched).values()
    sandboxed = account.adapter.SANDBOX_CREDENTIALS if not values else {}
    return account, [v for v in (*values.values(), *sandboxed.values()) if len(v) >= SECRET_CHARS_MIN and v != "sandbox"]


def _currency(account: Account) -> str:
    known = account.adapter.CAPABILITIES.currencies
    return next((c for c in CURRENCIES if known is None or c in known), min(known or {"USD"}))


def _require_money(account: Account, wanted: Wanted) -> None:
    facts = account.adapter.CAPABILITIES
    if facts.currencies is not None and wanted.currency not in facts.currencies:
        raise Exit(USAGE, f"payonce: {account.adapter.name} does not take {wanted.currency}: another --currency. {NOT_SENT}")
    step = facts.multiples.get(wanted.currency, 1)
    if wanted.amount_minor % step:
        raise Exit(USAGE, f"payonce: --amount must be a multiple of {step} in {wanted.currency} there. {NOT_SENT}")


@asynccontextmanager
async def _wire(settings: Settings, account: Account) -> AsyncIterator[tuple[Transport, Clock]]:
    """The real transport; for an account at the sandbox in this process, with the sandbox behind it."""
    clock, mounts = SystemClock(), {}
    if account.base_url.startswith(SANDBOX_URL) and settings.sandbox_here:
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            mounts[SANDBOX_URL] = sandbox_app(settings.ledger_path, clock)
        except (OSError, apsw.Error, ValueError) as error:
            raise Exit(UNAVAILABLE, f"payonce: the sandbox's ledger {settings.ledger_path}: {error}. {NOT_SENT}") from error
    transport = HttpTransport(clock, mounts, moved_of(settings))
    try:
        yield transport, clock
    finally:
        await transport.close()
        for mounted in mounts.values():
            mounted.close()


def _ask_first(settings: Settings, account: Account, wanted: Wanted) -> int:
    """What would be done; nothing is sent without --yes."""
    clock = SystemClock()
    suite = Suite(_vendor(account, wanted, HttpTransport(clock), clock))
    say(f"payonce: this would make test payments of {_money(wanted)} at {account.base_url}. {NOT_SENT}")
    for planned in suite.plan():
        later = planned.skipped in DECIDED_LATER
        say(f"  {planned.name}" + (f" (skipped: {planned.skipped})" if planned.skipped and not later else ""))
    say(f"The report would be in {settings.data_dir / 'checks'}, or where --report says. Run it again with --yes.")
    return USAGE


def _send(action: NextAction) -> None:
    """A customer has to act: whoever runs the check is the customer. Shown to him only, and in no report."""
    say(f"The customer has to act ({action.type}). Open this now, and approve:")
    say(f"  {clean(action.url) or 'the app of the customer'}")


def _tell(finding: Finding, secrets: list[str], *, quiet: bool) -> None:
    if not quiet:
        for line in _lines(finding, secrets):
            put(line.replace(finding.state, paint(finding.state, COLOURS[finding.state]), 1) if line[0] != " " else line)


def _lines(finding: Finding, secrets: list[str]) -> Iterator[str]:
    yield _without(f"{finding.state:<8}{clean(finding.step)}", secrets)
    yield from (_without(f"        asked  {clean(each)}", secrets) for each in finding.asked)
    yield _without(f"        {'why   ' if finding.state == 'skipped' else 'learned'} {clean(finding.concluded)}", secrets)


def _without(text: str, secrets: list[str]) -> str:
    """A text without any credential in it, whatever a vendor echoed."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text


def _report(account: Account, wanted: Wanted, findings: list[Finding], started_us: int, ended_us: int) -> Report:
    states = [f.state for f in findings]
    return Report(
        payonce=__version__,
        account=account.name,
        adapter=account.adapter.name,
        api_version=account.adapter.CAPABILITIES.api_version,
        mode=account.mode,
        target=account.base_url,
        started_at=stamp(started_us),
        ended_at=stamp(ended_us),
        amount=_money(wanted),
        ok="fail" not in states and "pass" in states,
        counts={state: states.count(state) for state in COLOURS},
        steps=findings,
    )


def _money(wanted: Wanted) -> str:
    return display(wanted.amount_minor, wanted.currency)


def _require_writable(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    except OSError as error:
        raise Exit(USAGE, f"payonce: the report {place} cannot be written: {error.strerror}. {NOT_SENT}") from error


def _end(report: Report, place: Path, secrets: list[str], *, as_json: bool) -> int:
    """Write the report, as JSON and to be read, and say where."""
    raw = _without(msgspec.json.format(msgspec.json.encode(report), indent=2).decode(), secrets)
    text = "\n".join(
        [
            f"payonce {report.payonce}: {report.account} at {report.target}",
            f"adapter {report.adapter}, API {report.api_version or 'without a version'}",
            f"{report.started_at} to {report.ended_at}, payments of {report.amount}, {report.mode} mode",
            "",
            *(line for finding in report.steps for line in _lines(finding, secrets)),
            "",
            _summary(report),
            "",
        ]
    )
    place.write_text(raw + "\n", encoding="utf-8")
    place.with_suffix(".txt").write_text(text, encoding="utf-8")
    if as_json:
        put_json(_plain(raw))
    else:
        put(_summary(report))
    say(f"Report: {place} and {place.with_suffix('.txt')}")
    return OK if report.ok else FAILURE


def _plain(raw: str) -> Any:
    return msgspec.json.decode(raw)


def _summary(report: Report) -> str:
    c = report.counts
    return f"{'ok' if report.ok else 'FAILED'}: {c['pass']} passed, {c['fail']} failed, {c['skipped']} skipped"
