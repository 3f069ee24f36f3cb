"""One random world per seed: kinds, routes, two workers, and each fault at 0, 1 or 4 times its base rate."""

import random
from collections.abc import Callable

from payonce.core.routing import Rule, Rules, When
from payonce.engine import Policy

from .oracles import Violation, check_ledgers
from .vendors import HOUR, TERMS, S
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
TERM_CHOICES = {
    "horizon_s": (6 * 3600, 24 * 3600),
    "watch_s": (36 * 3600,),
    "settle_s": (3600, 24 * 3600),
    "read_schedule_s": ((1, 3, 10, 30, 120, 600, 3600), (5, 60, 1800, 7200)),
}
BUSY = 0.1  # share of worlds with more than two payments
HOOKS = 0.3  # share of vendor changes that arrive as a webhook


def world_of(seed: int, *, faults: bool = True) -> World:
    """The world of a seed, not yet run; one or two payments in it."""
    dice = random.Random(seed)
    rates = {name: base * dice.choice((0, 1, 1, 4)) for name, base in BASE.items()} if faults else {}
    accounts = {name: dice.choice(list(TERMS)) for name in "ABC"[: dice.randint(1, 3)]}
    terms = {name: {key: dice.choice(values) for key, values in TERM_CHOICES.items()} for name in accounts}
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
    forced = {"provider": "A"} if dice.random() < 0.15 else {}
    for _ in range(dice.randint(1, 2)):
        world.pay(dice.choice((100, 12_345)), **forced)
    if faults and dice.random() < BUSY:  # enough traffic in an outage for the breaker to open
        _switch(world, dice, lambda: world.outages.add("A"), lambda: world.outages.discard("A"))
        for _ in range(dice.randint(4, 10)):
            world.at(world.now + dice.randrange(90) * S, lambda: world.pay(**forced))
    return world


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


def run(seed: int, *, faults: bool = True) -> World:
    """Run it to its end and ask every oracle. Raises Violation."""
    world = world_of(seed, faults=faults)
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
