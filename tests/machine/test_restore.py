"""After a restore: what the lost end of a history did at any account is found before the hold ends."""

import pytest

from payonce.core import ids
from payonce.core.errors import Refused
from payonce.core.routing import Rule, Rules
from payonce.engine import Policy

from .oracles import at_once, check_ledgers, kept, require, settled, taken
from .restoring import Backup, backup, facts_of, reconcile, restore
from .vendors import HOUR, S
from .world import SCOPE, World

KINDS = ["keyed", "unique", "closable", "manual"]


def charged_elsewhere(kind: str, *, later_us: int = 60 * S) -> tuple[World, str, Backup]:
    """Backup after accept; A was drained, so the lost end charged at B; A takes payments again at the restore."""
    w = World({"A": kind, "B": kind})
    for vendor in w.vendors.values():
        vendor.honours_keys = False  # forgotten by then
    w.drain("A")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require([m.vendor for m in taken(w, pid)] == ["B"], "not charged at B")
    w.resume("A")
    w.now += later_us
    restore(w, accepted)
    w.run(hours=0.2)
    require(w.payment(pid).status == "PENDING" and not w.payment(pid).attempts, f"begun under hold: {facts_of(w, pid)}")
    return w, pid, accepted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later_h", [0, 30])
def test_what_was_charged_at_another_account_is_found(kind: str, later_h: int) -> None:
    """Restored soon, or after the time to look for an account: SUCCESS where it was charged, and one charge."""
    w, pid, _ = charged_elsewhere(kind, later_us=later_h * HOUR)
    require(reconcile(w, pid), "not answered")
    p = settled(w, pid, "SUCCESS")
    require([a.account for a in p.attempts] == ["B"] and p.accounts == ("B", "A"), str(facts_of(w, pid)))
    require(p.attempts[0].why == "found there after a restore" and not p.attention, p.attempts[0].why)
    require([m.vendor for m in taken(w, pid)] == ["B"], f"charged again: {taken(w, pid)}")


def test_nothing_was_sent_and_the_payment_goes_on() -> None:
    """No account shows anything: after the hold it is fired as ever, and the looks left nothing on record."""
    w = World({"A": "keyed", "B": "manual"})
    pid = w.pay()
    restore(w, backup(w, pid))
    require(reconcile(w, pid, lift=False) and w.payment(pid).version == 1, str(facts_of(w, pid)))
    require(reconcile(w, pid), "not answered")
    settled(w, pid, "SUCCESS")


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_that_does_not_answer_keeps_the_hold(kind: str) -> None:
    """One account is out: not answered, nothing is put on record, and nothing is fired; later the charge is found."""
    w, pid, _ = charged_elsewhere(kind)
    w.script("A", "look", *["503"] * 500)
    require(not reconcile(w, pid), "the hold ended")
    require(w.payment(pid).version == 1, str(facts_of(w, pid)))
    w.scripts.clear()
    require(reconcile(w, pid), "not answered")
    settled(w, pid, "SUCCESS")


def test_an_account_that_answers_late_is_asked_again() -> None:
    """The first looks fail: they are repeated, the answered ones are not."""
    w, pid, _ = charged_elsewhere("keyed")
    w.script("A", "look", "503", "401", "503")
    require(reconcile(w, pid), "not answered")
    settled(w, pid, "SUCCESS")


@pytest.mark.parametrize("kind", ["closable", "manual", "keyed"])
def test_an_earlier_decline_is_sealed_and_the_next_attempt_found(kind: str) -> None:
    """The lost end was declined at A and charged at B: both attempts come on record, in their order."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "decide", "soft")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require([m.vendor for m in taken(w, pid)] == ["B"], "not charged at B")
    restore(w, accepted)
    require(reconcile(w, pid), "not answered")
    p = settled(w, pid, "SUCCESS")
    require((p.winner, [a.account for a in p.attempts]) == (1, ["A", "B"]) and not p.attention, str(facts_of(w, pid)))


def left_behind(kind: str) -> tuple[World, str]:
    """Backup with attempt 0 unknown at A; the lost end left it, as A was drained, and charged attempt 1 at B."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "lost_before")
    pid = w.pay()
    w.run(hours=0.004)
    require(w.kinds(pid)[:2] == ["create", "fire"] and w.kinds(pid)[-1] == "read", str(w.kinds(pid)))
    unknown = backup(w, pid)
    w.drain("A")
    w.run(hours=1)
    require([m.vendor for m in taken(w, pid)] == ["B"], f"not charged at B: {facts_of(w, pid)}")
    w.resume("A")
    restore(w, unknown)
    w.run(hours=0.2)
    return w, pid


def test_an_attempt_that_was_closed_makes_room_for_the_next() -> None:
    """The lost end had closed attempt 0, which a read shows: attempt 1 comes on record, SUCCESS."""
    w, pid = left_behind("closable")
    require(reconcile(w, pid), "not answered")
    require(settled(w, pid, "SUCCESS").winner == 1, str(facts_of(w, pid)))


def test_an_attempt_that_was_left_is_never_fired_again() -> None:
    """Attempt 1 is found while attempt 0 is not sealed: IN_DOUBT, and nothing begins or ends by itself any more."""
    w, pid = left_behind("manual")
    require(reconcile(w, pid), "not answered")
    p = w.payment(pid)
    require((p.status, p.reason, len(p.attempts)) == ("IN_DOUBT", "restored_elsewhere", 1), str(facts_of(w, pid)))
    sent = len(w.sent)
    w.run(hours=24 * 30)
    require({s[2] for s in w.sent[sent:]} <= {"read", "close"}, "sent again")
    require(w.payment(pid).status == "IN_DOUBT" and len(taken(w, pid)) == 1, str(facts_of(w, pid)))
    check_ledgers(w, pid)


def test_reconcile_again_finds_a_place_for_what_did_not_fit() -> None:
    """Attempt 0, declined, cannot be closed in time: IN_DOUBT. Once it is closed, attempt 1 comes on record: SUCCESS."""
    w = World({"A": "closable", "B": "keyed"})
    w.script("A", "decide", "soft")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require([m.vendor for m in taken(w, pid)] == ["B"], "not charged at B")
    w.vendors["A"].boxes[0].closed_us = None  # as if the lost end had not been able to, either
    restore(w, accepted)
    w.script("A", "close", *["5xx_before"] * 90)
    require(reconcile(w, pid) and w.payment(pid).reason == "restored_elsewhere", str(facts_of(w, pid)))
    w.scripts.clear()
    w.run(hours=50)
    require(w.payment(pid).status == "IN_DOUBT", "ended by itself")
    require(reconcile(w, pid), "not answered")
    p = settled(w, pid, "SUCCESS")
    require((p.winner, [a.account for a in p.attempts]) == (1, ["A", "B"]), str(facts_of(w, pid)))


def gap() -> tuple[World, str]:
    """The lost end could send nothing at A and charged attempt 1 at B; the backup knows of neither."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "fire", "not_sent")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require([m.reference[-2:] for m in taken(w, pid)] == ["01"], "not charged at attempt 1")
    restore(w, accepted)
    return w, pid


def test_a_gap_is_left_to_a_person() -> None:
    """Attempt 1 is found and attempt 0 nowhere: IN_DOUBT without an attempt on record, quiet for good."""
    w, pid = gap()
    require(reconcile(w, pid), "not answered")
    sent = len(w.sent)
    w.run(hours=24 * 30)
    p = w.payment(pid)
    require((p.status, p.reason, p.attempts) == ("IN_DOUBT", "restored_elsewhere", ()), str(facts_of(w, pid)))
    require(len(w.sent) == sent and at_once(w.store.next_due()) is None, "not quiet")
    require(reconcile(w, pid) and w.payment(pid).version == p.version, "said twice")


def test_what_has_no_attempt_on_record_cannot_be_resolved_as_charged() -> None:
    """`charged` is refused, and says what to do: give it back, record it as reversed."""
    w, pid = gap()
    require(reconcile(w, pid), "not answered")
    engine = w.workers[0].engine
    engine.store = w.store
    with pytest.raises(Refused, match="give that charge back"):
        at_once(engine.resolve(SCOPE, pid, "charged", reason="r", actor="op", provider_ref="t_B0", amount_minor=100))
    p = at_once(engine.resolve(SCOPE, pid, "reversed", reason="given back", actor="op"))
    assert (p.status, p.reason, p.attention) == ("FAILED", "reversed", "")


def test_two_charges_are_found_and_the_surplus_is_given_back() -> None:
    """A had declined and took the money later, B was charged meanwhile: one is kept, the other is reversed."""
    w = World({"A": "keyed", "B": "keyed"})
    w.lied = True
    w.script("A", "decide", "lie_yes:3600")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.002)
    restore(w, accepted)
    w.run(hours=1.1)
    require(sorted(m.vendor for m in taken(w, pid)) == ["A", "B"], "not charged twice")
    require(reconcile(w, pid), "not answered")
    p = settled(w, pid, "SUCCESS")
    require((p.winner, p.reversed_minor(), len(kept(w, pid))) == (0, 100, 1), str(facts_of(w, pid)))


def test_one_attempt_at_two_accounts_is_left_to_a_person() -> None:
    """A first restore without a hold charged A again, a second one meets both charges under one name: IN_DOUBT."""
    w, pid, accepted = charged_elsewhere("keyed")
    w.lied = True  # the charge at A is the operator's
    w.workers[0].engine.hold = False
    w.run(hours=0.1)
    require(sorted(m.vendor for m in taken(w, pid)) == ["A", "B"], "not charged twice")
    restore(w, accepted)
    require(reconcile(w, pid), "not answered")
    w.run(hours=24 * 30)
    p = w.payment(pid)
    require((p.status, p.reason, p.attempts) == ("IN_DOUBT", "restored_elsewhere", ()), str(facts_of(w, pid)))


def test_an_account_outside_of_the_frozen_route_is_left_to_a_person() -> None:
    """The payment may go to A only, and B shows a try under its next name: whatever that is, it is not put on record."""
    w = World({"A": "keyed", "B": "keyed"}, rules=Rules(rules=(Rule(name="a", use=("A",), fallback=()),)))
    w.script("A", "decide", "soft")
    pid = w.pay()
    w.run(hours=0.0001)
    p = w.payment(pid)
    require(p.accounts == ("A",) and len(p.attempts) == 1, str(facts_of(w, pid)))
    restore(w, backup(w, pid))
    doc = {"kind": "fire", "reference": ids.reference(pid, 1, 1), "key": "k", "amount": 100, "currency": "INR", "mode": "test"}
    w.vendors["B"].handle(w.now, doc)
    require(reconcile(w, pid), "not answered")
    p = w.payment(pid)
    require((p.status, p.reason, len(p.attempts)) == ("IN_DOUBT", "restored_elsewhere", 1), str(facts_of(w, pid)))


def test_the_doubt_stays_visible_when_an_attempt_turns_out_to_be_charged() -> None:
    """IN_DOUBT as attempt 1 was found elsewhere; then attempt 0 is YES: SUCCESS, and people are still asked to look."""
    w = World({"A": "unique", "B": "keyed"}, policy=Policy(attempts_max=2))
    w.lied = True
    w.script("A", "decide", "lie_yes:7200")
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require([m.vendor for m in taken(w, pid)] == ["B"], "not charged at B")
    restore(w, accepted)
    require(reconcile(w, pid), "not answered")
    require(w.payment(pid).reason == "restored_elsewhere", str(facts_of(w, pid)))
    w.run(hours=24 * 10)
    p = w.payment(pid)
    require((p.status, p.attention) == ("SUCCESS", "restored_elsewhere"), str(facts_of(w, pid)))
