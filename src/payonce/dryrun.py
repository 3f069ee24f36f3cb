"""Routing rules tried on payments that were made: which account would have been asked first, by the rules as they are and by
changed ones. Nothing is stored or sent. It does not say what would have become of a payment: that only its provider knows.

Each payment is routed twice by ``Outside.facts``, the very call that gives a first plan its route: from the fields and the
customer data that are on record, with the accounts of today, whichever of them are blocked now. The rules that chose when the
payment was made do not matter here, so that a dry run compares two texts and nothing else.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from .config import ELSEWHERE, SETTINGS, Settings
from .core.errors import ConfigError
from .core.idempotency import Details
from .core.payment import Mode, Payment
from .core.routing import Offer, Rule, Rules
from .effective import rule_body
from .outside import Outside
from .ports import Clock, Filters, Page, Scope
from .rules import currency_warnings, high_value_in_words, merchant_warnings, read_high_value, read_rules, warnings
from .shown.routing_bodies import DryRunBody, DryRunGroup
from .tomlfile import SHIPPED, TomlFile, shipped, unknown

TOML_BYTES_MAX: Final = 65_536  # of a text that is tried
RUN_S_MAX: Final = 5  # seconds that a run may take
PAGE: Final = 100  # payments read at once,
CHUNK: Final = 20  # and routed before others get their turn
EXAMPLES_MAX: Final = 5  # of each group
GROUPS_MAX: Final = 100  # that are told; there are seldom more than ten
LINE_DOTS_MAX: Final = 100  # a key of thousands of parts costs the parser minutes, and means nothing
LINES_COST_MAX: Final = 8_000_000  # lines times characters up to which lines are counted: else that would take seconds
VALUES_MAX: Final = 2_000  # metadata values up to which rules are compared with each other, for the same reason
RULES_PARTS: Final = ("rules", "routing")  # of a payonce.toml: what is tried of it


class Tried(Struct, frozen=True, kw_only=True):
    """A text as it would be read from payonce.toml at the next start. ``ignored``: what it has beside rules and thresholds."""

    rules: Rules
    warnings: tuple[str, ...] = ()


class Group(Struct, frozen=True, kw_only=True):
    """Payments that would have gone elsewhere in the same way. ``came_to`` "" = no account could have taken them."""

    came_from: str  # the account asked first by the rules as they are; "" = none
    came_to: str
    by_rule: str  # the rule that chose; "" = none did
    to_rule: str
    count: int
    examples: tuple[str, ...]  # ids, the newest first


class Compared(Struct, frozen=True, kw_only=True):
    """What a dry run found. ``of`` = ``named`` + ``cannot_tell`` + those that were compared."""

    of: int  # payments that were looked at
    changed: int  # another account would have been asked first, or none could have taken it
    reordered: int  # the same account first, but another rule or another order behind it
    unroutable: int  # by the changed rules no account could have taken it: it would have been refused (no_route)
    named: int  # they name an account themselves: no rule is asked
    cannot_tell: int  # customer data was erased, so that nobody knows what rules would have seen
    groups: tuple[Group, ...]  # of the changed ones, the largest first
    groups_left_out: int
    truncated: bool  # time ran out before all of them were looked at


# --- the text ---------------------------------------------------------------------------------------------------------


def tried(text: str, settings: Settings, offers: Sequence[Offer], name: str = "the text") -> Tried:
    """A text as a whole payonce.toml, or only its [[rules]] and [routing.high_value]. Raises ConfigError, in the words with
    which it would stop a start: with the line (a long text with many lines is not counted through) and the reason."""
    accounts: dict[str, Mode] = {p.name: p.mode for p in settings.providers}
    try:
        file = _toml(text, name)
        said = _ignored(file)
        rules_from = file
        if "rules" not in file.table and settings.providers and all(p.origin.startswith(SHIPPED) for p in settings.providers):
            rules_from = shipped()
            said.append("The text has no [[rules]]: the shipped ones stand in, as the accounts are the shipped ones.")
        rules = read_rules(rules_from, accounts, settings.mode)
        per_currency, default = read_high_value(file)
    except ConfigError as error:
        raise ConfigError(str(error).replace("Nothing was started.", "Nothing was changed.")) from None
    found = Rules(rules=rules, high_value_minor=per_currency, high_value_default_minor=default)
    if "routing" not in file.table and _thresholds(found) != _thresholds(settings.rules):
        said.append("The text has no [routing.high_value]: the default threshold holds, not the present ones.")
    return Tried(rules=found, warnings=(*said, *warnings_about(found, settings, offers)))


def warnings_about(rules: Rules, settings: Settings, offers: Sequence[Offer]) -> list[str]:
    """What is allowed in rules and probably not meant, with the accounts as they are configured."""
    if sum(len(values) for rule in rules.rules for values in rule.when.metadata.values()) > VALUES_MAX:
        return [f"The rules have more than {VALUES_MAX:,} metadata values: what is probably not meant was not looked for."]
    here = [p.name for p in settings.providers if p.mode == settings.mode]
    whose = {p.name: p.merchants for p in settings.providers}
    return [*warnings(rules, here), *currency_warnings(rules, offers), *merchant_warnings(rules, whose)]


def _toml(text: str, name: str) -> TomlFile:
    if len(text.encode("utf-8", "replace")) > TOML_BYTES_MAX:
        raise ConfigError(f"{name} has more than {TOML_BYTES_MAX} bytes. Nothing was changed.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if dotted := next((n for n, line in enumerate(lines, 1) if line.count(".") > LINE_DOTS_MAX), 0):
        raise ConfigError(f"{name}, line {dotted}: there are more than {LINE_DOTS_MAX} dots in it. Nothing was changed.")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{name} nests too deeply. Nothing was changed.") from None
    except ValueError as error:  # TOML, or a number too long to convert
        raise ConfigError(f"{name} is not valid TOML: {error}. Nothing was changed.") from None
    if table.get("version", 1) != 1:
        raise ConfigError(f"{name}: its version is not known; this payonce reads version 1. Nothing was changed.")
    return TomlFile(name, table, text if len(lines) * len(text) <= LINES_COST_MAX else "")


def _ignored(file: TomlFile) -> list[str]:
    """What the text has beside rules and thresholds. Raises ConfigError for a section that no payonce.toml may have."""
    known = {*ELSEWHERE, *(s.key.partition(".")[0] for s in SETTINGS)}
    for section in file.table:
        if section not in known:
            raise ConfigError(f"{file.place(section)}: [{section}] {unknown(section, known)} Nothing was changed.")
    others = [section for section in file.table if section not in (*RULES_PARTS, "version")]
    if not others:
        return []
    return [f"Only rules and thresholds are tried; not looked at: {', '.join(others)}."]


def _thresholds(rules: Rules) -> tuple[Mapping[str, int], int]:
    return rules.high_value_minor, rules.high_value_default_minor


# --- rules as text ----------------------------------------------------------------------------------------------------


def toml_of(rules: Rules) -> str:
    """The rules and thresholds as a payonce.toml has them, to change and try: what was read, without comments."""
    parts = [f"{_rule_toml(rule, n)}\n" for n, rule in enumerate(rules.rules, 1)]
    amounts = {"default": rules.high_value_default_minor, **rules.high_value_minor}
    parts.append("[routing.high_value]\n" + "".join(f"{name} = {amount}\n" for name, amount in amounts.items()))
    return "\n".join(parts)


def _rule_toml(rule: Rule, n: int) -> str:
    lines = ["[[rules]]"] + ([f"name = {_toml_value(rule.name)}"] if rule.name != f"rule {n}" else [])
    stated = {name: value for name, value in asdict(rule.when).items() if value is not None and value not in ((), {})}
    if stated:
        inner = ", ".join(f"{name.removesuffix('_minor')} = {_toml_value(value)}" for name, value in stated.items())
        lines.append(f"when = {{ {inner} }}")
    lines.append(f"use = {_toml_value(rule.use)}")
    if rule.fallback != "any":
        lines.append(f"fallback = {_toml_value(rule.fallback or 'none')}")
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():  # JSON's strings are TOML's, but for DEL
            return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{_toml_value(name)} = {_toml_value(each)}" for name, each in value.items()) + " }"
        case Collection():
            return "[" + ", ".join(_toml_value(each) for each in value) + "]"
        case _:
            return str(value)


# --- the payments -----------------------------------------------------------------------------------------------------


class Tally:
    """What was found so far. Pure; its size is that of the groups, not of the payments."""

    def __init__(self, present: Outside, changed: Outside) -> None:
        self._present, self._changed = present, changed
        self._counts = dict.fromkeys(("of", "changed", "reordered", "unroutable", "named", "cannot_tell"), 0)
        self._groups: dict[tuple[str, str, str, str], tuple[int, tuple[str, ...]]] = {}

    @property
    def of(self) -> int:
        return self._counts["of"]

    def add(self, p: Payment, details: Details | None) -> None:
        """Compare one payment; ``details`` None: they were erased."""
        self._count("of")
        if p.provider:
            self._count("named")
        elif details is None:
            self._count("cannot_tell")
        else:
            self._compare(p, details)

    def _compare(self, p: Payment, details: Details) -> None:
        asked = replace(p, attempts=(), route=(), rule="")  # as it was when it was accepted
        by, accounts = _routed(self._present, asked, details)
        to, others = _routed(self._changed, asked, details)
        if not others:
            self._count("unroutable")
        if accounts[:1] != others[:1]:
            self._count("changed")
            key = ("".join(accounts[:1]), "".join(others[:1]), by, to)
            many, examples = self._groups.get(key, (0, ()))
            self._groups[key] = (many + 1, examples if len(examples) >= EXAMPLES_MAX else (*examples, p.id))
        elif (by, accounts) != (to, others):
            self._count("reordered")

    def _count(self, name: str) -> None:
        self._counts[name] += 1

    def result(self, *, truncated: bool) -> Compared:
        ranked = sorted(self._groups.items(), key=lambda item: (-item[1][0], item[0]))
        groups = tuple(
            Group(came_from=a, came_to=b, by_rule=by, to_rule=to, count=many, examples=examples)
            for (a, b, by, to), (many, examples) in ranked[:GROUPS_MAX]
        )
        left_out = max(0, len(ranked) - GROUPS_MAX)
        return Compared(groups=groups, groups_left_out=left_out, truncated=truncated, **self._counts)


def _routed(outside: Outside, p: Payment, details: Details) -> tuple[str, tuple[str, ...]]:
    """The rule that chooses and the accounts in order; "" and none when nothing can take it."""
    facts = outside.facts(p, details, {}, hold=False)
    return facts.rule, tuple(c.account for c in facts.route if c.taken)


class Readable(Protocol):
    """What it needs of a ``ports.Store``."""

    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page: ...
    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]: ...


async def over_last(
    store: Readable, scope: Scope, present: Outside, changed: Rules, *, last: int, clock: Clock, run_s: float = RUN_S_MAX
) -> Compared:
    """The newest ``last`` payments (at most 10,000) of a merchant and mode, by the rules in ``present`` and by ``changed``. It
    stops after ``run_s`` seconds, reads PAGE payments at a time, keeps none of them, and lets others run between. Raises
    StoreUnavailable, and NewerSchema at a row of a newer payonce."""
    tally = Tally(present, replace(present, rules=changed))
    ends_us, cursor = clock.monotonic_us() + int(run_s * 1_000_000), None
    while tally.of < last:
        page = await store.list(scope, Filters(), min(PAGE, last - tally.of), cursor)
        beside = await store.bodies([(p.id, p.details_sha256) for p in page.payments])
        for chunk in _chunks(page.payments):
            for p in chunk:
                raw = beside.get((p.id, p.details_sha256))
                tally.add(p, msgspec.json.decode(raw, type=Details) if raw else None)
            await clock.sleep(0)
            if clock.monotonic_us() >= ends_us:
                return tally.result(truncated=tally.of < last and (page.next is not None or chunk[-1] is not page.payments[-1]))
        if (cursor := page.next) is None:
            break
    return tally.result(truncated=False)


def _chunks(payments: Sequence[Payment]) -> Iterable[Sequence[Payment]]:
    return (payments[start : start + CHUNK] for start in range(0, len(payments), CHUNK))


# --- what is told of it ------------------------------------------------------------------------------------------------


def dry_run_body(found: Compared, tried: Tried) -> DryRunBody:
    """The same for HTTP and ``payonce routes simulate --json``."""
    return DryRunBody(
        of=found.of,
        changed=found.changed,
        reordered=found.reordered,
        unroutable=found.unroutable,
        named=found.named,
        cannot_tell=found.cannot_tell,
        rules=[rule_body(rule) for rule in tried.rules.rules],
        high_value=high_value_in_words(tried.rules),
        warnings=list(tried.warnings),
        groups=[_group_body(group) for group in found.groups],
        groups_left_out=found.groups_left_out,
        truncated=found.truncated,
    )


def _group_body(group: Group) -> DryRunGroup:
    return DryRunGroup(
        came_from=group.came_from or None,
        to=group.came_to or None,
        from_rule=group.by_rule or None,
        to_rule=group.to_rule or None,
        count=group.count,
        examples=list(group.examples),
    )
