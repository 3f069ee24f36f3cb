"""A backup is restored while captures, voids and refunds are under way: nothing is taken or given back a second time. And
what else meets operations from outside: older code, late holds, refunds that bounce, forged webhooks."""

from typing import Any

import pytest

from payonce.core.errors import NewerSchema
from payonce.core.operations import NewOperation
from payonce.core.payment import Payment
from payonce.engine import Policy
from payonce.ports import Change

from .merchant import SCOPE, ask
from .oracles import at_once, check_ledgers, given_back, moves, require, settled
from .pauses import Pause
from .restoring import Backup, backup, restore
from .test_engine_verbs import drive
from .test_interleavings_operations import held, paid, states
from .vendors import S
from .world import World

CASES = [
    ("refund", "unique"),
    ("refund", "closable"),
    ("refund", "keyed"),
    ("capture", "manual"),
    ("capture", "keyed"),
    ("void", "keyed"),
]


def asked(wish: Any, kind: str) -> tuple[World, str]:
    """On record, and nothing sent for it yet."""
    w, pid = paid(kind) if wish == "refund" else held(kind)
    amount = 40 if wish == "refund" else None
    drive(w.workers[0].engine.submit(SCOPE, NewOperation(kind=wish, payment_id=pid, amount_minor=amount), "k", actor="test"))
    return w, pid


def restored(w: World, pid: str, kept: Backup) -> None:
    """Some minutes under hold, then without."""
    restore(w, kept)
    sent = len(w.sent)
    w.run(hours=0.2)
    require(all(s[2] in ("read", "close") for s in w.sent[sent:]), f"sent under hold: {w.sent[sent:]}")
    for worker in w.workers:
        worker.engine.hold = False


@pytest.mark.parametrize(("wish", "kind"), CASES)
def test_what_the_lost_end_did_is_found_before_it_is_done_again(wish: str, kind: str) -> None:
    """Sent and answered after the backup: a look under hold finds it; nothing is sent, whether the vendor knows keys or not."""
    w, pid = asked(wish, kind)
    kept = backup(w, pid)
    w.run(hours=0.1)
    done = [m.kind for m in moves(w, pid)]
    restored(w, pid, kept)
    settled(w, pid, "CANCELED" if wish == "void" else "SUCCESS")
    require([m.kind for m in moves(w, pid)] == done, f"{[m.kind for m in moves(w, pid)]}, before: {done}")
    require(wish not in w.kinds(pid), "sent again")


@pytest.mark.parametrize(("wish", "kind"), CASES)
def test_what_the_lost_end_did_not_do_is_done(wish: str, kind: str) -> None:
    """Nothing was sent: the look shows nothing, and after the hold it goes on."""
    w, pid = asked(wish, kind)
    restored(w, pid, backup(w, pid))
    settled(w, pid, "CANCELED" if wish == "void" else "SUCCESS")
    require(states(w, pid) == [f"{wish} SUCCEEDED"] and wish in w.kinds(pid), f"{states(w, pid)} {w.kinds(pid)}")


@pytest.mark.parametrize("kind", ["unique", "closable", "keyed"])
def test_a_refund_whose_asking_was_lost_and_is_repeated_under_hold(kind: str) -> None:
    """The merchant asks again under the same key: it gets the same name, and the look finds it done."""
    w, pid = paid(kind)
    kept = backup(w, pid)
    ask(w, pid, "refund", 40, key="k")
    w.run(hours=0.1)
    restore(w, kept)
    w.wishes.clear()  # what was promised before is lost with the end of the history
    ask(w, pid, "refund", 40, key="k")
    w.run(hours=0.2)
    for worker in w.workers:
        worker.engine.hold = False
    settled(w, pid, "SUCCESS")
    require(sum(given_back(w, pid).values()) == 40 and "refund" not in w.kinds(pid), f"{given_back(w, pid)}")


def test_15_an_older_worker_meets_a_row_with_operations() -> None:
    """Code of schema 2 leaves a payment with a refund under way due and untouched; the newer worker ends it."""
    w, pid = paid("keyed", workers=2)
    old = w.workers[0].engine
    writes: list[str] = []

    class Old(type(old.store)):  # type: ignore[misc]
        async def get(self, payment_id: str) -> Payment | None:
            await Pause(w.now + S)
            raise NewerSchema(payment_id)

        async def commit(self, change: Change, expected_version: int) -> Any:
            writes.append(change.payment.id)
            return await super().commit(change, expected_version)

    drive(w.workers[1].engine.submit(SCOPE, NewOperation(kind="refund", payment_id=pid, amount_minor=40), "k", actor="test"))
    old.store = Old(w.workers[0])
    w.idle.clear()
    w.heap.clear()
    w.spawn(lambda: old.advance(pid))
    w.run(hours=1)
    require(at_once(w.store.next_due()) is not None and not writes, "the older worker touched it")
    require(w.payment(pid).schema == 3, "another schema")
    w.workers[1].start()
    settled(w, pid, "SUCCESS")
    require(states(w, pid) == ["refund SUCCEEDED"], f"{states(w, pid)}")


@pytest.mark.parametrize("wish", ["capture", "void"])
def test_a_surplus_of_holds_is_given_back(wish: str) -> None:
    """Two late holds beside the one that is kept, at each kind of provider: released or left, never taken."""
    w = World({"A": "keyed", "B": "manual", "C": "closable"})
    w.lied = True
    w.script("A", "decide", "lie_yes:400")
    w.script("B", "decide", "soft")
    w.script("C", "decide", "yes")
    pid = w.pay(capture_method="manual")
    w.hint(pid, after_s=401)
    ask(w, pid, wish, after_s=20_000)
    w.run()
    check_ledgers(w, pid, doubt=False)
    p = w.payment(pid)
    require(p.status == ("SUCCESS" if wish == "capture" else "CANCELED"), f"{p.status} {p.reason}")
    require([o.state for o in p.operations if o.kind == "reversal"] == ["SUCCEEDED"], f"{states(w, pid)}")


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("kind", ["keyed", "unique", "closable"])
def test_a_reversal_fails_after_it_was_done(kind: str, hint: bool) -> None:
    """A surplus that was given back bounces, by a webhook or by the watch: people are told, it is not forgotten."""
    w = World({"A": kind}, policy=Policy(attempts_max=1))
    w.lied = True
    w.script("A", "decide", "lie_yes:300")
    w.script("A", "decide refund", "fails:9000")
    pid = w.pay()
    w.hint(pid, after_s=301)
    if hint:
        w.hint(pid, after_s=9400)
    w.run()
    p = w.payment(pid)
    check_ledgers(w, pid, attention=True)
    require((p.status, states(w, pid), p.attention) == ("FAILED", ["reversal FAILED"], "reversal_unresolved"), f"{p.status}")


def test_a_forged_webhook_proves_nothing() -> None:
    """R9: whatever it claims, it is a reason to look. A charge that never arrived stays unknown."""
    w = World({"A": "unique"})
    w.script("A", "fire", "lost_before")
    pid = w.pay()
    w.hint(pid, after_s=2)
    settled(w, pid, "IN_DOUBT", doubt=True)
