"""An account that is taken away from a merchant while payments are under way: nothing new begins there, and what has begun is
read, captured, closed and given back as if nothing had happened."""

import pytest
from msgspec.structs import replace

from .merchant import ask
from .oracles import check_ledgers, require, settled, taken
from .vendors import S
from .world import World


def take_away(w: World, name: str) -> None:
    """It serves somebody else from now on, in every process."""
    for each in w.workers:
        each.engine.accounts[name] = replace(each.engine.accounts[name], merchants=frozenset({"mer_somebody_else"}))


def take_away_once_begun(w: World, pid: str, name: str) -> None:
    """As soon as the payment has its first attempt, and with it its route."""
    if w.payment(pid).attempts:
        take_away(w, name)
    else:
        w.at(w.now + 100, lambda: take_away_once_begun(w, pid, name))


@pytest.mark.parametrize("kind", ["keyed", "closable", "manual", "unique"])
def test_a_lost_answer_is_still_learned_and_given_back(kind: str) -> None:
    """The charge was sent and its answer lost; then the account is taken away: it is read there, succeeds, and the merchant's
    refund goes there."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "lost_after")
    pid = w.pay()
    w.at(w.now + S, lambda: take_away(w, "A"))
    p = settled(w, pid, "SUCCESS")
    require([a.account for a in p.attempts] == ["A"], f"{[a.account for a in p.attempts]}")
    wish = ask(w, pid, "refund", 40)
    w.run(hours=24)
    p = w.payment(pid)
    require(not wish.refused and p.operations[-1].state == "SUCCEEDED", f"the refund: {wish.refused} {p.operations[-1].state}")
    check_ledgers(w, pid)


@pytest.mark.parametrize("kind", ["closable", "keyed", "manual"])
def test_a_hold_is_still_captured(kind: str) -> None:
    """Held before, captured after: at the same account."""
    w = World({"A": kind})
    pid = w.pay(capture_method="manual")
    w.run(hours=0.1)
    require(w.payment(pid).status == "AUTHORIZED", w.payment(pid).status)
    take_away(w, "A")
    ask(w, pid, "capture")
    p = settled(w, pid, "SUCCESS")
    require(p.captured_minor == p.amount_minor, "not captured")
    check_ledgers(w, pid)


@pytest.mark.parametrize(("kind", "word"), [("keyed", "not_sent"), ("closable", "not_sent"), ("closable", "5xx_before")])
def test_a_failover_does_not_go_there(kind: str, word: str) -> None:
    """The first account gets nothing through, the second of the frozen route was taken away: the third one takes it."""
    w = World({"A": kind, "B": "keyed", "C": "keyed"})
    w.script("A", "create" if kind == "closable" else "fire", *[word] * 10)
    pid = w.pay()
    take_away_once_begun(w, pid, "B")
    p = settled(w, pid, "SUCCESS")
    require("B" in p.accounts, "the route was not frozen with it")
    require([a.account for a in p.attempts][-1] == "C" and "B" not in [a.account for a in p.attempts], "begun at B")
    require(not [name for _, name, _, _ in w.sent if name == "B"], "something was sent to B")


def test_an_order_that_was_made_and_not_fired_is_left() -> None:
    """Created, then taken away: nothing is fired into it, and the next account of the route takes the payment."""
    w = World({"A": "closable", "B": "keyed"})
    w.script("A", "create", "stall:5")
    pid = w.pay()
    take_away_once_begun(w, pid, "A")
    p = settled(w, pid, "SUCCESS")
    require(p.attempts[-1].account == "B" and not [1 for _, name, kind, _ in w.sent if name == "A" and kind == "fire"], "fired")
    require(len(taken(w, pid)) == 1, "charged more than once")
    check_ledgers(w, pid)


def test_the_only_account_is_taken_away() -> None:
    """Nobody is left: it ends as it does where nobody can be asked, unpaid."""
    w = World({"A": "keyed"}, terms={"A": {"settle_s": 600}})
    w.script("A", "fire", *["not_sent"] * 3)
    pid = w.pay()
    take_away_once_begun(w, pid, "A")
    settled(w, pid, "FAILED")
    require(not taken(w, pid), "charged")
