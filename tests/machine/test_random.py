"""Seeded random worlds of every kind of provider, two workers, all faults: no oracle is ever broken."""

from collections import Counter
from collections.abc import Iterator

import pytest

from payonce.core.outcome import Created, RequiresAction
from payonce.core.payment import FINAL
from payonce.core.states import TRANSITIONS
from payonce.core.verdict import evidence, verdict

from . import swarm
from .world import World

SEEDS = 300
LATER_SEEDS = 100  # worlds with merchants who ask for more and customers who act: slower ones
SEEDS_THAT_FAILED = [
    (30, "a sweeper that lost the race put a settled row back on the due index, for ever"),
    (101, "the same"),
    (207, "the same"),
    (72, "workers that slept over the end of the span replayed outside it"),
    (85, "the same"),
    (197, "the same"),
    (6, "a left attempt kept a FAILED payment on attention"),
    (881, "a reversal in doubt at a vendor without refund keys: attention, not a violation"),
    (2432, "the same"),
    (6386, "beside a final status, attention was said again and again, without a pause"),
    (6634, "the same"),
    (4308, "an IN_DOUBT payment was not watched: its declined attempt flipped to paid and nobody looked"),
    (10438, "a watch ended with the read of a stranger's object, and nobody looked again"),
    (2452, "a row written by a sleeper whose due time has passed: deferred, not spun on"),
]
LATER_SEEDS_THAT_FAILED = [
    (179, "a proxy doubled a refund at a vendor without keys: the wire of the world does that no more"),
    (457, "an action abandoned in an order that was left was read every day for ever"),
    (1012, "taken in the dashboard before we saw that it was held"),
]
NOT_YET = {  # operators do not decide in random worlds; test_states.py makes these by hand
    ("IN_DOUBT", "Resolved", "SUCCESS"),
    ("IN_DOUBT", "Resolved", "FAILED"),
    ("AUTHORIZED", "Resolved", "SUCCESS"),
    ("AUTHORIZED", "Resolved", "CANCELED"),
    ("FAILED", "Resolved", "SUCCESS"),
    ("CANCELED", "Resolved", "SUCCESS"),
}
RARE = {
    (
        "FAILED",
        "Observed",
        "SUCCESS",
    ),  # reached in the first few thousand seeds, not in every three hundred; test_states.py makes them too
    ("CANCELED", "Observed", "SUCCESS"),
    ("IN_DOUBT", "Observed", "AUTHORIZED"),
    ("IN_DOUBT", "Judged", "CANCELED"),
    ("REQUIRES_ACTION", "Observed", "AUTHORIZED"),
    ("REQUIRES_ACTION", "Judged", "FAILED"),
    ("REQUIRES_ACTION", "Judged", "IN_DOUBT"),
    ("REQUIRES_ACTION", "Judged", "CANCELED"),
    ("REQUIRES_ACTION", "Observed", "IN_DOUBT"),
    ("PENDING", "Observed", "REQUIRES_ACTION"),
    ("REQUIRES_ACTION", "Observed", "PENDING"),
    ("REQUIRES_ACTION", "Observed", "SUCCESS"),
    ("IN_DOUBT", "Judged", "FAILED"),
}


LATER_TABLE = {  # transitions that only worlds with operations and customers make
    ("PENDING", "Observed", "AUTHORIZED"),
    ("AUTHORIZED", "Observed", "SUCCESS"),
    ("AUTHORIZED", "Observed", "CANCELED"),
    ("PENDING", "Judged", "CANCELED"),
}
MET = {  # what three hundred worlds must have seen at least this often, or they prove nothing about it
    "probe": 15,
    "drained, passed over": 3,
    "breaker open, passed over": 4,
    "container found by a look": 5,
    "read of two requests": 100,
    "skipped by the route": 20,
    "chosen by a rule": 50,
}


def happened(world: World) -> Iterator[str]:
    """What a world went through, of what is easily missed."""
    yield from ("probe" for _ in world.probed)
    for payment_id in world.ids:
        p = world.payment(payment_id)
        yield from ("skipped by the route" for c in p.route if not c.taken)
        yield from ("chosen by a rule" for _ in p.rule)
        for a in p.attempts:
            yield from (f"{what}, passed over" for what in ("drained", "breaker open") if what in a.why)
            yield from ("read of two requests" for s in a.steps if s.kind == "read" and a.account in world.parts)
            created = any(isinstance(s.outcome, Created) for s in a.steps)
            yield from ("container found by a look" for _ in range(bool(a.container) and not created))


LATER_MET = {  # and what the worlds of captures, voids, refunds and customers must have seen
    "capture SUCCEEDED": 10,
    "void SUCCEEDED": 10,
    "refund SUCCEEDED": 15,
    "refund FAILED": 1,
    "refund IN_DOUBT": 1,
    "reversal SUCCEEDED": 2,
    "captured in part": 5,
    "given back in parts": 4,
    "sent again": 5,
    "refused: amount_exceeds_available": 10,
    "refused: operation_in_progress": 20,
    "repeated": 10,
    "customer acted": 5,
}


def asked_for(world: World) -> Iterator[str]:
    """What merchants and customers of a world did."""
    for wish in world.wishes:
        yield from (f"refused: {code}" for code in wish.refusals[-1:] if wish.refused)
        yield from ("repeated" for _ in wish.receipts[1:])
    for payment_id in world.ids:
        p = world.payment(payment_id)
        yield from (f"{o.kind} {o.state}" for o in p.operations[1:])
        yield from ("captured in part" for _ in range(0 < p.captured_minor < p.amount_minor))
        yield from (
            "given back in parts" for _ in range(sum(o.kind == "refund" and o.state == "SUCCEEDED" for o in p.operations) > 1)
        )
        yield from ("sent again" for o in p.operations if sum(s.kind == o.kind for s in o.steps) > 1)
        yield from ("customer acted" for a in p.attempts if any(isinstance(o, RequiresAction) for _, o in evidence(a)))


@pytest.mark.parametrize(("seed", "why"), LATER_SEEDS_THAT_FAILED)
def test_seeds_with_operations_that_failed_once(seed: int, why: str) -> None:
    """Worlds with captures, voids, refunds and customers that once broke an oracle stay whole."""
    swarm.run(seed, later=True)


def test_random_worlds_with_operations() -> None:
    """Merchants who ask at any moment, twice, in races and past us; customers who come late or never: every oracle holds."""
    met: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()
    for seed in range(LATER_SEEDS):
        world = swarm.run(seed, later=True)
        met.update(asked_for(world))
        seen |= world.transitions
    print(dict(met))
    assert all(met[what] >= least for what, least in LATER_MET.items()), dict(met)
    missing = LATER_TABLE - seen
    assert not missing, f"never reached: {missing}"


def test_worlds_with_operations_without_faults() -> None:
    """Nothing fails: every payment and every operation has an end, and nobody is alerted."""
    for seed in range(60):
        world = swarm.run(seed, faults=False, later=True)
        for payment_id in world.ids:
            p = world.payment(payment_id)
            assert (p.status in FINAL, p.attention) == (True, ""), p.status
            assert all(o.state in ("SUCCEEDED", "FAILED") for o in p.operations)


@pytest.mark.parametrize(("seed", "why"), SEEDS_THAT_FAILED)
def test_seeds_that_failed_once(seed: int, why: str) -> None:
    """Worlds that once broke an oracle stay whole."""
    swarm.run(seed)


def test_random_worlds() -> None:
    """Crashes, losses, stalls, duplicates and lies by seed: every oracle holds, and what is left in doubt is what must be."""
    tried: Counter[str] = Counter()
    doubt: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = swarm.run(seed)
        seen |= world.transitions
        met.update(happened(world))
        for payment_id in world.ids:
            p = world.payment(payment_id)
            for a in p.attempts:
                kind = world.vendors[a.account].kind
                tried[kind] += 1
                unsure = p.status == "IN_DOUBT" and not a.left and verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH")
                doubt[kind] += unsure
    share = {kind: doubt[kind] / tried[kind] for kind in tried}
    print({kind: f"{100 * each:.1f} % of {tried[kind]}" for kind, each in share.items()})
    print(dict(met))
    assert all(count > SEEDS / 10 for count in tried.values())
    assert all(met[what] >= least for what, least in MET.items()), dict(met)
    assert share["closable"] < 0.02
    assert share["manual"] < 0.03
    assert share["keyed"] < share["keyless"]
    table = {(t.before, t.event, t.after) for t in TRANSITIONS}
    missing = table - {each for each in seen if each[0] != each[2]} - NOT_YET - RARE - LATER_TABLE
    assert not missing, f"never reached: {missing}"


def test_worlds_without_faults() -> None:
    """Nothing fails: every payment ends SUCCESS at its first attempt; IN_DOUBT is not a place to dump work."""
    for seed in range(150):
        world = swarm.run(seed, faults=False)
        for payment_id in world.ids:
            p = world.payment(payment_id)
            assert (p.status, len(p.attempts)) == ("SUCCESS", 1)
