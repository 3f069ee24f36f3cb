"""The interleavings of protocol.md section 8, continued: 14 to 20, what workers, stores and clocks do to each other."""

import pytest

from payonce.core.errors import NewerSchema
from payonce.core.events import Hinted
from payonce.core.payment import Payment
from payonce.engine import Policy

from .oracles import check_ledgers, events_of, kept, moves, require, settled, taken
from .pauses import Pause
from .restoring import backup, reconcile, restore
from .vendors import HOUR, S
from .world import World, at_once

REFUSALS = ("422", "401", "404", "409")
SHORT = {"A": {"watch_s": 600}}
LIES = ("wrong_amount", "wrong_currency", "wrong_mode")


@pytest.mark.parametrize("seed", range(12))
def test_14_duplicates_of_everything_to_two_workers(seed: int) -> None:
    """Every message twice and late, every webhook many times to both workers: one charge, the same end."""
    w = World({"A": "keyed", "B": "unique"}, seed=seed, workers=2, rates={"dup": 1.0, "freeze": 0.02})
    w.script("A", "decide", "soft" if seed % 2 else "yes")
    pid = w.pay()
    for after_s in (0, 0, 0.5, 1, 1, 30, 4000, 4000):
        w.hint(pid, after_s)
    p = settled(w, pid, "SUCCESS")
    require(p.winner == seed % 2, "the wrong winner")


def test_14_a_keyed_vendor_forgets_its_keys() -> None:
    """Charged, every answer lost, reads show nothing until the vendor has forgotten the key: no replay after the span."""
    w = World({"A": "keyed"}, terms={"A": {"horizon_s": 3 * 86_400, "read_lag_s": 0}})
    w.script("A", "fire", *["lost_after"] * 60)
    w.script("A", "read", *["404"] * 60)
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require(1 < w.kinds(pid).count("replay") < 8, "not replayed within the span")


def test_14_the_last_chance_inside_the_span_is_taken() -> None:
    """The schedule would jump over the end of the replay span: one replay a minute before it settles the payment."""
    w = World({"A": "keyed"}, terms={"A": {"read_schedule_s": (5, 60, 1800, 7200)}})
    w.script("A", "fire", "lost_before", "not_sent")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require(w.payment(pid).updated_us < w.payment(pid).created_us + 7200 * S, "settled after the span")


def test_14_workers_that_slept_over_the_span_do_not_replay() -> None:
    """All workers are down from before the span's end until after it: what was due as a replay becomes a read."""
    w = World({"A": "keyed"}, terms={"A": {"horizon_s": 3 * 86_400}})
    w.script("A", "fire", "lost_after")
    w.script("A", "read", "404")
    pid = w.pay()
    w.run(hours=0.0034)
    require(w.kinds(pid) == ["fire", "read"], "a replay is not what is due")
    w.now += 30 * HOUR
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid)[-1] == "read", "woke up to a replay outside the span")


def test_15_an_older_worker_meets_a_newer_row() -> None:
    """A row written by newer code is left due and untouched by the older worker; the newer one settles it."""
    w = World({"A": "keyed"}, workers=2)
    old = w.workers[0].engine
    writes: list[str] = []

    class Old(type(old.store)):  # type: ignore[misc]
        async def get(self, payment_id: str) -> Payment | None:
            await Pause(w.now + S)
            raise NewerSchema(payment_id)

        async def commit(self, change, expected_version):  # type: ignore[no-untyped-def]
            writes.append(change.payment.id)
            return await super().commit(change, expected_version)

        async def defer(self, payment_id: str, *_: int) -> bool:
            writes.append(payment_id)
            return False

    pid = w.pay()
    old.store = Old(w.workers[0])
    w.idle.clear()
    w.heap.clear()
    w.spawn(lambda: old.advance(pid))
    w.run(hours=1)
    require(at_once(w.store.next_due()) is not None and not writes, "the older worker touched it")
    for worker in w.workers:
        worker.start()
    settled(w, pid, "SUCCESS")
    require(not writes, "the older worker wrote")


@pytest.mark.parametrize("fault", ["unclear_done", "unclear_not", "unclear_later:3", "crash_before", "crash_after", "conflict"])
@pytest.mark.parametrize("event", ["Planned", "Observed", "Judged"])
@pytest.mark.parametrize("kind", ["keyed", "closable", "manual", "unique"])
def test_16_every_commit_fails_in_every_way(kind: str, event: str, fault: str) -> None:
    """Done but reported unclear, not done, done later, a crash on either side, at each of the first commits: one charge."""
    for nth in range(4):
        w = World({"A": kind, "B": "keyed"}, workers=2, terms=SHORT)
        w.script("store", event, *["ok"] * nth, fault)
        w.script("A", "decide", "soft")
        pid = w.pay()
        w.run()
        check_ledgers(w, pid, doubt=kind == "unique" and event == "Planned")
        first = [e.step for e in events_of(w, pid) if hasattr(e, "step") and e.step.kind == "fire"]
        sent = [s for s in w.sent if s[2] == "fire"]
        require(len(sent) <= len(first) + w.kinds(pid).count("replay"), "more sends than steps")


def test_16_byte_identical_claims_of_two_workers() -> None:
    """Two workers claim the same step at once; the loser's commit is unclear: only the owner of the recorded step sends."""
    w = World({"A": "keyless"}, workers=2)
    pid = w.pay()
    w.script("store", "late Planned", "unclear_not")
    racers = [worker.engine.advance(pid) for worker in w.workers]
    while racers:  # step by step, in the same instant
        for racer in list(racers):
            try:
                racer.send(None)
            except StopIteration:
                racers.remove(racer)
    require(not w.scripts["store", "late Planned"], "they did not race")
    require(len([s for s in w.sent if s[2] == "fire"]) == 1, "both sent")
    settled(w, pid, "SUCCESS")


@pytest.mark.parametrize(
    ("kind", "dedupes"),
    [("keyed", True), ("unique", False), ("closable", True), ("manual", True), ("closable", False), ("manual", False)],
)
def test_17_a_backup_is_restored_with_sent_attempts_missing(kind: str, dedupes: bool) -> None:
    """Derived keys and references collide at the provider instead of charging again, or `payonce reconcile` finds what was
    sent; --hold fires nothing before that."""
    w = World({"A": kind})
    w.vendors["A"].honours_keys = dedupes
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require(len(taken(w, pid)) == 1, "not charged yet")
    restore(w, accepted)
    sent = len(w.sent)
    w.run(hours=1)
    require(not [s for s in w.sent[sent:] if s[2] != "read"], "--hold fired")
    require(reconcile(w, pid), "not answered")
    settled(w, pid, "SUCCESS")


def test_17_a_backup_older_than_the_key_window_is_restored() -> None:
    """The vendor has forgotten the key: only `payonce reconcile` finds the charge."""
    w = World({"A": "keyed"})
    pid = w.pay()
    accepted = backup(w, pid)
    w.run(hours=0.01)
    require(len(taken(w, pid)) == 1, "not charged yet")
    w.now += 30 * HOUR
    restore(w, accepted)
    w.run(hours=1)
    require(reconcile(w, pid), "not answered")
    settled(w, pid, "SUCCESS")
    require(len(taken(w, pid)) == 1, "charged again")


@pytest.mark.parametrize("jump_h", [-1, 1])
@pytest.mark.parametrize("kind", ["keyed", "closable", "manual", "unique"])
def test_18_the_clock_of_one_of_two_workers_jumps(kind: str, jump_h: int) -> None:
    """An hour either way between claim and send, while another settles it: clocks decide when, writes decide whether."""
    for nth in range(3):
        w = World({"A": kind, "B": "keyed"}, workers=2, terms=SHORT)
        w.script("store", "Planned", *["ok"] * nth, "freeze_after:1800")
        w.script("A", "decide", "soft")
        pid = w.pay()
        w.at(w.now + 3 * S, lambda w=w: setattr(w.workers[0], "offset_us", jump_h * HOUR))  # type: ignore[misc]
        w.at(w.now + 4 * S, lambda w=w: setattr(w.workers[1], "offset_us", jump_h * HOUR))  # type: ignore[misc]
        w.run(hours=24 * 30)
        check_ledgers(w, pid, doubt=kind == "unique")


@pytest.mark.parametrize("kind", ["keyed", "closable", "manual", "unique"])
@pytest.mark.parametrize("late_s", [60, 5_000, 90_000])
def test_19_a_late_answer_of_an_old_step_while_a_newer_one_is_open(kind: str, late_s: int) -> None:
    """The sender freezes with the answer in hand: it is appended late, counts for its own step, and the due time holds."""
    for decision in ("yes", "soft"):
        w = World({"A": kind, "B": "keyed"}, workers=2, terms=SHORT)
        w.script("A", "fire", f"freeze_after:{late_s}")
        w.script("A", "decide", decision)
        w.script("A", "read", "5xx_before", "stale")
        pid = w.pay()
        p = settled(w, pid, "SUCCESS")
        require(p.attempts[0].steps[0].outcome is not None or kind == "unique", "the late answer was thrown away")


def test_19_the_answer_in_hand_survives_conflicts_and_an_absent_store() -> None:
    """Evidence is never lost to a race: the answer is written again until it holds."""
    w = World({"A": "keyless"})
    w.script("store", "Observed", "conflict", "store_down", "unclear_not", "conflict", "store_down")
    pid = w.pay()
    settled(w, pid, "SUCCESS")


def test_19_a_second_worker_waits_for_the_lease() -> None:
    """While an answer is on its way for seven seconds, a second worker that is woken does nothing."""
    w = World({"A": "keyed"}, workers=2)
    w.script("A", "fire", "freeze_after:7")
    pid = w.pay()
    for after_s in (1, 2, 3):
        w.at(w.now + after_s * S, lambda: w.spawn(lambda: w.workers[1].engine.advance(pid)))
    settled(w, pid, "SUCCESS")
    require(w.payment(pid).version == 3, f"{w.kinds(pid)} {w.payment(pid).status}")


def test_20_a_rejected_capture_never_becomes_a_fire() -> None:
    """Held, capture rejected (401, 422) again and again: captured again, never fired again."""
    w = World({"A": "manual", "B": "keyed"})
    w.script("A", "capture", "422", "401", "lost_before", "422")
    pid = w.pay()
    settled(w, pid, "SUCCESS")
    require(w.kinds(pid).count("fire") == 1 and [m.kind for m in moves(w, pid)] == ["authorize", "capture"], "fired again")


def test_20_a_capture_that_is_refused_for_ever_does_not_hold_the_payment() -> None:
    """Captures get 401 without end: the horizon does not move with them; left, charged elsewhere, the hold lapses."""
    w = World({"A": "manual", "B": "keyed"}, terms={"A": {"horizon_s": 40_000}})
    w.script("A", "capture", *["401"] * 9_000)
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 1 and p.attempts[0].left, "not left")
    require(p.version < 200, f"{p.version} events")
    require([m.kind for m in moves(w, pid) if m.vendor == "A"] == ["authorize", "lapse"], "the hold did not lapse")


def test_20_a_capture_on_record_is_never_left() -> None:
    """Capture unknown, then reads fail past the horizon: IN_DOUBT, not left for another account."""
    w = World({"A": "manual", "B": "keyed"}, terms={"A": {"horizon_s": 3600}})
    w.script("A", "capture", "stall:50000")
    w.script("A", "read", *["5xx_before"] * 36)
    pid = w.pay()
    w.run(hours=5)
    require(w.payment(pid).status == "IN_DOUBT" and len(w.payment(pid).attempts) == 1, "left with a capture in flight")
    w.scripts["A", "read"].clear()  # it answers again
    settled(w, pid, "SUCCESS")


def test_20_the_hint_stays_after_a_401_on_its_read() -> None:
    """The read that a webhook asked for gets 401: the hint stays and is read again soon, long before the schedule would."""
    w = World({"A": "keyed"}, policy=Policy(attempts_max=1), terms={"A": {"watch_s": 1, "read_schedule_s": (900_000,)}})
    w.lied = True
    w.script("A", "decide", "lie_yes:100")
    w.script("A", "read", "ok", "401", "401", "5xx_before")
    pid = w.pay()
    w.hint(pid, after_s=101)
    p = settled(w, pid, "FAILED")
    require(p.reversed_minor() == 100 and len(kept(w, pid)) == 0, "the hint was lost")
    require(len(events_of(w, pid, Hinted)) == 1, "more hints than webhooks")
