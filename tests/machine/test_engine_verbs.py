"""What people ask of the engine: submit twice, resolve a doubt, hold after a restore; and what its facts change."""

import itertools

import pytest
from msgspec.structs import replace

from payonce.core.errors import Refused
from payonce.core.events import Resolved
from payonce.core.idempotency import Details, NewPayment
from payonce.core.payment import Payment

from .merchant import SCOPE
from .oracles import check_ledgers, events_of
from .world import World, at_once


def drive(coro: object) -> object:
    """The result of a coroutine of fake ports, run without time passing."""
    while True:
        try:
            coro.send(None)  # type: ignore[attr-defined]
        except StopIteration as done:
            return done.value


def doubtful(*lies: str, kind: str = "keyless") -> tuple[World, str]:
    w = World({"A": kind}, terms={"A": {"horizon_s": 60}})
    w.script("A", "fire", *(lies or ("lost_before",)))
    pid = w.pay()
    w.run(hours=1)
    assert w.payment(pid).status == "IN_DOUBT"
    return w, pid


def resolve(w: World, pid: str, decision: str, **more: object) -> Payment:
    done = drive(w.workers[0].engine.resolve(SCOPE, pid, decision, **{"reason": "asked the bank", "actor": "ops", **more}))  # type: ignore[arg-type]
    assert isinstance(done, Payment)
    w.run()
    return w.payment(pid)


def test_resolve_charged() -> None:
    """`charged` needs the provider's ref and the amount; it ends SUCCESS with both on the row."""
    w, pid = doubtful("lost_after")
    for missing in ({}, {"provider_ref": "t_A0"}, {"amount_minor": 100}):
        with pytest.raises(Refused, match="resolution_incomplete"):
            resolve(w, pid, "charged", **missing)
    p = resolve(w, pid, "charged", provider_ref="t_A0", amount_minor=100)
    assert (p.status, p.provider_ref, p.captured_minor, p.attention) == ("SUCCESS", "t_A0", 100, "")
    check_ledgers(w, pid)


def test_resolve_another_amount_only_when_accepted() -> None:
    """Another amount is refused unless it is accepted explicitly; then the payment stays flagged."""
    w, pid = doubtful("wrong_amount", kind="keyed")
    with pytest.raises(Refused, match="amount"):
        resolve(w, pid, "charged", provider_ref="t_A0", amount_minor=1)
    p = resolve(w, pid, "charged", provider_ref="t_A0", amount_minor=1, accept_amount=True)
    assert (p.status, p.captured_minor, p.attention) == ("SUCCESS", 1, "amount_accepted")


def test_resolve_not_charged_fails_without_failover() -> None:
    """`not-charged` is FAILED: no other attempt is made, and what the provider proves later is still given back."""
    w = World({"A": "unique", "B": "keyed"}, terms={"A": {"horizon_s": 60}})
    w.script("A", "fire", "stall:20000")
    pid = w.pay()
    w.run(hours=1)
    p = drive(w.workers[0].engine.resolve(SCOPE, pid, "not-charged", reason="asked the bank", actor="ops"))
    assert isinstance(p, Payment)
    assert (p.status, p.reason, len(p.attempts)) == ("FAILED", "not_charged", 1)
    w.lied = True  # the operator was wrong
    w.run()
    assert w.payment(pid).reversed_minor() == 100
    check_ledgers(w, pid)


@pytest.mark.parametrize("decision", ["reversed", "not-charged"])
def test_a_decision_that_a_later_read_contradicts_gets_attention(decision: str) -> None:
    """The provider still shows the wrong money as kept: FAILED stays, attention says so, and it is read daily."""
    w, pid = doubtful("wrong_amount", kind="keyed")
    w.script("A", "read", *["wrong_amount"] * 50)
    p = resolve(w, pid, decision)
    assert (p.status, p.attention) == ("FAILED", "mismatch")
    assert at_once(w.store.next_due()) is not None
    settled_again = drive(w.workers[0].engine.resolve(SCOPE, pid, "reversed", reason="now really", actor="ops"))
    assert settled_again.attention == ""  # type: ignore[attr-defined]


def test_resolve_reversed_settles_a_mismatch() -> None:
    """`reversed` ends a mismatch FAILED: somebody gave the wrong money back by hand, and the provider shows it."""
    w, pid = doubtful("wrong_currency", kind="keyed")
    w.script("A", "read", *["404"] * 500)
    p = resolve(w, pid, "reversed")
    assert (p.status, p.reason, p.attention) == ("FAILED", "reversed", "")


def test_a_decision_starts_a_watch_of_its_own() -> None:
    """`not-charged` long after the send: watched from the decision on, and daily while the provider is not final."""
    w = World({"A": "keyed"}, terms={"A": {"horizon_s": 60, "watch_s": 600}})
    w.script("A", "decide", f"processing_yes:{30 * 86_400}")
    pid = w.pay()
    w.run(hours=24 * 10)
    assert w.payment(pid).status == "IN_DOUBT"
    drive(w.workers[0].engine.resolve(SCOPE, pid, "not-charged", reason="asked the bank", actor="ops"))
    w.lied = True  # the operator was wrong: the provider takes the money twenty days later
    w.run(hours=24 * 40)
    p = w.payment(pid)
    assert (p.status, p.reversed_minor()) == ("FAILED", 100)
    check_ledgers(w, pid)


def test_silence_does_not_put_the_schedule_to_sleep() -> None:
    """Reads that nobody answers reach two minutes between them at most: a provider that is back settles it soon."""
    w = World({"A": "keyed"})
    w.script("A", "fire", "lost_after", *["lost_before"] * 30)
    w.script("A", "read", *["lost_before"] * 30)
    pid = w.pay()
    w.run(hours=24)
    steps = w.payment(pid).attempts[0].steps
    assert w.payment(pid).status == "SUCCESS"
    gaps = [b.at_us - a.ended_us for a, b in itertools.pairwise(steps)]
    assert max(gaps) <= 121_000_000, [g // 1_000_000 for g in gaps]


@pytest.mark.parametrize("decision", ["charged", "not-charged", "reversed"])
def test_resolve_needs_a_doubt_and_a_reason(decision: str) -> None:
    """What is being worked on or final cannot be resolved, a doubt not without a reason, a stranger's not at all."""
    w = World({"A": "keyless"})
    pid = w.pay()
    for _ in range(2):
        with pytest.raises(Refused, match="nothing_to_resolve"):
            resolve(w, pid, decision, provider_ref="t", amount_minor=100)
    w, pid = doubtful()
    with pytest.raises(Refused, match="reason"):
        resolve(w, pid, decision, reason="  ", provider_ref="t", amount_minor=100)
    with pytest.raises(Refused, match="not_found"):
        drive(w.workers[0].engine.resolve(replace(SCOPE, mode="live"), pid, "reversed", reason="r", actor="ops"))


@pytest.mark.parametrize("word", ["unclear_done", "unclear_not", "conflict"])
def test_a_decision_whose_write_is_unclear_is_recorded_once(word: str) -> None:
    """Done, not done, or overtaken: the operator gets the payment with one decision on record, not a refusal."""
    w, pid = doubtful()
    w.script("store", "Resolved", word)
    assert resolve(w, pid, "not-charged").status == "FAILED"
    assert len(events_of(w, pid, Resolved)) == 1


def test_resolve_races_with_the_worker() -> None:
    """The operator's decision is the same conditional write: it is repeated after a conflict, never lost."""
    w, pid = doubtful()
    w.script("store", "Resolved", "conflict", "unclear_not", "conflict")
    assert resolve(w, pid, "not-charged").status == "FAILED"


def test_hold_reads_and_fires_nothing() -> None:
    """With hold an unknown keyed attempt is read on its schedule, not replayed; a new payment waits."""
    w = World({"A": "keyed"})
    w.script("A", "fire", "lost_before")
    first = w.pay()
    w.run(hours=0.003)
    w.workers[0].engine.hold = True
    second = w.pay()
    fired = sum(s[2] == "fire" for s in w.sent)
    w.run(hours=0.5)
    assert sum(s[2] == "fire" for s in w.sent) == fired
    assert w.kinds(first).count("read") >= 4
    assert w.kinds(second) == []
    w.workers[0].engine.hold = False
    w.run()
    for pid in (first, second):
        assert w.payment(pid).status == "SUCCESS"
        check_ledgers(w, pid)


def test_no_provider_until_settle_by() -> None:
    """Never sent, with pauses, until settle_by: FAILED no_provider_available, no attempt counted, nothing moved."""
    w = World({"A": "keyed"}, terms={"A": {"settle_s": 120}})
    w.script("A", "fire", *["not_sent"] * 500)
    pid = w.pay()
    w.run()
    p = w.payment(pid)
    assert (p.status, p.reason) == ("FAILED", "no_provider_available")
    assert p.updated_us - p.created_us <= 125_000_000
    assert len(p.attempts) == 1
    assert len(p.attempts[0].steps) < 60


def test_an_account_that_went_missing_before_anything_was_sent_is_passed_over() -> None:
    """The route's account is gone: the next one takes it; the only one gone: waited for until settle_by, never a crash."""
    for accounts, status in (({"A": "closable", "B": "keyed"}, "SUCCESS"), ({"A": "keyed"}, "FAILED")):
        w = World(accounts, terms={"A": {"settle_s": 600}})
        w.script("A", "create", "not_sent")
        w.script("A", "decide", "soft")
        w.script("store", "Observed", "freeze_after:1")
        pid = w.pay()
        w.at(w.now + 500_000, lambda w=w: w.workers[0].engine.accounts.pop("A"))  # type: ignore[misc]
        w.run()
        assert w.payment(pid).status == status
        check_ledgers(w, pid)


def test_submit_again_answers_with_the_same_payment() -> None:
    """The same key is the same payment, another request under it is refused, and an unclear write asks whose the key is."""
    w = World({"A": "keyed"})
    pid = w.pay()
    engine = w.workers[0].engine
    same = NewPayment(amount_minor=100, currency="INR", details=Details(payment_method="tok"))
    again = drive(engine.submit(SCOPE, same, "key0", actor="test"))
    assert (again.payment.id, again.replayed) == (pid, True)  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="idempotency_key_reused"):
        drive(engine.submit(SCOPE, replace(same, amount_minor=101), "key0", actor="test"))
    w.script("store", "Accepted", "unclear_done")
    assert drive(engine.submit(SCOPE, same, "key1", actor="test")).payment.status == "PENDING"  # type: ignore[attr-defined]
    w.script("store", "Accepted", "unclear_not")
    with pytest.raises(Refused, match="retry_same_key"):
        drive(engine.submit(SCOPE, same, "key2", actor="test"))


def test_a_settled_row_is_never_put_back_on_the_due_index() -> None:
    """A sweeper that saw the row due, but comes after another settled it, leaves it off the index."""
    w = World({"A": "keyed"})
    pid = w.pay()
    w.run()
    version = w.payment(pid).version
    drive(w.workers[0].engine.advance(pid))
    assert at_once(w.store.next_due()) is None
    assert w.payment(pid).version == version
    assert len(events_of(w, pid)) == 2


def test_a_claim_that_meets_itself_is_sent() -> None:
    """A driver that lost the answer of a commit asks again and hears of the conflict with its own row: that is no race."""
    w = World({"A": "keyed"})
    w.script("store", "Planned", "twice")
    pid = w.pay()
    w.run(hours=1)
    p = w.payment(pid)
    assert (p.status, w.kinds(pid)) == ("SUCCESS", ["fire"])
    assert p.updated_us - p.created_us < 5_000_000  # not after the end of its own lease
    check_ledgers(w, pid)


def test_a_process_that_ends_soon_starts_no_call() -> None:
    """Before ``gone_by_us`` only calls begin that end before it, leases and all; the payment stays due for another process."""
    w = World({"A": "keyed"})
    engine, lease_us = w.workers[0].engine, 17_000_000  # send window, call timeout and margin
    pid = w.pay()
    due = drive(engine.store.due(w.now_us(), 10))
    for left_us in (0, 1, lease_us - 1):
        engine.gone_by_us = engine.clock.monotonic_us() + left_us
        drive(engine.advance(pid))
        assert (w.payment(pid).version, w.sent) == (1, [])
        assert drive(engine.store.due(w.now_us(), 10)) == due
    engine.gone_by_us = engine.clock.monotonic_us() + lease_us
    drive(engine.advance(pid))
    assert (w.payment(pid).status, len(w.sent)) == ("SUCCESS", 1)
