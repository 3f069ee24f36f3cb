"""The money part of the provider contract: currencies with no, two and three decimal places, and amounts that no 32 bits
hold, are sent as the vendor writes them and read back as what they were.

The vendor's unit is worked out here from ``Capabilities.exponents``, apart from the adapter: the number in a recorded
request or answer is found, and must be the right one for every other amount and currency too.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Absent,
    Adapter,
    AnyOutcome,
    Authorized,
    Captured,
    Created,
    Found,
    HttpRequest,
    Intent,
    Refunded,
    Refunding,
    Rejected,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    to_decimal,
)
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.outcome import Outcome

from .provider_cases import ENCODER, Case, Subject, decoded, parts
from .provider_spoiling import least_step, other_money, swap, vendor_units

CURRENCIES: Final = ("INR", "USD", "EUR", "JPY", "KWD")
ABOVE_32_BITS: Final = 2**32 + 12_345
SHOW_MONEY: Final = (Succeeded, Authorized, Captured, Refunded, Refunding)
NOTHING: Final = (Unknown, Unreadable, Absent, Rejected)


class AmountContract:
    """See the module docstring. Where a recorded number cannot be found and replaced (a vendor that writes it twice in two
    ways, or signs it), a case of its own for the currency with an amount above 2**31 stands in for it."""

    def test_declared_units_make_sense(self, subject: Subject) -> None:
        """Exponents, multiples and currencies speak about currencies that exist and that the vendor takes."""
        facts = subject.adapter.CAPABILITIES
        named = {*facts.exponents, *facts.multiples}
        _none(f"{c} is no ISO 4217 currency" for c in sorted({*named, *(facts.currencies or ())} - set(EXPONENTS)))
        taken = facts.currencies if facts.currencies is not None else frozenset(EXPONENTS)
        _none(f"{c} has an exponent or multiple, and is not in currencies" for c in sorted(named - taken))
        _none(f"{c}: the exponent is ISO's already" for c, n in facts.exponents.items() if EXPONENTS.get(c) == n)
        _none(f"{c}: a multiple of {n} says nothing" for c, n in facts.multiples.items() if n < 2)

    def test_every_unit_is_sent(self, subject: Subject) -> None:
        """For each currency and size of amount, each step that names money names this amount, as the vendor writes it."""
        shown = [c for c in subject.cases if _sends(subject.adapter, c.intent, c.request.wanted())]
        kinds = {c.intent.kind for c in shown}
        steps = subject.adapter.CAPABILITIES.steps
        assert kinds & {"create", "fire"}, "no recorded create or fire sends an amount that can be recognised"
        assert "refund" in kinds or "refund" not in steps, "no recorded refund sends an amount that can be recognised"
        if subject.adapter.CAPABILITIES.partial_capture:
            assert "capture" in kinds, "less than the hold may be captured, and no recorded capture says how much"
        _none(
            f"{c.name}, as {minor} minor units of {currency}: {problem}"
            for c in shown
            for currency, minor in samples(subject.adapter)
            for problem in _sent(subject.adapter, c, currency, minor)
        )

    def test_every_unit_is_read_back(self, subject: Subject) -> None:
        """For each currency and size of amount, an answer that names it means exactly this amount, and no answer another."""
        cases = [c for c in subject.cases if _scalable(subject, c)]
        for group, wanted in _groups(subject).items():
            of = [c for c in cases if any(isinstance(part, wanted) for part in parts(c.outcome))]
            for currency, minor in samples(subject.adapter):
                read = [(c, *_read_back(subject, c, currency, minor)) for c in of]
                _none(
                    f"{c.name}, as {minor} minor units of {currency}: {got}, not {must}"
                    for c, got, must in read
                    if _wrong(got, must)
                )
                good = any(got == must for _, got, must in read) or _explicit(subject, wanted, currency)
                assert good, (
                    f"no recorded {group} can be read with {minor} minor units of {currency} in place of its amount: add "
                    f"a case in {currency} with more than 2**31 minor units, or take {currency} out of the currencies"
                )


def samples(adapter: Adapter) -> Iterator[tuple[str, int]]:
    """(currency, minor units): the common ones, those with a rule of their own, and both sizes of amount."""
    facts = adapter.CAPABILITIES
    for currency in dict.fromkeys([*CURRENCIES, *facts.exponents, *facts.multiples]):
        if facts.currencies is None or currency in facts.currencies:
            step = least_step(adapter, currency)
            for minor in (step * 7_013, ABOVE_32_BITS // step * step, AMOUNT_MINOR_MAX // step * step):
                yield currency, minor


def _groups(subject: Subject) -> dict[str, tuple[type[Outcome], ...]]:
    steps = subject.adapter.CAPABILITIES.steps
    groups: dict[str, tuple[type[Outcome], ...]] = {"charge or hold": (Succeeded, Authorized)}
    groups |= {"capture": (Captured,)} if "capture" in steps else {}
    return groups | ({"refund": (Refunded, Refunding)} if "refund" in steps else {})


def _amounts(intent: Intent, minor: int, step: int) -> dict[int, int]:
    """Each amount of an intent -> another one: the payment's becomes ``minor``, and parts of it the same part, roughly."""
    whole = intent.amount_minor
    known = [n for n in (intent.capture_minor, intent.refund_minor) if n and n != whole]
    return {whole: minor} | {n: max(step, minor * n // whole // step * step) for n in known}


def _scaled(adapter: Adapter, intent: Intent, currency: str, minor: int) -> tuple[Intent, dict[int, int]]:
    amounts = _amounts(intent, minor, least_step(adapter, currency))
    other = replace(
        intent,
        currency=currency,
        amount_minor=minor,
        capture_minor=amounts.get(intent.capture_minor, 0),
        refund_minor=amounts.get(intent.refund_minor, 0),
        seen=(),
    )
    return other, amounts


# --- requests -------------------------------------------------------------------------------------------------------------


def _values(request: HttpRequest) -> dict[str, Any]:
    """Every plain value that a request sends, by where it stands."""
    found = {f"?{name}": value for name, value in parse_qsl(urlsplit(request.path).query)}
    doc = decoded(request.body)
    if isinstance(doc, dict | list):
        return found | dict(_leaves(doc, ""))
    return found | dict(parse_qsl(request.body.decode("latin-1")))


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(each, f"{at}/{key}")
    else:
        yield at, value


def _money_of(intent: Intent) -> int:
    """What the step is about."""
    return {"refund": intent.refund_minor, "capture": intent.capture_minor}.get(intent.kind, 0) or intent.amount_minor


def _sends(adapter: Adapter, intent: Intent, request: HttpRequest) -> dict[str, str]:
    """Where a request names the amount, and how: in the vendor's "units" or in "major" ones. In a currency without places
    both look the same, so nothing is learned from it."""
    units, major = vendor_units(_money_of(intent), intent.currency, adapter), to_decimal(_money_of(intent), intent.currency)
    if intent.kind not in ("create", "fire", "capture", "refund") or Decimal(major) == units:
        return {}
    ways = {
        at: "units" if _number(v) == units else "major" if _number(v) == Decimal(major) else ""
        for at, v in _values(request).items()
    }
    return {at: way for at, way in ways.items() if way}


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _sent(adapter: Adapter, case: Case, currency: str, minor: int) -> Iterator[str]:
    other, _ = _scaled(adapter, case.intent, currency, minor)
    try:
        request = adapter.build(other)
    except ValueError:
        return  # this method is not for this currency; what must be possible is demanded elsewhere
    must = {
        "units": Decimal(vendor_units(_money_of(other), currency, adapter)),
        "major": Decimal(to_decimal(_money_of(other), currency)),
    }
    values, places = _values(request), EXPONENTS[currency]
    for at, way in _sends(adapter, case.intent, case.request.wanted()).items():
        value = values.get(at)
        if _number(value) != must[way]:
            yield f"{at} is {value!r}, not {must[way]}"
        elif isinstance(value, str) and ("e" in value.lower() or len(value.partition(".")[2]) > max(places, 2)):
            yield f"{at} is {value!r}: not plain digits with the currency's places"


# --- answers --------------------------------------------------------------------------------------------------------------


def _scalable(subject: Subject, case: Case) -> bool:
    """All money that the recorded answers name is the intent's, so that another amount can stand in its place. Another small
    one in its own currency shows whether that is so; in a currency without places the two ways to write it look alike."""
    intent, adapter = case.intent, subject.adapter
    if Decimal(to_decimal(intent.amount_minor, intent.currency)) == vendor_units(intent.amount_minor, intent.currency, adapter):
        return False
    known = {0, intent.amount_minor, intent.capture_minor, intent.refund_minor}
    named = [getattr(p, name, 0) for p in parts(case.outcome) for name in ("amount_minor", "refunded_minor")]
    shows = any(isinstance(p, (*SHOW_MONEY, Created)) for p in parts(case.outcome))
    same = {getattr(p, "currency", intent.currency) for p in parts(case.outcome)} == {intent.currency}
    if not (shows and same and set(named) <= known):
        return False
    got, must = _read_back(subject, case, intent.currency, 7_013 * least_step(adapter, intent.currency))
    return got == must


def _read_back(subject: Subject, case: Case, currency: str, minor: int) -> tuple[AnyOutcome, AnyOutcome]:
    """What is made of the answers about another amount, and what they must mean."""
    other, amounts = _scaled(subject.adapter, case.intent, currency, minor)
    answers = [_in_other_money(subject.adapter, case, each, amounts, currency) for each in case.answers()]
    said = subject.learn(replace(case, intent=other), answers=answers)
    return said, _expected(case.outcome, amounts, currency)


def _in_other_money(adapter: Adapter, case: Case, answer: Response, amounts: Mapping[int, int], currency: str) -> Response:
    doc = other_money(decoded(answer.body), adapter, case.intent.currency, amounts, currency)
    for was, now in ((case.intent.currency, currency), (case.intent.currency.lower(), currency.lower())):
        doc = swap(doc, was, now)
    return replace(answer, body=ENCODER.encode(doc)) if doc is not None else answer


def _expected(outcome: AnyOutcome, amounts: Mapping[int, int], currency: str) -> AnyOutcome:
    if isinstance(outcome, Found):
        tries = tuple(_in_money(each, amounts, currency) for each in outcome.tries)
        return replace(outcome, tries=tries, refunds=tuple(_in_money(each, amounts, currency) for each in outcome.refunds))
    changed: AnyOutcome = _in_money(outcome, amounts, currency)
    return changed


def _in_money(part: Any, amounts: Mapping[int, int], currency: str) -> Any:
    names = [name for name in ("amount_minor", "refunded_minor") if getattr(part, name, 0)]
    fields: dict[str, Any] = {name: amounts[getattr(part, name)] for name in names}
    return replace(part, **fields, **({"currency": currency} if hasattr(part, "currency") else {}))


def _wrong(got: AnyOutcome, must: AnyOutcome) -> bool:
    """It claims other money than the answer names. To claim nothing is never wrong."""
    if got == must or isinstance(got, NOTHING):
        return False

    def money(outcome: AnyOutcome) -> list[tuple[int, str]]:
        return [(part.amount_minor, part.currency) for part in parts(outcome) if isinstance(part, SHOW_MONEY)]

    return any(each not in money(must) for each in money(got))


def _explicit(subject: Subject, wanted: tuple[type[Outcome], ...], currency: str) -> bool:
    """A case of its own for the currency, with an amount that no 32 bits hold."""
    return any(
        isinstance(part, wanted) and getattr(part, "currency", "") == currency and getattr(part, "amount_minor", 0) > 2**31
        for case in subject.cases
        for part in parts(case.outcome)
    )


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found[:40])
