"""Routing as configured: [[rules]] and [routing.high_value] of payonce.toml become core Rules. Whatever is wrong is a
ConfigError with file, line and reason, so that a bad file stops the start and not a payment."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from msgspec.structs import asdict

from .core.errors import ConfigError
from .core.idempotency import Scalar
from .core.money import AMOUNT_MINOR_MAX, EXPONENTS, is_currency
from .core.payment import Mode
from .core.routing import HIGH_VALUE_MINOR, MERCHANT_ID, Offer, Rule, Rules, When, same
from .tomlfile import TomlFile, ended, suggest, unknown

RULES_MAX: Final = 200
RULE_KEYS: Final = ("name", "when", "use", "fallback")
WHEN_KEYS: Final = ("currency", "amount_from", "amount_to", "high_value", "method", "metadata", "client", "merchant")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")  # it is stored with every payment that the rule routes


def read_rules(file: TomlFile, accounts: Mapping[str, Mode], mode: Mode) -> tuple[Rule, ...]:
    """The [[rules]] of a file. ``accounts`` are all that are configured, ``mode`` is the server's. Raises ConfigError."""
    tables = file.table.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{file.place('rules')}: rules must be a list of tables: write [[rules]]. Nothing was started.")
    if len(tables) > RULES_MAX:
        raise ConfigError(f"{file.place('rules')}: {len(tables)} rules, the limit is {RULES_MAX}. Nothing was started.")
    rules: list[Rule] = []
    for n, table in enumerate(tables):
        rule = _Table(file, n, table).rule(accounts, mode)
        if any(rule.name == other.name for other in rules):
            raise _Table(file, n, table).bad(f"the name {rule.name} is taken by an earlier rule", "name")
        rules.append(rule)
    return tuple(rules)


def read_high_value(file: TomlFile) -> tuple[dict[str, int], int]:
    """[routing.high_value]: (minor units per currency, the default of all others). Raises ConfigError."""
    routing = file.table.get("routing", {})
    table = routing.get("high_value", {}) if isinstance(routing, dict) else None
    if not isinstance(routing, dict) or not isinstance(table, dict):
        raise ConfigError(f"{file.place('routing', 'high_value')}: write [routing.high_value]. Nothing was started.")
    for name in routing:
        if name != "high_value":
            raise ConfigError(f"{file.place('routing', name)}: routing.{name} {unknown(name, ['high_value'])}")
    for name, value in table.items():
        where = f"{file.place('routing', 'high_value', name)}: routing.high_value.{name}"
        if name != "default" and not is_currency(name):
            reason = f"is neither default nor an ISO 4217 code{suggest(name.upper(), [*EXPONENTS, 'DEFAULT'])}"
            raise ConfigError(f"{where} {ended(reason)} Nothing was started.")
        if not _is_amount(value) or value < 1:
            raise ConfigError(f"{where} must be a whole number of minor units, 1 to {AMOUNT_MINOR_MAX}. Nothing was started.")
    return {name: value for name, value in table.items() if name != "default"}, table.get("default", HIGH_VALUE_MINOR)


def _is_amount(value: object) -> bool:
    """A whole number within what a payment may have; true, false and 1.0 are none."""
    return type(value) is int and 0 <= value <= AMOUNT_MINOR_MAX


class _Table:
    """One [[rules]] table while it is read."""

    def __init__(self, file: TomlFile, n: int, table: dict[str, Any]) -> None:
        self.file, self.n, self.table = file, n, table
        name = table.get("name", f"rule {n + 1}")
        self.called = name if isinstance(name, str) and NAME.fullmatch(name) else f"rule {n + 1}"

    def bad(self, reason: str, *key: str | int) -> ConfigError:
        """``key`` is the one within the table that is wrong."""
        return ConfigError(
            f"{self.file.place('rules', self.n, *key)}: [[rules]] {self.called}: {ended(reason)} Nothing was started."
        )

    def rule(self, accounts: Mapping[str, Mode], mode: Mode) -> Rule:
        for key in self.table:
            if key in WHEN_KEYS:
                raise self.bad(f"{key} belongs into when: when = {{ {key} = ... }}", key)
            if key not in RULE_KEYS:
                raise self.bad(f"{key} {unknown(key, RULE_KEYS)}".removesuffix("."), key)
        if "name" in self.table and self.called != self.table["name"]:
            raise self.bad("name must have 1 to 40 letters, digits, spaces or ._- and begin with a letter or digit", "name")
        use = self.words(self.table.get("use", []), "use")
        if not use:
            raise self.bad("use must name at least one account", "use")
        fallback: Literal["any"] | tuple[str, ...] = "any"
        match self.table.get("fallback", "any"):
            case "any":
                pass
            case "none":
                fallback = ()
            case other:
                fallback = self.words(other, "fallback")
        self.check_accounts(use, "use", accounts, mode)
        if fallback != "any":
            self.check_accounts(fallback, "fallback", accounts, mode)
            if twice := [name for name in fallback if name in use]:
                raise self.bad(f"fallback names {twice[0]}, which stands in use", "fallback")
        return Rule(name=self.called, when=self.when(), use=use, fallback=fallback)

    def words(self, value: object, *key: str) -> tuple[str, ...]:
        """One string or a list of different ones."""
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(each, str) and each.strip() for each in listed):
            raise self.bad(f"{'.'.join(key)} must be a string or a list of strings, none of them empty", *key)
        if twice := [each for each in listed if listed.count(each) > 1]:
            raise self.bad(f"{'.'.join(key)} names {twice[0]} twice", *key)
        return tuple(listed)

    def check_accounts(self, names: tuple[str, ...], key: str, accounts: Mapping[str, Mode], mode: Mode) -> None:
        for name in names:
            if name not in accounts:
                meant = suggest(name, [*accounts, "any", "none"] if key == "fallback" else accounts)
                if key == "fallback" and (not meant or name in ("any", "none")):
                    meant = '; write "any", "none" or names of accounts'
                raise self.bad(f"{key} names {name}, and there is no such account{meant}", key)
            if accounts[name] != mode:
                raise self.bad(f"{key} names {name}, an account of {accounts[name]} mode; server.mode is {mode}", key)

    def when(self) -> When:
        table = self.table.get("when", {})
        if not isinstance(table, dict):
            raise self.bad('when must be a table, such as { currency = "INR" }', "when")
        for key in table:
            if key not in WHEN_KEYS:
                raise self.bad(f"when.{key} {unknown(key, WHEN_KEYS)}".removesuffix("."), "when", key)
        for key in ("amount_from", "amount_to"):
            if key in table and not _is_amount(table[key]):
                raise self.bad(f"when.{key} must be a whole number of minor units, 0 to {AMOUNT_MINOR_MAX}", "when", key)
        least, most = table.get("amount_from"), table.get("amount_to")
        if least is not None and most is not None and least > most:
            raise self.bad(f"when.amount_from ({least}) is more than when.amount_to ({most})", "when", "amount_from")
        if not isinstance(high := table.get("high_value"), bool | None):
            raise self.bad("when.high_value must be true or false", "when", "high_value")
        lists = {key: self.listed(table, key) for key in ("currency", "method", "client", "merchant")}
        for code in lists["currency"]:
            if not is_currency(code):
                reason = f"when.currency names {code}, which is no ISO 4217 code{suggest(code.upper(), EXPONENTS)}"
                raise self.bad(reason, "when", "currency")
        return When(amount_from_minor=least, amount_to_minor=most, high_value=high, metadata=self.metadata(table), **lists)

    def listed(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        words = self.words(table.get(key, []), "when", key)
        if key in table and not words:
            raise self.bad(f"when.{key} is empty: leave it out to match all", "when", key)
        return words

    def metadata(self, when: dict[str, Any]) -> dict[str, tuple[Scalar, ...]]:
        table = when.get("metadata", {})
        if not isinstance(table, dict):
            raise self.bad('when.metadata must be a table, such as { plan = "gold" }', "when", "metadata")
        found: dict[str, tuple[Scalar, ...]] = {}
        for name, value in table.items():
            values = value if isinstance(value, list) else [value]
            if not values:
                raise self.bad(f"when.metadata.{name}: the list is empty", "when", "metadata", name)
            if not all(isinstance(each, str | int | float | bool) for each in values):
                reason = f"when.metadata.{name} must be a string, number, true or false, or a list of such"
                raise self.bad(reason, "when", "metadata", name)
            found[name] = tuple(values)
        return found


def warnings(rules: Rules, accounts: Iterable[str]) -> list[str]:
    """What is allowed in rules and probably not meant. Without rules there is nothing to say."""
    found: list[str] = []
    for n, rule in enumerate(rules.rules):
        earlier = next((other for other in rules.rules[:n] if covers(other.when, rule.when)), None)
        if earlier:
            found.append(f"{_capital(rule)} never chooses: {earlier.title} before it matches all that it matches.")
        bounds = {"amount_from": rule.when.amount_from_minor, "amount_to": rule.when.amount_to_minor}
        given = " and ".join(key for key, bound in bounds.items() if bound is not None)
        if given and not rule.when.currency:
            found.append(f"{_capital(rule)} has {given} without currency: it compares minor units of different currencies.")
    if rules.rules and not any(rule.when == When() for rule in rules.rules):
        found.append("A payment that no rule matches is refused (no_route). A last rule without `when` takes the rest.")
    named = {name for rule in rules.rules for name in (*rule.use, *(rule.fallback if rule.fallback != "any" else ()))}
    to_all = any(rule.fallback == "any" for rule in rules.rules)
    left = "it is a fallback only" if to_all else "only a payment that names it itself can reach it"
    if rules.rules:
        found += [f"No rule names the account {name}: {left}." for name in accounts if name not in named]
    return found


def currency_warnings(rules: Rules, offers: Iterable[Offer]) -> list[str]:
    """Accounts that a rule for certain currencies puts first and that do not take them."""
    takes = {offer.account: offer.currencies for offer in offers}
    found: list[str] = []
    for rule in rules.rules:
        for name in rule.use:
            taken = takes.get(name)
            left = [code for code in rule.when.currency if taken is not None and code not in taken]
            if left:
                found.append(f"{_capital(rule)} uses {name}, which does not take {' or '.join(left)}.")
    return found


def merchant_warnings(rules: Rules, whose: Mapping[str, Collection[str] | None]) -> list[str]:
    """Rules whose accounts do not fit the merchants that they are for. ``whose``: account -> the merchants that it serves, None
    = everybody. An account that a rule names for others is passed over without a word, so it is said here."""
    found: list[str] = []
    several = {each for served in whose.values() for each in served or ()} - {"mer_default"}
    several |= {each for rule in rules.rules for each in rule.when.merchant}  # else nobody but the default one is thought of
    for rule in rules.rules:
        named = (*rule.use, *(rule.fallback if rule.fallback != "any" else ()))
        wanted = rule.when.merchant
        if strangers := [each for each in wanted if not MERCHANT_ID.fullmatch(each)]:
            found.append(f"{_capital(rule)} is for {' or '.join(strangers)}, which is no merchant's id (mer_...).")
        for name in named:
            served = whose.get(name)
            if served is not None and not served:
                found.append(f"{_capital(rule)} names {name}, which takes no merchant's payments any more.")
            elif served is not None and (left := [each for each in wanted if each not in served]):
                found.append(f"{_capital(rule)} names {name}, which does not serve {' or '.join(left)}.")
        served_by = [whose.get(name) for name in named]
        if several and not wanted and rule.fallback != "any" and served_by and all(each for each in served_by):
            them = sorted({each for served in served_by for each in served or ()})
            found.append(
                f"{_capital(rule)} has accounts for {' and '.join(them)} only: payments of others that it matches are refused."
            )
    return found


def _capital(rule: Rule) -> str:
    """Its title at the beginning of a sentence."""
    return rule.title[0].upper() + rule.title[1:]


def covers(wide: When, narrow: When) -> bool:
    """True when whatever matches ``narrow`` certainly matches ``wide``, one condition compared with its like."""
    for key in ("currency", "method", "client", "merchant"):
        if getattr(wide, key) and not (getattr(narrow, key) and set(getattr(narrow, key)) <= set(getattr(wide, key))):
            return False
    least, most = narrow.amount_from_minor, narrow.amount_to_minor
    if wide.amount_from_minor is not None and (least is None or least < wide.amount_from_minor):
        return False
    if wide.amount_to_minor is not None and (most is None or most > wide.amount_to_minor):
        return False
    if wide.high_value is not None and wide.high_value is not narrow.high_value:
        return False
    return all(
        name in narrow.metadata and all(any(same(one, other) for other in values) for one in narrow.metadata[name])
        for name, values in wide.metadata.items()
    )


def when_in_words(when: When) -> str:
    """``currency INR or USD, at or above 1,000``; ``every payment`` without a condition."""
    return ", ".join(_in_words(when)) or "every payment"


def _in_words(when: When) -> Iterator[str]:
    if when.currency:
        yield f"currency {' or '.join(when.currency)}"
    if when.amount_from_minor is not None:
        yield f"at or above {when.amount_from_minor:,}"
    if when.amount_to_minor is not None:
        yield f"at or below {when.amount_to_minor:,}"
    if when.high_value is not None:
        yield "of high value" if when.high_value else "below high value"
    for key, values in asdict(when).items():
        if key in ("method", "client", "merchant") and values:
            yield f"{key} {' or '.join(values)}"
    for name, values in when.metadata.items():
        yield f"metadata.{name} {' or '.join(_literal(value) for value in values)}"


def _literal(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def use_in_words(rule: Rule) -> str:
    """``razorpay_mock, then any other that takes it``."""
    if rule.fallback == "any":
        return f"{', '.join(rule.use)}, then any other that takes it"
    return f"{', '.join(rule.use)}" + (f", then {', '.join(rule.fallback)}" if rule.fallback else ", and no other")


def high_value_in_words(rules: Rules) -> str:
    """``1,000,000 minor units; INR 500,000``."""
    own = [f"{currency} {amount:,}" for currency, amount in rules.high_value_minor.items()]
    return "; ".join([f"{rules.high_value_default_minor:,} minor units", *own])
