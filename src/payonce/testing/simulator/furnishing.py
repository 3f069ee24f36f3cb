"""What a world is furnished with before it begins: its accounts and rules, the code of a newer version, a place for files."""

import contextlib
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from msgspec.structs import replace

from payonce.adapter import Adapter, HttpRequest, Intent
from payonce.core.routing import Rule, Rules, When
from payonce.dispatch import Account

from .options import CHOOSES, TERMS, Options

Fallback = Literal["any"] | tuple[str, ...]
HOUSE: Final = "mer_default"
OTHER: Final = "mer_other"
LARGE_MINOR: Final = 999_999  # an amount that merchants have: the edge belongs to the rule


class Kept(NamedTuple):
    """What a process has of the store: two ways in, since a restore changes what is behind them, and the way out."""

    store: Callable[[], Any]
    registry: Callable[[], Any]
    inbox: Callable[[], Any]
    close: Callable[[], None]


class Newer:
    """An adapter in its next version: what it builds has a header more."""

    def __init__(self, older: Adapter) -> None:
        self._older = older

    def __getattr__(self, name: str) -> Any:
        return getattr(self._older, name)

    def build(self, intent: Intent) -> HttpRequest:
        built = self._older.build(intent)
        return replace(built, headers=(*built.headers, ("x-build", "2")))


def rules_of(options: Options, dice: random.Random) -> Rules:
    """Any order of some accounts, the others as fallbacks or not at all."""
    if not options.ruled:
        return Rules()
    names = [name for name, _ in options.accounts]
    use = dice.sample(names, dice.randint(1, len(names)))
    more = random.Random(f"rules {options.seed}")  # of its own, so that nothing else of a world changes
    some = tuple(more.sample(names, more.randint(1, len(names))))
    fallback: Fallback = dice.choice(("any", some, ()))
    last = Rule(name="r", when=When(currency=("INR",)), use=tuple(use), fallback=fallback)
    if more.random() < 0.5:
        return Rules(rules=(last,))
    first = tuple(more.sample(names, more.randint(1, len(names))))
    return Rules(rules=(Rule(name="large", when=When(amount_from_minor=LARGE_MINOR), use=first, fallback=()), last))


def quick_folder() -> str | None:
    """A folder in memory where there is one: what a disk does to a store is shown elsewhere."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def at_once(coro: Coroutine[Any, Any, None]) -> None:
    """Run what never waits: an inline store closes at once."""
    with contextlib.suppress(StopIteration):
        coro.send(None)


def account(name: str, adapter: Adapter, options: Options) -> Account:
    changes: dict[str, Any] = dict(TERMS[options.terms])
    if options.hold_s and adapter.name in CHOOSES:
        changes["hold_s"] = options.hold_s
    return Account(
        name=name,
        adapter=adapter,
        mode="test",
        base_url=f"https://{name.replace('_', '-')}.invalid",
        credential_id="simulated",
        credentials=adapter.credentials_of(adapter.SANDBOX_CREDENTIALS),
        terms=replace(adapter.CAPABILITIES.terms, **changes),
        merchants=_merchants_of(name, options),
        calls_max=options.calls_max,
    )


def _merchants_of(name: str, options: Options) -> frozenset[str] | None:
    """Whose account it is. By dice of its own."""
    dice = random.Random(f"whose {options.seed} {name}")
    return dice.choice((None, None, frozenset({HOUSE}), frozenset({OTHER}))) if options.own_accounts else None
