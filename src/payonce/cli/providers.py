"""``payonce providers list|drain|resume|check``: the provider accounts, the switch that keeps new payments away from one, and a
check of one against its provider."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from payonce import draining
from payonce.bootstrap import SystemClock
from payonce.config import ProviderConfig, Settings
from payonce.core import breaker
from payonce.core.money import AMOUNT_MINOR_MAX, is_currency
from payonce.core.redact import mask
from payonce.draining import CLOSED, REASON_MAX
from payonce.health import Health, State
from payonce.merchants.journal import Journal
from payonce.shown.standing import lifting

from . import OK, USAGE
from .app import wait_for
from .options import HERE, STRICT, Exit, Json, Where, closest
from .output import clean, put, put_json, relative, say, stamp, table
from .pages import Pages
from .reading import books, changing
from .who import operator_here

WAIT_S_MAX: Final = 3600

app = App(
    name="providers",
    help="The provider accounts; drain one, so that nothing new starts there, and resume it; check one at its provider.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command(name="list")
def list_providers(*, where: Where = HERE, json: Json = False) -> int:
    """Each provider account: where it leads, whether it is drained, and whether its circuit breaker is open and until when.

    Tab-separated when it is not a terminal. Reads the store only: no provider is asked.
    """
    return wait_for(_list(where.settings(), as_json=json))


@app.command
def drain(name: str, /, *, reason: str, where: Where = HERE, json: Json = False) -> int:
    """Start nothing new at an account, in every process on this store, within about a second. What has begun there goes on:
    it is read, closed, captured and given back as before. New payments take the next account of their route, or wait.

    Draining a drained account changes its reason.

    Parameters
    ----------
    name
        The account, as in `payonce providers list`.
    reason
        Why, for whoever looks at a payment that waits or went elsewhere; its merchant reads it too.
    """
    text = clean(mask(reason)).strip()
    if not text or len(text) > REASON_MAX:
        raise Exit(USAGE, f"payonce: --reason is a text of 1 to {REASON_MAX} characters. Nothing was changed.")
    return wait_for(_drain(where.settings(), name, text, as_json=json))


@app.command
def resume(name: str, /, *, close_breaker: bool = False, where: Where = HERE, json: Json = False) -> int:
    """Let new payments use a drained account again. On an account that is not drained it does nothing.

    Parameters
    ----------
    name
        The account, as in `payonce providers list`.
    close_breaker
        Close its circuit breaker as well, instead of waiting until a call shows that the provider is back.
    """
    return wait_for(_resume(where.settings(), name, close_breaker=close_breaker, as_json=json))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Tried:
    """What is tried at the provider."""

    token: Annotated[str, Parameter(help="A payment method that succeeds (tok_ok at the sandbox); else nothing is paid.")] = ""
    decline_token: Annotated[str, Parameter(help="One that is declined (tok_decline_do_not_honor at the sandbox).")] = ""
    amount: Annotated[int, Parameter(help="Of each test payment, in minor units.")] = 1000
    currency: Annotated[str, Parameter(help="Default: INR, USD or EUR, the first that the provider takes.")] = ""
    method: Annotated[str, Parameter(help="The kind of payment method: card, upi, ...")] = ""
    metadata: Annotated[tuple[str, ...], Parameter(help="KEY=VALUE, as a provider may demand; once for each.")] = ()
    return_url: Annotated[str, Parameter(help="Where a customer comes back to after acting.")] = ""
    webhook_file: Annotated[Path | None, Parameter(help="A webhook as it came: header lines, an empty line, the body.")] = None
    webhook_at: Annotated[str, Parameter(help="When it came (RFC 3339); default: when the file was written.")] = ""
    wait: Annotated[int, Parameter(help="Seconds for which something that is not final is looked at.")] = 60


TRIED: Final = Tried()


@app.command
def check(
    name: str,
    /,
    *,
    yes: bool = False,
    tried: Tried = TRIED,
    report: Path | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Compare an account's adapter with its provider, in test mode: create, repeat, look up, pay, decline, hold, give back,
    list and hear, each judged by what the adapter declares. A report is written, as JSON and as text beside it.

    It makes test payments at the provider with the account's credentials. Live mode and live keys are refused. The store is
    not used. Exit code 1 when a step failed.

    Parameters
    ----------
    name
        The account, as in `payonce providers list`.
    yes
        Send. Without it the steps are shown and nothing is sent.
    report
        The report's file; the text is beside it (.txt). Default: a dated one in checks/ of the data folder.
    """
    from payonce.testing.conformance import Wanted

    from .provider_check import check as run
    from .provider_check import recorded

    said = dict(each.partition("=")[::2] for each in tried.metadata)
    if not 1 <= tried.amount <= AMOUNT_MINOR_MAX or not 0 <= tried.wait <= WAIT_S_MAX or "" in said:
        raise Exit(USAGE, "payonce: --amount, --wait or --metadata makes no sense, see --help. Nothing was sent.")
    if tried.currency and not is_currency(tried.currency):
        raise Exit(USAGE, f"payonce: {clean(tried.currency)[:20]!r} is no ISO 4217 currency. Nothing was sent.")
    wanted = Wanted(
        amount_minor=tried.amount,
        currency=tried.currency,
        token=tried.token,
        decline_token=tried.decline_token,
        method=tried.method,
        metadata=said,
        return_url=tried.return_url,
        webhook=recorded(tried.webhook_file, _moment(tried.webhook_at)) if tried.webhook_file else None,
        wait_s=tried.wait,
    )
    return wait_for(run(where.settings(), name, wanted, report=report, yes=yes, as_json=json))


def _moment(text: str) -> int | None:
    """Microseconds. Raises Exit for what is no RFC 3339 time with its offset."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Exit(USAGE, "payonce: --webhook-at is a time such as 2026-11-26T08:00:00Z. Nothing was sent.")
    return int(at.timestamp() * 1_000_000)


async def _list(settings: Settings, *, as_json: bool) -> int:
    async with books(settings) as book:
        now_us = book.clock.now_us()
        states, held = await Health(book.store.registry, book.clock).states(), await book.kept.hold.modes()
    rows = [_view(settings, name, states.get(name, CLOSED), now_us) for name in _names(settings, states)]
    if as_json:
        put_json({"providers": rows, "hold": held})
        return OK
    head = ("ACCOUNT", "ADAPTER", "MODE", "TARGET", "DRAINED", "BREAKER", "UNTIL", "WHY", "MERCHANTS")
    table(head, [_row(row, states.get(str(row["name"]), CLOSED), now_us) for row in rows])
    for mode in held:
        say(f"A hold is on for {mode} mode: nothing is fired there. Run {lifting(mode, settings.mode)}.")
    return OK


async def _drain(settings: Settings, name: str, reason: str, *, as_json: bool) -> int:
    async with changing(settings) as kept:
        health = Health(kept.store.registry, SystemClock())
        _require_known(settings, name, ())
        journal = Journal(kept.store.registry, SystemClock())
        state = await draining.drain(health, journal, name, reason, actor=operator_here(), mode=_mode(settings, name))
    if as_json:
        put_json(_view(settings, name, state, SystemClock().now_us()))
        return OK
    put(f"{name} is drained: nothing new starts there. What has begun goes on.")
    say(f"Undo it with `payonce providers resume {name}`.")
    return OK


async def _resume(settings: Settings, name: str, *, close_breaker: bool, as_json: bool) -> int:
    async with changing(settings) as kept:
        health = Health(kept.store.registry, SystemClock())
        _require_known(settings, name, await health.states())
        journal, how = Journal(kept.store.registry, SystemClock()), {"actor": operator_here(), "mode": _mode(settings, name)}
        was, state = await draining.resume(health, journal, name, close_breaker=close_breaker, **how)
    if as_json:
        put_json(_view(settings, name, state, SystemClock().now_us()))
        return OK
    put(f"{name} takes new payments again." if was.drain else f"{name} was not drained.")
    if state.breaker is not None:
        say("Its circuit breaker is open: it heals by itself, or close it with --close-breaker.")
    return OK


def _mode(settings: Settings, account: str) -> str:
    return next((p.mode for p in settings.providers if p.name == account), "")


def _names(settings: Settings, states: Iterable[str]) -> list[str]:
    """Configured accounts in their order, then those that only a switch or breaker remembers."""
    return list(dict.fromkeys([*(p.name for p in settings.providers), *states]))


def _require_known(settings: Settings, name: str, states: Iterable[str]) -> None:
    known = _names(settings, states)
    if name not in known:
        raise Exit(
            USAGE,
            f"payonce: there is no provider account {clean(name)[:80]!r}.{closest(name, known)} Nothing was changed.\n"
            "`payonce providers list` shows them.",
        )


def _view(settings: Settings, name: str, state: State, now_us: int) -> dict[str, Any]:
    config: ProviderConfig | None = next((p for p in settings.providers if p.name == name), None)
    d, b = state.drain, state.breaker
    return {
        "name": name,
        "configured": config is not None,
        "adapter": config.adapter if config else "",
        "mode": config.mode if config else "",
        "merchants": config.whose if config else "",
        "baseUrl": mask(config.base_url) if config else "",
        "drained": d is not None,
        "drain": {"reason": d.reason, "by": d.actor, "since": stamp(d.since_us)} if d else None,
        "breaker": {
            "state": breaker.word(b, now_us) if b else "closed",
            "why": b.why if b else None,
            "since": stamp(b.since_us) if b else None,
            "until": stamp(b.until_us) if b else None,
            "failedProbes": b.failures if b else 0,
        },
    }


def _row(view: dict[str, Any], state: State, now_us: int) -> tuple[str, ...]:
    b = state.breaker
    word = breaker.word(b, now_us) if b else "closed"
    why = [f"drained by {state.drain.actor}: {state.drain.reason}"] if state.drain else []
    if b:
        why.append(f"waits for the next payment to try it ({b.why})" if word == "half-open" else b.why)
    why += [] if view["configured"] else ["not in this configuration"]
    until = relative(b.until_us, now_us) if b and word in ("open", "probing") else ""
    drained = "yes" if state.drain else "no"
    about = (view["name"], view["adapter"], view["mode"], view["baseUrl"])
    return (*about, drained, word, until, "; ".join(why), view["merchants"])
