"""DynamoDB's typed values: what is valid, how it compares, how many bytes it counts.

Sizes are those of docs.aws.amazon.com, DynamoDB developer guide, "DynamoDB item sizes and formats" (read 2026-11): names and
strings as UTF-8, binary as raw bytes, null and boolean 1 byte, a list or map 3 bytes and 1 for each element. A number is there
"approximately" 1 byte per two significant digits and 1 byte; one more for a negative one is unverified.
"""

from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Final

Value = Mapping[str, Any]  # {"S": "..."}, {"N": "1"}, {"B": b"..."}, ...
Item = dict[str, Any]  # attribute name -> Value

ITEM_BYTES_MAX: Final = 400 * 1024  # "Quotas in Amazon DynamoDB"
DIGITS_MAX: Final = 38
TYPES: Final = ("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS")
_EXACT: Final = Context(prec=200)


class Refused(Exception):
    """A call that is answered with an error and changes nothing; ``body`` is what comes beside the code."""

    def __init__(self, code: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(code, message)
        self.code, self.message, self.body = code, message, body or {}


def invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


def kind_of(value: Value) -> str:
    """The one type of a value, e.g. "S". Raises Refused when it has none, several or an unknown one."""
    if not isinstance(value, Mapping) or len(value) != 1 or (kind := next(iter(value))) not in TYPES:
        raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    return kind


def number(text: str) -> Decimal:
    """Raises Refused for what is no number of DynamoDB: 38 digits, 1E-130 to 9.99E+125 either side of 0."""
    try:
        value = _EXACT.create_decimal(text).normalize(_EXACT)
    except InvalidOperation as error:
        raise invalid(f"The parameter cannot be converted to a numeric value: {text}") from error
    if not value.is_finite():
        raise invalid(f"The parameter cannot be converted to a numeric value: {text}")
    if len(value.as_tuple().digits) > DIGITS_MAX:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    if value and not -130 <= value.adjusted() <= 125:
        raise invalid("Number overflow. Attempting to store a number with magnitude out of supported range")
    return value


def clean(value: Value) -> dict[str, Any]:
    """The value as it is stored: a copy, with numbers in their one form. Raises Refused."""
    kind = kind_of(value)
    held = value[kind]
    match kind:
        case "N":
            return {"N": shown(number(held))}
        case "B":
            return {"B": bytes(held)}
        case "M":
            return {"M": {name: clean(each) for name, each in held.items()}}
        case "L":
            return {"L": [clean(each) for each in held]}
        case "SS" | "NS" | "BS":
            members = [shown(number(each)) for each in held] if kind == "NS" else list(held)
            if not members or len(set(members)) != len(members):
                raise invalid("One or more parameter values were invalid: a set may not be empty or contain duplicates")
            return {kind: members}
    return {kind: held}


def shown(value: Decimal) -> str:
    return f"{value:f}" if value else "0"


def size_of(value: Value) -> int:
    """Bytes of a value without the name."""
    kind = kind_of(value)
    held = value[kind]
    match kind:
        case "S":
            return len(held.encode())
        case "N":
            digits = number(held).as_tuple()
            return (len(digits.digits) + 1) // 2 + 1 + digits.sign
        case "B":
            return len(held)
        case "M":
            return 3 + sum(1 + len(name.encode()) + size_of(each) for name, each in held.items())
        case "L":
            return 3 + sum(1 + size_of(each) for each in held)
        case "SS" | "NS" | "BS":
            return sum(size_of({kind[0]: each}) for each in held)
    return 1


def item_size(item: Mapping[str, Value]) -> int:
    """Bytes of an item, as capacity is counted."""
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())


def order_of(value: Value) -> Any:
    """What a string, number or binary value is sorted and compared by: strings by their UTF-8 bytes."""
    kind = kind_of(value)
    if kind == "N":
        return number(value["N"])
    return value["S"].encode() if kind == "S" else bytes(value[kind])


def same(one: Value | None, other: Value | None) -> bool:
    """Equality of two values; one that is not there equals nothing."""
    if one is None or other is None or (kind := kind_of(one)) != kind_of(other):
        return False
    mine, theirs = one[kind], other[kind]
    match kind:
        case "N":
            return number(mine) == number(theirs)
        case "M":
            return mine.keys() == theirs.keys() and all(same(mine[name], theirs[name]) for name in mine)
        case "L":
            return len(mine) == len(theirs) and all(map(same, mine, theirs))
        case "NS":
            return {number(each) for each in mine} == {number(each) for each in theirs}
        case "SS" | "BS":
            return set(mine) == set(theirs)
    return bool(mine == theirs)


def scattered(value: Value) -> bytes:
    """Where a partition lies: DynamoDB hashes partition keys, so that a scan has no order that means anything."""
    kind = kind_of(value)
    held = order_of(value)
    return blake2b(f"{kind} {held!r}".encode(), digest_size=8).digest()
