"""The PayU adapter at the PayU of the sandbox: holds, captures, voids and refunds, as the ledger has them."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from payonce.adapter import Authorized, Declined, Intent, Processing, Refunded, RefundFailed, Refunding, Succeeded, Unknown
from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S

from .payu_by_hand import FIRE, PAYMENT, At, Story, key, play

Run = Callable[[Story], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Plays a story at a fresh sandbox."""
    return functools.partial(play, tmp_path / "ledger.db")


# --- holds ------------------------------------------------------------------------------------------------------------

HOLD = replace(FIRE, manual=True)


async def held(at: At) -> Intent:
    """An intent about a hold."""
    hold = await at.ask(HOLD)
    assert isinstance(hold, Authorized), hold
    assert at.booked() == [("authorize", 4200)]
    return replace(HOLD, provider_ref=hold.ref, key=key(0))


@pytest.mark.parametrize("minor", [4200, 3000, 1])
def test_a_hold_is_captured_in_whole_or_in_part(run: Run, minor: int) -> None:
    """The answer is open; the read shows what was taken, and that alone."""

    async def story(at: At) -> None:
        hold = await held(at)
        assert isinstance(await at.ask(replace(hold, kind="capture", capture_minor=minor)), Processing)
        charge = await at.read(HOLD)
        assert isinstance(charge, Succeeded)
        assert charge.amount_minor == minor
        assert at.booked() == [("authorize", 4200), ("capture", minor)]
        again = await at.ask(replace(hold, kind="capture", capture_minor=minor))
        assert isinstance(again, Unknown)
        other = await at.ask(replace(hold, kind="capture", capture_minor=minor, key=key(9)))
        assert isinstance(other, Unknown)
        assert at.booked() == [("authorize", 4200), ("capture", minor)]

    run(story)


def test_more_than_the_hold_is_never_captured(run: Run) -> None:
    """Refused for good."""

    async def story(at: At) -> None:
        hold = await held(at)
        assert isinstance(await at.ask(replace(hold, kind="capture", capture_minor=4201)), Declined)
        assert at.booked() == [("authorize", 4200)]

    run(story)


def test_a_hold_is_given_back(run: Run) -> None:
    """The void is open, the read shows the hold gone; neither a second void nor a capture does anything then."""

    async def story(at: At) -> None:
        hold = await held(at)
        assert isinstance(await at.ask(replace(hold, kind="void")), Processing)
        gone = await at.read(HOLD)
        assert isinstance(gone, Declined)
        assert (gone.code, gone.hard, gone.scope) == ("hold_lapsed", False, "provider_technical")
        assert isinstance(await at.ask(replace(hold, kind="void")), Unknown)
        assert isinstance(await at.ask(replace(hold, kind="capture", capture_minor=4200, key=key(5))), Unknown)
        assert at.booked() == [("authorize", 4200), ("void", 4200)]

    run(story)


def test_a_hold_lapses(run: Run) -> None:
    """When its time is over the hold is gone by itself."""

    async def story(at: At) -> None:
        at.put(holdS=60)
        await held(at)
        at.later(58)
        assert isinstance(await at.read(HOLD), Authorized)
        at.later(2)
        assert isinstance(await at.read(HOLD), Declined)
        assert at.booked() == [("authorize", 4200), ("void", 4200)]

    run(story)


def test_a_void_that_comes_after_a_capture_is_not_taken_for_one(run: Run) -> None:
    """The same command refunds then: the answer is unknown, and the read shows the money given back."""

    async def story(at: At) -> None:
        hold = await held(at)
        await at.ask(replace(hold, kind="capture", capture_minor=4200))
        assert isinstance(await at.ask(replace(hold, kind="void", key=key(7))), Unknown)
        charge = await at.read(HOLD)
        assert isinstance(charge, Succeeded)
        assert charge.refunded_minor == 4200

    run(story)


def test_a_capture_whose_answer_is_lost_is_read(run: Run) -> None:
    """Where answers go wrong, the capture's does too."""

    async def story(at: At) -> None:
        lost = replace(HOLD, payment_method="tok_lost_response")
        assert isinstance(await at.ask(lost), Unknown)
        hold = await at.read(lost)
        assert isinstance(hold, Authorized)
        about = replace(lost, kind="capture", provider_ref=hold.ref, key=key(0), capture_minor=4200)
        assert isinstance(await at.ask(about), Unknown)
        assert isinstance(await at.read(lost), Succeeded)
        assert at.booked() == [("authorize", 4200), ("capture", 4200)]

    run(story)


# --- refunds ----------------------------------------------------------------------------------------------------------


def test_several_refunds_give_back_what_they_say(run: Run) -> None:
    """Each under a token of its own, never more than was taken, and each only once."""

    async def story(at: At) -> None:
        assert isinstance(await at.ask(FIRE), Succeeded)
        first = await at.refund(1200, 2)
        assert isinstance(first, Refunding)
        assert isinstance(await at.refund(1200, 2), Unknown)
        assert isinstance(await at.refund(3001, 3), Declined)
        assert isinstance(await at.refund(3000, 4), Refunding)
        assert isinstance(await at.refund(1, 5), Declined)
        shown = await at.refunds()
        assert all(isinstance(r, Refunded) for r in shown)
        assert [(r.reference, r.amount_minor) for r in shown if isinstance(r, Refunded)] == [
            (PAYMENT + "0200", 1200),
            (PAYMENT + "0400", 3000),
        ]
        assert at.booked() == [("charge", 4200), ("refund", 1200), ("refund", 3000)]
        assert [m.refund_reference for m in at.moves()[1:]] == [PAYMENT + "020", PAYMENT + "040"]
        charge = await at.read()
        assert isinstance(charge, Succeeded)
        assert charge.refunded_minor == 4200
        assert isinstance(first, Refunding)
        assert first.ref == at.moves()[1].provider_ref

    run(story)


@pytest.mark.parametrize(
    ("fate", "soon", "end", "booked"),
    [
        ("plain", Refunded, Refunded, ["refund"]),
        ("pending", Refunding, Refunded, ["refund"]),
        ("pending_fail", Refunding, RefundFailed, []),
        ("fail_later", Refunded, RefundFailed, ["refund", "refund_failed"]),
    ],
)
def test_refunds_end_as_they_may(run: Run, fate: str, soon: type, end: type, booked: list[str]) -> None:
    """Pending, done, failed, and failed after they were done."""

    async def story(at: At) -> None:
        await at.ask(FIRE)
        at.put(refunds=fate)
        assert isinstance(await at.refund(1200), Refunding)
        (shown,) = await at.refunds()
        assert isinstance(shown, soon)
        at.later(max(REFUND_S, REFUND_LATE_S) + 1)
        (shown,) = await at.refunds()
        assert isinstance(shown, end)
        assert at.booked() == [("charge", 4200), *((kind, 1200) for kind in booked)]
        charge = await at.read()
        assert isinstance(charge, Succeeded)
        assert charge.refunded_minor == (1200 if end is Refunded else 0)
        assert isinstance(await at.refund(4200, 3), Declined if end is Refunded else Refunding)

    run(story)


def test_a_refund_may_be_refused_at_once(run: Run) -> None:
    """Nothing is given back, and nothing is reserved."""

    async def story(at: At) -> None:
        await at.ask(FIRE)
        at.put(refunds="fail")
        refused = await at.refund(1200)
        assert isinstance(refused, Declined)
        assert refused.code == "refund_refused"
        assert await at.refunds() == ()
        at.put()
        assert isinstance(await at.refund(4200, 3), Refunding)

    run(story)
