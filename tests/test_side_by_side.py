"""The release before and today's code at work on one payments file, as in a rolling deploy, on a virtual clock: outages,
late lookups, deaths at any call or commit, and processes that stand still in the middle of a call while others go on."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import payonce
from payonce.core.payment import Payment
from payonce.sandbox.faults import TOKENS, Profile
from payonce.stores.sqlite import open_store
from payonce.stores.sqlite.schema import migrations
from payonce.testing.judge import ENDS_AS
from payonce.testing.versions import Code, today

from .releases.kept import judged, releases
from .releases.world import S, Spell, Storm, World

SEEDS = 20
START_US = 1_800_000_000 * S
STORM_US, REST_US = START_US + 60 * S, START_US + 3600 * S
ACCOUNTS = ("mock", "razorpay_mock", "cashfree_mock")
PAYMENTS = 10
# A storm may outlast the sandbox's short horizon, or the time to look for an account.
OUTLASTED = (("IN_DOUBT", "horizon"), ("FAILED", "no_provider_available"))
WEATHER = ({"outage": True}, {"error_rate": 0.4}, {"lookup_lag_ms": 1500}, {"latency_ms": 900})

# The one before today's; today's own, where it was kept a moment ago and is the only one.
BEFORE = next((r for r in reversed(releases()) if r.version != payonce.__version__), releases()[-1])
SHARED = pytest.mark.skipif(
    BEFORE.facts["file_schema"] < len(migrations()),
    reason="the release before refuses today's file, as test_old_releases shows: such a release is no rolling deploy",
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system offers that: nothing here is about power cuts, and waiting for a disk takes longest."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="payonce-", dir=memory) as made:
        yield Path(made)


class Ran:
    """What a seed came to."""

    def __init__(self, w: World, ended: Mapping[str, Payment], unlike: Sequence[str]) -> None:
        self.deaths, self.thaws, self.unlike = w.deaths, w.thaws, unlike
        self.moved = sum(len({a.account for a in p.attempts}) > 1 for p in ended.values())
        self.shared = sum(len(versions) > 1 for versions in w.works.values())


def storm(w: World) -> Storm:
    """This seed's weather."""
    spells = []
    for vendor in sorted(w.vendors):
        at = START_US
        for _ in range(w.dice.randrange(4)):
            begins = at + w.dice.randrange(1, 20) * S
            at = begins + w.dice.randrange(1, 15) * S
            spells.append(Spell(vendor, begins, at, Profile(**w.dice.choice(WEATHER))))
    dies, stalls, loses = (w.dice.choice(c) for c in ((0.0, 0.01, 0.03), (0.0, 0.05, 0.2), (0.0, 0.05, 0.2)))
    return Storm(STORM_US, dies=dies, stalls=stalls, loses=loses, spells=tuple(spells))


async def asked(w: World, code: Code, key: str) -> tuple[str, str]:
    """A new payment, taken by a process of either code: its id and its token."""
    token, provider = w.dice.choice([*TOKENS]), w.dice.choice(("", "", "", *ACCOUNTS))
    named = {"currency": w.dice.choice(("INR", "USD", "EUR")), "amount_minor": w.dice.choice((1050, 2_000_000))}
    request = code.NewPayment(**named, provider=provider, details=code.Details(payment_method=token))
    process = next(p for p in w.processes if p.code is code)
    receipt = await process.engine.submit(code.Scope("mer_default", "test"), request, key, actor="test")
    return receipt.payment.id, token


async def run(folder: Path, seed: int, codes: Sequence[Code]) -> Ran:
    """One seed. Raises AssertionError when the books disagree."""
    w = World(folder / "payments.db", None, seed=seed, now_us=START_US)
    try:
        await w.start(codes)
        tokens = dict([await asked(w, w.dice.choice(codes), f"key-{n}") for n in range(PAYMENTS)])
        w.storm = storm(w)
        await w.settle(REST_US)  # what is in doubt is read daily, for ever
        store = await open_store(w.path, executor="inline")
        try:
            ended = await judged(w, store, tokens)
        finally:
            await store.close()
        other = {i: p for i, p in ended.items() if p.status not in ENDS_AS[tokens[i]]}
        assert all((p.status, p.reason) in OUTLASTED for p in other.values()), [(tokens[i], p.status) for i, p in other.items()]
        return Ran(w, ended, list(other))
    finally:
        await w.close()


def of_seeds(folder: Path, seeds: range, codes: Sequence[Code]) -> list[Ran]:
    """Every seed on a file of its own, until one fails."""
    ran = []
    for seed in seeds:
        (here := folder / f"{seed}").mkdir()
        ran.append(asyncio.run(run(here, seed, codes)))
    return ran


@SHARED
@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_two_old_and_two_new_processes_never_charge_twice(folder: Path, first: int) -> None:
    """Seeds of a rolling deploy: both codes write to the same payments, and every rule holds for the whole."""
    ran = of_seeds(folder, range(first, first + 10), (BEFORE.code(), BEFORE.code(), today(), today()))
    assert sum(r.shared for r in ran) > 50, "hardly a payment that both have written to"
    assert sum(r.deaths for r in ran) > 0, "nobody died"
    assert sum(r.thaws for r in ran) > 0, "nobody stood still in a call"
    assert sum(r.moved for r in ran) > 10, "hardly anything was failed over"
    assert sum(len(r.unlike) for r in ran) < 12, "most storms end well"


@SHARED
def test_the_same_seed_is_the_same_world(folder: Path) -> None:
    """A seed decides all: every event of every payment, to the byte."""

    async def histories(here: Path) -> list[Any]:
        store = await open_store(here / "3" / "payments.db", executor="inline")
        try:
            return [[e.raw for e in await store.history(i)] for i in await store.ids("", 100)]
        finally:
            await store.close()

    for name in ("one", "two"):
        (folder / name).mkdir()
        of_seeds(folder / name, range(3, 4), (BEFORE.code(), today()))
    one, two = (asyncio.run(histories(folder / name)) for name in ("one", "two"))
    assert one == two
    assert len(one) == PAYMENTS


@SHARED
@pytest.mark.parametrize("wrong", ["old", "new"])
def test_one_wrong_version_is_seen(folder: Path, wrong: str) -> None:
    """The judge is not blind: when one of the two takes a lost answer for a request that was not sent, money is wrong."""

    def broken(code: Code) -> Code:
        return replace(code, Lost=lambda reason, ours=False, **_: code.Lost(sent=False, reason=reason, ours=ours))

    codes = [broken(c) if name == wrong else c for name, c in (("old", BEFORE.code()), ("new", today()))]
    with pytest.raises(AssertionError, match=r"'kind': '(charge|capture)'"):
        of_seeds(folder, range(5, 65), codes * 2)
