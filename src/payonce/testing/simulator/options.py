"""What a seed decides before its world begins, drawn swarm-style: each kind of trouble is off, usual or heavy, and
most worlds have only some of them, so that no trouble always hides behind another."""

import random
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from payonce.core.payment import LateSuccess
from payonce.sandbox.faults import TOKENS, Refunds

S: Final = 1_000_000
HOUR_S: Final = 3600

# The usual rate of each word of a fate, per call; a world takes it 0, 1 or 4 times.
RATES: Final[Mapping[str, float]] = {
    "crash_before": 0.003, "crash_after": 0.003, "error_before": 0.01, "error_after": 0.01, "later": 0.006, "vanish": 0.006,
    "duplicate": 0.02, "delay": 0.02, "freeze": 0.004, "race": 0.02, "refused": 0.015, "stall": 0.03, "stale": 0.02,
    "thaw": 0.004, "garbage": 0.02, "crossed": 0.008, "5xx_after": 0.02, "wrong_amount": 0.001,
    "wrong_currency": 0.001, "429": 0.01,
    "401": 0.006, "403": 0.003, "404": 0.006, "409": 0.01, "502": 0.01, "503": 0.01,
    "sleep crash_before": 0.01, "sleep crash_after": 0.01, "odd": 0.008, "4xx_after": 0.01,
    "fire freeze": 0.02, "replay freeze": 0.02, "capture freeze": 0.02, "refund freeze": 0.02, "void freeze": 0.02,
}  # fmt: skip
CLOUD_RATES: Final[Mapping[str, float]] = {
    "throttled": 0.01, "500": 0.006, "500_after": 0.006, "conflict": 0.01, "old": 0.3, "partial": 0.1, "torn": 0.1,
    "cloud_read crash_before": 0.0005, "cloud_read crash_after": 0.0005, "cloud_read freeze": 0.0005,
    "cloud_read vanish": 0.004, "cloud_read delay": 0.004,
}  # fmt: skip
# Which seeds live on DynamoDB: a share of those from CLOUD_FROM on. The number in the label is chosen so that none of
# tests/simulation/seeds.txt does, and the lower seeds are those that mutants.txt names.
CLOUD_FROM: Final = 150
CLOUD_SHARE: Final = 0.2
CLOUD_LABEL: Final = "cloud 10559"
# Which seeds have several merchants with accounts, limits and webhooks of their own: chosen in the same way.
MANY_FROM: Final = 150
MANY_SHARE: Final = 0.25
MANY_LABEL: Final = "told 7929"
HEAVY: Final = 4
SURPLUS: Final = ("tok_late_then_ok", "tok_late_then_decline")  # a first attempt that is paid when another was begun
ACTIONS: Final = ("tok_action", "tok_action", "tok_action_ok", "tok_action_decline")
CHOOSES: Final = ("mock", "razorpay", "payu")  # vendors whose holds last as long as the world wants
# token -> how often it is drawn
TOKEN_WEIGHTS: Final[Mapping[str, int]] = {
    **{token: 3 for token in TOKENS if token not in SURPLUS}, "tok_ok": 18, "tok_late_success": 4,
    "tok_lost_response": 4, "tok_decline_then_ok": 4, "tok_decline_send_then_ok": 6, "tok_decline_do_not_honor": 3,
}  # fmt: skip
TERMS: Final[Mapping[str, Mapping[str, int | tuple[int, ...]]]] = {
    "real": {"watch_s": 36 * HOUR_S},  # the vendors' own times; a shorter watch, since daily looks are slow to fold
    "hours": {"horizon_s": 6 * HOUR_S, "watch_s": 12 * HOUR_S, "settle_s": 2 * HOUR_S},
    "sandbox": {
        "horizon_s": 60, "watch_s": 120, "settle_s": 120, "processing_s": 2, "read_lag_s": 1, "call_timeout_ms": 7000,
        "read_schedule_s": (1, 2, 3, 5, 8, 10),
    },
}  # fmt: skip


REFIRED: Final = {
    "fire stall": 0.35, "replay stall": 0.3, "read stale": 0.25, "read stall": 0.02, "read garbage": 0.0, "read odd": 0.0,
    "read crossed": 0.0, "read 5xx_after": 0.0, "read 4xx_after": 0.0,
}  # fmt: skip
QUIET: Final = {
    "spells": 0, "kills": 0, "freezes": 0, "deploys": False, "skew_s": 0, "jumps": 0, "drains": 0, "repoints": False,
    "restores": False, "outages_of_store": 0,
}  # fmt: skip


class Options(Struct, frozen=True, kw_only=True):
    """One world. Times in seconds."""

    seed: int
    store: str = "memory"  # or sqlite: a real file; or dynamodb: the real store over a model of AWS
    shards: int = 1  # of its indexes
    lag_s: int = 0  # how long its indexes may be behind
    accounts: tuple[tuple[str, str], ...] = ()  # (name, adapter), in the order of the default route
    terms: str = "real"
    processes: int = 2
    concurrency: int = 4
    payments: int = 4
    faults_for_s: int = HOUR_S  # the length of the safety phase
    arrive_for_s: int = 60  # payments are posted within this time
    rates: Mapping[str, float] = {}
    tokens: tuple[str, ...] = ("tok_ok",)
    attempts_max: int = 3
    late_success: LateSuccess = "refund"
    ruled: bool = False  # a rule with a random order and fallback
    forced: float = 0.0  # the share of payments that name their account
    loses_hints: float = 0.0
    webhooks: float = 0.0  # hints per payment, true or not
    tells: bool = False  # the vendors send webhooks
    spoils: float = 0.0  # the share of them that is delayed or doubled; some of that are lost
    manual: float = 0.0  # the share of payments that the merchant captures
    asks: float = 0.0  # captures, voids and refunds that are asked for, per payment
    acts: float = 0.0  # the share of customers who act, where they have to
    action_s: int = 0  # how long they may; 0 = as usual
    refunds: Refunds = "plain"  # what becomes of refunds at the vendors
    hold_s: int = 0  # how long a hold lasts at the vendors that let us choose; 0 = as usual
    lapses: bool = False  # holds are left to lapse; else a merchant deals with each of them in the end
    plan: tuple[str, ...] = ()  # operations that are asked for as soon as they can be: "capture", "refund 30" (percent), ...
    early: int = 1  # a hold lasts so many times less than the account says
    spells: int = 0  # of bad weather, per vendor
    kills: int = 0
    freezes: int = 0
    deploys: bool = False  # a newer version of the code beside an older one, which then follows
    skew_s: int = 0  # the wall clock of one process is wrong by this
    jumps: int = 0  # of a wall clock, by up to an hour
    sleeps_uncounted: bool = False  # the monotonic clock stands still while the process is frozen
    drains: int = 0
    repoints: bool = False  # an account gets another credential while something is open
    restores: bool = False  # a backup from the middle of the faults is put back
    outages_of_store: int = 0
    others: float = 0.2  # the share of payments of another merchant
    own_accounts: bool = False  # some accounts are for one merchant only
    calls_max: int = 0  # at once, of each process at each account; 0 = no limit
    endpoints: int = 0  # where merchants are told, when the world begins
    desk: int = 0  # what merchants do to their endpoints: make, rotate, disable, replay, remove
    deaf: float = 0.0  # the share of endpoints that never take anything
    moody: float = 0.0  # the share of webhooks that an endpoint does not take, or takes without an answer

    @property
    def undisturbed(self) -> bool:
        """Only the cards decide: no fault, no accident that lasts."""
        accidents = (self.spells, self.kills, self.freezes, self.skew_s, self.jumps, self.drains, self.outages_of_store)
        return not (any(self.rates.values()) or any(accidents) or self.deploys or self.repoints or self.restores)

    def said(self) -> str:
        """All that differs from a calm world, in one line."""
        calm = Options(seed=0)
        shown = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in ("rates", "tokens"):
                continue
            if value != getattr(calm, name) or name in ("seed", "store"):
                shown.append(f"{name}={_short(value)}")
        odds = " ".join(f"{word}:{rate:.3f}" for word, rate in self.rates.items() if rate)
        return " ".join(shown) + (f" | {odds}" if odds else " | no faults of calls")


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(each[0] if isinstance(each, tuple) else str(each) for each in value)
    return str(value)


def calm(seed: int, adapters: Mapping[str, object]) -> Options:
    """Nothing goes wrong but what the cards themselves say."""
    accounts = tuple((f"{name}_a", name) for name in sorted(adapters))
    return Options(seed=seed, accounts=accounts, processes=1)


def _some(dice: random.Random, share: float, most: int) -> int:
    """In this share of the worlds there is some, 1 to ``most``."""
    return dice.randint(1, most) if dice.random() < share else 0


def _afterwards(o: Options) -> Options:
    """What happens to payments beside their charge. By dice of its own, so that it is independent of all that was drawn."""
    dice = random.Random(f"afterwards {o.seed}")
    tokens = o.tokens
    if dice.random() < 0.2:
        tokens = (*tokens, *dice.choices(ACTIONS, k=max(1, len(tokens) // 2)))
    manual = dice.choice((0.0, 0.0, 0.3, 1.0))
    short = dice.choice((60, 600)) if o.terms == "sandbox" else dice.choice((600, 6 * HOUR_S, 24 * HOUR_S))
    chooses = all(adapter in CHOOSES for _, adapter in o.accounts)
    return replace(
        o,
        tokens=tokens,
        tells=dice.random() < 0.4,
        spoils=dice.choice((0.0, 0.3, 0.8)),
        manual=manual,
        asks=dice.choice((0.0, 1.0, 2.0, 3.0)),
        acts=dice.choice((0.0, 0.5, 1.0)),
        action_s=dice.choice((0, 0, 60, 600)),
        refunds=dice.choice(("plain", "plain", "plain", "pending", "pending_fail", "fail_later", "fail_later", "fail")),
        hold_s=short if manual else 0,
        lapses=manual > 0 and chooses and dice.random() < 0.7,
        early=dice.choice((1, 1, 1, 4)),
    )


def lives_in_the_cloud(seed: int, wanted: str, drawn: str) -> bool:
    """Whether a seed's world is one of DynamoDB: by dice of its own, so that all other worlds stay as they are."""
    if wanted:
        return wanted == "dynamodb"
    return drawn == "memory" and seed >= CLOUD_FROM and random.Random(f"{CLOUD_LABEL} {seed}").random() < CLOUD_SHARE


def _clouded(o: Options) -> Options:
    """The same trouble, with that of AWS in place of the store's own."""
    dice = random.Random(f"clouded {o.seed}")
    rates = {word: rate * dice.choice((0, 1, 1, HEAVY)) for word, rate in CLOUD_RATES.items()} if o.rates else {}
    lag_s = dice.choice((0, 1, 5, 30)) if o.rates else 0
    return replace(o, store="dynamodb", rates={**o.rates, **rates}, lag_s=lag_s, shards=dice.choice((1, 1, 2, 3)))


def has_many(seed: int) -> bool:
    """Whether a seed's world has several merchants with things of their own: by dice of its own."""
    return seed >= MANY_FROM and random.Random(f"{MANY_LABEL} {seed}").random() < MANY_SHARE


def _many(o: Options) -> Options:
    """Several merchants, some of them with webhooks. By dice of its own, as above."""
    dice = random.Random(f"many {o.seed}")
    return replace(
        o,
        others=dice.choice((0.2, 0.5)),
        own_accounts=dice.random() < 0.4,
        calls_max=dice.choice((0, 0, 1, 1, 2, 3)),
        endpoints=dice.choice((0, 1, 2, 3, 5)),
        desk=dice.choice((0, 0, 2, 6)),
        deaf=dice.choice((0.0, 0.0, 0.3)),
        moody=dice.choice((0.0, 0.3, 0.7)),
    )


def draw(seed: int, adapters: tuple[str, ...], store: str = "") -> Options:
    """The options of a seed, over accounts of these adapters."""
    dice = random.Random(f"options {seed}")
    rates = {word: rate * dice.choice((0, 1, 1, HEAVY)) for word, rate in RATES.items()}
    quiet = dice.random() < 0.06  # only the cards decide
    if quiet or dice.random() < 0.1:  # only what vendors and people do
        rates = {}
    names = [(f"{adapter}_{letter}", adapter) for adapter in adapters for letter in "ab"]
    chosen = dice.sample(names, dice.choice((1, 2, 2, 3, 3, 4)) if len(names) > 3 else dice.randint(1, len(names)))
    tokens = dice.choices([*TOKEN_WEIGHTS], [*TOKEN_WEIGHTS.values()], k=dice.choice((1, 3, 8)))
    late = random.Random(f"surplus {seed}")  # of its own, so that all other worlds stay as they are
    if late.random() < 0.2:
        tokens[0] = late.choice(SURPLUS)
    restores = dice.random() < 0.06
    skew, sleeps_uncounted = dice.random() < 0.2, dice.random() < 0.3
    if rates and dice.random() < 0.15:  # first fires are held up, so that second ones follow; reads overtake each other
        rates |= REFIRED
        tokens = [*tokens, "tok_decline_send_then_ok", "tok_ok"]
    drawn = Options(
        seed=seed,
        store=store or ("sqlite" if dice.random() < 0.16 else "memory"),
        accounts=tuple(chosen),
        terms=dice.choice(("real", "real", "hours", "sandbox", "sandbox")),
        processes=dice.choice((1, 2, 2, 3)),
        concurrency=dice.choice((1, 2, 8)),
        payments=dice.choice((1, 2, 3, 4, 6, 10)),
        faults_for_s=dice.choice((60, 600, 6 * HOUR_S, 48 * HOUR_S, 96 * HOUR_S)),
        arrive_for_s=dice.choice((1, 30, 300)),
        rates=rates,
        tokens=tuple(tokens),
        attempts_max=dice.choice((1, 2, 3, 3)),
        late_success=dice.choice(("refund", "refund", "accept")),
        ruled=dice.random() < 0.5,
        forced=dice.choice((0.0, 0.0, 0.3)),
        loses_hints=dice.choice((0.0, 0.3, 1.0)),
        webhooks=dice.choice((0.0, 0.0, 0.5, 2.0)),
        spells=_some(dice, 0.4, 4),
        kills=_some(dice, 0.4, 4),
        freezes=_some(dice, 0.3, 3),
        deploys=dice.random() < 0.15,
        skew_s=dice.choice((-HOUR_S, HOUR_S, 60)) if skew and not sleeps_uncounted else 0,
        jumps=_some(dice, 0.15, 3) if not sleeps_uncounted else 0,
        sleeps_uncounted=sleeps_uncounted,
        drains=_some(dice, 0.15, 2),
        repoints=dice.random() < 0.1,
        restores=restores,
        outages_of_store=_some(dice, 0.15, 2),
    )
    drawn = _afterwards(_clouded(drawn) if lives_in_the_cloud(seed, store, drawn.store) else drawn)
    drawn = _many(drawn) if has_many(seed) else drawn
    return replace(drawn, **QUIET) if quiet else drawn
