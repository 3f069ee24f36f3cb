"""The payments of the demo, in the order in which they are posted: every kind of luck, over every rule, some with what follows
a charge, then an outage."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from .ground import ABROAD, HOME, Ground

LATE: Final = "tok_late_success"
SLOW: Final = ("tok_timeout_then_ok", "tok_500_then_ok", "tok_rate_limited", "tok_slow_5s", LATE)
ENDLESS: Final = ("tok_never_resolves", "tok_action")
HIGH_MINOR: Final = 1_250_000
Part = Literal["mix", "life", "down", "open", "back"]


class Wish(Struct, frozen=True, kw_only=True):
    """What the merchant asks of a payment once nothing of it is under way. ``amount`` in minor units, 0 = all of it.
    ``faults``: the fault profile of its provider meanwhile. The next wish waits until it ``ends`` so."""

    what: Literal["capture", "void", "refunds"]
    amount: int = 0
    ends: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED"
    faults: Mapping[str, Any] = {}


class Post(Struct, frozen=True, kw_only=True):
    """One payment to post. ``copies``: how many more times the same request is sent, all at once. ``part``: in the mix,
    beside it with ``wishes`` that follow, while the provider is down, when its breaker has opened, when it is back."""

    key: str
    body: dict[str, Any]
    copies: int = 0
    part: Part = "mix"
    wishes: tuple[Wish, ...] = ()

    @property
    def token(self) -> str:
        method = self.body.get("paymentMethod", "forceFail")
        return str(method["token"] if isinstance(method, Mapping) else method)

    @property
    def late(self) -> bool:
        """Declined first, taken later."""
        return self.token == LATE

    @property
    def slow(self) -> bool:
        """It takes its time on its own, with nobody's fault but the token's."""
        return self.endless or self.token in SLOW

    @property
    def endless(self) -> bool:
        """The provider never says how it ended, or waits for a customer: whoever watches."""
        return self.token in ENDLESS


# token -> how many of them by where they go: INR, a high amount in another currency, anything else. The slow ones first.
MIX: Final[dict[str, tuple[int, int, int]]] = {
    LATE: (1, 1, 1),
    "tok_timeout_then_ok": (1, 1, 1),
    "tok_rate_limited": (0, 0, 1),
    "tok_ok": (4, 2, 5),
    "tok_decline_processing_error": (1, 0, 1),
    "tok_lost_response": (2, 1, 2),
    "tok_technical_then_ok": (1, 0, 1),
    "tok_slow_5s": (1, 0, 0),
    "tok_decline_then_ok": (1, 1, 1),
    "tok_not_enabled_then_ok": (0, 1, 1),
    "tok_500_then_ok": (1, 0, 1),
    "tok_decline_stolen_card": (1, 0, 1),
    "tok_500_after_charge": (1, 1, 0),
    "tok_decline_insufficient_funds": (0, 1, 1),
    "tok_garbage_response": (0, 1, 1),
    "tok_bogus": (1, 0, 0),  # no such token: the customer's mistake
    "tok_wrong_amount": (0, 0, 1),
}
CURRENCIES: Final = ((HOME,), ("EUR", "GBP", "USD", "JPY"), ("EUR", "USD", "JPY", "KWD", "GBP", "BRL"))
OUTAGE: Final[tuple[tuple[Part, int], ...]] = (("down", 6), ("open", 2), ("back", 2))


def script(ground: Ground, *, endless: bool) -> list[Post]:
    """Every fifth of the mix is sent again at once. ``endless`` adds one whose end the provider never tells, and one whose
    customer is whoever watches."""
    run = f"order-{secrets.token_hex(3)}"  # a kept data folder knows the keys of earlier runs
    bodies: list[tuple[Part, dict[str, Any]]] = [("mix", body) for body in (*_mix(), *_edges(ground))]
    if endless:
        bodies.append(("mix", {"amount": 9900, "currency": "EUR", "paymentMethod": "tok_never_resolves"}))
        bodies.append(("mix", {"amount": 5500, "currency": "EUR", "paymentMethod": "tok_action", **_at(ground, "stripe")}))
    for part, count in OUTAGE:
        bodies += [(part, {"amount": 2100 + 100 * n, "currency": HOME, "paymentMethod": "tok_ok"}) for n in range(count)]
        if part == "open":  # it names the account, so it has to wait for it
            bodies.append((part, {"amount": 7700, "currency": HOME, "paymentMethod": "tok_ok", "provider": ground.lead}))
    posts = [
        Post(key=f"{run}-{n + 1:03}", body={**body, "clientId": f"shop-{n % 3 + 1}"}, copies=2 if n % 5 == 2 else 0, part=part)
        for n, (part, body) in enumerate(bodies)
    ]
    for n, (body, wishes) in enumerate(_lives(ground)):
        posts.append(Post(key=f"{run}-life-{n + 1}", body=body, part="life", wishes=wishes))
    return posts


def _mix() -> Iterator[dict[str, Any]]:
    """One of each token and direction in turn, so that no provider meets all its bad luck at once."""
    left = {(token, where): count for token, counts in MIX.items() for where, count in enumerate(counts) if count}
    seen = [0, 0, 0]
    n = 0
    while left:
        for token, where in list(left):
            currencies = CURRENCIES[where]
            amount = (HIGH_MINOR if where == 1 else 500) + 137 * n
            yield {"amount": amount, "currency": currencies[seen[where] % len(currencies)], "paymentMethod": token}
            seen[where] += 1
            n += 1
            left[token, where] -= 1
            if not left[token, where]:
                del left[token, where]


def _edges(ground: Ground) -> Iterator[dict[str, Any]]:
    """At the threshold and just below it; what rules meet where they overlap; an account by name; a decline by metadata."""
    yield {"amount": ground.threshold_minor, "currency": ABROAD, "paymentMethod": "tok_ok"}
    yield {"amount": ground.threshold_minor - 1, "currency": ABROAD, "paymentMethod": "tok_ok"}
    yield {"amount": HIGH_MINOR, "currency": HOME, "paymentMethod": "tok_ok"}
    yield {"amount": HIGH_MINOR, "currency": "KWD", "paymentMethod": "tok_ok"}  # not every account takes dinars
    if ground.named:
        yield {"amount": 4200, "currency": "EUR", "paymentMethod": "tok_ok", "provider": ground.named}
    yield {"amount": 4200, "currency": HOME, "metadata": {"forceFail": True}}


def _lives(ground: Ground) -> Iterator[tuple[dict[str, Any], tuple[Wish, ...]]]:
    """What comes after a charge, and customers who have to act: one of each."""
    stripe, payu, held = _at(ground, "stripe"), _at(ground, "payu"), {"captureMethod": "manual"}
    part = (Wish(what="capture", amount=9000), Wish(what="refunds", amount=2500))
    yield {"amount": 12_000, "currency": "EUR", "paymentMethod": "tok_ok", **held, **stripe}, part
    yield {"amount": 4500, "currency": HOME, "paymentMethod": "tok_ok", **held, **payu}, (Wish(what="void"),)
    fails = Wish(what="refunds", amount=3000, ends="FAILED", faults={"refunds": "fail_later"})
    yield {"amount": 8800, "currency": HOME, "paymentMethod": "tok_ok", **payu}, (fails, Wish(what="refunds", amount=3000))
    yield {"amount": 3300, "currency": HOME, "paymentMethod": {"type": "upi", "token": "tok_action_ok"}, **payu}, ()
    yield {"amount": 6600, "currency": "EUR", "paymentMethod": "tok_action_decline", **stripe}, ()


def _at(ground: Ground, vendor: str) -> dict[str, str]:
    """The field that names an account of this vendor; nothing where the configuration has none."""
    name = next((name for name, its in ground.vendors.items() if its == vendor), "")
    return {"provider": name} if name else {}
