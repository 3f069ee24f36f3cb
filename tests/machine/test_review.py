"""Interleavings found in review; each fails without its fix."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from payonce.core.errors import Refused
from payonce.core.operations import resolution
from payonce.core.outcome import Absent, Created, Declined, Mismatch, Unknown
from payonce.core.payment import Terms
from payonce.core.verdict import charge_ref, weigh
from payonce.engine import Policy

from .oracles import moves, require, settled, taken
from .story import CLOSABLE, KEYED, MANUAL, Story, captured, found, hold, no, ref, yes
from .test_plan import GONE, LOST, surplus
from .vendors import HOUR, S
from .world import Pause, World


@pytest.mark.parametrize("kind", ["keyed", "unique", "closable"])
def test_06_a_provisional_decline_held_up_in_a_frozen_worker_is_not_final(kind: str) -> None:
    """The worker freezes with the decline in hand until it can flip no more; it speaks of the time its call began."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "freeze_after:14000")
    w.script("A", "decide", "provisional_yes:900")
    require(settled(w, w.pay(), "SUCCESS").winner == 0, "left a decline that had flipped")


def test_06_a_slow_read_across_the_flip_proves_nothing() -> None:
    """A read begins before a decline flips and its answer comes after flips_until and the read lag: read again."""
    w = World({"A": "keyed", "B": "keyed"}, terms={"A": {"read_schedule_s": (10797, 60)}})
    w.script("A", "decide", "provisional_yes:10799")
    w.script("A", "read", "stale")
    require(settled(w, w.pay(), "SUCCESS").winner == 0, "left a decline that had flipped")


def test_06_a_watch_whose_last_look_failed_goes_on() -> None:
    """FAILED, then paid after all; every read until watch_until fails: the watch ends with an answer, not with a try."""
    w = World({"A": "keyed"}, policy=Policy(attempts_max=1), terms={"A": {"watch_s": 40_000}})
    w.lied = True
    w.script("A", "decide", "lie_yes:900")
    w.script("A", "read", *["401"] * 14)
    p = settled(w, w.pay(), "FAILED")
    require(p.reversed_minor() == 100, "charged, FAILED, and nobody ever saw it")


def test_14_a_worker_that_freezes_before_its_claim_plans_again() -> None:
    """Planned as a replay inside the span, frozen while the body is read: it is not claimed a day and a half later."""
    w = World({"A": "keyed"}, terms={"A": {"horizon_s": 5 * 86_400}})
    w.script("A", "fire", "lost_after")
    w.script("A", "read", "404")
    store: Any = w.workers[0].engine.store
    asked: list[int] = []

    async def bodies(keys: Any) -> Any:
        asked.append(w.now)
        await Pause(w.now + (30 * HOUR if len(asked) == 3 else 1))  # 1 fire, 2 read, 3 the replay
        return await store.inner.bodies(keys)

    store.bodies = bodies
    p = settled(w, w.pay(), "SUCCESS")
    require("replay" not in [s.kind for s in p.steps()] and len(taken(w, p.id)) == 1, "replayed outside the span")


def test_a_refund_is_not_replayed_by_workers_that_slept_over_its_span() -> None:
    """The schedule said replay inside the span; who wakes a day later reads."""
    keyed = Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200)
    story = surplus(keyed, keyed).read(6, found(yes(0)), operation=2, attempt=0)
    story.step("refund", 7, operation=2, attempt=0).saw(LOST, 8).read(9, GONE, operation=2, attempt=0)
    assert story.due(10)[1] == "refund"
    assert story.due(30 * 3600)[1] == "read"


def test_05_the_next_account_of_the_route_is_of_another_mode() -> None:
    """Between two attempts the next account became live: a test payment never moves real money."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "decide", "soft")
    w.script("A", "fire", "freeze_after:5")
    pid = w.pay()
    w.run(hours=0.0005)
    accounts = w.workers[0].engine.accounts
    accounts["B"] = replace(accounts["B"], mode="live")
    w.run()
    require(not [s for s in w.sent if s[1] == "B"], "a test payment was sent to a live account")
    require(w.payment(pid).status == "FAILED" and not moves(w, pid), "")


def test_a_container_that_does_not_name_us_is_no_evidence() -> None:
    """An empty closed container without a reference is Absent, a decline without one Unknown."""
    s = Story(CLOSABLE, KEYED).boxed(0).fire(1).saw(LOST, 11).step("read", 20)
    assert weigh(s.p, s.a, s.a.steps[-1], found(container="closed")) == Absent()
    s = Story(KEYED).fire(0)
    said = weigh(s.p, s.a, s.a.steps[-1], Declined(code="declined", hard=False, scope="issuer"))
    assert isinstance(said, Unknown)


def test_a_reversal_names_the_charge_not_what_lies_beside_it() -> None:
    """A declined try or a late hold listed after the charge is not what a refund works on."""
    s = Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 11).read(40, found(container="open")).fire(41).saw(no(), 42)
    s.read(43, found(replace(yes(), ref="paid"), no(), container="open"))
    assert charge_ref(s.a) == "paid"
    s = Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).saw(captured(), 4)
    s.read(60, found(yes(), replace(hold(), ref="late"), container="open"))
    assert charge_ref(s.a) == "t0"


def test_charged_is_no_decision_on_a_final_payment() -> None:
    """FAILED with a late charge of another amount: `charged` is refused, or the reversal would give back our amount."""
    other = Mismatch(ref="t0", reference=ref(), amount_minor=150, currency="INR", mode="test", differs=("amount",))
    for policy in ("refund", "accept"):
        s = Story(KEYED, late_success=policy).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(50, found(other))
        assert s.p.attention == "mismatch"
        with pytest.raises(Refused):
            resolution(s.p, "charged", "seen", "t0", 150, accept_amount=True)


def test_every_frozen_term_is_stored() -> None:
    """A default is a fact of the day too: newer code with another default must not change the verdict on the past."""
    stored = msgspec.json.decode(Story(Terms()).fire(0).entries[-1].raw)["data"]["opens"]["terms"]
    assert set(stored) == set(Terms.__struct_fields__)


def test_a_hint_that_waits_holds_nothing_up() -> None:
    """The reads of a hint at A fail again and again: B's fire does not wait for them."""
    s = Story(KEYED, CLOSABLE).fire(0).saw(no(), 1).step("create", 2, opens=True)
    s.saw(Created(container="b", reference=ref(1)), 2).hint(3)
    s.p = replace(s.p, attempts=(replace(s.p.attempts[0], hint=s.p.attempts[1].hint), replace(s.p.attempts[1], hint=None)))
    for _ in range(5):
        at_s, what = s.due(s.p.updated_us / S - 1_700_000_000)
        if what == "fire":
            return
        s.read(at_s or 0, GONE, attempt=0)
    raise AssertionError("B waits for A's webhook")
