"""The requests that PayU gets, and how they are signed. See the docstring of the package."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from payonce.adapter import HttpRequest, Intent, Window, to_decimal

from .words import CURRENCY, TOKEN_CHARS, time_text, token_of

PAYMENT: Final = "/_payment"
COMMANDS: Final = "/merchant/postservice.php?form=2"  # form=2: answered in JSON
NOBODY: Final = {"firstname": "Customer", "email": "customer@payonce.invalid", "phone": "9999999999"}
METHODS: Final = frozenset({"card", "upi", "netbanking"})
DAY_US: Final = 86_400_000_000
# their field -> the merchant's word in metadata, and the longest text that they take (doc)
CUSTOMER: Final = {
    "firstname": ("customerName", 60),
    "email": ("customerEmail", 50),
    "phone": ("customerPhone", 50),
    "udf1": ("customerId", 255),
    "s2s_client_ip": ("customerIp", 45),
    "s2s_device_info": ("customerUserAgent", 255),
}


def payment(intent: Intent) -> HttpRequest:
    """The payment, server to server. A stored card belongs to a user of the merchant, whom udf1 names, else the e-mail."""
    fields = {
        "txnid": intent.reference,
        "amount": _amount(intent.amount_minor, intent),
        "productinfo": _plain(intent.description, 100) or intent.reference,
        **NOBODY,
        **_customer(intent.metadata),
        **_method(intent),
        "txn_s2s_flow": "4",
    }
    if intent.manual:
        fields["auth_only"] = "1"
    if intent.return_url:
        fields |= {"surl": intent.return_url, "furl": intent.return_url}
    if intent.metadata.get("forceFail") is True:
        fields["udf5"] = "forceFail"  # for the sandbox; PayU keeps it as a note
    return _post(PAYMENT, fields)


def command(name: str, *values: str) -> HttpRequest:
    """One of the general APIs."""
    return _post(COMMANDS, {"command": name, **{f"var{n}": value for n, value in enumerate(values, 1)}})


def capture(intent: Intent) -> HttpRequest:
    """Part or all of a hold, once."""
    amount = _amount(intent.capture_minor or intent.amount_minor, intent)
    return command("capture_transaction", intent.provider_ref, _token(intent), amount)


def give_back(intent: Intent) -> HttpRequest:
    """One command for both: it cancels what is only held, and in full; it refunds what was taken."""
    amount = intent.amount_minor if intent.kind == "void" else intent.refund_minor
    return command("cancel_refund_transaction", intent.provider_ref, _token(intent), _amount(amount, intent))


def listing(window: Window) -> HttpRequest:
    """What was made in a window, a day at a time: PayU names no limit and has no pages."""
    first_us = max(window.from_us, int(window.cursor or 0))
    return command("get_transaction_info", time_text(first_us), time_text(min(first_us + DAY_US, window.before_us)))


def signed(body: bytes, key: str, salt: str) -> bytes:
    """The body with key and hash, which is over the texts exactly as they are sent."""
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    if "store_card_token" in fields:
        fields["user_credentials"] = f"{key}:{fields.get('udf1') or fields.get('email', '')}"
    if "command" in fields:
        parts = [key, fields["command"], fields.get("var1", ""), salt]
    else:
        names = ("txnid", "amount", "productinfo", "firstname", "email", *(f"udf{n}" for n in range(1, 6)))
        parts = [key, *(fields.get(name, "") for name in names), "", "", "", "", "", salt]
    return urlencode({"key": key, **fields, "hash": sha512("|".join(parts))}).encode()


def sha512(said: str) -> str:
    return hashlib.sha512(said.encode()).hexdigest()


def _method(intent: Intent) -> dict[str, str]:
    """A stored card by its token; a UPI address is asked to pay, without one the customer opens the intent; a bank's page by
    the bank's code."""
    token = intent.payment_method
    match intent.payment_method_type or "card":
        case "upi" if token:
            return {"pg": "UPI", "bankcode": "UPI", "vpa": token}
        case "upi":
            return {"pg": "UPI", "bankcode": "INTENT"}
        case "netbanking":
            return {"pg": "NB", "bankcode": token}
    return {"pg": "CC", "bankcode": "CC", **({"store_card_token": token} if token else {})}


def _token(intent: Intent) -> str:
    """A refund goes by our reference, which its answers bring back; a capture or void by the key of its step, so that none
    of them takes the token of another."""
    if intent.kind == "refund":
        return token_of(intent.refund_reference)
    return intent.key.replace("-", "")[:TOKEN_CHARS] or token_of(intent.reference)


def _customer(metadata: Mapping[str, Any]) -> dict[str, str]:
    told = {field: _plain(str(metadata.get(name) or ""), limit) for field, (name, limit) in CUSTOMER.items()}
    return {field: value for field, value in told.items() if value}


def _plain(said: str, limit: int) -> str:
    """Without what would shift the parts of a hash, and no longer than they take."""
    return re.sub(r"[|\x00-\x1f\x7f]", " ", said)[:limit].strip()


def _amount(minor: int, intent: Intent) -> str:
    if intent.currency != CURRENCY:
        raise ValueError(f"payu takes {CURRENCY} only")
    return to_decimal(minor, CURRENCY)


def _post(path: str, fields: Mapping[str, str]) -> HttpRequest:
    headers = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
    return HttpRequest(method="POST", path=path, headers=headers, body=urlencode(fields).encode())
