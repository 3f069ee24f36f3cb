"""The fields of a small JSON body, each checked by kind: for what is no payment. Nothing that was sent is repeated in an error
but field names."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from payonce.core.errors import FieldError, Refused
from payonce.core.redact import has_card_number
from payonce.shown.endpoints import is_line
from payonce.shown.views import moment

from .incoming import Request, check_media_type, parse_object, read_body, shown

_URL: Final = re.compile(r"https?://[!-~]+")


async def small_body(request: Request, body_s: float, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object of a request; an empty one where ``optional`` and nothing came. Raises Refused."""
    if not optional:
        check_media_type(request)
    raw = await read_body(request, body_s)
    if optional:
        if not raw:  # without a body there is nothing whose type could matter
            return {}
        check_media_type(request)
    return parse_object(raw)


class Fields:
    """Collects what is wrong; ``check`` raises it. Absent and null are None. Raises Refused ``card_number_refused`` at once."""

    def __init__(self, body: Mapping[str, Any], known: Collection[str]) -> None:
        if has_card_number(body):
            raise Refused("card_number_refused", "A card number stands in the request.")
        self._body = body
        self.errors = [FieldError(shown(name), "is not a known field") for name in body if name not in known]

    def bad(self, field: str, rule: str) -> None:
        self.errors.append(FieldError(field, rule))

    def check(self) -> None:
        if self.errors:
            raise Refused("validation_failed", "; ".join(f"{e.field} {e.rule}" for e in self.errors) + ".", tuple(self.errors))

    def text(self, name: str, chars_max: int) -> str | None:
        value = self._body.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not is_line(value, chars_max):
            self.bad(name, f"must be a string of at most {chars_max} characters on one line, without control characters")
            return None
        return value

    def url(self, name: str, chars_max: int, *, required: bool) -> str | None:
        """Its form only: where it leads is for who sends there."""
        value = self._body.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or len(value) > chars_max or not _URL.fullmatch(value):
            self.bad(name, f"must be a https URL of at most {chars_max} visible ASCII characters")
            return None
        return value

    def choices(self, name: str, known: Collection[str], most: int) -> tuple[str, ...] | None:
        """A list of known words, each once, in the order of ``known``."""
        value = self._body.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > most or not all(isinstance(v, str) and v in known for v in value):
            self.bad(name, f"must be a list of at most {most} of {', '.join(known)}")
            return None
        return tuple(word for word in known if word in value)

    def number(self, name: str, low: int, high: int, default: int) -> int:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.bad(name, f"must be an integer, {low} to {high}")
            return default
        return value

    def time_us(self, name: str) -> int:
        """An RFC 3339 time, needed, as microseconds since 1970; 0 when it is none."""
        value = self._body.get(name)
        try:
            return max(moment(value if isinstance(value, str) else ""), 0)
        except ValueError:
            self.bad(name, "must be an RFC 3339 time such as 2026-11-24T09:30:00Z")
            return 0
