"""Webhooks cost time or save some, and change nothing: the same worlds with them, without them, and with them in any order."""

from typing import Any

import pytest
from msgspec.structs import replace

from payonce.testing.simulator import cast_of, draw, simulate
from payonce.testing.simulator.options import QUIET, Options
from payonce.testing.simulator.world import World, live

CAST = cast_of()
SEEDS = 14


def quiet(seed: int) -> Options:
    """The world of a seed in which only cards and vendors decide: whom a merchant or customer meets depends on when."""
    drawn = replace(draw(seed, tuple(sorted(CAST.adapters))), **QUIET, rates={}, loses_hints=0.0, webhooks=0.0)
    return replace(drawn, manual=0.0, asks=0.0, acts=0.0, store="memory", payments=min(drawn.payments, 3))


def ends(options: Options) -> tuple[list[tuple[Any, ...]], World]:
    """What each post came to, by its key."""
    world, verdicts = live(options, CAST)
    assert verdicts.violations == (), options.said()
    found = []
    for posted in world.merchants.posted:
        p = world.lived[posted.ids[0]][-1] if posted.ids else None
        said = (p.status, p.reason, p.captured_minor, [(o.kind, o.state) for o in p.operations]) if p else posted.refused
        found.append((posted.key, said))
    return found, world


@pytest.fixture(scope="module")
def untold() -> dict[int, list[tuple[Any, ...]]]:
    """The ends without any webhook."""
    return {seed: ends(replace(quiet(seed), tells=False))[0] for seed in range(SEEDS)}


@pytest.mark.parametrize("spoils", [0.0, 0.8])
def test_the_same_worlds_end_alike_with_webhooks_and_without(spoils: float, untold: dict[int, list[tuple[Any, ...]]]) -> None:
    """Every payment and every reversal; in order, or lost, doubled, late and forged."""
    heard = matched = 0
    for seed in range(SEEDS):
        found, world = ends(replace(quiet(seed), tells=True, spoils=spoils))
        assert found == untold[seed], seed
        heard += world.counts["webhook heard"]
        matched += world.counts["webhook matched"]
    assert matched > 5
    assert heard >= matched


def test_forged_ones_are_refused_and_the_others_find_their_payment() -> None:
    """Both happen in ordinary worlds, and none of what is forged is taken: that would break a rule."""
    counts = dict.fromkeys(("webhook forged, refused", "webhook matched", "webhook repeated", "webhook parked"), 0)
    for seed in range(14):
        options = replace(draw(seed, tuple(sorted(CAST.adapters))), tells=True, spoils=0.8, store="memory")
        run = simulate(seed, CAST, options=replace(options, payments=min(options.payments, 4)))
        assert run.verdicts.violations == (), seed
        for name in counts:
            counts[name] += run.counts[name]
    assert all(counts.values()), counts
