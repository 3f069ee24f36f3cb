"""Interleavings of what issue 3 brought: lost creates that are looked up, reads of two requests, breakers, drains and
routes. Each is killed by a mutant in test_mutants.py."""

import json

import pytest
from msgspec.structs import replace

from payonce.core.attempts import LOOK_MAX_US
from payonce.core.breaker import OPEN_US, PROBE_LEASE_US, encode, opened
from payonce.core.outcome import Unreadable
from payonce.core.routing import Rule, Rules
from payonce.engine import Policy

from .oracles import at_once, check_ledgers, moves, require, settled, taken
from .vendors import S
from .world import World

PARTS = {"A": ("state", "tries")}


def opens(w: World, account: str, pause_us: int = OPEN_US) -> None:
    """Another process opens the breaker of an account."""
    b = replace(opened("5 of the last 5 calls failed", w.now), until_us=w.now + pause_us)
    version = next((r.version for r in at_once(w.registry.all("breaker")) if r.name == account), 0)
    require(at_once(w.registry.put("breaker", account, encode(b), version)), "it did not open")


def at_a(w: World, *kinds: str) -> list[int]:
    """When which calls left for A, in seconds after the first payment was accepted."""
    began = w.payment(w.ids[0]).created_us
    return [(at - began) // S for at, name, kind, _ in w.sent if name == "A" and kind in kinds]


# --- a create whose answer was lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["closable", "manual"])
@pytest.mark.parametrize("one_box", [True, False])
def test_a_lost_create_is_looked_up_not_repeated(kind: str, one_box: bool) -> None:
    """The create times out, the look finds the order: it is fired; there is no second order, whatever the vendor allows."""
    w = World({"A": kind, "B": "keyed"})
    w.vendors["A"].one_box = one_box
    w.script("A", "create", "lost_after")
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(w.kinds(pid)[:3] == ["create", "read", "fire"], f"{w.kinds(pid)}")
    require(p.attempts[0].container == "box_A0" and len(w.vendors["A"].boxes) == 1, "another order")
    require(at_once(w.store.find_ref("box_A0")) == (pid,), "what was found cannot be searched for")


def test_a_lost_create_that_the_list_does_not_show_yet() -> None:
    """The look lags and shows nothing: created again, a second order of the same reference; only one of them is fired."""
    for one_box in (True, False):
        w = World({"A": "closable", "B": "keyed"})
        w.vendors["A"].one_box = one_box
        w.script("A", "create", "lost_after", "lost_after")
        w.script("A", "read", "lag:600", "ok")
        pid = w.pay()
        p = settled(w, pid, "SUCCESS")
        require(p.winner == 0 and w.kinds(pid).count("create") == 2, f"{w.kinds(pid)}")
        require(len(w.vendors["A"].boxes) == 1 + (not one_box), "not the interleaving meant")


def test_a_created_that_comes_late_does_not_replace_what_was_found() -> None:
    """A worker freezes with the answer to its create; another one's look found the other order of a doubled create."""
    w = World({"A": "closable"}, workers=2)
    w.script("A", "create", "freeze_after:45")
    w.script("A", "fire", "lost_after")
    w.script("A", "read", "ok", *["5xx_before"] * 3)
    pid = w.pay()
    a = w.vendors["A"]

    def doubled() -> None:
        a.handle(w.now, {"kind": "create", "key": "", "reference": a.boxes[0].reference})
        a.boxes.reverse()

    w.at(w.now + 5 * S, doubled)
    p = settled(w, pid, "SUCCESS")
    require(p.attempts[0].steps[0].outcome is not None, "the late answer was thrown away")
    require(p.attempts[0].container == "box_A1", f"the container is {p.attempts[0].container} now")


def test_a_strangers_container_is_not_taken() -> None:
    """The look for a lost create shows another payment's order: absent; nothing is ever fired into that one."""
    w = World({"A": "closable"})
    other = settled(w, w.pay(), "SUCCESS")
    w.script("A", "create", "lost_before")
    w.script("A", "read", "crossed")
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(p.attempts[0].container not in ("", other.attempts[0].container), "a stranger's order")
    check_ledgers(w, other.id)


@pytest.mark.parametrize("kind", ["closable", "manual"])
def test_09_nobody_answers_the_create_nor_the_look(kind: str) -> None:
    """The create times out and the provider stays down for ten minutes: the next account within a minute, no attempt burnt."""
    w = World({"A": kind, "B": kind}, policy=Policy(attempts_max=1))
    w.script("A", "create", "lost_after")
    w.at(w.now + S, lambda: w.outages.add("A"))
    w.at(w.now + 600 * S, lambda: w.outages.discard("A"))
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 1 and p.updated_us < p.created_us + 60 * S, "it waited for the dead provider")
    require([s.kind for s in p.attempts[0].steps] == ["create", "read"], f"{w.kinds(pid)}")


# --- breakers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["breaker", "drain"])
def test_an_account_is_blocked_between_plan_and_claim(by: str) -> None:
    """A worker sleeps between plan and claim of the fire while others block the account: nothing new is claimed there."""
    w = World({"A": "closable", "B": "keyed"})
    w.script("store", "bodies", "ok", "freeze:3")  # create, fire
    pid = w.pay()
    w.at(w.now + S, lambda: opens(w, "A") if by == "breaker" else w.drain("A"))
    p = settled(w, pid, "SUCCESS")
    require([a.account for a in p.attempts] == ["A", "B"] and not at_a(w, "fire"), "claimed at a blocked account")


def test_the_account_of_an_open_breaker_is_passed_over_and_heals() -> None:
    """While A's breaker is open payments go to B and say why; when its pause is over one call tries it, and it closes."""
    w = World({"A": "keyed", "B": "keyed"})
    opens(w, "A")
    first = settled(w, w.pay(), "SUCCESS")
    require([a.account for a in first.attempts] == ["B"] and "circuit breaker" in first.attempts[0].why, "not passed over")
    w.now += OPEN_US
    second = settled(w, w.pay(), "SUCCESS")
    require([a.account for a in second.attempts] == ["A"], "not tried again")
    require(at_once(w.registry.all("breaker")) == (), "still open")


def race(w: World, *payment_ids: str) -> None:
    """Each worker advances one payment, step by step, in the same instant."""
    racers = [each.engine.advance(pid) for each, pid in zip(w.workers, payment_ids, strict=True)]
    while racers:
        for racer in list(racers):
            try:
                racer.send(None)
            except StopIteration:
                racers.remove(racer)


def test_one_of_two_workers_gets_the_one_probe() -> None:
    """The pause is over and two workers have a payment for A: one call tries it, the other payment goes to B."""
    w = World({"A": "keyed", "B": "keyed"}, workers=2)
    opens(w, "A")
    w.now += OPEN_US
    payment_ids = (w.pay(), w.pay())
    race(w, *payment_ids)
    used = sorted(a.account for pid in payment_ids for a in w.payment(pid).attempts)
    require(used == ["A", "B"], f"{used}")
    for pid in payment_ids:
        settled(w, pid, "SUCCESS")


def test_the_slot_of_a_dead_probe_is_free_when_its_lease_ends() -> None:
    """The worker with the one probe dies after its claim: nobody else tries A during its lease, somebody does after it."""
    w = World({"A": "unique"}, workers=2)
    opens(w, "A")
    w.script("store", "Planned", "crash_after")
    pids = (w.pay(), w.pay())
    w.run(hours=0.1)
    sent = at_a(w, "fire")
    lease_s, open_s = PROBE_LEASE_US // S, OPEN_US // S
    require(len(sent) == 1 and open_s + lease_s <= sent[0] <= open_s + lease_s + 5, f"sent at {sent}")
    require(sorted(w.payment(pid).status for pid in pids) == ["PENDING", "SUCCESS"], "the second did not settle")


def test_processes_that_look_for_the_first_time_at_once_know_what_they_read() -> None:
    """Tasks of a fresh process read the registry side by side: they do not make each other ignorant of it."""
    for seed in range(12):
        w = World({"A": "keyed", "B": "keyed"}, seed=seed, tasks=4)
        for pid in [w.pay() for _ in range(4)]:
            p = settled(w, pid, "SUCCESS")
            require([a.account for a in p.attempts] == ["A"], f"A was passed over: {p.attempts[-1].why}")


def test_a_process_that_never_reached_the_registry_starts_nothing() -> None:
    """Whether A is drained is not known: nothing is sent there. Once known, an absent registry holds nothing up."""
    w = World({"A": "keyed"})
    w.registry_down = True
    pid = w.pay()
    w.run(hours=60 / 3600)
    require(w.sent == [], "sent without knowing")
    w.registry_down = False
    settled(w, pid, "SUCCESS")
    w.registry_down = True
    settled(w, w.pay(), "SUCCESS")


@pytest.mark.parametrize("kind", ["closable", "manual"])
def test_a_breaker_stops_the_refire_but_no_read_and_no_capture(kind: str) -> None:
    """The breaker opens while a fire is unknown: it is read on, not fired again until the pause is over; then captured."""
    w = World({"A": kind})
    w.script("A", "fire", "lost_before")
    pid = w.pay()
    w.at(w.now + 11 * S, lambda: opens(w, "A", 55 * S))
    settled(w, pid, "SUCCESS")
    fired, reads = at_a(w, "fire"), at_a(w, "read")
    require(fired[0] < 2 and fired[1] >= 66, f"fired at {fired}")
    require(len([each for each in reads if 36 < each < 66]) == 1, f"read at {reads}")


# --- drains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["closable", "manual"])
def test_a_drain_during_unknown_seals_before_it_leaves(kind: str) -> None:
    """Drained while the fire is unknown: read, closed or left, only then the next account; never fired there again."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "stall:40000")
    pid = w.pay()
    w.at(w.now + 15 * S, lambda: w.drain("A"))
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 1 and len(at_a(w, "fire")) == 1, f"fired at {at_a(w, 'fire')}")
    require(p.attempts[0].left if kind == "manual" else "close" in w.kinds(pid), "left without a seal")
    require(p.attempts[1].steps[0].at_us >= p.created_us + 35 * S, "left too soon")


@pytest.mark.parametrize("kind", ["keyed", "unique"])
def test_a_drain_is_no_no(kind: str) -> None:
    """What was sent to a drained account is still followed there, by replay and read; it is never a reason to leave."""
    w = World({"A": kind, "B": "keyed"})
    w.script("A", "fire", "stall:200")
    pid = w.pay()
    w.at(w.now + 2 * S, lambda: w.drain("A"))
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 0 and len(p.attempts) == 1 and len(taken(w, pid)) == 1, "left because it was drained")


def test_a_hold_at_a_drained_account_is_captured() -> None:
    """Drain stops what is new; the money that is held already is taken."""
    w = World({"A": "manual", "B": "keyed"})
    w.script("A", "capture", "not_sent", "lost_before")
    pid = w.pay()
    w.at(w.now + S, lambda: w.drain("A"))
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 0 and [m.kind for m in moves(w, pid)] == ["authorize", "capture"], f"{moves(w, pid)}")


@pytest.mark.parametrize("by", ["breaker", "drain"])
def test_after_a_no_only_what_frees_itself_is_waited_for(by: str) -> None:
    """A declines, B is blocked: an open breaker is waited for, a drained account is not; a drain of the only one is."""
    w = World({"A": "keyed", "B": "keyed"})
    w.script("A", "decide", "soft")
    w.script("A", "fire", "freeze_after:1")
    pid = w.pay()
    w.at(w.now + S, lambda: opens(w, "B") if by == "breaker" else w.drain("B"))
    w.run(hours=12 / 3600)
    p = w.payment(pid)
    require((p.status, p.reason) == (("SUCCESS", "") if by == "breaker" else ("FAILED", "declined")), f"{p.status} {p.reason}")
    settled(w, pid, p.status)


def test_the_only_account_is_waited_for_while_it_is_drained() -> None:
    """Nothing else may take it: the payment waits through a drain of an hour and looks now and then; it is not spun on."""
    w = World({"A": "keyed"})
    w.drain("A")
    pid = w.pay()
    w.at(w.now + 3600 * S, lambda: w.resume("A"))
    p = settled(w, pid, "SUCCESS")
    require(3600 * S <= p.updated_us - p.created_us <= 3600 * S + LOOK_MAX_US + 60 * S, "not when it was resumed")
    require(w.steps < 3000, f"{w.steps} steps")


# --- reads of two requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["closable", "manual"])
@pytest.mark.parametrize("lost", ["lost_before", "5xx_after", "404", "429"])
def test_the_second_request_of_a_read_is_lost(kind: str, lost: str) -> None:
    """Half a read is none: the state alone proves nothing and licenses nothing, a missing list least of all."""
    w = World({"A": kind, "B": "keyed"}, parts=PARTS)
    w.script("A", "fire", "lost_after")
    w.script("A", "tries", *[lost] * 6)
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    read = next(s for s in p.attempts[0].steps if s.kind == "read")
    require(isinstance(read.outcome, Unreadable), f"half a read is {read.outcome}")
    require(p.winner == 0 and len(at_a(w, "fire")) == 1, "fired on half a read")


@pytest.mark.parametrize("held_back", ["read", "tries"])
def test_a_read_from_before_the_refire_arrives_after_it(held_back: str) -> None:
    """The state, or the list, was answered before fire #2 and arrives after it: it licenses no third fire and is no NO."""
    w = World({"A": "closable", "B": "keyed"}, workers=2, parts=PARTS)
    w.script("A", "fire", "lost_before", "stall:300")
    # the read that shows the first fire idle is held back; the one after its lease licenses the second fire
    w.script("A", held_back, "ok", "ok", "freeze_after:160")
    pid = w.pay()
    p = settled(w, pid, "SUCCESS")
    held = next(s for s in p.attempts[0].steps if s.seen_at_us > s.at_us + 100 * S)
    fires = [s for s in p.attempts[0].steps if s.kind == "fire"]
    require(held.seq < fires[1].seq and held.seen_at_us > fires[1].seen_at_us, f"not the interleaving meant: {w.kinds(pid)}")
    require(isinstance(held.outcome, Unreadable) is (held_back == "read"), f"{held.outcome}")
    require(p.winner == 0 and len(p.attempts) == 1, "a NO from an old list")


def test_paid_and_closed_between_the_two_requests_of_a_read() -> None:
    """State first, then the list: it says open and paid, which is true enough. The other way round it would say closed and
    empty, a NO that costs a second charge."""
    w = World({"A": "closable", "B": "keyed"}, parts=PARTS)
    w.script("A", "fire", "lost_before")
    pid = w.pay()
    a, between = w.vendors["A"], []
    real = a.handle

    def in_between(now: int, doc: dict, lag: int = 0) -> tuple:  # type: ignore[type-arg]
        if doc["kind"] == "read" and not between:
            said = real(now, doc, lag)
            fire = next(s.request for s in w.payment(pid).attempts[0].steps if s.kind == "fire")
            real(now, json.loads(w.store._bodies[pid, fire.body_sha256]))  # type: ignore[union-attr]
            a.boxes[0].closed_us = now
            between.append(now)
            return said
        return real(now, doc, lag)

    a.handle = in_between  # type: ignore[method-assign]
    p = settled(w, pid, "SUCCESS")
    require(p.winner == 0 and len(p.attempts) == 1, "left a container that was paid")


# --- routes -------------------------------------------------------------------------------------------------------


def test_what_the_route_skipped_is_never_used() -> None:
    """C does not take the currency and D is no fallback: both are explained in the route, neither gets an attempt."""
    rules = Rules(rules=(Rule(name="r", use=("A", "B", "C"), fallback=()),))
    w = World(dict.fromkeys("ABCD", "keyed"), rules=rules, currencies={"C": frozenset({"EUR"})})
    w.script("A", "decide", "soft")
    w.script("B", "decide", "soft")
    pid = w.pay()
    p = settled(w, pid, "FAILED")
    require([a.account for a in p.attempts] == ["A", "B"], f"{[a.account for a in p.attempts]}")
    require(p.rule == "r" and [c.taken for c in p.route] == [True, True, False, False], f"{p.route}")


def test_a_route_is_frozen_at_the_first_plan() -> None:
    """The rules change between two attempts: the payment keeps the route that it began with."""
    w = World(dict.fromkeys("ABC", "keyed"))
    w.script("A", "decide", "soft")
    w.script("A", "fire", "freeze_after:2")
    pid = w.pay()
    w.at(w.now + S, lambda: w.reroute(Rules(rules=(Rule(name="new", use=("C",), fallback=()),))))
    p = settled(w, pid, "SUCCESS")
    require([a.account for a in p.attempts] == ["A", "B"] and p.rule == "", f"{p.rule} {p.attempts}")
