"""What an idempotency key stands for: the normalised request, kept for the life of the payment and compared field by
field (absent = null = default; the order of object keys does not matter)."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from .errors import FieldError, Refused
from .money import AMOUNT_MINOR_MAX, is_currency
from .operations import NewOperation
from .redact import has_card_number

REQUEST_V: Final = 1  # version of the normalised request below
KEY_CHARS_MAX: Final = 255
TEXT_CHARS_MAX: Final = 255
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARS_MAX: Final = 40
METADATA_VALUE_CHARS_MAX: Final = 500

_URL: Final = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!-~]*)?|https?://\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?(?:[/?#][!-~]*)?"
)
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARS_MAX}}}")
_UNSTORABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
Scalar = str | int | float | bool | None


class Details(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Customer data: lies beside the chain, which holds its digest, so that it can be erased."""

    payment_method: str = ""
    payment_method_type: str = ""
    description: str = ""
    metadata: dict[str, Scalar] = {}
    return_url: str = ""  # where the merchant wants the customer back after acting at a provider


class NewPayment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A valid request for a payment. ``amount_minor`` is 1 .. AMOUNT_MINOR_MAX."""

    amount_minor: int
    currency: str
    client_id: str = ""
    provider: str = ""
    capture_method: Literal["automatic", "manual"] = "automatic"
    action_s: int | None = None  # how long the customer may act at the provider; None: as configured
    details: Details = Details()


_NAMES: Final = {
    "amount": "amount_minor",
    "currency": "currency",
    "clientId": "client_id",
    "provider": "provider",
    "captureMethod": "capture_method",
    "actionExpiresIn": "action_s",
}
FIELDS: Final = (*_NAMES, "paymentMethod", "description", "metadata", "returnUrl", "idempotencyKey")
OPERATION_FIELDS: Final = ("amount", "idempotencyKey")
ACTION_S: Final = (60, 86_400)  # bounds
URL_CHARS_MAX: Final = 500


def parse_key(header: str | None, body: object) -> str:
    """The key from the header (bare or a quoted string) or the body. Raises Refused: missing, malformed, or different."""
    if body is not None and not isinstance(body, str):
        raise Refused("idempotency_key_invalid", "idempotencyKey must be a string.")
    quoted = header is not None and len(header) >= 2 and header[0] == header[-1] == '"'
    bare = re.sub(r'\\(["\\])', r"\1", header[1:-1]) if quoted and header else header
    given = [key for key in (bare, body) if key is not None]
    if not given:
        raise Refused("idempotency_key_missing", "There is no Idempotency-Key header and no idempotencyKey in the body.")
    if has_card_number(given):  # before its form: a card number with spaces in it is refused as what it is
        raise Refused("card_number_refused", "The idempotency key looks like a card number.")
    if not all(map(_KEY.fullmatch, given)):
        raise Refused("idempotency_key_invalid", f"The key must be 1 to {KEY_CHARS_MAX} visible ASCII characters.")
    if len(set(given)) > 1:
        raise Refused("idempotency_key_invalid", "The Idempotency-Key header and idempotencyKey in the body differ.")
    return given[0]


def normalise(body: Mapping[str, Any]) -> NewPayment:
    """A decoded JSON object as a valid request. Raises Refused naming every bad field with its rule."""
    if has_card_number(body):
        raise Refused("card_number_refused", "A card number stands in the request.")
    errors = [FieldError(str(name)[:80], "is not a known field") for name in body if name not in FIELDS]
    # Empty is an unset variable of the caller more often than a wish for any account.
    errors += [FieldError(name, "must name an account, or be left out") for name in ("provider",) if body.get(name) == ""]
    check = _Check(errors)
    request = NewPayment(
        amount_minor=check.amount(body.get("amount")),
        currency=check.currency(body.get("currency")),
        client_id=check.text("clientId", body.get("clientId")),
        provider=check.text("provider", body.get("provider")),
        capture_method=check.capture(body.get("captureMethod")),
        action_s=check.action(body.get("actionExpiresIn")),
        details=Details(
            **check.method(body.get("paymentMethod")),
            description=check.text("description", body.get("description")),
            metadata=check.metadata(body.get("metadata")),
            return_url=check.url("returnUrl", body.get("returnUrl")),
        ),
    )
    _refuse(errors)
    return request


def normalise_operation(kind: Literal["capture", "void", "refund"], payment_id: str, body: Mapping[str, Any]) -> NewOperation:
    """A decoded JSON object (empty: nothing but the key) as a valid request for an operation. Raises Refused naming every
    bad field with its rule."""
    if has_card_number(body):
        raise Refused("card_number_refused", "A card number stands in the request.")
    known = [name for name in OPERATION_FIELDS if kind != "void" or name != "amount"]
    errors = [FieldError(str(name)[:80], "is not a known field") for name in body if name not in known]
    check = _Check(errors)
    amount = check.amount(body["amount"]) if kind != "void" and body.get("amount") is not None else None
    _refuse(errors)
    return NewOperation(kind=kind, payment_id=payment_id, amount_minor=amount)


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        named = "; ".join(f"{e.field} {e.rule}" for e in errors)
        raise Refused("validation_failed", named + ".", tuple(errors))


def encode(request: NewPayment | NewOperation) -> bytes:
    return msgspec.json.encode(request)


def differing(stored: bytes, request: NewPayment | NewOperation, *, charge: bool) -> tuple[str, ...]:
    """Names (never values) of the fields in which a repeat differs from the first request. ``charge``: the first one was for
    a payment."""
    if isinstance(request, NewOperation):
        if charge or (asked := msgspec.json.decode(stored, type=NewOperation)) == request:
            return ("path",) if charge else ()
        same = (asked.kind, asked.payment_id) == (request.kind, request.payment_id)
        return ("amount",) if same else ("path",)
    if not charge:
        return ("path",)
    first = msgspec.json.decode(stored, type=NewPayment)
    names = [name for name, attribute in _NAMES.items() if getattr(first, attribute) != getattr(request, attribute)]
    was, now = first.details, request.details
    if (was.payment_method, was.payment_method_type) != (now.payment_method, now.payment_method_type):
        names.append("paymentMethod")
    if was.description != now.description:
        names.append("description")
    if was.return_url != now.return_url:
        names.append("returnUrl")
    if not _same(was.metadata, now.metadata):
        names.append("metadata")
    return tuple(names)


def _same(was: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> bool:
    """JSON equality: true is not 1, 1 is not 1.0 in meaning but the same number in JSON."""
    typed = [{k: (isinstance(v, bool), v) for k, v in each.items()} for each in (was, now)]
    return typed[0] == typed[1]


class _Check:
    """Collects what is wrong instead of stopping at the first."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors

    def _bad(self, field: str, rule: str) -> None:
        self.errors.append(FieldError(field, rule))

    def amount(self, value: object) -> int:
        rule = f"must be an integer in minor units, 1 to {AMOUNT_MINOR_MAX}"
        if value is None:
            self._bad("amount", "is required: " + rule)
        elif isinstance(value, bool) or not isinstance(value, int):
            self._bad("amount", rule + " (no decimals, no string)")
        elif not 1 <= value <= AMOUNT_MINOR_MAX:
            self._bad("amount", rule)
        else:
            return value
        return 0

    def currency(self, value: object) -> str:
        if value is None:
            self._bad("currency", "is required: an ISO 4217 code such as INR")
        elif not isinstance(value, str) or not is_currency(value.upper()) or not value.isascii():
            self._bad("currency", "must be an ISO 4217 code with a minor unit, such as INR")
        else:
            return value.upper()
        return ""

    def text(self, field: str, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX or not _storable(value):
            self._bad(field, f"must be a string of at most {TEXT_CHARS_MAX} characters without control characters")
            return ""
        return value

    def action(self, value: object) -> int | None:
        if value is not None and (type(value) is not int or not ACTION_S[0] <= value <= ACTION_S[1]):
            self._bad("actionExpiresIn", f"must be whole seconds, {ACTION_S[0]} to {ACTION_S[1]}")
            return None
        return value

    def url(self, field: str, value: object) -> str:
        if value is None:
            return ""
        fits = isinstance(value, str) and len(value) <= URL_CHARS_MAX and _URL.fullmatch(value)
        if not fits:
            self._bad(field, f"must be an http or https URL without user and password, at most {URL_CHARS_MAX} characters")
            return ""
        return str(value)

    def capture(self, value: object) -> Literal["automatic", "manual"]:
        if value not in (None, "automatic", "manual"):
            self._bad("captureMethod", "must be automatic or manual")
        return "manual" if value == "manual" else "automatic"

    def method(self, value: object) -> dict[str, str]:
        if isinstance(value, str) or value is None:
            return {"payment_method": self.text("paymentMethod", value)}
        if not isinstance(value, dict) or set(value) - {"type", "token"} or not isinstance(value.get("type"), str):
            self._bad("paymentMethod", "must be a provider token, or {type, token?}")
            return {}
        return {
            "payment_method_type": self.text("paymentMethod.type", value["type"]),
            "payment_method": self.text("paymentMethod.token", value.get("token")),
        }

    def metadata(self, value: object) -> dict[str, Scalar]:
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > METADATA_KEYS_MAX:
            self._bad("metadata", f"must be an object of at most {METADATA_KEYS_MAX} entries")
            return {}
        for key, each in value.items():
            if not 1 <= len(key) <= METADATA_KEY_CHARS_MAX or not _storable(key):
                self._bad("metadata", f"names must have 1 to {METADATA_KEY_CHARS_MAX} characters without control characters")
            elif isinstance(each, str) and (len(each) > METADATA_VALUE_CHARS_MAX or not _storable(each)):
                self._bad(
                    f"metadata.{key}", f"must have at most {METADATA_VALUE_CHARS_MAX} characters without control characters"
                )
            elif isinstance(each, dict | list):
                self._bad(f"metadata.{key}", "must be a string, number, boolean or null")
            elif isinstance(each, int | float) and not abs(each) < 2**63:  # NaN too
                self._bad(f"metadata.{key}", "must be a number between -2**63 and 2**63")
        return value


def _storable(text: str) -> bool:
    """UTF-8 without surrogates and control characters (tab and line feed allowed)."""
    return _UNSTORABLE.search(text) is None
