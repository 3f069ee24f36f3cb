"""The sentence on the money is true of what came late, of what cannot go back, of what was refunded, and of what people
decided; and what is offered to be decided is what would follow."""

from typing import Any

import pytest
from msgspec.structs import replace

from payonce.core.due import Call, Next
from payonce.core.errors import Refused
from payonce.core.idempotency import Details
from payonce.core.operations import resolution
from payonce.core.outcome import Declined, Mismatch, Refunded, RefundFailed, Refunding, Unknown, Voided
from payonce.core.payment import Payment
from payonce.core.verdict import weigh
from payonce.shown.actions import actions_of
from payonce.shown.outcomes import told_outcome
from payonce.shown.returning import ONLY_HELD
from payonce.shown.standing import GIVEN_BACK_SAID, NOT_TAKEN_SAID, decided_since, money
from payonce.shown.story import tell
from payonce.shown.upcoming import upcoming, why_it_waits
from payonce.shown.whole import Standing, standing_of
from tests.machine.story import KEYED, MANUAL, UNIQUE, Story, captured, found, hold, no, yes

DAY = 86_400
LOST = Unknown(reason="timeout")
VOIDABLE = replace(KEYED, voidable=True)
WAYS = "payonce resolve pay_"


def back(story: Story, n: int, kind: Any = Refunded, **more: Any) -> Any:
    """What a provider says of the refund that is operation ``n``."""
    o = story.p.operations[n - 1]
    return kind(ref=f"re_{n}", reference=o.reference, amount_minor=o.amount_minor, currency="INR", **more)


def returning(story: Story, state: str, at_s: float) -> Story:
    """The reversal of attempt 0 is asked for, and comes to this state."""
    n = len(story.p.operations) + 1
    story.reversal(at_s, 0)
    match state:
        case "FAILED":
            story.step("refund", at_s, operation=n, attempt=0)
            story.saw(back(story, n, RefundFailed, code="refund_refused"), at_s + 1)
        case "SUCCEEDED":
            story.step("refund", at_s, operation=n, attempt=0).saw(back(story, n), at_s + 1)
        case "IN_DOUBT":
            story.judge("operation_IN_DOUBT", at_s + 1, operation=n)
        case _:
            story.step("refund", at_s, operation=n, attempt=0).saw(back(story, n, Refunding), at_s + 1)
    assert story.p.operations[n - 1].state == state
    return story


def late(state: str) -> Payment:
    """Declined, ended unpaid, charged after all; its return is in this state."""
    story = Story(UNIQUE).fire(0).saw(no(), 1).judge("FAILED", 2, reason="declined").read(9, found(no(), yes()))
    return returning(story, state, 10).p


def second(state: str) -> Payment:
    """Two charges: the kept one is the second attempt's."""
    story = Story(UNIQUE, UNIQUE).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3)
    return returning(story.read(9, found(no(), yes()), attempt=0), state, 10).p


@pytest.mark.parametrize(
    ("state", "says", "does"),
    [
        ("PENDING", "1.00 INR was taken late at A (t0) and is being given back.", "Nothing: it is done by itself."),
        ("FAILED", "could not be given back (refund_refused): A still has it.", f"Give it back at A, then: {WAYS}"),
        ("IN_DOUBT", "may not have been given back yet", "Look at A; what is not given back, give back there"),
        ("SUCCEEDED", "1.00 INR was taken late and was given back; no charge is kept.", "Nothing."),
    ],
)
def test_a_late_charge_and_how_far_its_return_is(state: str, says: str, does: str) -> None:
    """Where it lies and what to do; that nothing is kept is said only when all of it is back."""
    p = late(state)
    text, then = money(p)
    assert says in text
    assert does in then
    assert p.status == "FAILED"
    assert ("no charge is kept" in text.lower()) == (state == "SUCCEEDED")


@pytest.mark.parametrize(
    ("state", "says", "does"),
    [
        ("PENDING", "is being given back.", "Nothing: it is done by itself."),
        ("FAILED", "could not be given back (refund_refused): A still has it.", "Give it back at A"),
        ("IN_DOUBT", "may not have been given back yet", "Look at A"),
    ],
)
def test_a_second_charge_is_never_told_as_one(state: str, says: str, does: str) -> None:
    """Both stand in the sentence, with amounts and references, until one is back."""
    text, then = money(second(state))
    assert text.startswith("1.00 INR was taken (t1) and is kept. A second charge, 1.00 INR at A (t0), ")
    assert says in text
    assert "once" not in text
    assert does in then
    assert "1.00 INR was taken, once (t1). A surplus of 1.00 INR was given back." in money(second("SUCCEEDED"))[0]


def test_a_late_hold_is_no_charge() -> None:
    """Nobody took it: it is being released, and that is what is said."""
    story = Story(VOIDABLE, capture_method="manual").fire(0).saw(no(), 1).judge("FAILED", 2, reason="declined")
    p = story.read(9, found(no(), hold())).reversal(10, 0).p
    assert money(p)[0] == f"1.00 INR {ONLY_HELD} at A (t0), late; the hold is being released."


def test_refunds_are_told_beside_an_attention() -> None:
    """What was refunded is not told as kept, whatever else needs eyes."""
    story = accepted_amount()
    story.ask("refund", 10, 40).step("refund", 10, operation=2).saw(back(story, 2), 11)
    assert money(story.p)[0].startswith("1.20 INR was taken once; 0.40 INR of it was given back, 0.80 INR is kept.")
    story.ask("refund", 12).step("refund", 12, operation=3).saw(back(story, 3), 13)
    assert "nothing of it is kept" in money(story.p)[0]
    assert "payonce refund" not in money(story.p)[1]


def wrong(story: Story, amount_minor: int = 120) -> Story:
    """The provider answers with another amount."""
    said = yes(amount_minor=amount_minor)
    return story.saw(weigh(story.p, story.a, story.a.steps[-1], said), 1)


def accepted_amount() -> Story:
    """1.20 taken instead of 1.00, and an operator kept it."""
    story = wrong(Story(KEYED).fire(0))
    assert money(story.p)[0].startswith("1.20 INR was taken (t0), not 1.00 INR as asked")
    return story.add(resolution(story.p, "charged", "kept", "t0", 120, accept_amount=True), 2)


def decisions(p: Payment) -> list[str]:
    def asking(_: Any) -> Any:
        raise Refused("operation_not_possible", "not the question here")

    return [each.decision for a in actions_of(p, asking) for each in a.decisions]


def test_an_accepted_charge_is_not_decided_away() -> None:
    """That nothing was taken is refused and not offered; that it was given back is recorded and told."""
    story = accepted_amount()
    assert decisions(story.p) == ["reversed"]
    with pytest.raises(Refused, match="give that charge back at the provider"):
        resolution(story.p, "not-charged", "r", "", None, accept_amount=False)
    story.add(resolution(story.p, "reversed", "by hand", "", None, accept_amount=False), 3)
    _, lines = tell(story.entries)
    assert (story.p.status, decided_since(lines)) == ("SUCCESS", "reversed")
    assert money(story.p, None, "reversed") == (f"1.20 INR was taken (t0), and {GIVEN_BACK_SAID}.", "Nothing.")


def test_an_old_decision_that_nothing_was_taken_is_told() -> None:
    """Earlier versions recorded it: the payment stayed as it was, and both are said."""
    _, lines = tell(accepted_amount().resolve("not-charged", 3).entries)
    assert decided_since(lines) == "not-charged"
    text = money(lines[-1].after, None, "not-charged")[0]
    assert text.startswith("1.20 INR was taken (t0)")
    assert NOT_TAKEN_SAID in text


def test_a_reversal_that_was_seen_is_not_decided_as_not_charged() -> None:
    """It would change nothing; with another attempt unclear it may."""
    assert decisions(late("FAILED")) == ["reversed"]


def test_a_wrong_hold_was_not_taken() -> None:
    """Of another amount than asked: held, and nothing more is claimed."""
    story = Story(MANUAL).boxed(0).fire(1)
    story.saw(weigh(story.p, story.a, story.a.steps[-1], replace(hold(), amount_minor=120)), 2)
    seen = story.a.steps[-1].outcome
    assert isinstance(seen, Mismatch)
    assert "1.20 INR is held, nothing of it is taken, and it is not 1.00 INR as asked: compare it" in money(story.p)[0]


def test_a_void_where_there_is_none() -> None:
    """It is known to be held, and lapses by itself: nobody says that anything is unknown."""
    story = Story(MANUAL, capture_method="manual").boxed(0).fire(1).saw(hold(), 2).ask("void", 3)
    story.judge("left", 4, attempt=0, reason="never_captured")
    assert "A has no void, so that the hold lapses by itself" in money(story.p)[0]
    assert why_it_waits(story.p, None) == "; it waits because A has no void, so that the hold lapses by itself"
    able = Story(VOIDABLE, capture_method="manual").fire(0).saw(hold(), 1).ask("void", 2)
    assert "it is being released" in money(able.p)[0]
    able.step("void", 3, operation=2).saw(Voided(ref="t0", reference=able.reference), 4)
    assert money(able.p)[0] == "1.00 INR was held and not taken; it was released as asked. No money is kept (voided)."
    assert "released, or it ran out" in told_outcome(Declined(code="hold_lapsed", hard=False, scope="issuer"))


def test_what_needs_eyes_claims_nothing_that_it_cannot_know() -> None:
    """It ended, and another attempt may have been charged."""
    story = Story(UNIQUE).fire(0).saw(LOST, 1).judge("IN_DOUBT", DAY).resolve("not-charged", DAY + 1)
    story.read(2 * DAY, found(yes(amount_minor=100)))
    text, _ = money(replace(story.p, attention="mismatch", operations=story.p.operations[:1]))
    assert text.startswith("It ended without a charge on record. A provider reports another amount")
    held = Story(VOIDABLE, capture_method="manual").fire(0).saw(hold(), 1)
    assert money(replace(held.p, attention="horizon"))[0].startswith("1.00 INR is held, not taken.")
    taken = held.ask("capture", 5).step("capture", 5, operation=2).saw(captured(), 6)
    assert "once" not in money(replace(taken.p, attention="charged_twice"))[0]


@pytest.mark.parametrize(("kind", "waits"), [("fire", True), ("refund", True), ("read", False)])
def test_under_a_hold_nothing_is_promised_for_soon(kind: Any, waits: bool) -> None:
    """What is not sent before a reconcile says so, without a time; what is read goes on."""
    next_ = Next(5_000_000, Call(kind=kind, account="A", attempt=0))
    told = upcoming(5_000_000, next_, Story().p, 0, missing=(), blocked={}, held=True)
    assert ("not before `payonce reconcile` has run" in told) == waits
    assert ("in 5 s" in told) != waits
    given = Standing(now_us=0, details=Details(), next_=next_, due_us=5_000_000, held=True)
    assert ("payonce reconcile" in standing_of(Story().p, (), given)[1]) == waits
