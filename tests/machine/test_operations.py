"""Captures, voids, refunds, holds and customer action: what each asks for next, and what each answer makes of it."""

from typing import Any

import pytest

from payonce.core.errors import InvariantViolated, Refused
from payonce.core.outcome import (
    Authorized,
    Captured,
    Declined,
    NotSent,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.core.payment import Terms

from .story import CLOSABLE, MANUAL, T0, UNIQUE, S, Story, closed, found, hold, no, ref, yes

DAY = 86_400
VOIDABLE = Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, voidable=True)
LOST = Unknown(reason="lost")
GONE = Declined(code="hold_lapsed", hard=False, scope="provider_technical", ref="t0", reference=ref())


def held(terms: Terms = VOIDABLE, expires_s: int | None = None) -> Story:
    """AUTHORIZED after two seconds."""
    story = Story(terms, capture_method="manual")
    story = story.boxed(0).fire(0, opens=False) if terms.container else story.fire(0)
    seen = Authorized(
        ref="t0",
        reference=ref(),
        amount_minor=100,
        currency="INR",
        mode="test",
        expires_at_us=None if expires_s is None else T0 + expires_s * S,
    )
    return story.saw(seen, 2)


def paid(terms: Terms = VOIDABLE) -> Story:
    return Story(terms).fire(0).saw(yes(), 1)


def took(amount: int = 100) -> Captured:
    return Captured(ref="t0", reference=ref(), amount_minor=amount, currency="INR", mode="test")


def back(story: Story, kind: Any = Refunded, *, n: int = 2) -> Any:
    o = story.p.operations[n - 1]
    return kind(ref=f"r{n}", reference=o.reference, amount_minor=o.amount_minor, currency="INR")


def asked(story: Story, kind: str, at_s: float, amount: int | None = None) -> Story:
    """Asked, and its first send on record."""
    story = story.ask(kind, at_s, amount)
    return story.step(kind, at_s, operation=story.o.n)


def states(story: Story) -> list[str]:
    return [f"{o.kind} {o.state}" for o in story.p.operations]


# --- holds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [VOIDABLE, UNIQUE, CLOSABLE, MANUAL])
def test_a_hold_is_what_was_asked_for(terms: Terms) -> None:
    """The merchant captures: money held is AUTHORIZED at every kind of provider, with its end, and nothing else is done."""
    p = (story := held(terms)).p
    assert (p.status, p.winner, p.authorized_minor, p.captured_minor) == ("AUTHORIZED", 0, 100, 0)
    assert states(story) == ["authorize SUCCEEDED"]
    assert story.due(3) == (2 + 604_800, "read")


def test_a_hold_ends_when_the_provider_says() -> None:
    """The provider's own time counts; then it is looked at, and what lapsed is CANCELED."""
    story = held(expires_s=500)
    assert story.due(3) == (500, "read")
    story.read(500, found(hold()))
    assert (story.p.status, story.due(501)[1]) == ("AUTHORIZED", "read")
    story.read(700, found(GONE))
    assert (story.p.status, story.p.reason, story.p.captured_minor) == ("CANCELED", "authorization_expired", 0)


def test_a_capture_takes_it() -> None:
    """Asked, sent at once, and SUCCESS with its answer; the whole hold unless less is asked."""
    story = held().ask("capture", 10)
    assert story.due(10) == (10, "capture")
    story.step("capture", 10, operation=2).saw(took(), 11)
    assert (story.p.status, story.p.captured_minor, states(story)[1]) == ("SUCCESS", 100, "capture SUCCEEDED")
    part = asked(held(), "capture", 10, 60).saw(took(60), 11)
    assert (part.p.status, part.p.captured_minor) == ("SUCCESS", 60)


def test_a_capture_of_another_amount_is_a_doubt() -> None:
    """R10: an answer with another amount is no SUCCESS; it waits for eyes."""
    from payonce.core.verdict import weigh

    story = asked(held(), "capture", 10, 60)
    o, step = story.o, story.o.steps[-1]
    story.saw(weigh(story.p, o, step, took(100)), 11)
    assert (story.p.status, states(story)[1], story.p.attention) == ("AUTHORIZED", "capture IN_DOUBT", "operation_unresolved")


@pytest.mark.parametrize("seen", [found(yes()), found(took())])
def test_a_lost_capture_is_looked_up(seen: Any) -> None:
    """Not sent again blindly: the read shows it taken."""
    story = asked(held(), "capture", 10).saw(LOST, 11)
    assert story.due(12)[1] == "read"
    story.read(20, seen, operation=2)
    assert (story.p.status, states(story)[1]) == ("SUCCESS", "capture SUCCEEDED")


def test_a_capture_is_sent_again_only_after_a_look() -> None:
    """A hold that a read shows as it was, begun after the first send was over, is captured again; an earlier read is not
    enough."""
    story = asked(held(), "capture", 10).saw(LOST, 11)
    story.read(12, found(hold()), operation=2)
    assert story.due(13)[1] == "read"
    story.read(60, found(hold()), operation=2)
    assert story.due(60) == (60, "capture")


def test_a_capture_without_a_trace_is_a_doubt() -> None:
    """At the horizon it is said, and kept being read; the hold stays AUTHORIZED."""
    story = asked(held(), "capture", 10).saw(LOST, 11)
    story.read(10 + DAY, Unreadable(reason="down"), operation=2)
    assert story.due(11 + DAY)[1] == "operation_IN_DOUBT horizon"
    story.judge("operation_IN_DOUBT", 12 + DAY, operation=2)
    assert (story.p.status, story.p.attention) == ("AUTHORIZED", "operation_unresolved")
    assert story.due(13 + DAY)[1] == "read"


def test_a_refused_capture_ends_at_last() -> None:
    """Refused again and again, with looks between, it FAILED; the hold stays and may be asked for again."""
    story, at = asked(held(), "capture", 10).saw(Rejected(reason="401"), 11), 20.0
    for _ in range(5):
        assert story.due(at)[1] == "read"
        story.read(at, found(hold()), operation=2).step("capture", at + 1, operation=2).saw(Rejected(reason="401"), at + 2)
        at += 4000
    assert story.due(at)[1] == "operation_FAILED never_sent"
    story.judge("operation_FAILED", at, operation=2)
    assert (story.p.status, states(story)[1]) == ("AUTHORIZED", "capture FAILED")
    assert asked(story, "capture", at + 1).saw(took(), at + 2).p.status == "SUCCESS"


def test_capture_and_void_exclude_each_other() -> None:
    """While one is not settled the other is refused, by the intake and by the fold."""
    for first, second in (("capture", "void"), ("void", "capture"), ("capture", "capture"), ("void", "void")):
        story = asked(held(), first, 10)
        with pytest.raises(Refused, match="operation_in_progress"):
            story.ask(second, 11)
        with pytest.raises(InvariantViolated):
            story.step(second, 12, operation=1)


def test_a_void_gives_the_hold_back() -> None:
    """Asked, sent, and CANCELED with its answer; nothing of it may be captured any more."""
    story = asked(held(), "void", 10).saw(Voided(ref="t0", reference=ref()), 11)
    assert (story.p.status, story.p.reason, states(story)[1]) == ("CANCELED", "voided", "void SUCCEEDED")
    with pytest.raises(Refused, match="operation_not_possible"):
        story.ask("capture", 12)


def test_a_lost_void_is_looked_up() -> None:
    """What the provider shows decides."""
    story = asked(held(), "void", 10).saw(LOST, 11)
    assert story.due(12)[1] == "read"
    story.read(60, found(hold()), operation=2)
    assert story.due(60) == (60, "void")
    story.step("void", 60, operation=2).saw(LOST, 61).read(70, found(GONE), operation=2)
    assert (story.p.status, story.p.reason) == ("CANCELED", "voided")


def test_where_there_is_no_void_the_hold_is_left() -> None:
    """Own capture, no void: the decision never to capture is recorded; it is CANCELED when a read shows that it lapsed."""
    story = held(MANUAL).ask("void", 10)
    assert story.due(10) == (10, "left never_captured")
    story.judge("left", 10, attempt=0)
    assert (story.p.status, story.due(11)) == ("AUTHORIZED", (2 + 604_800, "read"))
    story.read(604_900, found(GONE))
    assert (story.p.status, story.p.reason, states(story)[1]) == ("CANCELED", "voided", "void SUCCEEDED")


def test_what_is_captured_after_a_void_is_given_back() -> None:
    """The provider took it all the same: CANCELED stays, the money is reversed on the record (R8)."""
    story = asked(held(), "void", 10).saw(Voided(ref="t0", reference=ref()), 11)
    story.read(100, found(yes()))
    assert (story.p.status, story.due(101)[1]) == ("CANCELED", "reverse 0")


def test_a_hold_that_lapses_ends_the_capture() -> None:
    """The capture FAILED, nothing was taken."""
    story = asked(held(), "capture", 10).saw(LOST, 11).read(60, found(GONE), operation=2)
    assert (story.p.status, states(story)[1], story.p.captured_minor) == ("CANCELED", "capture FAILED", 0)


def test_captured_in_the_dashboard_is_captured() -> None:
    """Who took it does not matter: SUCCESS, and a void that was asked FAILED."""
    story = asked(held(), "void", 10).saw(LOST, 11).read(60, found(yes()), operation=2)
    assert (story.p.status, states(story)[1]) == ("SUCCESS", "void FAILED")


def test_a_second_hold_is_given_back() -> None:
    """Two accounts hold it: the surplus is released by its own operation; where there is no void it is left."""
    story = Story(VOIDABLE, capture_method="manual").fire(0).saw(no(), 1).fire(2, opens=True).saw(hold(1), 3)
    story.read(50, found(hold(0)), attempt=0)
    assert (story.p.winner, story.due(51)[1]) == (1, "reverse 0")
    other = Story(MANUAL, VOIDABLE, capture_method="manual").boxed(0).fire(0, opens=False).saw(no(), 1)
    other.judge("left", 2, attempt=0).fire(3, opens=True).saw(hold(1), 4).read(50, found(hold(0), container="open"), attempt=0)
    assert other.p.status == "AUTHORIZED"
    assert other.due(51)[1] == "read"


# --- void before anything is held ----------------------------------------------------------------------------------------


def test_a_void_of_what_was_never_sent_is_a_cancel() -> None:
    """CANCELED at once."""
    story = Story(VOIDABLE).ask("void", 1)
    assert story.due(1)[1] == "CANCELED canceled"
    story.judge("CANCELED", 1)
    assert (story.p.status, states(story)) == ("CANCELED", ["charge FAILED", "void SUCCEEDED"])


def test_a_void_that_loses_against_the_charge() -> None:
    """The money was taken before: SUCCESS, and the void FAILED."""
    story = Story(VOIDABLE).fire(0).saw(LOST, 1).ask("void", 2)
    assert story.due(3)[1] == "read"
    story.read(5, found(yes()))
    assert (story.p.status, states(story)) == ("SUCCESS", ["charge SUCCEEDED", "void FAILED"])
    assert story.o.reason == "already_charged"


def test_a_void_goes_on_with_the_hold() -> None:
    """Asked while the hold was under way: it is voided when it is seen."""
    story = Story(VOIDABLE, capture_method="manual").fire(0).saw(LOST, 1).ask("void", 2).read(5, found(hold()))
    assert (story.p.status, story.due(6)[1]) == ("AUTHORIZED", "void")


# --- refunds ------------------------------------------------------------------------------------------------------------


def test_refunds_keep_within_what_was_captured() -> None:
    """Pending and doubtful ones keep their share, failed ones release it."""
    story = asked(paid(), "refund", 10, 60)
    with pytest.raises(Refused, match="amount_exceeds_available"):
        story.ask("refund", 11, 60)
    story.saw(LOST, 11).judge("operation_IN_DOUBT", 12, operation=2)
    with pytest.raises(Refused, match="amount_exceeds_available"):
        story.ask("refund", 13, 41)
    story.ask("refund", 14)
    assert story.o.amount_minor == 40
    story.read(20, found(yes(), refunds=(back(story, RefundFailed),)), operation=2)
    assert (states(story)[1], story.p.refunded_minor) == ("refund FAILED", 0)
    assert story.ask("refund", 21, 60).o.amount_minor == 60


def test_a_refund_is_done_by_its_answer_or_by_a_read() -> None:
    """And counted once."""
    story = asked(paid(), "refund", 10, 60)
    story.saw(back(story), 11)
    assert (states(story)[1], story.p.refunded_minor, story.p.status) == ("refund SUCCEEDED", 60, "SUCCESS")
    lost = asked(paid(), "refund", 10, 60)
    lost.saw(LOST, 11).read(13, found(yes(), refunds=(back(lost),)), operation=2)
    assert (states(lost)[1], lost.p.refunded_minor) == ("refund SUCCEEDED", 60)


def test_a_pending_refund_is_read_and_not_repeated() -> None:
    """Days are usual: rarer looks, never IN_DOUBT, never a second send."""
    story = asked(paid(), "refund", 10)
    story.saw(back(story, Refunding), 11)
    at = 12.0
    for _ in range(40):
        when, what = story.due(at)
        assert what == "read"
        assert when is not None
        at = when + 1
        story.read(when, found(yes(), refunds=(back(story, Refunding),)), operation=2)
    assert at > 10 * DAY
    assert states(story)[1] == "refund PENDING"


def test_a_refund_is_replayed_inside_the_window_only() -> None:
    """The same key within the span, after a look; beyond it only looks; then a doubt that keeps its reserve."""
    story = asked(paid(), "refund", 10).saw(LOST, 11)
    assert story.due(12)[1] == "read"
    story.read(20, found(yes()), operation=2)
    assert story.due(21)[1] == "refund"
    late = asked(paid(), "refund", 10).saw(LOST, 11).read(8000, found(yes()), operation=2)
    assert late.due(8001)[1] == "read"
    without = asked(paid(UNIQUE), "refund", 10).saw(LOST, 11).read(20, found(yes()), operation=2)
    assert without.due(21)[1] == "read"
    without.read(10 + DAY, found(yes()), operation=2)
    assert without.due(11 + DAY)[1] == "operation_IN_DOUBT horizon"


def test_a_refund_may_fail_after_it_was_done() -> None:
    """A look (a hint's, or one of the watch) shows it failed: it releases its share."""
    for where in ({"operation": 2}, {"attempt": 0}):
        story = asked(paid(), "refund", 10)
        story.saw(back(story), 11)
        assert story.due(12)[1] == "read"
        story.read(99, found(yes(), refunds=(back(story, RefundFailed),)), **where)
        assert (states(story)[1], story.p.refunded_minor) == ("refund FAILED", 0)


def test_a_stale_list_of_refunds_changes_nothing() -> None:
    """A read that began before the answer speaks of its own time, whenever it arrives."""
    story = asked(paid(), "refund", 10)
    story.saw(back(story, Refunding), 11).step("read", 12, operation=2).step("read", 40, operation=2)
    first, second = (s.seq for s in story.o.steps[-2:])
    story.saw(found(yes(), refunds=(back(story, RefundFailed),)), 41, about=second)
    story.saw(found(yes(), refunds=(back(story, Refunded),)), 42, about=first)
    assert states(story)[1] == "refund FAILED"


def test_a_done_refund_is_watched_for_a_while() -> None:
    """A few looks within the watch, then nothing."""
    story = asked(paid(), "refund", 10)
    story.saw(back(story), 11)
    looks = 0
    while (due := story.due(12)) != (None, "quiet"):
        assert due[0] is not None
        story.read(due[0], found(yes(), refunds=(back(story),)), operation=2)
        looks += 1
    assert looks == 3


def test_a_refund_that_could_not_be_sent_is_tried_again() -> None:
    """NotSent proves that nothing happened: sent again, with pauses."""
    story = asked(paid(), "refund", 10).saw(NotSent(reason="dns"), 11)
    assert story.due(12)[1] == "refund"


def test_only_what_was_taken_can_be_refunded() -> None:
    """Every other status says what to do instead."""
    for story, code in ((Story(VOIDABLE), "operation_in_progress"), (held(), "operation_not_possible")):
        with pytest.raises(Refused, match=code):
            story.ask("refund", 9)


def test_an_operators_word_on_a_refund() -> None:
    """``done`` counts it, ``not-done`` releases it; only in doubt, and only once."""
    for word, refunded in (("done", 60), ("not-done", 0)):
        story = asked(paid(), "refund", 10, 60).saw(LOST, 11).judge("operation_IN_DOUBT", DAY * 2, operation=2)
        story.resolve(word, DAY * 3, operation=2)
        assert (story.p.refunded_minor, story.p.attention) == (refunded, "")
        with pytest.raises(InvariantViolated):
            story.resolve(word, DAY * 4, operation=2)


# --- customer action ----------------------------------------------------------------------------------------------------


def acting(terms: Terms, expires_s: int | None = None) -> Story:
    """REQUIRES_ACTION after two seconds, for 1800 unless the provider says less."""
    story = Story(terms, action_s=1800)
    story = story.boxed(0).fire(0, opens=False) if terms.container else story.fire(0)
    expires = None if expires_s is None else T0 + expires_s * S
    return story.saw(RequiresAction(ref="t0", reference=ref(), expires_at_us=expires), 2)


def boxed(*tries: Any, container: str = "open") -> Any:
    return found(*tries, container=container, container_id="box")


WAITS = RequiresAction(ref="t0", reference=ref())


def test_an_action_that_was_done_is_a_success() -> None:
    """REQUIRES_ACTION, then what the provider shows."""
    story = acting(CLOSABLE)
    assert story.p.status == "REQUIRES_ACTION"
    assert story.read(5, boxed(Processing(ref="t0", reference=ref()))).p.status == "PENDING"
    assert story.read(9, boxed(yes())).p.status == "SUCCESS"


def test_an_abandoned_action_is_closed_and_read_again() -> None:
    """At the expiry exactly: read, close, read; closed with nothing open is CANCELED expired."""
    story, at = acting(CLOSABLE), 3.0
    while at < 1800:
        when, what = story.due(at)
        assert (what, when is not None and when <= 1800) == ("read", True)
        at = when or 0
        story.read(at, boxed(WAITS))
    assert at == 1800
    assert story.due(1800) == (1800, "close")
    story.step("close", 1801).saw(closed(), 1802)
    story.read(story.due(1803)[0] or 0, boxed(container="closed"))
    assert story.due(1900)[1] == "CANCELED expired"


def test_paid_during_the_close_is_paid() -> None:
    """The re-read decides."""
    story = acting(CLOSABLE).read(1800, boxed(WAITS)).step("close", 1801).saw(closed(), 1802)
    assert story.read(1810, boxed(yes(), container="closed")).p.status == "SUCCESS"


def test_an_abandoned_action_without_a_close_is_left() -> None:
    """Own capture: the decision never to capture, then CANCELED expired; a hold that comes later is never taken."""
    story = acting(MANUAL).read(1800, boxed(WAITS))
    assert story.due(1800)[1] == "left never_captured"
    story.judge("left", 1800, attempt=0)
    assert story.due(1801)[1] == "CANCELED expired"
    story.judge("CANCELED", 1801)
    story.read(2000, boxed(hold()))
    assert story.p.status == "CANCELED"
    assert story.due(2001)[1] == "read"


def test_an_abandoned_action_that_nobody_can_close_stays_open() -> None:
    """Read until the provider says no; that no after the end is CANCELED expired, not a failover."""
    story = acting(UNIQUE, 600)
    story.read(700, found(WAITS))
    assert (story.p.status, story.due(701)[1]) == ("REQUIRES_ACTION", "read")
    story.read(900, found(no(code="action_expired", scope="customer_input")))
    assert story.due(901)[1] == "CANCELED expired"


def test_a_customer_who_declines_in_time() -> None:
    """The decline counts as any other."""
    story = acting(UNIQUE).read(60, found(no(code="authentication_failed", scope="customer_input")))
    assert story.due(61)[1] == "FAILED authentication_failed"


def test_a_void_while_the_customer_acts_closes_it() -> None:
    """REQUIRES_ACTION -> close; CANCELED when it is closed, and the void is done."""
    story = acting(CLOSABLE).read(5, boxed(WAITS)).ask("void", 6)
    assert story.due(7)[1] == "close"
    story.step("close", 7).saw(closed(), 8).read(20, boxed(container="closed"))
    assert story.due(21)[1] == "CANCELED canceled"
    story.judge("CANCELED", 21)
    assert states(story)[1] == "void SUCCEEDED"
