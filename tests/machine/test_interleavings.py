"""The interleavings of protocol.md section 8 whose parts exist, one test each, under their numbers. Each is killed by a
mutant in test_mutants.py (the rule taken away), so none of them passes by accident.

Checkout (10), captures, refunds and voids (11, 12) are in test_interleavings_operations.py; authentication (8) brings its
own."""

import pytest
from msgspec.structs import replace

from payonce.engine import Policy

from .oracles import check_ledgers, moves, require, settled, taken
from .vendors import HOUR, S
from .world import World

REFUSALS = ("422", "401", "404", "409")
SHORT = {"A": {"watch_s": 600}}
LIES = ("wrong_amount", "wrong_currency", "wrong_mode")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_01_the_replay_of_a_charged_fire_is_refused(refusal: str) -> None:
    """Charged, answer lost, replay refused with 422, 401, 404 or 409: that speaks for the replay only; SUCCESS by read."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "fire", "lost_after", refusal, refusal, refusal)
    w.script("A", "read", "5xx_before", "5xx_before")
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require("replay" in w.kinds(pid) and p.winner == 0, "the replay was not tried")


def test_01_duplicate_order_id_is_looked_up_not_believed() -> None:
    """Charged, answer lost, and the vendor with unique references cannot be asked again: only a read settles it."""
    w = World({"A": "unique", "B": "keyed"})
    w.script("A", "fire", "lost_after")
    w.script("A", "read", "404", "401", "404")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("fire") == 1 and "replay" not in w.kinds(pid), "a unique reference licensed a re-send")


@pytest.mark.parametrize("kind", ["closable", "manual"])
def test_02_stalled_fire_arrives_after_the_refire_was_declined(kind: str) -> None:
    """Fire #1 stalls, reads show nothing, re-fire #2 is declined, #1 then arrives: the decline speaks for #2 only."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "stall:7200", "ok")
    w.script("A", "decide", "soft", "yes")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("fire") == 3, "there was no re-fire, or no failover")


def test_02_a_close_that_was_only_requested_proves_nothing() -> None:
    """The vendor accepts our close while fire #1 is still stalled, and takes the money: only the re-read seals."""
    w = World({"A": "closable", "B": "keyed"})
    w.script("A", "fire", "stall:7200", "ok")
    w.script("A", "decide", "soft", "yes")
    w.script("A", "close", *["requested"] * 30)
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 0 and len(p.attempts) == 1, "left on the word of an answer")


def test_03_the_sender_freezes_after_its_commit_and_thaws_too_late() -> None:
    """A sender that freezes between commit and first byte sends nothing after its deadline: others resolved it meanwhile."""
    w = World({"A": "closable", "B": "keyed"}, workers=2)
    w.script("store", "Planned", "ok", "freeze_after:100000")  # create, then the fire freezes
    w.script("A", "decide", "soft")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    sent = [s for s in w.sent if s[2] == "fire" and s[1] == "A"]
    require(all(at < w.payment(pid).created_us + HOUR for at, *_ in sent), "a thawed sender sent its old fire")


def test_04_a_list_read_from_before_the_refire_arrives_after_it() -> None:
    """A list that shows two declines, begun before fire #2 and arriving after it, accounts for nothing sent since."""
    w = World({"A": "closable", "B": "keyed"}, workers=2)
    w.script("A", "fire", "stall:15", "stall:200")
    w.script("A", "decide", "soft", "soft", "yes")  # fire #1 is processed twice, then #2 succeeds
    # the fourth read holds its list back until after fire #2; the fifth lags and licenses it
    w.script("A", "read", "ok", "ok", "freeze_after:160", "lag:100")
    pid = w.pay()
    a = w.vendors["A"]
    w.at(w.now + 16 * S, lambda: a.handle(w.now, a.boxes[0].tries[0].doc))
    settled(w, pid, "SUCCESS")
    order = [e for e in w.kinds(pid) if e in ("fire", "read")]
    require(order[:6] == ["fire", "read", "read", "read", "read", "fire"], f"not the interleaving meant: {order}")


@pytest.mark.parametrize("change", ["base_url", "mode", "credential_id", "missing"])
def test_05_the_account_changes_while_unknown(change: str) -> None:
    """Account gone, re-pointed or of another mode while UNKNOWN: nothing is sent there, it is never NO, it ends IN_DOUBT."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "fire", "lost_after")
    pid = w.pay()
    w.run(hours=0.0001)
    engine = w.workers[0].engine
    sent = len(w.sent)
    if change == "missing":
        del engine.accounts["A"]
    else:
        engine.accounts["A"] = replace(engine.accounts["A"], **{change: "live" if change == "mode" else "other"})
    p = settled(w, pid, "IN_DOUBT", doubt=True)
    require(len(w.sent) == sent, f"sent to a lost account: {w.sent[sent:]}")
    require(p.attempts[0].steps[0].outcome is not None, "the answer in flight was lost")


@pytest.mark.parametrize("webhook", [True, False])
@pytest.mark.parametrize("policy", ["refund", "accept"])
def test_06_failed_then_the_vendor_flips_to_paid(webhook: bool, policy: str) -> None:
    """FAILED, then paid after all, with or without a webhook: given back on the record, or accepted, as the policy says."""
    w = World({"A": "keyed"}, policy=Policy(attempts_max=1, late_success=policy))  # type: ignore[arg-type]
    w.lied = True
    w.script("A", "decide", "lie_yes:40000")
    pid = w.pay()
    if webhook:
        w.hint(pid, after_s=40_001)
    p = settled(w, pid, "FAILED" if policy == "refund" else "SUCCESS")
    require(len(taken(w, pid)) == 1, "the vendor did not flip")
    require(p.reversed_minor() == (100 if policy == "refund" else 0), "not reversed as the policy says")
    delay = moves(w, pid)[-1].at_us - taken(w, pid)[0].at_us
    require(not webhook or policy == "accept" or delay < 60 * S, "the webhook did not pull the read forward")


def test_06_a_provisional_decline_is_waited_for() -> None:
    """A decline that may still flip is no NO: no failover before it was seen after its time; it flips, SUCCESS there."""
    for kind in ("keyed", "unique", "closable"):
        w = World({"A": kind, "B": "keyed"})
        w.script("A", "decide", "provisional_yes:900")
        pid = w.pay()
        p = settled(w, pid, "SUCCESS")
        require((p.winner, len(p.attempts)) == (0, 1), f"{kind}: left a decline that could flip")


def test_06_in_doubt_is_watched() -> None:
    """IN_DOUBT because of B, whom nobody can ask: A's decline flips to paid and is noticed, SUCCESS with attention."""
    w = World({"A": "keyed", "B": "keyless"}, terms={"B": {"horizon_s": 3600}})
    w.lied = True
    w.script("A", "decide", "lie_yes:40000")
    w.script("B", "fire", "lost_before")
    pid = w.pay()
    w.run(hours=2)
    require(w.payment(pid).status == "IN_DOUBT", "not in doubt")
    p = settled(w, pid, "SUCCESS")
    require((p.winner, p.attention) == (0, "horizon"), f"{p.winner} {p.attention}")
    require(w.payment(pid).version < 100, "attention was said again and again")


def test_06_a_hint_during_the_read_is_not_swallowed_by_it() -> None:
    """A webhook that arrives while a hinted read is under way asks for another read: the first may have missed the news."""
    w = World({"A": "keyed"}, policy=Policy(attempts_max=1), terms={"A": {"watch_s": 1, "read_schedule_s": (900_000,)}})
    w.lied = True
    w.script("A", "decide", "lie_yes:100")
    w.script("A", "read", "ok", "stale")  # the watch's own read, then the hinted one
    pid = w.pay()
    w.hint(pid, after_s=95)
    w.hint(pid, after_s=101)
    p = settled(w, pid, "FAILED")
    require(p.reversed_minor() == 100, "the second webhook was lost")


def test_07_two_accounts_succeed_late_and_two_workers_reverse_one() -> None:
    """A declined, B charged, A flips to paid: both workers see the surplus, exactly one reversal operation gives it back."""
    w = World({"A": "keyed", "B": "keyed"}, workers=2)
    w.lied = True
    w.script("A", "decide", "lie_yes:20000")
    w.script("A", "refund", "lost_after", "409")
    pid = w.pay()
    w.hint(pid, after_s=20_001)
    w.hint(pid, after_s=20_001)
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 1 and len(taken(w, pid)) == 2 and len(p.operations) == 2, "not one surplus, one reversal")
    require(p.reversed_minor() == 100 and p.refunded_minor == 0, "a surplus touches refunded_minor")


@pytest.mark.parametrize("first", [True, False])
def test_07_the_vendor_refunds_by_itself_as_we_do(first: bool) -> None:
    """The vendor auto-refunds the surplus, before our read or between read and refund: looked up, nothing given twice."""
    w = World({"A": "keyed", "B": "keyed"})
    w.lied = True
    w.script("A", "decide", "lie_yes:20000")
    pid = w.pay()
    w.hint(pid, after_s=20_002)
    a, reference = w.vendors["A"], pid[4:] + "0100"
    real = a.handle

    def vendor_is_faster(now: int, doc: dict, lag: int = 0) -> tuple:  # type: ignore[type-arg]
        if doc["kind"] == "refund":
            a.auto_refund(reference)
        return real(now, doc, lag)

    if first:
        w.at(w.now + 20_001 * S, lambda: a.auto_refund(reference))
    else:
        a.handle = vendor_is_faster  # type: ignore[method-assign]
    p = settled(w, pid, "SUCCESS")
    require(p.operations[1].state == "SUCCEEDED", f"the reversal is {p.operations[1].state}")
    kinds = [s.kind for s in p.operations[1].steps]
    require(kinds == (["read"] if first else ["read", "refund", "read"]), f"{kinds}")


def test_07_no_reversal_while_the_other_attempt_is_unknown() -> None:
    """A flips to paid while B is UNKNOWN: A is kept, nothing is given back before B is known; then B is the surplus."""
    w = World({"A": "keyed", "B": "unique"})
    w.lied = True
    w.script("A", "decide", "lie_yes:30")
    w.script("B", "fire", "stall:7000")
    pid = w.pay()
    w.hint(pid, after_s=31)
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 0 and len(taken(w, pid)) == 2, "not the interleaving meant")
    require([m.vendor for m in moves(w, pid) if m.kind == "refund"] == ["B"], "the wrong charge was given back")


def test_07_a_surplus_is_not_given_back_while_a_third_is_unknown() -> None:
    """A and B both flip to paid while C is UNKNOWN: A is kept, B waits until C is known, then B and C are given back."""
    w = World({"A": "keyed", "B": "keyed", "C": "unique"})
    w.lied = True
    w.script("A", "decide", "lie_yes:30")
    w.script("B", "decide", "lie_yes:30")
    w.script("C", "fire", "stall:7000")
    pid = w.pay()
    w.hint(pid, after_s=31)
    p = settled(w, pid, "SUCCESS")
    back = [(m.vendor, m.at_us - p.created_us >= 7000 * S) for m in moves(w, pid) if m.kind == "refund"]
    require(p.winner == 0 and sorted(back) == [("B", True), ("C", True)], f"given back: {back}")


def test_07_a_left_attempt_does_not_bar_the_reversal() -> None:
    """An attempt that was left can never take money: the surplus beside it is given back."""
    w = World({"A": "keyed", "B": "manual"}, policy=Policy(attempts_max=2))
    w.lied = True
    w.script("A", "decide", "lie_yes:20000")
    w.script("B", "decide", "soft", "soft")
    w.script("B", "fire", "lost_before", "ok")
    pid = w.pay()
    p = settled(w, pid, "FAILED")
    require(p.attempts[1].left and p.reversed_minor() == 100 and p.attention == "", f"{p.attention} {p.attempts[1].left}")


def test_09_container_creation_times_out_then_the_provider_is_down() -> None:
    """A container that may or may not exist moves nothing: the payment goes on at the next account, no attempt burnt."""
    w = World({"A": "closable", "B": "closable"}, policy=Policy(attempts_max=1))
    w.script("A", "create", "lost_after", "lost_before", "lost_before")
    w.at(w.now + 5 * S, lambda: w.outages.add("A"))
    w.at(w.now + 600 * S, lambda: w.outages.discard("A"))
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 1 and p.updated_us < p.created_us + 600 * S, "it waited for the dead provider")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("where", ["answer", "read"])
def test_13_wrong_money_in_a_good_answer(lie: str, where: str) -> None:
    """A good answer or read with another amount, currency or mode is IN_DOUBT at once, and no other account is tried."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "fire", lie if where == "answer" else "lost_after")
    w.script("A", "read", *[lie] * 8)
    pid = w.pay()
    w.run(hours=24 * 6)
    p = w.payment(pid)
    require((p.status, p.reason) == ("IN_DOUBT", "mismatch") and len(p.attempts) == 1, f"{p.status} {p.reason}")
    settled(w, pid, "SUCCESS")  # the vendor corrects itself: left by proof


def test_13_a_foreign_object_is_no_evidence() -> None:
    """An answer, decline or read about another reference proves nothing: no success, no failover because of it."""
    for decision, status in (("yes", "SUCCESS"), ("hard", "FAILED")):
        w = World({"A": "keyed", "B": "keyed"})
        w.script("A", "decide", decision)
        w.script("A", "fire", "wrong_reference")
        w.script("A", "read", "wrong_reference", "wrong_reference")
        pid = w.pay()
        w.run(hours=0.0002)
        require(w.payment(pid).status == "PENDING", "believed an answer about another object")
        settled(w, pid, status)


def test_13_a_foreign_decline_does_not_lead_to_failover() -> None:
    """A cross-wired read that shows another payment's decline once led to failover and a double charge: it is Absent."""
    w = World({"A": "unique", "B": "keyed"})
    w.script("A", "fire", "lost_after")
    other, pid = w.pay(), w.pay()
    w.script("A", "decide", "soft")
    mine = w.vendors["A"].handle

    def cross_wired(now: int, doc: dict, lag: int = 0) -> tuple:  # type: ignore[type-arg]
        crossed = doc["kind"] == "read" and now < w.workers[0].now_us() + 1 and len(seen) < 3
        seen.append(doc["reference"])
        swapped = {pid[4:]: other[4:], other[4:]: pid[4:]}
        return mine(now, {**doc, "reference": swapped[doc["reference"][:20]] + "0100"} if crossed else doc, lag)

    seen: list[str] = []
    w.vendors["A"].handle = cross_wired  # type: ignore[method-assign]
    w.run()
    for each in (other, pid):
        check_ledgers(w, each)
