"""The interleavings of protocol.md, section 8, of what merchants ask (11, 12) and of customers who act (10), and what came up
around them: holds, captures, voids, refunds, at every kind of provider that has them."""

from typing import Any

import pytest
from msgspec.structs import replace

from payonce.engine import Policy

from .merchant import SCOPE, ask
from .oracles import check_ledgers, given_back, moves, require, settled, taken
from .test_engine_verbs import drive
from .world import World

HOLDERS = ("closable", "manual", "keyed", "unique")
VOIDERS = ("closable", "keyed")


def held(kind: str = "keyed", amount: int = 100, **how: Any) -> tuple[World, str]:
    """AUTHORIZED at A."""
    w = World({"A": kind, "B": "keyed"}, **how)
    pid = w.pay(amount, capture_method="manual")
    w.run(hours=0.01)
    require(w.payment(pid).status == "AUTHORIZED", f"not held: {w.kinds(pid)}")
    return w, pid


def paid(kind: str = "keyed", **how: Any) -> tuple[World, str]:
    w = World({"A": kind}, **how)
    pid = w.pay()
    w.run(hours=0.01)
    require(w.payment(pid).status == "SUCCESS", "not paid")
    return w, pid


def states(w: World, pid: str) -> list[str]:
    return [f"{o.kind} {o.state}" for o in w.payment(pid).operations[1:]]


def kinds(w: World, pid: str) -> list[str]:
    return [m.kind for m in moves(w, pid)]


def the_hold(w: World, pid: str) -> Any:
    return next(t for b in w.vendors["A"].boxes for t in b.tries if t.reference[:20] == pid[4:])


# --- holds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOLDERS)
def test_11_capture_unknown_then_a_void_is_asked(kind: str) -> None:
    """The answer to the capture is lost: a void is refused with 409 until it is known, then it is too late for one."""
    w, pid = held(kind)
    w.script("A", "capture", "lost_after")
    w.script("A", "read", *["5xx_before"] * 3)
    ask(w, pid, "capture")
    early, late = ask(w, pid, "void", after_s=5, patient=False), ask(w, pid, "void", after_s=5000)
    settled(w, pid, "SUCCESS")
    require(early.refused == "operation_in_progress", early.refused)
    require(late.refused == "operation_not_possible", late.refused)
    require(kinds(w, pid) == ["authorize", "capture"], f"{kinds(w, pid)}")


@pytest.mark.parametrize("kind", HOLDERS)
def test_11_a_refund_waits_for_an_unknown_capture(kind: str) -> None:
    """Money that may not have been taken is not given back; asked again under the same key, it is done when it is known."""
    w, pid = held(kind)
    w.script("A", "capture", "lost_after")
    w.script("A", "read", *["5xx_before"] * 3)
    ask(w, pid, "capture", 80)
    wish = ask(w, pid, "refund", 30, after_s=5)
    p = settled(w, pid, "SUCCESS")
    require(wish.refusals[:1] == ["operation_in_progress"] and bool(wish.receipts), f"{wish}")
    require((p.captured_minor, p.refunded_minor) == (80, 30), "other amounts")


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_stalled_capture_arrives_after_the_second_one(kind: str) -> None:
    """Capture #1 stalls, a look shows the hold as it was, #2 takes it, #1 arrives: one capture."""
    w, pid = held(kind)
    w.script("A", "capture", "stall:7200", "ok")
    ask(w, pid, "capture", 60)
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("capture") == 2, "not captured again")
    require(kinds(w, pid) == ["authorize", "capture"], f"{kinds(w, pid)}")


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_capture_refused_then_read(kind: str) -> None:
    """Captured, the answer lost, and whatever is sent again is refused: the look decides."""
    w, pid = held(kind)
    w.script("A", "capture", "lost_after", "422", "422")
    w.script("A", "read", "lag:600", "lag:600", "lag:600", "lag:600")
    ask(w, pid, "capture")
    settled(w, pid, "SUCCESS")
    require(kinds(w, pid) == ["authorize", "capture"], f"{kinds(w, pid)}")


@pytest.mark.parametrize("amount", [100, 60])
@pytest.mark.parametrize("wish", ["capture", "void", None])
def test_captured_in_the_vendors_dashboard(wish: str | None, amount: int) -> None:
    """The merchant takes the hold past us: what was taken counts, whatever was asked here; another amount than ours is told
    to people and never SUCCESS by itself."""
    w, pid = held()
    t = the_hold(w, pid)
    w.dashboard.add(t.ref)
    w.vendors["A"].now = w.now
    w.vendors["A"].take_held(t, amount)
    if wish:
        ask(w, pid, wish)
    w.hint(pid, after_s=60)
    w.run()
    p = w.payment(pid)
    if amount == 100:
        check_ledgers(w, pid, doubt=False)
        expected = {"capture": ["capture SUCCEEDED"], "void": ["void FAILED"], None: []}[wish]
        require((p.status, states(w, pid)) == ("SUCCESS", expected), f"{p.status} {states(w, pid)}")
    else:
        require(p.status == "AUTHORIZED" and bool(p.attention), f"{p.status} {p.attention}")
        engine, how = w.workers[0].engine, {"reason": "dashboard", "actor": "ops"}
        done: Any
        if wish == "capture":
            done = drive(engine.decide(SCOPE, pid, p.operations[1].id, "done", **how))
        else:
            more: Any = {"provider_ref": t.ref, "amount_minor": 60, "accept_amount": True}
            done = drive(engine.resolve(SCOPE, pid, "charged", **how, **more))
        require((done.status, done.captured_minor, done.attention) == ("SUCCESS", 60, "amount_accepted"), f"{done.attention}")
    require(kinds(w, pid) == ["authorize", "capture"], f"{kinds(w, pid)}")


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("wish", ["capture", "void", None])
def test_a_hold_lapses_while_something_is_asked(kind: str, wish: str | None) -> None:
    """Sooner than was said: CANCELED, nothing taken; the capture FAILED, the void is done."""
    w, pid = held(kind)
    w.script("A", "capture", "lost_before", "lost_before", "lost_before")
    w.script("A", "void", "lost_before", "lost_before", "lost_before")
    if wish:
        ask(w, pid, wish)
    w.run(hours=0.005)
    w.vendors["A"].now = w.now
    w.vendors["A"]._release(the_hold(w, pid), "lapse")
    p = settled(w, pid, "CANCELED")
    expected = {"capture": ["capture FAILED"], "void": ["void SUCCEEDED"], None: []}[wish]
    require(states(w, pid) == expected, f"{states(w, pid)} {p.reason}")
    require(kinds(w, pid) == ["authorize", "lapse"], f"{kinds(w, pid)}")


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("kind", HOLDERS)
def test_authorized_has_an_end(kind: str, says: bool) -> None:
    """Nobody asks for anything: CANCELED by a look, whether the provider says when a hold ends or not."""
    w = World({"A": kind})
    w.vendors["A"].says_end = says
    pid = w.pay(capture_method="manual")
    p = settled(w, pid, "CANCELED")
    require(p.reason == "authorization_expired" and kinds(w, pid) == ["authorize", "lapse"], f"{p.reason}")


@pytest.mark.parametrize("kind", VOIDERS)
def test_a_void_of_a_hold_is_sent_once_more_after_a_look(kind: str) -> None:
    """Voided, the answer lost: the look shows it, nothing is sent again."""
    w, pid = held(kind)
    w.script("A", "void", "lost_after")
    ask(w, pid, "void")
    settled(w, pid, "CANCELED")
    require(w.kinds(pid).count("void") == 1 and states(w, pid) == ["void SUCCEEDED"], f"{w.kinds(pid)}")


@pytest.mark.parametrize("kind", VOIDERS)
def test_a_void_that_only_begins(kind: str) -> None:
    """The provider works on it: read until it shows, not sent again."""
    w, pid = held(kind)
    w.script("A", "decide void", "later:20")
    ask(w, pid, "void")
    settled(w, pid, "CANCELED")
    require(kinds(w, pid) == ["authorize", "void"], f"{kinds(w, pid)}")


def test_where_there_is_no_void_nothing_is_sent() -> None:
    """The hold is left to lapse, and captured by nobody meanwhile."""
    for kind in ("manual", "unique"):
        w, pid = held(kind)
        ask(w, pid, "void")
        late = ask(w, pid, "capture", after_s=60, patient=False)
        settled(w, pid, "CANCELED")
        require(late.refused == "operation_in_progress", late.refused)
        require(kinds(w, pid) == ["authorize", "lapse"] and "void" not in w.kinds(pid), f"{w.kinds(pid)}")


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("decision", ["yes", "processing_yes:60", "soft", "action_yes:60", "action_never"])
@pytest.mark.parametrize("manual", [True, False])
def test_a_void_while_the_charge_is_under_way(kind: str, decision: str, manual: bool) -> None:
    """Nothing new is fired from then on; what was taken is SUCCESS and the void FAILED, what was held is released."""
    w = World({"A": kind, "B": "keyed"})
    w.vendors["A"].says_end = True
    w.script("A", "decide", decision)
    w.script("A", "fire", "lost_after")
    pid = w.pay(capture_method="manual" if manual else "automatic")
    ask(w, pid, "void", after_s=3)
    w.run()
    check_ledgers(w, pid)
    p = w.payment(pid)
    require([m for m in taken(w, pid) if m.kind == "charge"] == [] or p.status == "SUCCESS", f"{p.status}")
    asked = p.operations[1].at_us if len(p.operations) > 1 else 0
    late = [s for s in p.steps() if s.kind in ("fire", "replay", "create") and s.at_us > asked > 0]
    require(not late, f"fired after the void was asked: {late}")
    require(p.status != "IN_DOUBT" or (decision.startswith("action") and not w.vendors["A"].terms.closable), p.status)


@pytest.mark.parametrize("kind", ["keyed", "unique", "closable", "manual"])
def test_a_late_hold_after_failover_is_released(kind: str) -> None:
    """A declined, B holds; then A holds after all: the surplus goes back, or lapses, and nothing of it is ever taken."""
    w = World({"A": kind, "B": "keyed"})
    w.lied = True
    w.script("A", "decide", "lie_yes:300")
    pid = w.pay(capture_method="manual")
    w.hint(pid, after_s=301)
    ask(w, pid, "capture", after_s=9_000)
    w.run()
    check_ledgers(w, pid)
    p = w.payment(pid)
    require(p.status == "SUCCESS" and not p.attention, f"{p.status} {p.attention}")
    require([m.vendor for m in taken(w, pid)] == ["B"], f"{moves(w, pid)}")


@pytest.mark.parametrize("policy", ["refund", "accept"])
def test_a_late_hold_after_failed_is_released(policy: Any) -> None:
    """FAILED was told: the hold is given back under either policy."""
    w = World({"A": "keyed"}, policy=Policy(attempts_max=1, late_success=policy))
    w.lied = True
    w.script("A", "decide", "lie_yes:300")
    pid = w.pay(capture_method="manual")
    settled(w, pid, "FAILED")
    require(kinds(w, pid) == ["authorize", "void"], f"{kinds(w, pid)}")


def test_an_older_attempt_stays_unknown_beside_a_hold() -> None:
    """A late hold wins while the youngest attempt is unknown, for ever: AUTHORIZED stays, people are told, nothing spins."""
    w = World({"A": "keyed", "B": "unique"})
    w.lied = True
    w.script("A", "decide", "lie_yes:300")
    w.script("B", "fire", "lost_before")
    w.script("B", "read", *["404"] * 900)
    pid = w.pay(capture_method="manual")
    w.hint(pid, after_s=301)
    w.run(hours=48)
    p = w.payment(pid)
    require((p.status, bool(p.attention)) == ("AUTHORIZED", True), f"{p.status} {p.reason} {p.attention}")
    require(p.version < 150, f"{p.version} events")


@pytest.mark.parametrize("change", ["base_url", "missing"])
def test_a_repointed_account_with_a_hold(change: str) -> None:
    """Nothing is sent there, and what the merchant asks is refused; put right again it goes on."""
    w, pid = held()
    engine, was, sent = w.workers[0].engine, w.workers[0].engine.accounts["A"], len(w.sent)
    if change == "missing":
        del engine.accounts["A"]
    else:
        engine.accounts["A"] = replace(was, base_url="other")
    require(engine.outside.repointed(w.payment(pid)) == ["A"], "start-up would not notice")
    wish = ask(w, pid, "capture", patient=False)
    w.run(hours=12)
    require(wish.refused == "operation_not_possible", f"{wish.refused}")
    require(len(w.sent) == sent and w.payment(pid).status == "AUTHORIZED", f"{w.sent[sent:]}")
    engine.accounts["A"] = was
    ask(w, pid, "capture")
    settled(w, pid, "SUCCESS")


# --- refunds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*HOLDERS, "keyed_blind", "keyless"])
def test_12_two_concurrent_refunds_of_60_on_100(kind: str) -> None:
    """Asked at once by two workers: one is done, the other refused; and never more than was taken."""
    for seed in range(8):
        w, pid = paid(kind, seed=seed, workers=2)
        wishes = [ask(w, pid, "refund", 60, patient=False, repeats=2) for _ in range(2)]
        settled(w, pid, "SUCCESS")
        require(sorted(x.refused for x in wishes) == ["", "amount_exceeds_available"], f"{[x.refused for x in wishes]}")
        require(sum(given_back(w, pid).values()) == 60, f"{given_back(w, pid)}")


def test_one_key_raced_by_two_workers_is_one_refund() -> None:
    """The same request under the same key at once, at any interleaving of the writes: one operation, the same for both."""
    for seed in range(12):
        w, pid = paid(seed=seed, workers=2)
        w.script("store", "Asked", *(["unclear_done"] if seed % 3 == 1 else ["twice"] if seed % 3 == 2 else []))
        wishes = [ask(w, pid, "refund", 30, key="same", repeats=1) for _ in range(3)]
        settled(w, pid, "SUCCESS")
        require(len({r.operation.id for x in wishes for r in x.receipts}) == 1, "two operations under one key")
        require(sum(given_back(w, pid).values()) == 30, f"{given_back(w, pid)}")


def test_11_a_partial_refund_unknown_beyond_the_window() -> None:
    """No key window: looked for, then IN_DOUBT; it keeps its reserve until an operator decides."""
    for word, left in (("done", 60), ("not-done", 100)):
        w, pid = paid("unique")
        w.script("A", "refund", "lost_before")
        ask(w, pid, "refund", 40)
        w.run()
        p = w.payment(pid)
        require(states(w, pid) == ["refund IN_DOUBT"] and bool(p.attention), f"{states(w, pid)}")
        require(w.kinds(pid).count("refund") == 1, "sent again")
        check_ledgers(w, pid)
        too_much = ask(w, pid, "refund", 61, patient=False)
        w.run(hours=1)
        require(too_much.refused == "amount_exceeds_available", too_much.refused)
        engine = w.workers[0].engine
        done: Any = drive(engine.decide(SCOPE, pid, p.operations[1].id, word, reason="asked", actor="ops"))  # type: ignore[arg-type]
        require(done.captured_minor - done.refunded_minor == left and not done.attention, done.attention)
        rest = ask(w, pid, "refund", left, patient=False)
        w.run(hours=1)
        require(bool(rest.receipts), rest.refused)


def test_a_refund_inside_the_window_is_replayed_under_its_key() -> None:
    """Refunded, the answer lost, the list empty for long: the same key again, and given back once."""
    w, pid = paid()
    w.script("A", "refund", "lost_after")
    w.script("A", "read", *["lag:600"] * 4)
    ask(w, pid, "refund", 40)
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("refund") >= 2, "not replayed")
    require(list(given_back(w, pid).values()) == [40], f"{given_back(w, pid)}")


def test_a_refund_is_not_replayed_where_keys_are_forgotten() -> None:
    """A vendor without keys for refunds would give back twice: what is unknown is only looked at."""
    for kind in ("closable", "manual", "unique"):
        w, pid = paid(kind)
        w.script("A", "refund", "lost_after")
        w.script("A", "read", *["404"] * 8)
        ask(w, pid, "refund", 40)
        settled(w, pid, "SUCCESS")
        require(w.kinds(pid).count("refund") == 1 and sum(given_back(w, pid).values()) == 40, f"{given_back(w, pid)}")


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("kind", HOLDERS)
def test_11_a_refund_fails_after_it_was_done(kind: str, hint: bool) -> None:
    """By a webhook, or by the watch: FAILED, its share is free again, and given back anew."""
    w, pid = paid(kind)
    w.script("A", "decide refund", "fails:2000")
    ask(w, pid, "refund", 70)
    if hint:
        w.hint(pid, after_s=2001)
    w.run(hours=0.7 if hint else 24)
    require(states(w, pid) == ["refund FAILED"], f"{states(w, pid)}")
    ask(w, pid, "refund", 70)
    p = settled(w, pid, "SUCCESS")
    require(p.refunded_minor == 70 and states(w, pid)[1] == "refund SUCCEEDED", f"{p.refunded_minor}")


@pytest.mark.parametrize("decision", ["pending_yes:90000", "pending_no:90000", "no"])
@pytest.mark.parametrize("kind", HOLDERS)
def test_a_refund_that_is_long_under_way(kind: str, decision: str) -> None:
    """Read for days, never sent again, never in doubt."""
    w, pid = paid(kind)
    w.script("A", "decide refund", decision)
    ask(w, pid, "refund", 70)
    settled(w, pid, "SUCCESS")
    require(
        states(w, pid) == ["refund SUCCEEDED" if decision.startswith("pending_yes") else "refund FAILED"], f"{states(w, pid)}"
    )
    require(w.kinds(pid).count("refund") == 1, f"{w.kinds(pid)}")


@pytest.mark.parametrize("kind", HOLDERS)
def test_several_partial_refunds(kind: str) -> None:
    """Each with its own name and key; together as much as was taken and not a unit more."""
    w, pid = held(kind, 12_345)
    w.vendors["A"].renames = True
    ask(w, pid, "capture", 10_000)
    wishes = [
        ask(w, pid, "refund", amount, after_s=60 * n, patient=False) for n, amount in enumerate((4_000, 5_000, 2_000, 1_000), 1)
    ]
    p = settled(w, pid, "SUCCESS")
    require([x.refused for x in wishes] == ["", "", "amount_exceeds_available", ""], f"{[x.refused for x in wishes]}")
    require((p.captured_minor, p.refunded_minor) == (10_000, 10_000), f"{p.refunded_minor}")


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_currency", "wrong_reference", "crossed"])
def test_13_a_refund_answer_that_is_about_another_one(fault: str) -> None:
    """Another amount, currency or name in a good answer is no evidence: looked up."""
    w, pid = paid("unique")
    w.pay()
    w.run(hours=0.01)
    w.script("A", "refund" if fault != "crossed" else "read", fault)
    if fault == "crossed":
        w.script("A", "refund", "lost_after")
    ask(w, pid, "refund", 40)
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("refund") == 1 and "read" in w.kinds(pid), f"{w.kinds(pid)}")


# --- crash points ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["unclear_done", "unclear_not", "unclear_later:3", "crash_before", "crash_after", "conflict"])
@pytest.mark.parametrize("event", ["Asked", "Planned", "Observed"])
@pytest.mark.parametrize("wish", ["capture", "void", "refund"])
def test_16_every_commit_of_an_operation_fails_in_every_way(wish: str, event: str, fault: str) -> None:
    """Done but unclear, not done, done later, a crash on either side: asked again under the same key it is done once."""
    for kind in HOLDERS:
        for nth in range(3):
            w, pid = paid(kind, workers=2) if wish == "refund" else held(kind, workers=2)
            w.script("store", event, *["ok"] * nth, fault)
            ask(w, pid, wish, 60 if wish != "void" else None, repeats=1)
            w.run()
            # what was claimed and perhaps not sent cannot be sent again where there are no keys
            check_ledgers(w, pid, doubt=wish == "refund" and kind != "keyed" and event == "Planned")
            require(len(w.payment(pid).operations) == 2, f"{states(w, pid)}")


# --- customer action ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("decision", ["action_yes:1799", "action_yes:60", "action_no:60", "action_never", "action_ends:1800"])
def test_10_a_customer_acts_or_does_not(kind: str, says: bool, decision: str) -> None:
    """Paid up to the last second is SUCCESS; a no is FAILED; abandoned is CANCELED where it can be closed or is left, and
    read on, in doubt at last, where it cannot."""
    w = World({"A": kind, "B": "keyed"})
    w.vendors["A"].says_end = says
    w.script("A", "decide", decision)
    pid = w.pay()
    w.run(hours=0.01)
    engine = w.workers[0].engine
    action: Any = drive(engine.action(w.payment(pid)))
    require(action is not None and action[0].url.startswith("https://A.test/act/"), f"{action}")
    require(b"/act/" not in b"".join(e.raw for e in w.store._events[pid]), "the URL stands in the chain")
    w.run()
    check_ledgers(w, pid)
    p = w.payment(pid)
    open_end = decision == "action_never" and kind in ("keyed", "unique")
    expected = {"y": "SUCCESS", "n": "FAILED", "e": "CANCELED"}[decision[7] if decision != "action_never" else "e"]
    require(p.status == ("IN_DOUBT" if open_end else expected), f"{p.status} {p.reason}")
    require(len(p.attempts) == 1, "sent elsewhere after a customer was asked")


@pytest.mark.parametrize("kind", ["closable"])
def test_10_paid_during_the_close(kind: str) -> None:
    """The customer pays between our look and our close: the close is refused, the re-read says SUCCESS."""
    w = World({"A": kind})
    w.script("A", "decide", "action_yes:1801")
    w.script("A", "close", "freeze_before:3")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require("close" in w.kinds(pid), "not the interleaving meant")


def test_10_an_abandoned_action_at_own_capture_is_left() -> None:
    """CANCELED at its end; the customer who pays an hour later pays for a hold that nobody takes, and that lapses."""
    w = World({"A": "manual"})
    w.script("A", "decide", "action_yes:5400")
    pid = w.pay()
    p = settled(w, pid, "CANCELED")
    require(p.reason == "expired" and p.attempts[0].left, f"{p.reason}")
    require(kinds(w, pid) == ["authorize", "lapse"], f"{kinds(w, pid)}")


def test_10_abandoned_and_paid_late_where_nobody_can_close_it() -> None:
    """IN_DOUBT is left by proof: what is paid in the end is SUCCESS."""
    w = World({"A": "unique"})
    w.script("A", "decide", f"action_yes:{3 * 24 * 3600}")
    pid = w.pay()
    settled(w, pid, "SUCCESS")


def test_a_slow_reader_of_a_capture() -> None:
    """A second worker reads the hold while the first one's capture is on its way: nothing is sent twice."""
    w, pid = held(workers=2)
    w.script("A", "capture", "freeze_after:30")
    ask(w, pid, "capture")
    w.hint(pid, after_s=2)
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("capture") == 1, f"{w.kinds(pid)}")
