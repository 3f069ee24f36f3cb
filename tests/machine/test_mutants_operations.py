"""Each rule of captures, voids, refunds, holds and customer action taken away must make a named test fail."""
# ruff: noqa: ARG005, E501 - patches take what they replace; the table has one mutant a line

from typing import Any

import pytest
from msgspec.structs import replace

from payonce import dispatch, engine
from payonce.core import apply, operations, outcome, owed, plan, verdict
from payonce.core.due import QUIET
from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Observed
from payonce.core.outcome import Authorized, Found, Refunded, RefundFailed, Refunding, RequiresAction, Succeeded
from payonce.core.payment import Payment

from . import test_interleavings as charges
from . import test_interleavings_operations as cases
from . import test_operations as stories
from . import test_operations_review as reviewed
from . import test_restore_operations as restored
from . import test_states as states
from .test_mutants import Mutant, no_reversal_guard, not_live, or_no, refused, unboxed

COUNT = iter(range(10**9))


def key_of_its_own(m: pytest.MonkeyPatch) -> None:
    """Every send of a refund gets a key of its own."""
    real = dispatch.intent

    def fresh(*args: Any, **kwargs: Any) -> Any:
        about = real(*args, **kwargs)
        return replace(about, key=f"{next(COUNT)}") if about.kind == "refund" else about

    m.setattr(dispatch, "intent", fresh)


def reserve_of(*counted: str) -> Any:
    """Only refunds in these states keep their share; the wall in the fold believes it too."""

    def patch(m: pytest.MonkeyPatch) -> None:
        def reserved(p: Payment) -> int:
            return sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state in counted)

        for module in (operations, apply):
            m.setattr(module, "reserved_minor", reserved)

    return patch


def both_at_once(m: pytest.MonkeyPatch) -> None:
    """Neither the intake nor the fold sees what excludes what; a step still needs its own operation."""
    m.setattr(operations, "excluding", lambda p: None)
    real = apply._require
    m.setattr(apply, "_require", lambda holds, rule: None if "exclude" in rule or "not both" in rule else real(holds, rule))


def refund_for_ever(m: pytest.MonkeyPatch) -> None:
    m.setattr(owed, "replay_by", lambda first, terms, span_s: 10**20)


def no_look(m: pytest.MonkeyPatch) -> None:
    """A capture or void without an answer is sent again as if a look had shown the hold."""
    m.setattr(operations, "still_held", lambda a, o: True)


def early_look(m: pytest.MonkeyPatch) -> None:
    """A look that began while the first send was under way licenses the next one."""
    m.setattr(
        operations,
        "still_held",
        lambda a, o: bool(o.steps) and isinstance(o.steps[-1].outcome, Found) and operations.only_held(o),
    )


def void_of_all(m: pytest.MonkeyPatch) -> None:
    m.setattr(operations, "_require_status", lambda p, kind, status: None)
    real = apply._require
    m.setattr(apply, "_require", lambda holds, rule: None if "has ended" in rule else real(holds, rule))


def expired(a: Any, sends: Any, seen: Any) -> bool:
    """The end of an action is taken for a no."""
    asked = any(isinstance(o, RequiresAction) for _, o in seen)
    return asked and bool(a.action_expires_us) and a.steps[-1].ended_us >= a.action_expires_us


def webhook_trusted(m: pytest.MonkeyPatch) -> None:
    """A hint is written down as the answer of the send that waits for one."""
    real = engine.Engine.ingest

    async def ingest(self: Any, payment_id: str, ref: str = "", *, actor: str) -> bool:
        p = await self.store.get(payment_id)
        waits = [(a, s) for a in p.attempts for s in a.steps if s.outcome is None and s.kind == "fire"] if p else []
        if p is None or not waits:
            return bool(await real(self, payment_id, ref, actor=actor))
        money = {"amount_minor": p.amount_minor, "currency": p.currency, "mode": p.mode}
        said = Succeeded(ref="hinted", reference=waits[0][0].reference, **money)
        return await self._write(p, [Observed(about=waits[0][1].seq, outcome=said)]) is not None

    m.setattr(engine.Engine, "ingest", ingest)


def last_list_counts(m: pytest.MonkeyPatch) -> None:
    """What came last is believed, whenever it was asked for."""

    def told(p: Any, o: Any) -> Any:
        steps = sorted((*o.steps, *p.attempts[o.attempt].steps), key=lambda s: s.seen_at_us)
        listed = [r for s in steps for r in (s.outcome.refunds if isinstance(s.outcome, Found) else (s.outcome,))]
        ours = [r for r in listed if isinstance(r, outcome.OF_REFUNDS) and operations._is(o, r)]
        return ours[-1] if ours else None

    m.setattr(operations, "told", told)


def any_refund_is_ours(m: pytest.MonkeyPatch) -> None:
    m.setattr(operations, "_is", lambda o, given: True)


def end_forgotten(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "_authorized", lambda p, now, facts: QUIET if p.status == "AUTHORIZED" else None)


def hold_is_the_charge(m: pytest.MonkeyPatch) -> None:
    """A refund names the hold, not what was taken of it."""
    real = dispatch.intent

    def wrong(p: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        return (
            replace(real(p, call, *args, **kwargs), provider_ref=verdict.charge_ref(p.attempts[call.attempt]))
            if call.kind == "refund"
            else real(p, call, *args, **kwargs)
        )

    m.setattr(dispatch, "intent", wrong)


def any_decline_ends_it(m: pytest.MonkeyPatch) -> None:
    """A list that shows nothing held ends a hold, whatever it shows."""
    m.setattr(
        operations,
        "_released",
        lambda a, step, found: bool(found.tries) and not any(isinstance(t, Authorized) for t in found.tries),
    )


def not_looked_for(m: pytest.MonkeyPatch) -> None:
    m.setattr(owed, "_looked", lambda o: True)


def surplus_kept(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "_surplus", lambda p, now, facts: None)


def refund_unwatched(m: pytest.MonkeyPatch) -> None:
    m.setattr(owed, "_watched", lambda o, charge, facts: None)


def pending_is_sent_again(m: pytest.MonkeyPatch) -> None:
    """A refund that is under way is treated as one of which nothing is known."""
    m.setattr(owed, "Refunding", Authorized)


def cancel_ignored(m: pytest.MonkeyPatch) -> None:
    real = apply._asked
    m.setattr(apply, "_asked", lambda p, env, e: replace(real(p, env, e), cancel_asked=False))


def read_late(m: pytest.MonkeyPatch) -> None:
    """The look at the end of an action comes with the schedule, whenever that is, and no close follows."""
    m.setattr(plan, "acting_until_us", lambda a: None)


CASES: list[Mutant] = [
    Mutant("the key of a refund is derived", key_of_its_own, [cases.test_a_refund_inside_the_window_is_replayed_under_its_key]),
    Mutant("a pending refund keeps its reserve", reserve_of("SUCCEEDED", "IN_DOUBT"), [lambda: cases.test_12_two_concurrent_refunds_of_60_on_100("keyed")]),
    Mutant("a refund in doubt keeps its reserve", reserve_of("SUCCEEDED", "PENDING"), [cases.test_11_a_partial_refund_unknown_beyond_the_window]),
    Mutant("a refund that is done keeps its reserve", reserve_of("PENDING", "IN_DOUBT"), [lambda: cases.test_several_partial_refunds("keyed")]),
    Mutant("a refund that failed releases its reserve", reserve_of("SUCCEEDED", "PENDING", "IN_DOUBT", "FAILED"), [lambda: cases.test_11_a_refund_fails_after_it_was_done("keyed", True)]),
    Mutant("capture and void exclude each other", both_at_once, [lambda: cases.test_11_capture_unknown_then_a_void_is_asked("keyed")]),
    Mutant("no reversal of a hold while unsealed", no_reversal_guard, [charges.test_07_a_surplus_is_not_given_back_while_a_third_is_unknown]),
    Mutant("a refund is replayed inside its window only", refund_for_ever, [cases.test_a_refund_is_not_replayed_where_keys_are_forgotten, stories.test_a_refund_is_replayed_inside_the_window_only]),
    Mutant("a capture is looked up before the next one", no_look, [lambda: cases.test_a_stalled_capture_arrives_after_the_second_one("keyed")]),
    Mutant("a look during the capture licenses nothing", early_look, [stories.test_a_capture_is_sent_again_only_after_a_look]),
    Mutant("what was captured is not voided", void_of_all, [lambda: cases.test_11_capture_unknown_then_a_void_is_asked("keyed")]),
    Mutant("an action that is over is closed first", unboxed(or_no(expired)), [lambda: cases.test_10_paid_during_the_close("closable")]),
    Mutant("an action has an end", read_late, [lambda: cases.test_10_a_customer_acts_or_does_not("closable", True, "action_never")]),
    Mutant("a webhook is a hint", webhook_trusted, [restored.test_a_forged_webhook_proves_nothing]),
    Mutant("a list of refunds speaks of its own time", last_list_counts, [stories.test_a_stale_list_of_refunds_changes_nothing, lambda: reviewed.test_a_refund_that_failed_stays_failed((RefundFailed, Refunded, Refunding))]),
    Mutant("a refund of another name or amount is not ours", any_refund_is_ours, [reviewed.test_a_refund_under_another_name_or_amount_is_not_ours]),
    Mutant("a refund is watched", refund_unwatched, [lambda: cases.test_11_a_refund_fails_after_it_was_done("unique", False)]),
    Mutant("a refund under way is not sent again", pending_is_sent_again, [lambda: cases.test_a_refund_that_is_long_under_way("keyed", "pending_yes:90000")]),
    Mutant("a refund names the charge", hold_is_the_charge, [lambda: cases.test_several_partial_refunds("keyed")]),
    Mutant("AUTHORIZED has an end", end_forgotten, [lambda: cases.test_authorized_has_an_end("keyed", False)]),
    Mutant("a hold ends by itself only", any_decline_ends_it, [reviewed.test_another_try_that_was_declined_does_not_end_a_hold]),
    Mutant("a surplus hold is given back", surplus_kept, [lambda: restored.test_a_surplus_of_holds_is_given_back("capture"), lambda: cases.test_a_late_hold_after_failed_is_released("refund")]),
    Mutant("after a restore an operation is looked for", not_looked_for, [lambda: restored.test_what_the_lost_end_did_is_found_before_it_is_done_again("refund", "unique")]),
    Mutant("nothing is fired after a void", cancel_ignored, [lambda: cases.test_a_void_while_the_charge_is_under_way("unique", "soft", False)]),
    *(Mutant(f"apply refuses {rule}", not_live, [lambda r=rule, h=history: refused(r, h)]) for rule, history in states.REFUSED if rule == "a capture that nobody asked for"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", CASES, ids=lambda m: m.rule.replace(" ", "_"))
def test_every_rule_of_an_operation_is_missed_when_taken_away(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test passes with the rule and fails, by an oracle, its own words or the fold's check, without it."""
    for killer in mutant.killers:
        killer()
    mutant.patch(monkeypatch)
    for killer in mutant.killers:
        with pytest.raises((AssertionError, InvariantViolated, NewerSchema)):
            killer()
