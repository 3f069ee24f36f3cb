"""Templates to bytes. Everything is escaped; a name that a template uses and nobody gave is an error. What a template has:

Everywhere: ``visit``, ``ui`` (the macros of parts.html), ``title`` where the handler gave one, and
- ``url("/payments")``: the address of a page; ``url("/payments", status="FAILED")``: with a query, None left out
- ``static("style.css")``: the address of a file of ``static``, with the hash of its content; every ``*.css`` there is linked
- filters: ``money(currency)`` (minor units -> ``10.50 INR``), ``count`` (``12 345``), ``percent`` (0..1 -> ``97.3 %``),
  ``ms`` (``840 ms``, ``2.4 s``, ``3 min 5 s``), ``seconds`` (the same from seconds), ``utc`` (RFC 3339 ->
  ``26 Nov 2026 10:30:36 UTC``), ``clock`` (``10:30:36``), ``words`` (``late_success`` -> ``late success``), ``pretty`` (any
  JSON, indented), ``dash`` (None and "" -> a dash), ``segment`` (one part of a path)
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payonce.core.money import display, is_currency

from .asking import segment

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
DASH: Final = "\u2013"
THIN: Final = "\u202f"  # a narrow space that does not break
MEDIA: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
HASH_CHARS: Final = 16


class StaticFile:
    """One file as it is served: under its name and the hash of its content, so that it may be kept for ever."""

    def __init__(self, path: Path) -> None:
        self.body = path.read_bytes()
        self.sha256 = hashlib.sha256(self.body).hexdigest()
        self.media_type = MEDIA[path.suffix]
        self.address = f"/static/{path.stem}.{self.sha256[:HASH_CHARS]}{path.suffix}"


def static_files() -> dict[str, StaticFile]:
    """By name. Read once."""
    return {path.name: StaticFile(path) for path in sorted(STATIC.iterdir()) if path.suffix in MEDIA}


class Renderer:
    """``base``: where the dashboard is, such as ``/dashboard``; per request, as payonce may be mounted anywhere."""

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self.files = files
        self._sheets = ("style.css", *(name for name in files if name.endswith(".css") and name != "style.css"))
        self._env = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters.update(FILTERS)

    def page(self, template: str, base: str, data: Mapping[str, Any]) -> bytes:
        """A whole page, or the part of it without its frame where ``data["partial"]`` says so."""
        given = {"sheets": self._sheets, **data, "base": base, "url": _url_under(base), "static": self._address_under(base)}
        given["ui"] = self._env.get_template("parts.html").make_module(given)
        return self._env.get_template(template).render(given).encode()

    def _address_under(self, base: str) -> Callable[[str], str]:
        return lambda name: base + self.files[name].address


def _url_under(base: str) -> Callable[..., str]:
    def url(path: str, **query: object) -> str:
        given = {name: value for name, value in query.items() if value is not None and value != ""}
        return f"{base}{path}" + (f"?{urlencode(given)}" if given else "")

    return url


def money(minor: int | None, currency: str) -> str:
    if minor is None:
        return DASH
    if not is_currency(currency):
        return f"{minor} {currency}"
    number, _, code = display(minor, currency).partition(" ")
    whole, dot, rest = number.partition(".")
    return f"{_grouped(whole)}{dot}{rest}\u00a0{code}"


def count(n: int | None) -> str:
    return DASH if n is None else _grouped(str(n))


def _grouped(digits: str) -> str:
    sign, plain = ("\u2212", digits[1:]) if digits.startswith("-") else ("", digits)
    return sign + f"{int(plain):,}".replace(",", THIN) if plain.isdecimal() else digits


def percent(share: float | None) -> str:
    """100 % is said only where nothing is missing from it, and 0 % where nothing is there."""
    if share is None:
        return DASH
    shown = round(share * 100, 1)
    if shown in (0.0, 100.0) and share not in (0.0, 1.0):
        shown = 0.1 if share < 0.5 else 99.9
    return f"{shown:g}{THIN}%"


def ms(n: float | None) -> str:
    """Milliseconds in the unit that people would use."""
    if n is None:
        return DASH
    if n < 1000:
        return f"{round(n)}{THIN}ms"
    if n < 60_000:
        return f"{n / 1000:.1f}{THIN}s"
    minutes, rest = divmod(round(n / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}{THIN}d {hours}{THIN}h"
    return f"{hours}{THIN}h {minutes}{THIN}min" if hours else f"{minutes}{THIN}min {rest}{THIN}s"


def seconds(n: float | None) -> str:
    return ms(None if n is None else n * 1000)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def utc(text: str | None) -> str:
    at = _time(text)
    return f"{at.day} {at:%b %Y %H:%M:%S} UTC" if at else DASH


def clock(text: str | None) -> str:
    at = _time(text)
    return f"{at:%H:%M:%S}" if at else DASH


def words(text: str | None) -> str:
    return text.replace("_", " ") if text else DASH


def pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def dash(value: Any) -> Any:
    return DASH if value is None or value == "" else value


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "money": money,
    "count": count,
    "percent": percent,
    "ms": ms,
    "seconds": seconds,
    "utc": utc,
    "clock": clock,
    "words": words,
    "pretty": pretty,
    "dash": dash,
    "segment": segment,
}
