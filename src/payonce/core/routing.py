"""Which accounts may take a payment, in which order, and why: rules and accounts in, a route out.

The first rule that matches chooses, even when none of its accounts is able: then its fallbacks are what is left. A route
is stored in the chain, which is never erased, so its texts name no customer data (payment method, metadata values).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from .idempotency import Scalar
from .payment import Candidate, Mode

MERCHANT_ID: Final = re.compile(r"mer_[a-z0-9_]{1,40}")  # what the id of a merchant looks like, wherever somebody writes one
HIGH_VALUE_MINOR = 1_000_000  # where nothing else is configured for a currency


class When(Struct, frozen=True, kw_only=True):
    """What a payment must be for a rule to match: all of the conditions given, one of the values of each. None given
    matches every payment. Both amounts are inclusive."""

    currency: tuple[str, ...] = ()
    amount_from_minor: int | None = None
    amount_to_minor: int | None = None
    high_value: bool | None = None  # at or above the threshold of its currency, or below it
    method: tuple[str, ...] = ()  # paymentMethod.type
    metadata: Mapping[str, tuple[Scalar, ...]] = {}
    client: tuple[str, ...] = ()
    merchant: tuple[str, ...] = ()


class Rule(Struct, frozen=True, kw_only=True):
    """``use`` comes first, in its order; then ``fallback``: accounts by name, or any that can take the payment."""

    name: str
    when: When = When()
    use: tuple[str, ...]
    fallback: Literal["any"] | tuple[str, ...] = "any"

    @property
    def title(self) -> str:
        """In a sentence: rules without a name of their own are called ``rule 1`` and so on."""
        return self.name if self.name.startswith("rule ") else f"rule {self.name}"


class Rules(Struct, frozen=True, kw_only=True):
    """The rules in their order, and from which amount on a payment is of high value, per currency."""

    rules: tuple[Rule, ...] = ()
    high_value_minor: Mapping[str, int] = {}
    high_value_default_minor: int = HIGH_VALUE_MINOR


class Asked(Struct, frozen=True, kw_only=True):
    """All that routing may know of a payment. ``provider`` is the account that the request names, if it does."""

    mode: Mode
    currency: str
    amount_minor: int
    merchant_id: str
    client_id: str = ""
    method: str = ""
    metadata: Mapping[str, Scalar] = {}
    provider: str = ""
    manual: bool = False  # the merchant captures: the account must be able to hold


class Offer(Struct, frozen=True, kw_only=True):
    """An account and what it can take; ``currencies`` and ``methods`` None = all, ``multiples``: see Capabilities."""

    account: str
    mode: Mode
    currencies: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    multiples: Mapping[str, int] = {}
    holds: bool = True


class Route(Struct, frozen=True, kw_only=True):
    """``rule`` is the name of the one that chose, or empty. Candidates: the taken ones in order, then the skipped."""

    rule: str
    candidates: tuple[Candidate, ...]

    @property
    def taken(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates if c.taken)


class Condition(Struct, frozen=True):
    """One condition of a rule, looked at for one payment; ``why`` says what was found."""

    name: str
    holds: bool
    why: str


def route(rules: Rules, asked: Asked, offers: Sequence[Offer]) -> Route:
    """The accounts of a payment. Nothing taken = it cannot be accepted. Every offer is a candidate exactly once, and nothing
    else is, but for the account that the request names: rules may name accounts that are not offered to this merchant."""
    there = {offer.account: offer for offer in offers}
    if asked.provider:
        return _judged("", {asked.provider: "the request names it"}, f"the request names {asked.provider}", asked, there)
    if not rules.rules:
        why = f"takes {asked.currency}, in the order of the configuration"
        return _judged("", dict.fromkeys(there, why), "", asked, there)
    for rule in rules.rules:
        if all(each.holds for each in _conditions(rule.when, asked, rules)):  # no further than the first that does not
            break
    else:
        return _judged("", {}, "no rule matches this payment", asked, there)
    why = f"{rule.title}: {', '.join(each.why for each in conditions(rule, asked, rules)) or 'matches every payment'}"
    wanted = dict.fromkeys((name for name in rule.use if name in there), why)
    for name in there if rule.fallback == "any" else rule.fallback:
        if name in there:
            wanted.setdefault(name, f"fallback: takes {asked.currency}")
    others = f"not among the fallbacks of {rule.title}" if rule.fallback else f"{rule.title} has no fallback"
    return _judged(rule.name, wanted, others, asked, there)


def conditions(rule: Rule, asked: Asked, rules: Rules) -> tuple[Condition, ...]:
    """The conditions that a rule states, each looked at for this payment."""
    return tuple(_conditions(rule.when, asked, rules))


def _conditions(when: When, asked: Asked, rules: Rules) -> Iterator[Condition]:
    amount, currency = asked.amount_minor, asked.currency
    if when.currency:
        yield Condition("currency", currency in when.currency, f"currency {currency}")
    if (least := when.amount_from_minor) is not None:
        yield Condition("amount_from", amount >= least, f"{amount:,} is {_at(amount, least)} {least:,} ({currency})")
    if (most := when.amount_to_minor) is not None:
        found = "at or below" if amount <= most else "above"
        yield Condition("amount_to", amount <= most, f"{amount:,} is {found} {most:,} ({currency})")
    if when.high_value is not None:
        high = rules.high_value_minor.get(currency, rules.high_value_default_minor)
        said = f"{amount:,} is {_at(amount, high)} {high:,} ({currency})"
        yield Condition("high_value", (amount >= high) is when.high_value, said)
    if when.method:
        holds = asked.method in when.method
        yield Condition("method", holds, f"payment method {_as_asked(holds)}")
    for name, values in when.metadata.items():
        holds = name in asked.metadata and any(same(asked.metadata[name], value) for value in values)
        yield Condition(f"metadata.{name}", holds, f"metadata.{name} {_as_asked(holds)}")
    if when.client:
        yield Condition("client", asked.client_id in when.client, f"client {asked.client_id or '(none)'}")
    if when.merchant:
        yield Condition("merchant", asked.merchant_id in when.merchant, f"merchant {asked.merchant_id}")


def _at(amount: int, least: int) -> str:
    return "at or above" if amount >= least else "below"


def _as_asked(holds: bool) -> str:
    return "matches" if holds else "does not match"


def same(one: Scalar, other: Scalar) -> bool:
    """Equal as JSON values: true is not 1, but 1.0 is."""
    return (isinstance(one, bool), one) == (isinstance(other, bool), other)


def _judged(rule: str, wanted: Mapping[str, str], others: str, asked: Asked, there: Mapping[str, Offer]) -> Route:
    """Who is wanted (name -> why, in order) and able is taken; ``others`` says why the rest is not wanted."""
    unable = {name: _unable(there.get(name), asked) for name in wanted}
    taken = [Candidate(account=name, why=why) for name, why in wanted.items() if not unable[name]]
    skipped = [Candidate(account=name, why=why, taken=False) for name, why in unable.items() if why]
    skipped += [Candidate(account=name, why=others, taken=False) for name in there if name not in wanted]
    return Route(rule=rule, candidates=(*taken, *skipped))


def _unable(offer: Offer | None, asked: Asked) -> str:
    """Why an account cannot take the payment; empty when it can."""
    if offer is None:
        return "there is no such account"
    if offer.mode != asked.mode:
        return f"is an account of {offer.mode} mode"
    if offer.currencies is not None and asked.currency not in offer.currencies:
        return f"does not take {asked.currency}"
    if asked.amount_minor % (step := offer.multiples.get(asked.currency, 1)):
        return f"takes {asked.currency} in multiples of {step} minor units only"
    if asked.method and offer.methods is not None and asked.method not in offer.methods:
        return "does not take this payment method"
    if asked.manual and not offer.holds:
        return "cannot hold money for a later capture"
    return ""
