"""Form-encoded parameters with nested names, and what each method takes: anything else is refused, as the vendor does."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS

from .errors import Refused

Nested = dict[str, Any]
LIST: Final = "list"
TEXTS: Final = "map of texts"
ANY: Final = "taken, and ignored"
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
DIGITS_MAX: Final = len(str(AMOUNT_MINOR_MAX)) + 2  # two places more than ISO's, for ISK and UGX

# parameter -> what it is: a type by name, allowed values, or a table of its own
_BILLING: Final = {"address": ANY, "email": str, "name": str, "phone": str, "tax_id": str}
_METHOD_DATA: Final = {
    "type": str,
    "billing_details": _BILLING,
    "allow_redisplay": str,
    "metadata": TEXTS,
    "radar_options": ANY,
}


def _ignored(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, ANY)


_LATER: Final = _ignored(
    *("amount_details", "confirmation_token", "customer", "customer_account", "error_on_requires_action"),
    *("excluded_payment_method_types", "hooks", "mandate", "mandate_data", "off_session", "payment_details"),
    *("payment_method_options", "radar_options", "receipt_email", "setup_future_usage", "shipping", "use_stripe_sdk"),
)
_STATEMENT: Final = _ignored("statement_descriptor", "statement_descriptor_suffix")
METHODS: Final[Mapping[str, Mapping[str, Any]]] = {
    "create": {
        "amount": int,
        "currency": str,
        "allowed_payment_method_types": LIST,
        "automatic_payment_methods": {"enabled": ("true", "false"), "allow_redirects": ("always", "never")},
        "capture_method": ("automatic", "automatic_async", "manual"),
        "confirm": ("true", "false"),
        "confirmation_method": ("automatic", "manual"),
        "description": str,
        "expand": LIST,
        "metadata": TEXTS,
        "payment_method": str,
        "payment_method_data": _METHOD_DATA,
        "payment_method_types": LIST,
        "return_url": str,
        **_LATER,
        **_ignored("application_fee_amount", "on_behalf_of", "payment_method_configuration", "transfer_data", "transfer_group"),
        **_STATEMENT,
    },
    "confirm": {
        "payment_method": str,
        "payment_method_data": _METHOD_DATA,
        "payment_method_types": LIST,
        "allowed_payment_method_types": LIST,
        "capture_method": ("automatic", "automatic_async", "manual"),
        "return_url": str,
        "expand": LIST,
        "client_secret": str,
        "amount_to_confirm": ANY,
        **_LATER,
    },
    "capture": {
        "amount_to_capture": int,
        "final_capture": ("true",),
        "metadata": TEXTS,
        "expand": LIST,
        **_ignored("application_fee_amount", "amount_details", "hooks", "payment_details", "transfer_data"),
        **_STATEMENT,
    },
    "cancel": {
        "cancellation_reason": ("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
        "expand": LIST,
    },
    "refund": {
        "payment_intent": str,
        "charge": str,
        "amount": int,
        "reason": ("duplicate", "fraudulent", "requested_by_customer"),
        "metadata": TEXTS,
        "expand": LIST,
        **_ignored("currency", "customer", "instructions_email", "origin", "refund_application_fee", "reverse_transfer"),
    },
    "fetch": {"expand": LIST, "client_secret": str},
    "list": {
        "created": {"gt": int, "gte": int, "lt": int, "lte": int},
        "customer": str,
        "customer_account": str,
        "ending_before": str,
        "expand": LIST,
        "limit": int,
        "payment_intent": str,
        "charge": str,
        "starting_after": str,
        "type": str,
    },
}


def nested(text: bytes | Mapping[str, str]) -> Nested:
    """The parameters of a body or a query. Raises Refused for names that cannot be read or clash."""
    try:
        pairs: Iterable[tuple[str, str]]
        pairs = parse_qsl(text.decode(), keep_blank_values=True) if isinstance(text, bytes) else text.items()
    except (UnicodeDecodeError, ValueError) as error:
        raise Refused(400, "Invalid request: the parameters cannot be read.") from error
    doc: Nested = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise _unknown(name)
        _put(doc, [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])], value, name)
    return doc


def _put(doc: Nested, path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        doc = doc.setdefault(part, {})
        if not isinstance(doc, dict):
            raise _unknown(name)
    last = path[-1] or str(len(doc))  # a[] goes on with the next number
    if isinstance(doc.get(last), dict):
        raise _unknown(name)
    doc[last] = value


def checked(method: str, doc: Nested, required: Iterable[str] = ()) -> Nested:
    """The parameters with lists and numbers in them. Raises Refused, as the vendor, for what the method does not take."""
    for name in required:
        if name not in doc:
            raise Refused(400, f"Missing required param: {name}.", "parameter_missing", param=name)
    return _table(METHODS[method], doc, "")


def _table(table: Mapping[str, Any], doc: Nested, above: str) -> Nested:
    return {name: _value(table.get(name), given, f"{above}[{name}]" if above else name) for name, given in doc.items()}


def _value(kind: Any, given: Any, name: str) -> Any:
    if kind is None:
        raise _unknown(name)
    if kind == ANY:
        return given
    if isinstance(kind, dict) or kind in (LIST, TEXTS):
        if not isinstance(given, dict):
            raise Refused(400, "Invalid object", param=name)
        if isinstance(kind, dict):
            return _table(kind, given, name)
        if any(isinstance(value, dict) for value in given.values()):
            raise Refused(400, "Invalid string", param=name)
        return given if kind == TEXTS else [given[key] for key in sorted(given, key=lambda k: (len(k), k))]
    if isinstance(given, dict):
        raise Refused(400, f"Invalid string: {name}", param=name)
    if given == "":
        raise Refused(400, f"You passed an empty string for '{name}'.", "parameter_invalid_empty", param=name)
    if isinstance(kind, tuple) and given not in kind:
        raise Refused(400, f"Invalid {name}: must be one of {', '.join(kind)}", param=name)
    return _integer(given, name) if kind is int else given


def _integer(text: str, name: str) -> int:
    if not re.fullmatch(rf"-?[0-9]{{1,{DIGITS_MAX}}}", text):
        raise Refused(400, f"Invalid integer: {text[:40]}", "parameter_invalid_integer", param=name)
    return int(text)


def _unknown(name: str) -> Refused:
    return Refused(400, f"Received unknown parameter: {name[:80]}", "parameter_unknown", param=name[:80])


# --- money ----------------------------------------------------------------------------------------------------------------

# The vendor's unit where it is not ISO 4217's, and those it says nothing about.
PLACES: Final = {"ISK": 2, "UGX": 2, "MGA": 0}
NOT_TAKEN: Final = frozenset({"IQD", "LYD", "CLF", "UYW", "UYI"})


def currency_of(text: str) -> str:
    code = text.upper()
    if code not in EXPONENTS or code in NOT_TAKEN:
        raise Refused(400, f"Invalid currency: {text[:16].lower()}.", param="currency")
    return code


def amount_of(amount: int, currency: str, param: str = "amount") -> int:
    """The amount, which must be one of the currency. Raises Refused."""
    if amount < 1:
        code = "parameter_invalid_integer" if amount < 0 else "amount_too_small"
        raise Refused(400, "Amount must be at least 1.", code, param=param)
    if to_minor(amount, currency) is None or (EXPONENTS[currency] == 3 and amount % 10):
        raise Refused(400, "Invalid amount for this currency.", "invalid_charge_amount", param=param)
    if amount > AMOUNT_MINOR_MAX * 100:
        raise Refused(400, "Amount is too large.", "amount_too_large", param=param)
    return amount


def to_minor(amount: int, currency: str) -> int | None:
    """The vendor's amount in ISO minor units; None when it is no whole number of them."""
    shift = EXPONENTS[currency] - PLACES.get(currency, EXPONENTS[currency])
    if shift >= 0:
        return amount * int(10**shift)
    whole, rest = divmod(amount, int(10**-shift))
    return None if rest else whole


def from_minor(amount_minor: int, currency: str) -> int:
    """The vendor's amount; what is no whole number of its units is rounded down."""
    shift = PLACES.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    return amount_minor * int(10**shift) if shift >= 0 else amount_minor // int(10**-shift)
