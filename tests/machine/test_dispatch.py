"""Between claim and answer: what may be sent, and what it means when our own parts fail."""

from typing import Any

import pytest

from payonce.core.apply import extend
from payonce.core.events import Hinted, Planned
from payonce.core.outcome import NotSent, Unknown, Unreadable
from payonce.ports import Change, Committed, Conflict, Unclear
from payonce.stores.memory import MemoryStore

from .fake_adapter import FakeAdapter
from .oracles import check_ledgers, taken
from .test_engine_verbs import drive
from .world import World, at_once


@pytest.mark.parametrize("where", ["parse", "authenticate"])
def test_a_bug_of_an_adapter_is_unknown(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that raises after, or just before, the send: never NotSent, which would license another attempt."""
    w = World({"A": "keyed", "B": "keyed"})
    w.buggy = True
    broken = [True]
    real = getattr(FakeAdapter, where)

    def raises(self: Any, *args: Any) -> Any:
        if broken:
            broken.clear()
            raise KeyError("a vendor word nobody knows")
        return real(self, *args)

    monkeypatch.setattr(FakeAdapter, where, raises)
    pid = w.pay()
    w.run()
    p = w.payment(pid)
    assert isinstance(p.attempts[0].steps[0].outcome, Unknown)
    assert (p.status, len(p.attempts), len(taken(w, pid))) == ("SUCCESS", 1, 1)
    check_ledgers(w, pid)


def test_a_bug_while_reading_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read whose parsing fails proves nothing."""
    w = World({"A": "unique"})
    w.buggy = True
    w.script("A", "fire", "lost_after")

    def raises(self: Any, *args: Any) -> Any:
        raise KeyError

    monkeypatch.setattr(FakeAdapter, "parse_read", raises)
    pid = w.pay()
    w.run(hours=1)
    reads = [s.outcome for s in w.payment(pid).attempts[0].steps if s.kind == "read" and s.outcome]
    assert reads
    assert all(isinstance(o, Unreadable) for o in reads)


def test_an_erased_body_is_not_sent() -> None:
    """The stored body is gone: nothing is sent in its place, not even an empty one."""
    w = World({"A": "keyed"})
    w.script("A", "fire", "lost_before")
    w.script("A", "read", "404")
    pid = w.pay()
    w.run(hours=0.001)
    request = w.payment(pid).attempts[0].steps[0].request
    assert request is not None
    del w.store._bodies[pid, request.body_sha256]
    sent = len(w.sent)
    w.run(hours=1)
    replays = [s for s in w.payment(pid).attempts[0].steps if s.kind == "replay"]
    assert replays
    assert all(isinstance(s.outcome, NotSent) for s in replays)
    assert all(kind == "read" for _, _, kind, _ in w.sent[sent:])


class OvertakenStore(MemoryStore):
    """The first claim is done but reported unclear, and before it is looked at somebody else has written."""

    def __init__(self, old: MemoryStore) -> None:
        super().__init__()
        self.__dict__.update(old.__dict__)
        self.done = False

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        result = await super().commit(change, expected_version)
        if self.done or not isinstance(change.entries[-1].envelope.data, Planned):
            return result
        self.done = True
        p, entries = extend(change.payment, [Hinted(attempt=0)], at_us=change.payment.updated_us, actor="other")
        await super().commit(Change(payment=p, entries=tuple(entries), due_us=change.due_us), expected_version + 1)
        return Unclear()


def test_an_unclear_claim_that_was_overtaken_is_not_sent() -> None:
    """The claim stands and is ours, but the row has moved on: who sends now might act on yesterday's plan."""
    w = World({"A": "keyed"})
    pid = w.pay()
    engine = w.workers[0].engine
    engine.store = OvertakenStore(w.store)
    drive(engine.advance(pid))
    assert w.sent == []
    p = at_once(engine.store.get(pid))
    assert [s.outcome for s in p.attempts[0].steps] == [None]
