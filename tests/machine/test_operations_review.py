"""Operations as an adversary of money sees them: each a story that ended wrong once, told by hand."""

from itertools import permutations
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.core.errors import InvariantViolated, Refused
from payonce.core.operations import reserved_minor, resolution
from payonce.core.outcome import (
    Absent,
    Authorized,
    Declined,
    Mismatch,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    Succeeded,
    Voided,
)
from payonce.core.payment import Attempt
from payonce.core.verdict import weigh

from .story import CLOSABLE, KEYLESS, MANUAL, UNIQUE, Story, found, hold, no, ref, yes
from .test_operations import DAY, GONE, LOST, VOIDABLE, asked, back, held, paid, states, took

OTHER_TRY = Declined(code="declined", hard=False, scope="issuer", ref="t9", reference=ref())
TOOK_LESS = Succeeded(ref="t0", reference=ref(), amount_minor=60, currency="INR", mode="test")


# --- holds --------------------------------------------------------------------------------------------------------------


def test_another_try_that_was_declined_does_not_end_a_hold() -> None:
    """A customer tried twice in one container: a list from between the two shows the decline alone. Only the hold itself, shown
    as gone, or the container closed, ends it."""
    story = held(CLOSABLE).read(50, found(OTHER_TRY, container="open"))
    assert story.p.status == "AUTHORIZED"
    story.read(60, found(OTHER_TRY, hold(), container="open"))
    assert story.p.status == "AUTHORIZED"
    assert held(CLOSABLE).read(50, found(OTHER_TRY, GONE, container="open")).p.status == "CANCELED"
    assert held(CLOSABLE).read(50, found(OTHER_TRY, container="closed")).p.status == "CANCELED"


def test_a_capture_is_not_ended_by_another_try_that_was_declined() -> None:
    """The same while a capture is under way: it is taken, and told as taken."""
    story = asked(held(CLOSABLE), "capture", 10).saw(LOST, 11).read(50, found(OTHER_TRY, container="open"), operation=2)
    assert (story.p.status, states(story)[1]) == ("AUTHORIZED", "capture PENDING")


def test_beside_a_hold_an_unresolved_attempt_gets_attention_once() -> None:
    """AUTHORIZED never becomes IN_DOUBT: at its horizon people are told of the other attempt, once, and it is read daily."""
    story = Story(VOIDABLE, UNIQUE, capture_method="manual").fire(0).saw(no(), 1).fire(2, opens=True).saw(LOST, 3)
    story.read(9, found(hold()), attempt=0)
    assert (story.p.status, story.p.attention) == ("AUTHORIZED", "attempt_unresolved")
    story.read(3 + DAY, Absent(), attempt=1)
    assert story.due(4 + DAY)[1] == "attention horizon"
    story.judge("attention", 4 + DAY, attempt=1, reason="horizon")
    for day in (2, 3):
        at, what = story.due(5 + (day - 1) * DAY)
        assert (what, at) == ("read", 3 + day * DAY)
        story.read(at or 0, Absent(), attempt=1)
        assert story.p.attention == "horizon"


def test_what_was_voided_is_watched_from_then_on() -> None:
    """R8: a hold may be six days old when it is given back; that it was taken after all shows then, not after the fire."""
    for kind, end in (("void", Voided(ref="t0", reference=ref())), ("capture", None)):
        story = held()
        story.ask(kind, 6 * DAY).step(kind, 6 * DAY, operation=2)
        story = (
            story.saw(end, 6 * DAY + 1) if end else story.saw(LOST, 6 * DAY + 1).read(6 * DAY + 90, found(GONE), operation=2)
        )
        assert story.p.status == "CANCELED"
        at, what = story.due(6 * DAY + 100)
        assert what == "read"
        assert at is not None
        assert at < 7 * DAY + 200
        story.read(at, found(yes()))
        assert story.due(at + 1)[1] == "reverse 0"


def test_a_late_answer_to_a_capture_of_a_hold_that_was_gone_is_given_back() -> None:
    """A look said that the hold had lapsed; the capture that was on its way says that it was taken: CANCELED with the money
    at the provider is money to give back."""
    story = held().ask("capture", 10).step("capture", 10, operation=2)
    about = story.o.steps[-1].seq
    story.step("read", 30, operation=2).saw(found(GONE), 31)
    assert story.p.status == "CANCELED"
    story.saw(took(), 40, about=about)
    assert story.p.status == "CANCELED"
    at, what = story.due(41)
    assert (what, at is not None and at < 100) == ("read", True)
    story.read(at or 0, found(yes()))
    assert story.due(100)[1] == "reverse 0"


def test_a_hold_whose_end_nobody_shows_is_told() -> None:
    """The provider has forgotten it: AUTHORIZED long after its end gets attention once, and an operator can end it. A hold
    that is still shown gets none."""
    story = held(expires_s=500)
    story.read(500 + DAY, Absent())
    assert story.due(500 + DAY) == (500 + DAY, "attention horizon")
    story.judge("attention", 501 + DAY, reason="horizon").read(500 + 2 * DAY, Absent())
    assert (story.p.attention, story.due(500 + 2 * DAY)) == ("horizon", (500 + 3 * DAY, "read"))
    ended = story.add(resolution(story.p, "not-charged", "seen there", "", None, accept_amount=False), 3 * DAY).p
    assert (ended.status, ended.attention, ended.captured_minor) == ("CANCELED", "", 0)
    assert held(expires_s=500).read(500 + DAY, found(hold())).due(500 + DAY)[1] == "read"


def test_a_provider_that_cannot_be_asked_holds_nothing() -> None:
    """Nobody would see the end of the hold: such an account is not offered for it."""
    from payonce.adapter import Capabilities
    from payonce.outside import offer

    can = Capabilities(terms=KEYLESS, steps=frozenset({"fire", "capture", "refund"}))
    assert not offer("A", "test", can).holds
    assert offer("A", "test", replace(can, terms=UNIQUE)).holds


def test_a_hold_at_a_provider_that_cannot_be_asked_is_not_read() -> None:
    """An adapter without a read is never asked for one."""
    story = held(KEYLESS)
    assert "read" not in story.due(10)[1]
    assert story.due(30 * DAY)[1] in ("quiet", "attention authorization_end_unseen")


def test_a_surplus_hold_that_lapses_is_no_alarm() -> None:
    """No void at that provider: the hold lapses by itself, and until it should have nobody is called."""
    story = Story(UNIQUE, VOIDABLE, capture_method="manual").fire(0).saw(no(), 1).fire(2, opens=True).saw(hold(1), 3)
    story.read(50, found(hold(0)), attempt=0)
    assert story.due(51)[1] == "reverse 0"
    story.reversal(51, 0)
    at = 51.0
    for _ in range(60):
        when, what = story.due(at)
        assert what == "read", when
        if when is None or when > 6 * DAY:
            break
        at = when
        call: Any = story.next(at).do
        where = {"operation": 2, "attempt": 0} if call.operation else {"attempt": 1}
        story.read(at, found(hold(call.attempt)), **where)
    assert not story.p.attention
    story.read(6 * DAY, found(replace(GONE, ref="t0")), operation=2, attempt=0)
    assert (states(story)[1], story.p.attention) == ("reversal SUCCEEDED", "")


def test_a_capture_speaks_for_its_own_attempt() -> None:
    """60 of 100 were asked of B; that A turns out to be charged with 100 is a surplus of 100, not a wrong amount."""
    story = Story(VOIDABLE, VOIDABLE, capture_method="manual").fire(0).saw(no(), 1).fire(2, opens=True).saw(hold(1), 3)
    story.ask("capture", 10, 60).step("capture", 10, operation=2, attempt=1)
    a: Attempt = story.p.attempts[0]
    assert weigh(story.p, a, a.steps[0], yes()) == yes()
    assert isinstance(weigh(story.p, story.o, story.o.steps[0], replace(yes(1), amount_minor=100)), Mismatch)


def test_less_taken_in_the_dashboard_is_not_a_dead_end() -> None:
    """AUTHORIZED with another amount taken: people are told, and can record what it was, or that it was given back."""

    def seen() -> Story:
        story = held()
        return story.read(50, found(weigh(story.p, story.a, story.a.steps[-1], TOOK_LESS)))

    assert (seen().p.status, seen().p.attention) == ("AUTHORIZED", "mismatch")
    assert seen().due(51)[1] == "read"
    story = seen()
    done = story.add(resolution(story.p, "charged", "dashboard", "t0", 60, accept_amount=True), 60).p
    assert (done.status, done.captured_minor) == ("SUCCESS", 60)
    for word in ("reversed", "not-charged"):
        story = seen()
        gone: Any = story.add(resolution(story.p, word, "dashboard", "", None, accept_amount=False), 60).p  # type: ignore[arg-type]
        assert (gone.status, gone.captured_minor, gone.attention) == ("CANCELED", 0, "")


def test_a_charge_elsewhere_is_not_recorded_as_the_hold() -> None:
    """AUTHORIZED at one account, and another one took other money: that is given back, it does not become the payment."""
    story = Story(VOIDABLE, VOIDABLE, capture_method="manual").fire(0).saw(no(), 1).fire(2, opens=True).saw(hold(1), 3)
    story.read(50, found(weigh(story.p, story.p.attempts[0], story.p.attempts[0].steps[0], TOOK_LESS)), attempt=0)
    assert (story.p.status, story.p.attention) == ("AUTHORIZED", "mismatch")
    with pytest.raises(Refused, match="nothing_to_resolve"):
        resolution(story.p, "charged", "seen there", "t0", 60, accept_amount=True)
    done = story.add(resolution(story.p, "reversed", "given back there", "", None, accept_amount=False), 60).p
    assert (done.status, done.attention) == ("AUTHORIZED", "")


# --- refunds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations((RefundFailed, Refunded, Refunding))), ids=lambda o: o[0].__name__)
def test_a_refund_that_failed_stays_failed(order: tuple[Any, ...]) -> None:
    """A look that lags behind the provider's own books shows it as done once more, or as pending: any order of the looks ends
    the same, and what was given back in its place is not counted twice (I9)."""
    story = asked(paid(), "refund", 10).saw(LOST, 11)
    for n, kind in enumerate(order):
        story.read(20 + n, found(yes(), refunds=(back(story, kind),)), operation=2)
    assert (states(story)[1], story.p.refunded_minor, reserved_minor(story.p)) == ("refund FAILED", 0, 0)


ENDS = {
    "capture": (took(), found(hold()), found(yes())),
    "void": (Voided(ref="t0", reference=ref()), found(hold()), found(GONE)),
    "refund": (None, found(yes()), None),
}


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("kind", list(ENDS))
def test_answers_end_the_same_in_any_order(kind: str, order: tuple[int, ...]) -> None:
    """The answer, a look from before its effect and one from after it, a webhook's look among them: whichever comes first and
    last, payment and operation end the same (I9, R9)."""
    story = asked(paid() if kind == "refund" else held(), kind, 10)
    done = back(story)
    outcomes = [done if o is None else o for o in ENDS[kind]]
    outcomes[2] = found(yes(), refunds=(done,)) if kind == "refund" else outcomes[2]
    story.step("read", 12, operation=2).hint(12.5).step("read", 13, attempt=0)
    seqs = [story.o.steps[0].seq, story.o.steps[1].seq, story.a.steps[-1].seq]
    for n, which in enumerate(order):
        story.saw(outcomes[which], 20 + n, about=seqs[which])
    p = story.p
    expected = {"capture": ("SUCCESS", 100, 0), "void": ("CANCELED", 0, 0), "refund": ("SUCCESS", 100, 100)}[kind]
    assert (p.status, p.captured_minor, p.refunded_minor, p.attention) == (*expected, "")
    assert states(story)[1] == f"{kind} SUCCEEDED"


def test_a_refund_that_is_done_does_not_become_pending_again() -> None:
    """An older list of the provider proves nothing."""
    story = asked(paid(), "refund", 10)
    story.saw(back(story), 11).read(20, found(yes(), refunds=(back(story, Refunding),)))
    assert (states(story)[1], story.p.refunded_minor) == ("refund SUCCEEDED", 100)


def test_a_refund_under_another_name_or_amount_is_not_ours() -> None:
    """What the provider lists besides moves nothing."""
    story = asked(paid(), "refund", 10, 60).saw(LOST, 11)
    ours = back(story)
    for other in (replace(ours, reference=ref(5)), replace(ours, amount_minor=59)):
        story.read(20, found(yes(), refunds=(other,)), operation=2)
        assert (states(story)[1], story.p.refunded_minor) == ("refund PENDING", 0)


def test_a_refund_is_sent_while_it_is_open_only() -> None:
    """The fold itself refuses a refund that is done, failed, or of a payment that kept nothing."""
    story = asked(paid(), "refund", 10)
    story.saw(back(story), 11)
    with pytest.raises(InvariantViolated):
        story.step("refund", 12, operation=2)
    failed = asked(paid(), "refund", 10)
    failed.saw(back(failed, RefundFailed), 11)
    with pytest.raises(InvariantViolated):
        failed.step("refund", 12, operation=2)


def test_a_lost_account_does_not_doubt_what_was_never_sent() -> None:
    """Nothing left for it: FAILED is proven, and its share is free."""
    story = paid().ask("refund", 10)
    assert story.due(11 + DAY, lost=frozenset({0}))[1] == "operation_FAILED never_sent"
    sent = asked(paid(), "refund", 10).saw(LOST, 11)
    assert sent.due(11 + DAY, lost=frozenset({0}))[1] == "operation_IN_DOUBT horizon"


@pytest.mark.parametrize("kind", ["refund", "capture", "void"])
def test_after_a_restore_an_operation_is_looked_for_before_it_is_sent(kind: str) -> None:
    """The lost end of the history may have sent it: looked at first, under hold, whatever key the provider honours."""
    story = (paid() if kind == "refund" else held()).ask(kind, 10)
    assert story.due(11)[1] == kind
    assert story.due(11, hold=True, look_first=frozenset({"A"}))[1] == "read"
    shown = found(yes() if kind == "refund" else hold())
    assert story.read(12, shown, operation=2).due(13, hold=True, look_first=frozenset({"A"}))[1] == kind


def test_a_refused_refund_is_looked_up_before_it_is_sent_again() -> None:
    """The refusal may mean that it was done before."""
    story = asked(paid(UNIQUE), "refund", 10).saw(Rejected(reason="422"), 11)
    assert story.due(12)[1] == "read"
    story.read(20, found(yes(), refunds=(back(story),)), operation=2)
    assert states(story)[1] == "refund SUCCEEDED"


def test_an_operation_that_was_refused_by_the_provider_leaves_the_hold() -> None:
    """A capture that is declined FAILED; AUTHORIZED stays with its end."""
    said = Declined(code="capture_refused", hard=True, scope="issuer", reference=ref())
    story = asked(held(MANUAL), "capture", 10).saw(said, 11)
    assert (story.p.status, states(story)[1], story.due(12)) == ("AUTHORIZED", "capture FAILED", (2 + 604_800, "read"))


def test_a_hold_of_another_amount_is_a_doubt() -> None:
    """R10 for holds."""
    other = Authorized(ref="t0", reference=ref(), amount_minor=99, currency="INR", mode="test")
    story = Story(VOIDABLE, capture_method="manual").fire(0)
    story.saw(weigh(story.p, story.a, story.a.steps[-1], other), 2)
    assert (story.p.status, story.p.reason) == ("IN_DOUBT", "mismatch")
