"""One random world per seed: kinds, routes, two workers, and each fault at 0, 1 or 4 times its base rate."""

import random
from collections.abc import Callable
from typing import Any

from payonce.core.routing import Rule, Rules, When
from payonce.engine import Policy

from .merchant import ask
from .oracles import Violation, check_ledgers
from .vendors import HOLD_S, HOUR, TERMS, S
from .world import World, at_once

BASE = {
    "not_sent": 0.02, "lost_before": 0.02, "lost_after": 0.03, "5xx_before": 0.02, "5xx_after": 0.02, "429": 0.02,
    "401": 0.01, "404": 0.01, "409": 0.02, "lag": 0.05, "stale": 0.02, "stall": 0.04, "dup": 0.04,
    "wrong_amount": 0.003, "wrong_currency": 0.002, "wrong_mode": 0.002, "wrong_reference": 0.01, "wrong_read": 0.001,
    "soft": 0.12, "hard": 0.03, "funds": 0.03, "processing_yes": 0.05, "processing_no": 0.05, "action_yes": 0.02,
    "provisional_yes": 0.05, "provisional_no": 0.05, "lie_yes": 0.02,
    "freeze": 0.01, "crash_before": 0.02, "crash_after": 0.02, "unclear_done": 0.02, "unclear_not": 0.02,
    "unclear_later": 0.02, "conflict": 0.02, "store_down": 0.01, "crossed": 0.01,
    "registry_down": 0.02, "registry_torn": 0.01, "registry_race": 0.02,
}  # fmt: skip
LATER = {  # what happens to holds, refunds and customers; in worlds with merchants who ask for more than a charge
    "refund_no": 0.03, "refund_pending_yes": 0.1, "refund_pending_no": 0.05, "refund_fails": 0.05, "void_later": 0.1,
    "action_no": 0.02, "action_never": 0.03, "action_ends": 0.02,
}  # fmt: skip
TERM_CHOICES = {
    "horizon_s": (6 * 3600, 24 * 3600),
    "watch_s": (36 * 3600,),
    "settle_s": (3600, 24 * 3600),
    "read_schedule_s": ((1, 3, 10, 30, 120, 600, 3600), (5, 60, 1800, 7200)),
}
BUSY = 0.1  # share of worlds with more than two payments
HOOKS = 0.3  # share of vendor changes that arrive as a webhook


def world_of(seed: int, *, faults: bool = True, later: bool = False) -> World:
    """The world of a seed, not yet run; one or two payments in it. ``later``: merchants ask for captures, voids and refunds,
    and customers have to act (a die of its own: the worlds without are what they always were)."""
    dice, more = random.Random(seed), random.Random(f"later {seed}")
    rates = {name: base * dice.choice((0, 1, 1, 4)) for name, base in BASE.items()} if faults else {}
    rates |= {name: base * more.choice((0, 1, 1, 4)) for name, base in LATER.items()} if faults and later else {}
    accounts = {name: dice.choice(list(TERMS)) for name in "ABC"[: dice.randint(1, 3)]}
    terms: dict[str, dict[str, Any]] = {
        name: {key: dice.choice(values) for key, values in TERM_CHOICES.items()} for name in accounts
    }
    for name, kind in accounts.items() if later else ():
        hold = {"hold_s": more.choice((3600, HOLD_S, HOLD_S)), "voidable": TERMS[kind].voidable and more.random() < 0.7}
        terms[name].update(hold)
    policy = Policy(attempts_max=dice.choice((1, 2, 3, 3)), late_success=dice.choice(("refund", "refund", "accept")))
    world = World(
        accounts,
        seed=seed,
        workers=2,
        tasks=dice.choice((1, 1, 1, 2)),
        rates=rates,
        terms=terms,
        policy=policy,
        rules=_rules(dice, list(accounts)),
        parts={name: ("state", "tries") for name in accounts if dice.random() < 0.5},
        currencies={name: frozenset({"EUR"}) for name in list(accounts)[1:] if dice.random() < 0.15},
    )
    world.faults_end_us = world.now + dice.choice((1, 6, 48, 96)) * HOUR
    for vendor in world.vendors.values():
        vendor.honours_keys = vendor.honours_keys or dice.random() < 0.5
        vendor.one_box = dice.random() < 0.3
        if faults:
            vendor.changed = lambda reference: _webhook(world, reference)
            _troubles(world, dice, vendor.name)
    if faults and dice.random() < 0.2:
        world.workers[1].offset_us = dice.choice((-1, 1)) * HOUR
    if faults and dice.random() < 0.1:
        down, up = (lambda value=value: setattr(world, "registry_down", value) for value in (True, False))
        _switch(world, dice, down, up, longest_s=300)  # a process that does not know asks every second
    if faults and dice.random() < 0.2:  # somebody edits the rules and starts again
        world.at(world.now + dice.choice((1, 20, 600)) * S, lambda: world.reroute(_rules(dice, list(accounts))))
    forced: dict[str, Any] = {"provider": "A"} if dice.random() < 0.15 else {}
    if later:
        _habits(world, more)
        if more.random() < 0.6 and world.vendors["A"].terms.readable:
            forced["capture_method"] = "manual"
    for _ in range(dice.randint(1, 2)):
        pid = world.pay(dice.choice((100, 12_345)), **forced)
        if later:
            _wishes(world, more, pid)
    if faults and dice.random() < BUSY:  # enough traffic in an outage for the breaker to open
        _switch(world, dice, lambda: world.outages.add("A"), lambda: world.outages.discard("A"))
        for _ in range(dice.randint(4, 10)):
            world.at(world.now + dice.randrange(90) * S, lambda: world.pay(**forced))
    return world


def _habits(world: World, dice: random.Random) -> None:
    """What vendors differ in besides their kind."""
    for vendor in world.vendors.values():
        vendor.says_end, vendor.renames = dice.random() < 0.5, dice.random() < 0.5
        if dice.random() < 0.3:
            vendor.hold_us = dice.choice((3600, 24 * 3600)) * S


def _wishes(world: World, dice: random.Random, payment_id: str) -> None:
    """What the merchant asks of a payment, now and then twice at once, at any time from before it is charged."""
    p = world.payment(payment_id)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 4))):
        manual, automatic = ("capture", "capture", "capture", "void", "refund", "refund"), ("void", *["refund"] * 4)
        kind = dice.choice(manual if p.capture_method == "manual" else automatic)
        amount = None if kind == "void" else dice.choice((None, 60, 40, p.amount_minor // 2, p.amount_minor))
        after_s = dice.choice((0, 1, 5, 60, 900, 20_000, 100_000))
        for _ in range(dice.choice((1, 1, 1, 2))):
            ask(world, payment_id, kind, amount, after_s=after_s, repeats=dice.choice((0, 0, 1)), patient=dice.random() < 0.8)
    if p.capture_method == "manual" and world.rates and dice.random() < 0.05:
        world.at(world.now + dice.choice((60, 3600)) * S, lambda: _dashboard(world, payment_id))


def _dashboard(world: World, payment_id: str) -> None:
    """The merchant takes the hold at the vendor, past us."""
    for vendor in world.vendors.values():
        vendor.now = world.now
        for t in (t for box in vendor.boxes for t in box.tries if t.reference[:20] == payment_id[4:]):
            if t.state(world.now) == "authorized":
                world.dashboard.add(t.ref)
                vendor.take_held(t, t.amount)
                return


def _rules(dice: random.Random, names: list[str]) -> Rules:
    """Any order of some of the accounts, the others as fallbacks or not at all; A, which takes all currencies, among them."""
    if dice.random() < 0.5:
        return Rules()
    use = [name for name in names if name == "A" or dice.random() < 0.5]
    dice.shuffle(use)
    fallback = dice.choice(("any", tuple(names), ()))
    return Rules(rules=(Rule(name="r", when=When(currency=("INR",)), use=tuple(use), fallback=fallback),))


def _troubles(world: World, dice: random.Random, name: str) -> None:
    """Outages that come and go, and an operator who drains and resumes."""
    if dice.random() < 0.2:
        _switch(world, dice, lambda: world.outages.add(name), lambda: world.outages.discard(name))
    if dice.random() < 0.2:
        close = dice.random() < 0.5
        _switch(world, dice, lambda: world.drain(name), lambda: world.resume(name, close_breaker=close))


def _switch(
    world: World, dice: random.Random, on: Callable[[], None], off: Callable[[], None], *, longest_s: int = 2 * 3600
) -> None:
    """On and off, up to three times."""
    at_us = world.now + dice.choice((0, 0, 1, 10, 60, 3600)) * S
    for _ in range(dice.choice((1, 1, 2, 3))):
        world.at(at_us, on)
        at_us += min(longest_s, dice.choice((5, 60, 300, 2 * 3600))) * S
        world.at(at_us, off)
        at_us += dice.choice((1, 20, 600, 3600)) * S


def _webhook(world: World, reference: str) -> None:
    while world.rng.random() < HOOKS:
        world.hint("pay_" + reference[:20], after_s=world.rng.choice((0, 0, 1, 60, 7200)))


def run(seed: int, *, faults: bool = True, later: bool = False) -> World:
    """Run it to its end and ask every oracle. Raises Violation."""
    world = world_of(seed, faults=faults, later=later)
    try:
        world.run(hours=24 * 20)
    finally:
        world.close()
    for payment_id in world.ids:
        p = world.payment(payment_id)
        check_ledgers(world, payment_id, doubt=faults, attention=world.lied and bool(p.attention))
        if p.status != "IN_DOUBT" and not p.attention and at_once(world.store.next_due()) is not None and len(world.ids) == 1:
            raise Violation("settled, but never quiet")
    return world
