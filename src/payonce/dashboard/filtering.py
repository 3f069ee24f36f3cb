"""The filters of the payments list: in the address of the page, under the names that GET /payments has. Pure."""

import re
from collections.abc import Mapping
from typing import Final, get_args

from msgspec import Struct

from payonce.core.payment import PaymentStatus

STATUSES: Final = get_args(PaymentStatus)
# name in the address and of the API -> what stands before the value
LABELS: Final[Mapping[str, str]] = {
    "status": "Status",
    "provider": "Provider",
    "currency": "Currency",
    "metadata": "Metadata value",
    "declineCode": "Decline code",
    "clientId": "Client",
    "createdFrom": "From",
    "createdBefore": "Before",
    "attention": "Needs attention",
}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MINUTE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)
_SECOND: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)


class Chip(Struct, frozen=True):
    """One filter that is on. ``without`` are the others: the address that takes this one away."""

    name: str
    label: str
    value: str
    without: Mapping[str, str]


def filters_of(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of an address, as the API takes them: what is empty is left out, times without a zone are UTC. A value that
    is wrong stays as it is: the API says what is wrong with it."""
    found = {name: query[name].strip() for name in LABELS if query.get(name, "").strip()}
    for name in ("createdFrom", "createdBefore"):
        if name in found:
            found[name] = _zoned(found[name])
    if "currency" in found:
        found["currency"] = found["currency"].upper()
    if found.get("attention") in ("yes", "on", "1"):
        found["attention"] = "true"
    if found.get("attention") == "false":
        del found["attention"]
    return found


def _zoned(text: str) -> str:
    """A date is its first moment; what a field for times gives has no zone."""
    if _DAY.fullmatch(text):
        return f"{text}T00:00:00Z"
    if _MINUTE.fullmatch(text):
        return f"{text}:00Z"
    return f"{text}Z" if _SECOND.fullmatch(text) else text


def local(time: str) -> str:
    """A time as a field for times wants it: UTC, without the zone; empty for what is no time in UTC."""
    plain = time.removesuffix("Z").removesuffix("+00:00")
    return plain[:19] if time and plain != time and _SECOND.fullmatch(plain) else ""


def chips(filters: Mapping[str, str]) -> list[Chip]:
    """The filters that are on, in the order of LABELS."""
    found = []
    for name, label in LABELS.items():
        if name in filters:
            without = {other: value for other, value in filters.items() if other != name}
            found.append(Chip(name, label, "" if name == "attention" else filters[name], without))
    return found
